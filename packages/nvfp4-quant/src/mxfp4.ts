import {
  checkApart,
  checkCapacity,
  checkInteger,
  checkKind,
  checkLength,
  E2M1_VALUES,
  E4M3_VALUES,
  E8M0_VALUES,
  ValueError,
} from '@megamoe/core';
import { checkFloats, checkShape, decodeBlock, modelOptBlockScale, outputs } from './modelopt';
import type { Nvfp4Matrix } from './modelopt';
import type { CodesShape } from './nibbles';
import { CODES, encodeBlock } from './rounding';
import { globalDecodeScale } from './scales';
import type { GlobalDecodeScale } from './scales';

/** Throws {@link ValueError} that names the first NaN (byte 255) among the first `count` E8M0 scales. */
function checkE8m0(fn: string, e8m0: Uint8Array, count: number): void {
  for (let i = 0; i < count; i++) {
    if (e8m0[i] === 255) throw new ValueError(`${fn}: "e8m0" must not be NaN, got byte 0xff at index ${i}`);
  }
}

/**
 * `out[r, c] = e2m1(codes[r, c]) * 2^(e8m0[r, c / 32] - 127)`, exact in float32 (above 2^125 times 6 it is infinite). Byte 0
 * is 2^-127. Throws `ShapeError`, `KindError`, and `ValueError` naming the index of a NaN scale (byte 255). Source: OCP
 * Microscaling Formats v1.0.
 * @param codes [M, K/2]  u8, the even column in the low nibble; `k` is a multiple of 32; all arrays may be longer than needed
 * @param e8m0  [M, K/32] E8M0 bytes
 * @param given [M, K]    f32, where the values go
 */
export function dequantizeMxfp4(
  codes: Uint8Array,
  e8m0: Uint8Array,
  shape: CodesShape,
  given?: Float32Array,
): Float32Array {
  const fn = 'dequantizeMxfp4';
  const { m, k } = checkShape(fn, shape, 32);
  checkKind(fn, 'codes', codes, Uint8Array);
  checkKind(fn, 'e8m0', e8m0, Uint8Array);
  checkCapacity(fn, 'codes', codes, 'M*K/2', (m * k) / 2);
  checkCapacity(fn, 'e8m0', e8m0, 'M*K/32', (m * k) / 32);
  const out = checkFloats(fn, m, k, given);
  checkApart(fn, 'out', out, 'codes', codes, m * k, (m * k) / 2);
  checkApart(fn, 'out', out, 'e8m0', e8m0, m * k, (m * k) / 32);
  checkE8m0(fn, e8m0, (m * k) / 32);
  for (let b = 0; b < (m * k) / 32; b++) {
    const d = E8M0_VALUES[e8m0[b]!]!;
    decodeBlock(codes, b * 16, d, out, b * 32);
    decodeBlock(codes, b * 16 + 8, d, out, b * 32 + 16);
  }
  return out;
}

/**
 * The largest exponent `k_j = byte - 127` over all matrices that will share one global scale (pass w1's and w3's scales
 * together). Byte 0 marks an all-zero block and does not count; 0 when nothing counts, as in ModelOpt. Throws `ValueError` on
 * a NaN scale (byte 255).
 */
export function mxfp4MaxExponent(...e8m0: readonly Uint8Array[]): number {
  let largest = 0;
  for (const scales of e8m0) {
    checkKind('mxfp4MaxExponent', 'e8m0', scales, Uint8Array);
    checkE8m0('mxfp4MaxExponent', scales, scales.length);
    for (let i = 0; i < scales.length; i++) if (scales[i]! > largest) largest = scales[i]!;
  }
  return largest === 0 ? 0 : largest - 127;
}

/** What {@link castMxfp4ToNvfp4} gives. */
export interface Mxfp4Cast extends Nvfp4Matrix {
  /** `2^(maxExponent - 8)`. */
  readonly globalDecodeScale: GlobalDecodeScale;
  /** MXFP4 blocks (32 elements) of which at least one value changed; 0 = lossless. */
  readonly inexactBlocks: number;
  /**
   * MXFP4 blocks whose exponent does not fit E4M3 beside `maxExponent` and that hold a non-zero value; these were quantized
   * anew.
   */
  readonly outOfRangeBlocks: number;
}

/**
 * Shape of {@link castMxfp4ToNvfp4}; `maxExponent` from {@link mxfp4MaxExponent} over several matrices makes them share one
 * global scale.
 */
export interface Mxfp4CastShape extends CodesShape {
  readonly maxExponent?: number;
}

