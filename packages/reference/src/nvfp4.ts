/** NVFP4 by its definition (docs/formats.md A2, NVIDIA ModelOpt): every code is found by searching the grid for the nearest value. */
import { checkFinite, checkInteger, checkMultiple, checkObject, E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';
import { checkScale, result, takeBytes, takeNumbers, takeSizes } from './arguments';
import { nearest } from './grid';
import type { Numbers } from './numbers';

const BLOCK = 16;
const E2M1_GRID = E2M1_VALUES.subarray(0, 8); // 0 .5 1 1.5 2 3 4 6
const E4M3_GRID = E4M3_VALUES.subarray(0, 0x7f); // 0 to 448, ascending

/** A global decode scale for all rows, or one for each row. */
export type RowScales = number | Numbers;

function rowScale(scales: RowScales, row: number): number {
  return Math.fround(typeof scales === 'number' ? scales : scales[row]!);
}

function takeScales(fn: string, given: RowScales, m: number): RowScales {
  if (typeof given === 'number') {
    checkScale(fn, 'globalDecodeScale', given);
    return given;
  }
  const scales = takeNumbers(fn, 'globalDecodeScale', given, ['M', m]);
  for (let r = 0; r < m; r++) checkScale(fn, `globalDecodeScale[${r}]`, scales[r]!);
  return scales;
}

/** The sizes and scales of a matrix in NVFP4. */
function takeNvfp4Shape(fn: string, shape: Nvfp4Shape): Nvfp4Shape {
  const { m, k } = takeSizes(fn, 'shape', shape, 'm', 'k');
  checkMultiple(fn, 'k', k, BLOCK);
  return { m, k, globalDecodeScale: takeScales(fn, shape.globalDecodeScale, m) };
}

/** `amax / (6 * 448)` in float32: the multiplier that brings a tensor's largest block scale to 448. All zeros give 1, and no quotient less than 2^-149. */
export function nvfp4GlobalDecodeScale(values: Numbers): number {
  const x = takeNumbers('nvfp4GlobalDecodeScale', 'x', values);
  checkFinite('nvfp4GlobalDecodeScale', 'x', x);
  return decodeScaleOf(x);
}

function decodeScaleOf(x: Numbers): number {
  let amax = 0;
  for (let i = 0; i < x.length; i++) amax = Math.max(amax, Math.abs(Math.fround(x[i]!)));
  return amax === 0 ? 1 : Math.max(Math.fround(amax / 2688), 2 ** -149);
}

/** {@link nvfp4GlobalDecodeScale} of each row of `x` [M, K], [M]: the dynamic activation scale. An all-zero row gives 1. */
export function nvfp4RowDecodeScales(values: Numbers, shape: { readonly m: number; readonly k: number }): Float64Array {
  const fn = 'nvfp4RowDecodeScales';
  const { m, k } = takeSizes(fn, 'shape', shape, 'm', 'k');
  checkInteger(fn, 'k', k, 1);
  const x = takeNumbers(fn, 'x', values, ['M*K', m * k]);
  checkFinite(fn, 'x', x);
  return result(fn, 'M', m).map((_, r) => decodeScaleOf(Array.from({ length: k }, (_, c) => x[r * k + c]!)));
}

/** Codes and block scales of a row-major matrix. */
export interface Nvfp4Matrix {
  /** [M, K/2] two E2M1 codes a byte, even column in the low nibble. */
  readonly codes: Uint8Array;
  /** [M, K/16] E4M3 block scales, linear. */
  readonly sf: Uint8Array;
}

/** Shape and scale of an NVFP4 matrix; `k` is a multiple of 16. */
export interface Nvfp4Shape {
  readonly m: number;
  readonly k: number;
  readonly globalDecodeScale: RowScales;
}

/**
 * Quantizes `x` [M, K], first rounded to float32:
 * `s = amax_block / (6 * g)`, 0 becoming 1, clamped to [2^-9, 448], nearest E4M3; `code = nearest E2M1 of q = x / (s * g)`, sign = `q < 0`.
 * Ties go to the even code, each step is rounded to float32, the divisions are true divisions. NaN or infinity is an error.
 */
export function quantizeNvfp4(values: Numbers, shape: Nvfp4Shape): Nvfp4Matrix {
  return quantize('quantizeNvfp4', values, takeNvfp4Shape('quantizeNvfp4', shape));
}

function quantize(fn: string, values: Numbers, { m, k, globalDecodeScale }: Nvfp4Shape): Nvfp4Matrix {
  const x = takeNumbers(fn, 'x', values, ['M*K', m * k]);
  checkFinite(fn, 'x', x);
  const codes = new Uint8Array((m * k) / 2);
  const sf = new Uint8Array((m * k) / BLOCK);
  for (let block = 0; block < sf.length; block++) {
    const start = block * BLOCK;
    const g = rowScale(globalDecodeScale, Math.floor(start / k));
    let amax = 0;
    for (let i = start; i < start + BLOCK; i++) amax = Math.max(amax, Math.abs(Math.fround(x[i]!)));
    let s = Math.fround(amax / Math.fround(6 * g));
    if (s === 0) s = 1;
    sf[block] = nearest(E4M3_GRID, Math.min(Math.max(s, 2 ** -9), 448));
    const step = Math.fround(E4M3_GRID[sf[block]!]! * g);
    for (let i = start; i < start + BLOCK; i++) {
      const quotient = Math.fround(Math.fround(x[i]!) / step); // -0 where it underflows: that is code 0
      const code = nearest(E2M1_GRID, Math.abs(quotient)) + (quotient < 0 ? 8 : 0);
      codes[i >> 1]! |= i % 2 === 0 ? code : code << 4;
    }
  }
  return { codes, sf };
}

/** `e2m1 * e4m3 * globalDecodeScale` [M, K], exact in float64 (30 significant bits). */
export function dequantizeNvfp4(matrix: Nvfp4Matrix, shape: Nvfp4Shape): Float64Array {
  const fn = 'dequantizeNvfp4';
  checkObject(fn, 'matrix', matrix);
  const { codes, sf } = matrix;
  return dequantize(fn, { codes, sf }, takeNvfp4Shape(fn, shape));
}

function dequantize(fn: string, matrix: Nvfp4Matrix, { m, k, globalDecodeScale }: Nvfp4Shape): Float64Array {
  const codes = takeBytes(fn, 'codes', matrix.codes, ['M*K/2', (m * k) / 2]);
  const sf = takeBytes(fn, 'sf', matrix.sf, ['M*K/16', (m * k) / BLOCK]);
  const out = result(fn, 'M*K', m * k);
  for (let i = 0; i < out.length; i++) {
    const byte = codes[i >> 1]!;
    const value = E2M1_VALUES[i % 2 === 0 ? byte & 15 : byte >> 4]!;
    out[i] = value * E4M3_VALUES[sf[Math.floor(i / BLOCK)]!]! * rowScale(globalDecodeScale, Math.floor(i / k));
  }
  return out;
}

/** What remains of `x` after NVFP4: {@link dequantizeNvfp4} of {@link quantizeNvfp4}. */
export function roundTripNvfp4(x: Numbers, shape: Nvfp4Shape): Float64Array {
  const fn = 'roundTripNvfp4';
  const own = takeNvfp4Shape(fn, shape);
  return dequantize(fn, quantize(fn, x, own), own);
}
