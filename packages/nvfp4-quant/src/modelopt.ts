import {
  checkCapacity,
  checkInteger,
  checkKind,
  checkMultiple,
  checkPositive,
  E2M1_VALUES,
  E4M3_MAX,
  E4M3_MIN,
  E4M3_VALUES,
  ValueError,
} from '@megamoe/core';
import { blockAmax, CODES, e4m3FromFloat32, encodeBlock } from './rounding';
import { checkAllFinite } from './scales';
import type { GlobalDecodeScale } from './scales';

/** Rows `m`, columns `k` (unpacked elements, a multiple of 16) and the matrix' global scale. */
export interface Nvfp4Shape {
  readonly m: number;
  readonly k: number;
  readonly globalDecodeScale: GlobalDecodeScale;
}

/** An NVFP4 matrix without its global scale. */
export interface Nvfp4Matrix {
  /** [M, K/2] two E2M1 codes a byte, the even column in the low nibble. */
  readonly codes: Uint8Array;
  /** [M, K/16] E4M3 block scales, linear (not swizzled). */
  readonly sf: Uint8Array;
}

/** Throws unless `m` and `k` are a shape of blocks of `block` elements. */
export function checkShape(fn: string, m: number, k: number, block: number): void {
  checkInteger(fn, 'm', m, 0);
  checkMultiple(fn, 'k', k, block);
}

/** Throws {@link ValueError} that names the first NaN among the first `count` E4M3 bytes of `sf`. */
export function checkNoNanScale(fn: string, sf: Uint8Array, count: number): void {
  for (let i = 0; i < count; i++) {
    if ((sf[i]! & 0x7f) === 0x7f) {
      throw new ValueError(`${fn}: "sf" must not be NaN, got byte 0x${sf[i]!.toString(16)} at index ${i}`);
    }
  }
}

/**
 * float32 of the scale, checked: positive, finite, and so small that `448 * scale` is finite (else 0 times infinity would be
 * NaN).
 */
function checkDecodeScale(fn: string, scale: number): number {
  const g = Math.fround(scale);
  checkPositive(fn, 'globalDecodeScale', g);
  checkPositive(fn, '448 * globalDecodeScale', Math.fround(E4M3_MAX * g));
  return g;
}

/**
 * ModelOpt's block scale of a block with largest magnitude `amax`, as an E4M3 byte: `amax / (6 * globalDecodeScale)`, exactly
 * 0 becomes 1, clamped to [2^-9, 448], nearest, ties to even. `sixG` is `fround(6 * globalDecodeScale)`.
 */
export function modelOptBlockScale(amax: number, sixG: number): number {
  let s = Math.fround(amax / sixG);
  if (s === 0) s = 1;
  return e4m3FromFloat32(s < E4M3_MIN ? E4M3_MIN : s > E4M3_MAX ? E4M3_MAX : s);
}

/**
 * Quantizes to NVFP4 by NVIDIA ModelOpt's rule (`NVFP4QTensor.quantize`). Block scale: `amax_block / (6 * globalDecodeScale)`,
 * exactly 0 becomes 1, clamped to [2^-9, 448], E4M3 nearest, ties to even. Code: the E2M1 value nearest to
 * `x / (f32(sf) * globalDecodeScale)`, ties to the even code, saturating at 6; -0 becomes code 0. True divisions, float32 at
 * every step.
 *
 * Throws `ShapeError` (lengths), `KindError`, and `ValueError` for a NaN or infinity in `x` (names the index; nothing has
 * been written then) or a `globalDecodeScale` that is not positive and finite.
 * @param x     [M, K]    f32; this and the outputs may be longer than needed, the rest is neither read nor written
 * @param codes [M, K/2]  u8, two E2M1 codes a byte, the even column in the low nibble
 * @param sf    [M, K/16] E4M3 bytes, linear
 */
