import { E4M3_MAX, E4M3_MIN, E4M3_VALUES, encodeE2m1, encodeE4m3 } from '@megamoe/core';
import { MIN_GLOBAL_DECODE_SCALE } from '../checks';
import { swigluRow } from './rows';

/** Largest magnitude of `x[x0, x0+n)`; -1 when one of them is NaN or infinite. */
function finiteAmax(x: Float32Array, x0: number, n: number): number {
  let amax = 0;
  for (let i = 0; i < n; i++) {
    const a = Math.abs(x[x0 + i]!);
    if (!(a < Infinity)) return -1;
    if (a > amax) amax = a;
  }
  return amax;
}

/** Index of the first NaN or infinity in `x[x0, x0+n)`. */
function firstBad(x: Float32Array, x0: number, n: number): number {
  for (let i = 0; i < n; i++) if (!Number.isFinite(x[x0 + i]!)) return x0 + i;
  return -1;
}

/**
 * Quantizes one row of k values with global scale `g`: float32 after every operation, as ModelOpt computes it.
 * Returns -1, or the index in x of the first value that is not finite.
 */
export function stageRow(
  x: Float32Array,
  x0: number,
  k: number,
  g: number,
  codes: Uint8Array,
  c0: number,
  sf: Uint8Array,
  s0: number,
): number {
  const sixG = Math.fround(6 * g);
  for (let b = 0; b < k; b += 16) {
    const amax = finiteAmax(x, x0 + b, 16);
    if (amax < 0) return firstBad(x, x0 + b, 16);
    let scale = Math.fround(amax / sixG);
    if (scale === 0) scale = 1;
    const byte = encodeE4m3(Math.min(Math.max(scale, E4M3_MIN), E4M3_MAX));
    sf[s0 + b / 16] = byte;
    const step = Math.fround(E4M3_VALUES[byte]! * g);
    for (let i = 0; i < 16; i += 2) {
      const lo = encodeE2m1(Math.fround(x[x0 + b + i]! / step));
      const hi = encodeE2m1(Math.fround(x[x0 + b + i + 1]! / step));
      codes[c0 + (b + i) / 2] = lo | (hi << 4);
    }
  }
  return -1;
}

/** A row's own global scale; a row too small for one gets 1. */
function ownScale(amax: number): number {
  const own = Math.fround(amax / 2688); // 6 * 448
  return own < MIN_GLOBAL_DECODE_SCALE ? 1 : own;
}

/** Rows by expert with the experts' scales. Returns -1 or the index in x of a value that is not finite. */
export function stageStatic(
  x: Float32Array,
  k: number,
  slotToken: Int32Array | null,
  expertOffsets: Int32Array,
  globalDecodeScale: Float32Array,
  codes: Uint8Array,
  sf: Uint8Array,
): number {
  let start = 0;
  for (let e = 0; e < expertOffsets.length; e++) {
    const end = expertOffsets[e]!;
    for (let r = start; r < end; r++) {
      const token = slotToken === null ? r : slotToken[r]!;
      const bad = stageRow(x, token * k, k, globalDecodeScale[e]!, codes, (r * k) / 2, sf, (r * k) / 16);
      if (bad >= 0) return bad;
    }
    start = end;
  }
  return -1;
}

/** Rows with their own scales. Returns -1 or the index in x of a value that is not finite. */
export function stageDynamic(
  x: Float32Array,
  k: number,
  slotToken: Int32Array | null,
  rows: number,
  codes: Uint8Array,
  sf: Uint8Array,
  rowScale: Float32Array,
): number {
  for (let r = 0; r < rows; r++) {
    const x0 = (slotToken === null ? r : slotToken[r]!) * k;
    const amax = finiteAmax(x, x0, k);
    if (amax < 0) return firstBad(x, x0, k);
    const g = ownScale(amax);
    rowScale[r] = g;
    stageRow(x, x0, k, g, codes, (r * k) / 2, sf, (r * k) / 16);
  }
  return -1;
}

/**
 * SwiGLU of rows [2k] in `row`, then their codes: with `scales` of the experts, or, where there are no offsets, each row's own, written to `scales`. Returns -1 or
 * the index in [rows, k] of a result that is not finite.
 */
export function stageSwiglu(
  gateUp: Float32Array,
  rows: number,
  k: number,
  limit: number,
  expertOffsets: Int32Array | null,
  scales: Float32Array,
  codes: Uint8Array,
  sf: Uint8Array,
  row: Float32Array,
): number {
  let e = 0;
  for (let r = 0; r < rows; r++) {
    swigluRow(gateUp, r * 2 * k, k, limit, row, 0);
    if (expertOffsets === null) {
      const amax = finiteAmax(row, 0, k);
      if (amax < 0) return r * k + firstBad(row, 0, k);
      scales[r] = ownScale(amax);
    } else {
      while (expertOffsets[e]! <= r) e++;
    }
    const g = scales[expertOffsets === null ? r : e]!;
    const bad = stageRow(row, 0, k, g, codes, (r * k) / 2, sf, (r * k) / 16);
    if (bad >= 0) return r * k + bad;
  }
  return -1;
}
