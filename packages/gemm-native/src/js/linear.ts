import { E4M3_VALUES } from '@megamoe/core';
import type { EngineArgs } from '../engine';
import type { Columns } from './columns';

/** FP8 of the js engine: codes [N, K] and scales [N, ceil(K/128)], all matrices one after the other. */
export interface Fp8Storage {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
}

/** Row-major values of the js engine: Float32Array, BF16 bit patterns, or FP8. */
export type DenseStorage = Float32Array | Uint16Array | Fp8Storage;

/** Scratch for one decoded weight row; it only ever grows, so that a warm call allocates nothing. */
export class RowScratch {
  private row = new Float32Array(0);
  private words = new Uint32Array(0);

  /** At least `k` float32 values. */
  floats(k: number): Float32Array {
    if (this.row.length < k) {
      this.row = new Float32Array(k);
      this.words = new Uint32Array(this.row.buffer);
    }
    return this.row;
  }

  /** Row `row` of k values as float32, from the start of what is returned, or from `row * k` when that is the storage itself. */
  decode(w: DenseStorage, row: number, k: number): Float32Array {
    if (w instanceof Float32Array) return w;
    return w instanceof Uint16Array ? this.decodeBf16(w, row * k, k) : this.decodeFp8(w, row, k);
  }

  /** Decodes row `row` from FP8; each value is rounded once. */
  decodeFp8({ codes, scales }: Fp8Storage, row: number, k: number): Float32Array {
    const out = this.floats(k);
    const tiles = Math.ceil(k / 128);
    for (let t = 0; t < tiles; t++) {
      const scale = scales[row * tiles + t]!;
      const end = Math.min(k, (t + 1) * 128);
      for (let i = t * 128; i < end; i++) out[i] = E4M3_VALUES[codes[row * k + i]!]! * scale;
    }
    return out;
  }

  /** Decodes `bits[start, start + k)` from BF16. */
  decodeBf16(bits: Uint16Array, start: number, k: number): Float32Array {
    const out = this.floats(k);
    const words = this.words;
    for (let i = 0; i < k; i++) words[i] = bits[start + i]! << 16;
    return out;
  }
}

/** `sum_i a[a0 + i] * w[w0 + i]`: four float64 partial sums, always in this order, so that a row's result is its own. */
export function dot(a: Float32Array, a0: number, w: Float32Array, w0: number, k: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  const k4 = k - (k % 4);
  for (let i = 0; i < k4; i += 4) {
    s0 += a[a0 + i]! * w[w0 + i]!;
    s1 += a[a0 + i + 1]! * w[w0 + i + 1]!;
    s2 += a[a0 + i + 2]! * w[w0 + i + 2]!;
    s3 += a[a0 + i + 3]! * w[w0 + i + 3]!;
  }
  for (let i = k4; i < k; i++) s0 += a[a0 + i]! * w[w0 + i]!;
  return s0 + s1 + (s2 + s3);
}

/** Rows of a dense weight: n of k values, from row `first` on. */
export interface DenseRowsOf {
  readonly w: DenseStorage;
  readonly first: number;
  readonly n: number;
  readonly k: number;
}

/** Rows `[start, end)` of x against the rows of a weight. */
export function denseRows(
  { w, first, n, k }: DenseRowsOf,
  x: Columns,
  out: Columns,
  start: number,
  end: number,
  scratch: RowScratch,
): void {
  const { data: a, stride: aStride, column: a0 } = x;
  const { data: o, stride: oStride, column: o0 } = out;
  for (let c = 0; c < n; c++) {
    const row = scratch.decode(w, first + c, k);
    const at = row === w ? (first + c) * k : 0;
    for (let r = start; r < end; r++) o[r * oStride + o0 + c] = dot(a, r * aStride + a0, row, at, k);
  }
}

/** Rows of a table, each `repeat` times. */
export function embedRows({ table, ids, rows, repeat, out }: EngineArgs<'embed'>, scratch: RowScratch): void {
  const w = table.storage as DenseStorage;
  const d = table.shape.k;
  for (let i = 0; i < rows; i++) {
    const row = scratch.decode(w, ids[i]!, d);
    const start = row === w ? ids[i]! * d : 0;
    for (let r = 0; r < repeat; r++) {
      const o = (i * repeat + r) * d;
      for (let c = 0; c < d; c++) out[o + c] = row[start + c]!;
    }
  }
}