/**
 * Casts MXFP4 to NVFP4 without loss where possible (ModelOpt `--cast_mxfp4_to_nvfp4`): with `m = maxExponent - 8`,
 * `globalDecodeScale = 2^m` and both 16-blocks of an MXFP4 block get the scale `2^(k_j - m)`, exact while `maxExponent - k_j
 * <= 17`; codes stay, but -0 becomes +0. A block further below (or above a `maxExponent` that was given too small) is
 * quantized by ModelOpt's rule with the amax of its 32 values, clamped to [2^-9, 448].
 *
 * Throws `ShapeError`, `KindError`, and `ValueError` on a NaN scale (byte 255).
 * @param mxCodes    [M, K/2]  u8, the even column in the low nibble; `k` is a multiple of 32
 * @param e8m0       [M, K/32] E8M0 bytes
 * @param givenCodes [M, K/2]  u8, where the codes go
 * @param givenSf    [M, K/16] where the E4M3 bytes go, linear
 */
export function castMxfp4ToNvfp4(
  mxCodes: Uint8Array,
  e8m0: Uint8Array,
  shape: Mxfp4CastShape,
  givenCodes?: Uint8Array,
  givenSf?: Uint8Array,
): Mxfp4Cast {
  const fn = 'castMxfp4ToNvfp4';
  const { m, k } = checkShape(fn, shape, 32);
  const { maxExponent: wanted } = shape;
  checkKind(fn, 'mxCodes', mxCodes, Uint8Array);
  checkKind(fn, 'e8m0', e8m0, Uint8Array);
  checkLength(fn, 'mxCodes', mxCodes, 'M*K/2', (m * k) / 2);
  checkLength(fn, 'e8m0', e8m0, 'M*K/32', (m * k) / 32);
  const { codes, sf } = outputs(fn, m, k, givenCodes, givenSf, checkLength);
  checkApart(fn, 'codes', codes, 'mxCodes', mxCodes);
  checkApart(fn, 'codes', codes, 'e8m0', e8m0);
  checkApart(fn, 'sf', sf, 'mxCodes', mxCodes);
  checkApart(fn, 'sf', sf, 'e8m0', e8m0);
  checkE8m0(fn, e8m0, e8m0.length);
  const maxExponent = wanted ?? mxfp4MaxExponent(e8m0);
  checkInteger(fn, 'maxExponent', maxExponent, -126, 127);
  const exponent = maxExponent - 8;
  const g = globalDecodeScale(2 ** exponent);
  const values = new Float32Array(32);
  let inexactBlocks = 0;
  let outOfRangeBlocks = 0;
  for (let b = 0; b < e8m0.length; b++) {
    const c = b * 16;
    const scaleExponent = e8m0[b]! - 127 - exponent;
    if (scaleExponent >= -9 && scaleExponent <= 8) {
      const byte = scaleExponent >= -6 ? (scaleExponent + 7) << 3 : 1 << (scaleExponent + 9); // 2^scaleExponent
      sf[2 * b] = byte;
      sf[2 * b + 1] = byte;
      for (let i = 0; i < 16; i++) codes[c + i] = POSITIVE_ZERO[mxCodes[c + i]!]!;
      continue;
    }
    decodeBlock(mxCodes, c, E8M0_VALUES[e8m0[b]!]!, values, 0);
    decodeBlock(mxCodes, c + 8, E8M0_VALUES[e8m0[b]!]!, values, 16);
    let amax = 0;
    for (let i = 0; i < 32; i++) amax = Math.max(amax, Math.abs(values[i]!));
    const byte = modelOptBlockScale(amax, Math.fround(6 * g));
    const d = Math.fround(E4M3_VALUES[byte]! * g);
    sf[2 * b] = byte;
    sf[2 * b + 1] = byte;
    encodeBlock(values, 0, d, CODES, codes, c);
    encodeBlock(values, 16, d, CODES, codes, c + 8);
    if (amax === 0) continue;
    outOfRangeBlocks++;
    if (changed(values, codes, c, d)) inexactBlocks++;
  }
  return { codes, sf, globalDecodeScale: g, inexactBlocks, outOfRangeBlocks };
}

/** Bytes of two codes with code 8 (-0) turned into code 0. */
const POSITIVE_ZERO = Uint8Array.from({ length: 256 }, (_, pair) => {
  const low = pair & 15;
  const high = pair >> 4;
  return (low === 8 ? 0 : low) | ((high === 8 ? 0 : high) << 4);
});

/** Whether the 32 codes from byte `c`, times `d`, are not the 32 `values`. */
function changed(values: Float32Array, codes: Uint8Array, c: number, d: number): boolean {
  for (let i = 0; i < 32; i++) {
    const code = (codes[c + (i >> 1)]! >> ((i & 1) << 2)) & 15;
    if (Math.fround(E2M1_VALUES[code]! * d) !== values[i]) return true; // +0 equals -0 here
  }
  return false;
}
