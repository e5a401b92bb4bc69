import { checkPositive, E4M3_MAX, E4M3_VALUES } from '@megamoe/core';
import { checkDequantize, checkQuantize, checkShape, decodeBlock } from './modelopt';
import type { Nvfp4Matrix } from './modelopt';
import { blockAmax, e4m3FromFloat32, encodeBlock, SIGNED_CODES } from './rounding';
import type { GlobalEncodeScale } from './scales';

/** Rows `m`, columns `k` (unpacked elements, a multiple of 16) and the matrix' `weight_global_scale`, a divisor on decoding. */
export interface CompressedTensorsShape {
  readonly m: number;
  readonly k: number;
  readonly globalEncodeScale: GlobalEncodeScale;
}

/** The E4M3 byte of 0.125, which compressed-tensors puts where a block scale is zero. */
const ONE_EIGHTH = 0x20;

/**
 * float32 of the scale, checked: positive, finite, and large enough that `448 / scale` is finite (else 0 times infinity would
 * be NaN).
 */
function checkScale(fn: string, scale: number): number {
  checkPositive(fn, 'globalEncodeScale', scale);
  const g = Math.fround(scale);
  checkPositive(fn, 'globalEncodeScale', g);
  checkPositive(fn, '448 / globalEncodeScale', Math.fround(E4M3_MAX / g));
  return g;
}

/**
 * Quantizes by compressed-tensors' rule (`calculate_qparams`, `_quantize`): block scale = `globalEncodeScale * (amax_block /
 * 6)`, clamped to 448, E4M3 nearest even, 0.125 where that is zero (an all-zero block, or one far below the rest); code =
 * E2M1 nearest even of `x / (f32(sf) / globalEncodeScale)`, clamped at 6. The sign bit is kept: -0 and small negatives become
 * code 8. float32 at every step. The bytes are laid out as ModelOpt's (`weight_packed`, `weight_scale`); errors as for
 * `quantizeNvfp4`.
 * @param x     [M, K]    f32; this and the outputs may be longer than needed, the rest is neither read nor written
 * @param codes [M, K/2]  u8, low nibble first
 * @param sf    [M, K/16] E4M3 bytes, linear
 */
export function quantizeCompressedTensors(
  x: Float32Array,
  shape: CompressedTensorsShape,
  codes?: Uint8Array,
  sf?: Uint8Array,
): Nvfp4Matrix {
  const fn = 'quantizeCompressedTensors';
  const { m, k } = checkShape(fn, shape, 16);
  const g = checkScale(fn, shape.globalEncodeScale);
  const out = checkQuantize(fn, x, m, k, codes, sf);
  const blocks = (m * k) / 16;
  for (let b = 0; b < blocks; b++) {
    const s = Math.fround(g * Math.fround(blockAmax(x, b * 16) / 6));
    const scale = e4m3FromFloat32(s > E4M3_MAX ? E4M3_MAX : s) || ONE_EIGHTH;
    out.sf[b] = scale;
    encodeBlock(x, b * 16, Math.fround(E4M3_VALUES[scale]! / g), SIGNED_CODES, out.codes, b * 8);
  }
  return out;
}

/**
 * `out[r, c] = e2m1(codes[r, c]) * (e4m3(sf[r, c / 16]) / globalEncodeScale)` in float32, the quotient rounded first, as
 * compressed-tensors does. Errors as for `dequantizeNvfp4`. To read such a matrix as ModelOpt's, keep codes and scales and
 * use `toGlobalDecodeScale`.
 * @param codes [M, K/2]  u8, low nibble first; all arrays may be longer than needed
 * @param sf    [M, K/16] E4M3 bytes, linear
 * @param out   [M, K]    f32, must not overlap an input
 */
export function dequantizeCompressedTensors(
  codes: Uint8Array,
  sf: Uint8Array,
  shape: CompressedTensorsShape,
  out?: Float32Array,
): Float32Array {
  const fn = 'dequantizeCompressedTensors';
  const { m, k } = checkShape(fn, shape, 16);
  const g = checkScale(fn, shape.globalEncodeScale);
  const to = checkDequantize(fn, codes, sf, m, k, out);
  const blocks = (m * k) / 16;
  for (let b = 0; b < blocks; b++) decodeBlock(codes, b * 8, Math.fround(E4M3_VALUES[sf[b]!]! / g), to, b * 16);
  return to;
}