export function quantizeNvfp4(
  x: Float32Array,
  shape: Nvfp4Shape,
  codes: Uint8Array = new Uint8Array((shape.m * shape.k) / 2),
  sf: Uint8Array = new Uint8Array((shape.m * shape.k) / 16),
): Nvfp4Matrix {
  const { m, k } = shape;
  checkShape('quantizeNvfp4', m, k, 16);
  checkKind('quantizeNvfp4', 'x', x, Float32Array);
  checkKind('quantizeNvfp4', 'codes', codes, Uint8Array);
  checkKind('quantizeNvfp4', 'sf', sf, Uint8Array);
  checkCapacity('quantizeNvfp4', 'x', x, 'M*K', m * k);
  checkCapacity('quantizeNvfp4', 'codes', codes, 'M*K/2', (m * k) / 2);
  checkCapacity('quantizeNvfp4', 'sf', sf, 'M*K/16', (m * k) / 16);
  const g = checkDecodeScale('quantizeNvfp4', shape.globalDecodeScale);
  checkAllFinite('quantizeNvfp4', x, m * k);
  const sixG = Math.fround(6 * g);
  const blocks = (m * k) / 16;
  for (let b = 0; b < blocks; b++) {
    const scale = modelOptBlockScale(blockAmax(x, b * 16), sixG);
    sf[b] = scale;
    encodeBlock(x, b * 16, Math.fround(E4M3_VALUES[scale]! * g), CODES, codes, b * 8);
  }
  return { codes, sf };
}

/**
 * `out[r, c] = e2m1(codes[r, c]) * (e4m3(sf[r, c / 16]) * globalDecodeScale)` in float32: the product in brackets is rounded
 * first, as ModelOpt does.
 *
 * Throws `ShapeError` (lengths), `KindError`, and `ValueError` for a NaN block scale (names the index) or a
 * `globalDecodeScale` that is not positive and finite.
 * @param codes [M, K/2]  u8, two E2M1 codes a byte, the even column in the low nibble; all arrays may be longer than needed
 * @param sf    [M, K/16] E4M3 bytes, linear (not swizzled)
 * @param out   [M, K]    f32, may be reused between calls, must not overlap an input
 */
export function dequantizeNvfp4(
  codes: Uint8Array,
  sf: Uint8Array,
  shape: Nvfp4Shape,
  out: Float32Array = new Float32Array(shape.m * shape.k),
): Float32Array {
  const g = checkDecodeScale('dequantizeNvfp4', shape.globalDecodeScale);
  checkDequantize('dequantizeNvfp4', codes, sf, shape.m, shape.k, out);
  const blocks = (shape.m * shape.k) / 16;
  for (let b = 0; b < blocks; b++) decodeBlock(codes, b * 8, Math.fround(E4M3_VALUES[sf[b]!]! * g), out, b * 16);
  return out;
}

/** The checks that every dequantizer shares. */
export function checkDequantize(
  fn: string,
  codes: Uint8Array,
  sf: Uint8Array,
  m: number,
  k: number,
  out: Float32Array,
): void {
  checkShape(fn, m, k, 16);
  checkKind(fn, 'codes', codes, Uint8Array);
  checkKind(fn, 'sf', sf, Uint8Array);
  checkKind(fn, 'out', out, Float32Array);
  checkCapacity(fn, 'codes', codes, 'M*K/2', (m * k) / 2);
  checkCapacity(fn, 'sf', sf, 'M*K/16', (m * k) / 16);
  checkCapacity(fn, 'out', out, 'M*K', m * k);
  checkNoNanScale(fn, sf, (m * k) / 16);
}

/** Writes the 16 values of the block whose codes start at byte `c`, times `d`, to `out[o..o+16)`. */
export function decodeBlock(codes: Uint8Array, c: number, d: number, out: Float32Array, o: number): void {
  for (let i = 0; i < 8; i++) {
    const pair = codes[c + i]!;
    out[o + 2 * i] = E2M1_VALUES[pair & 15]! * d;
    out[o + 2 * i + 1] = E2M1_VALUES[pair >> 4]! * d;
  }
}
