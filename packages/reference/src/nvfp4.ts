/** NVFP4 by its definition (docs/formats.md A2, NVIDIA ModelOpt): every code is found by searching the grid for the nearest value. */
import { checkFinite, checkLength, checkMultiple, checkPositive, E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';
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

function checkScales(fn: string, scales: RowScales, m: number): void {
  if (typeof scales === 'number') return checkPositive(fn, 'globalDecodeScale', Math.fround(scales));
  checkLength(fn, 'globalDecodeScale', scales, 'M', m);
  for (let r = 0; r < m; r++) checkPositive(fn, `globalDecodeScale[${r}]`, Math.fround(scales[r]!));
}

/** `amax / (6 * 448)` in float32: the multiplier that brings a tensor's largest block scale to 448. All zeros give 1, and no quotient less than 2^-149. */
export function nvfp4GlobalDecodeScale(x: Numbers): number {
  checkFinite('nvfp4GlobalDecodeScale', 'x', x);
  let amax = 0;
  for (let i = 0; i < x.length; i++) amax = Math.max(amax, Math.abs(Math.fround(x[i]!)));
  return amax === 0 ? 1 : Math.max(Math.fround(amax / 2688), 2 ** -149);
}

/** {@link nvfp4GlobalDecodeScale} of each row of `x` [M, K], [M]: the dynamic activation scale. An all-zero row gives 1. */
export function nvfp4RowDecodeScales(x: Numbers, { m, k }: { m: number; k: number }): Float64Array {
  checkLength('nvfp4RowDecodeScales', 'x', x, 'M*K', m * k);
  return Float64Array.from({ length: m }, (_, r) =>
    nvfp4GlobalDecodeScale(Array.from({ length: k }, (_, c) => x[r * k + c]!)),
  );
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
export function quantizeNvfp4(x: Numbers, { m, k, globalDecodeScale }: Nvfp4Shape): Nvfp4Matrix {
  const fn = 'quantizeNvfp4';
  checkMultiple(fn, 'k', k, BLOCK);
  checkLength(fn, 'x', x, 'M*K', m * k);
  checkFinite(fn, 'x', x);
  checkScales(fn, globalDecodeScale, m);
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
export function dequantizeNvfp4({ codes, sf }: Nvfp4Matrix, { m, k, globalDecodeScale }: Nvfp4Shape): Float64Array {
  const fn = 'dequantizeNvfp4';
  checkMultiple(fn, 'k', k, BLOCK);
  checkLength(fn, 'codes', codes, 'M*K/2', (m * k) / 2);
  checkLength(fn, 'sf', sf, 'M*K/16', (m * k) / BLOCK);
  checkScales(fn, globalDecodeScale, m);
  const out = new Float64Array(m * k);
  for (let i = 0; i < out.length; i++) {
    const byte = codes[i >> 1]!;
    const value = E2M1_VALUES[i % 2 === 0 ? byte & 15 : byte >> 4]!;
    out[i] = value * E4M3_VALUES[sf[Math.floor(i / BLOCK)]!]! * rowScale(globalDecodeScale, Math.floor(i / k));
  }
  return out;
}

/** What remains of `x` after NVFP4: {@link dequantizeNvfp4} of {@link quantizeNvfp4}. */
export function roundTripNvfp4(x: Numbers, shape: Nvfp4Shape): Float64Array {
  return dequantizeNvfp4(quantizeNvfp4(x, shape), shape);
}
