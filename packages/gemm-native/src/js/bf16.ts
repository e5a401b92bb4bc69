import { encodeBf16 } from '@megamoe/core';
import type { Columns } from './columns';
import { decodeNvfp4Row } from './nvfp4';
import type { Nvfp4Matrix } from './nvfp4';
import type { RowScratch } from './linear';

/** Order of additions within each group of 8 k: that of the native kernels (native/kernels/nvfp4/bf16_rule.h). */
const ORDER = [2, 0, 6, 4, 3, 1, 7, 5] as const;

/** Activations below this magnitude count as 0. */
const LEAST = 2 ** -100;

/** `float32(a*b + c)` with a single rounding, for float32 values whose product is exact in float64. */
export class FusedMultiplyAdd {
  private readonly sum = new Float64Array(1);
  private readonly words = new Uint32Array(this.sum.buffer);

  /**
   * The float64 sum is made odd when it is inexact: then rounding it once more, to float32, is as good as rounding the exact sum
   * (float64 has more than two bits to spare). TwoSum finds the error.
   */
  add(a: number, b: number, c: number): number {
    const product = a * b;
    const sum = product + c;
    const part = sum - product;
    const error = product - (sum - part) + (c - part);
    if (error === 0 || !Number.isFinite(sum)) return Math.fround(sum);
    const { words } = this;
    this.sum[0] = sum;
    if ((words[0]! & 1) === 0) {
      if (error > 0 === sum > 0) {
        words[0]!++;
      } else {
        if (words[0] === 0) words[1]!--;
        words[0]!--;
      }
    }
    return Math.fround(this.sum[0]);
  }
}

/** Activations as their BF16 values, in scratch that only ever grows. */
export class Bf16Scratch {
  private row = new Float32Array(0);
  private readonly word = new Uint32Array(1);
  private readonly float = new Float32Array(this.word.buffer);

  /** At least `k` float32 values. */
  floats(k: number): Float32Array {
    if (this.row.length < k) this.row = new Float32Array(k);
    return this.row;
  }

  /** `n` values of x from `at` on, rounded, to `out` from `to` on. */
  round(x: Float32Array, at: number, n: number, out: Float32Array, to: number): void {
    for (let i = 0; i < n; i++) {
      this.word[0] = encodeBf16(x[at + i]!) << 16;
      const value = this.float[0]!;
      out[to + i] = Math.abs(value) < LEAST ? 0 : value;
    }
  }

  /** The first `n` values of x, rounded. */
  rounded(x: Float32Array, n: number): Float32Array {
    const out = this.floats(n);
    this.round(x, 0, n, out, 0);
    return out;
  }
}

/**
 * BF16 activations against NVFP4 weights: `code * scale` is exact in BF16; `acc = fma(a, w, acc)` in float32, in the order of ORDER, and then
 * `out = f32(alpha * acc)`: the same bits on every backend.
 */
export class Nvfp4Bf16 {
  private readonly fma = new FusedMultiplyAdd();

  constructor(
    private readonly activations: Bf16Scratch,
    private readonly weightRow: RowScratch,
  ) {}

  /** Rows `[start, end)` of x against one matrix. */
  rows({ w, matrix, n, k, parts, alpha }: Nvfp4Matrix, x: Columns, out: Columns, start: number, end: number): void {
    const { data: o, stride, column } = out;
    const row = this.activations.floats(k);
    const weights = this.weightRow.floats(k);
    for (let r = start; r < end; r++) {
      this.activations.round(x.data, r * x.stride + x.column, k, row, 0);
      for (let c = 0; c < n; c++) {
        decodeNvfp4Row(w, matrix * n + c, k, weights);
        let acc = 0;
        for (let i = 0; i < k; i += 8)
          for (let j = 0; j < 8; j++) acc = this.fma.add(row[i + ORDER[j]!]!, weights[i + ORDER[j]!]!, acc);
        o[r * stride + column + c] = alpha[matrix * parts + Math.floor((c * parts) / n)]! * acc;
      }
    }
  }
}
