import { encodeBf16 } from '@megamoe/core';
import { decodeNvfp4Row } from './nvfp4';
import type { Nvfp4Storage } from './nvfp4';
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

/** Scratch of {@link groupedBf16}. */
export class Bf16Scratch {
  private row = new Float32Array(0);
  private readonly word = new Uint32Array(1);
  private readonly float = new Float32Array(this.word.buffer);

  /** At least `k` float32 values. */
  floats(k: number): Float32Array {
    if (this.row.length < k) this.row = new Float32Array(k);
    return this.row;
  }

  /** An activation as its BF16 value. */
  activation(x: number): number {
    this.word[0] = encodeBf16(x) << 16;
    const value = this.float[0]!;
    return Math.abs(value) < LEAST ? 0 : value;
  }
}

/** BF16 activations against NVFP4 weights; see GemmKernels.groupedGemmBf16. */
export function groupedBf16(
  fma: FusedMultiplyAdd,
  scratch: Bf16Scratch,
  weightRow: RowScratch,
  w: Nvfp4Storage,
  n: number,
  k: number,
  parts: number,
  a: Float32Array,
  expertOffsets: Int32Array,
  alpha: Float32Array,
  out: Float32Array,
): void {
  const row = scratch.floats(k);
  const weights = weightRow.floats(k);
  let start = 0;
  for (let e = 0; e < expertOffsets.length; e++) {
    const end = expertOffsets[e]!;
    for (let r = start; r < end; r++) {
      for (let i = 0; i < k; i++) row[i] = scratch.activation(a[r * k + i]!);
      for (let c = 0; c < n; c++) {
        decodeNvfp4Row(w, e * n + c, k, weights);
        let acc = 0;
        for (let i = 0; i < k; i += 8)
          for (let j = 0; j < 8; j++) acc = fma.add(row[i + ORDER[j]!]!, weights[i + ORDER[j]!]!, acc);
        out[r * n + c] = alpha[e * parts + Math.floor((c * parts) / n)]! * acc;
      }
    }
    start = end;
  }
}
