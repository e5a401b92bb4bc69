import {
  checkApart,
  checkCapacity,
  checkInteger,
  checkKind,
  checkMultiple,
  checkObject,
  checkPositive,
  E2M1_VALUES,
  E4M3_MAX,
  E4M3_MIN,
  E4M3_VALUES,
  newArray,
  ShapeError,
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

/** Throws unless `m` and `k` of `shape` are rows of whole blocks of `block` elements; gives the two. */
export function checkShape(
  fn: string,
  shape: { readonly m: number; readonly k: number },
  block: number,
): { readonly m: number; readonly k: number } {
  checkObject(fn, 'shape', shape);
  const { m, k } = shape;
  checkInteger(fn, 'm', m, 0);
  checkMultiple(fn, 'k', k, block);
  if (!Number.isSafeInteger(m * k)) throw new ShapeError(`${fn}: "M*K" must be below 2^53, got ${m * k}`);
  return { m, k };
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
  checkPositive(fn, 'globalDecodeScale', scale);
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
export function quantizeNvfp4(x: Float32Array, shape: Nvfp4Shape, codes?: Uint8Array, sf?: Uint8Array): Nvfp4Matrix {
  const fn = 'quantizeNvfp4';
  const { m, k } = checkShape(fn, shape, 16);
  const g = checkDecodeScale(fn, shape.globalDecodeScale);
  const out = checkQuantize(fn, x, m, k, codes, sf);
  encodeModelOpt(x, (m * k) / 16, g, out);
  return out;
}

function encodeModelOpt(x: Float32Array, blocks: number, g: number, { codes, sf }: Nvfp4Matrix): void {
  const sixG = Math.fround(6 * g);
  for (let b = 0; b < blocks; b++) {
    const scale = modelOptBlockScale(blockAmax(x, b * 16), sixG);
    sf[b] = scale;
    encodeBlock(x, b * 16, Math.fround(E4M3_VALUES[scale]! * g), CODES, codes, b * 8);
  }
}

/** The checks that every quantizer shares; gives the outputs, made where they were left out. */
export function checkQuantize(
  fn: string,
  x: Float32Array,
  m: number,
  k: number,
  givenCodes: Uint8Array | undefined,
  givenSf: Uint8Array | undefined,
): Nvfp4Matrix {
  checkKind(fn, 'x', x, Float32Array);
  checkCapacity(fn, 'x', x, 'M*K', m * k);
  const { codes, sf } = outputs(fn, m, k, givenCodes, givenSf);
  checkApart(fn, 'codes', codes, 'x', x, (m * k) / 2, m * k);
  checkApart(fn, 'sf', sf, 'x', x, (m * k) / 16, m * k);
  checkAllFinite(fn, x, m * k);
  return { codes, sf };
}

/** Checks the arrays of codes and block scales to write, apart from each other, or makes those that were left out. */
export function outputs(
  fn: string,
  m: number,
  k: number,
  givenCodes: Uint8Array | undefined,
  givenSf: Uint8Array | undefined,
  check: typeof checkCapacity = checkCapacity,
): Nvfp4Matrix {
  const codes = givenCodes ?? newArray(fn, 'codes', Uint8Array, 'M*K/2', (m * k) / 2);
  const sf = givenSf ?? newArray(fn, 'sf', Uint8Array, 'M*K/16', (m * k) / 16);
  checkKind(fn, 'codes', codes, Uint8Array);
  checkKind(fn, 'sf', sf, Uint8Array);
  check(fn, 'codes', codes, 'M*K/2', (m * k) / 2);
  check(fn, 'sf', sf, 'M*K/16', (m * k) / 16);
  checkApart(fn, 'codes', codes, 'sf', sf, (m * k) / 2, (m * k) / 16);
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
  out?: Float32Array,
): Float32Array {
  const fn = 'dequantizeNvfp4';
  const { m, k } = checkShape(fn, shape, 16);
  const g = checkDecodeScale(fn, shape.globalDecodeScale);
  const to = checkDequantize(fn, codes, sf, m, k, out);
  const blocks = (m * k) / 16;
  for (let b = 0; b < blocks; b++) decodeBlock(codes, b * 8, Math.fround(E4M3_VALUES[sf[b]!]! * g), to, b * 16);
  return to;
}

/** The checks that every dequantizer shares; gives the output, made where it was left out. */
export function checkDequantize(
  fn: string,
  codes: Uint8Array,
  sf: Uint8Array,
  m: number,
  k: number,
  given: Float32Array | undefined,
): Float32Array {
  checkKind(fn, 'codes', codes, Uint8Array);
  checkKind(fn, 'sf', sf, Uint8Array);
  checkCapacity(fn, 'codes', codes, 'M*K/2', (m * k) / 2);
  checkCapacity(fn, 'sf', sf, 'M*K/16', (m * k) / 16);
  const out = checkFloats(fn, m, k, given);
  checkApart(fn, 'out', out, 'codes', codes, m * k, (m * k) / 2);
  checkApart(fn, 'out', out, 'sf', sf, m * k, (m * k) / 16);
  checkNoNanScale(fn, sf, (m * k) / 16);
  return out;
}

/** The array of M*K floats to write, checked, or a new one. */
export function checkFloats(fn: string, m: number, k: number, given: Float32Array | undefined): Float32Array {
  const out = given ?? newArray(fn, 'out', Float32Array, 'M*K', m * k);
  checkKind(fn, 'out', out, Float32Array);
  checkCapacity(fn, 'out', out, 'M*K', m * k);
  return out;
}

/** Writes the 16 values of the block whose codes start at byte `c`, times `d`, to `out[o..o+16)`. */
export function decodeBlock(codes: Uint8Array, c: number, d: number, out: Float32Array, o: number): void {
  for (let i = 0; i < 8; i++) {
    const pair = codes[c + i]!;
    out[o + 2 * i] = E2M1_VALUES[pair & 15]! * d;
    out[o + 2 * i + 1] = E2M1_VALUES[pair >> 4]! * d;
  }
}
