/** Row-major values of the js engine: Float32Array, or BF16 bit patterns. */
export type DenseStorage = Float32Array | Uint16Array;

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

/** Rows `[r0, r1)` of x [*, xStride] from column `x0`, against n weight rows from element `w0`: out [*, outStride] from column `out0`. */
export function denseRows(
  w: DenseStorage,
  w0: number,
  n: number,
  k: number,
  x: Float32Array,
  xStride: number,
  x0: number,
  r0: number,
  r1: number,
  out: Float32Array,
  outStride: number,
  out0: number,
  scratch: RowScratch,
): void {
  for (let c = 0; c < n; c++) {
    const at = w0 + c * k;
    const isFloat = w instanceof Float32Array;
    const row = isFloat ? w : scratch.decodeBf16(w, at, k);
    const start = isFloat ? at : 0;
    for (let r = r0; r < r1; r++) out[r * outStride + out0 + c] = dot(x, r * xStride + x0, row, start, k);
  }
}

/** Rows of a table, each `repeat` times. */
export function embedRows(
  table: DenseStorage,
  d: number,
  ids: Int32Array,
  t: number,
  repeat: number,
  out: Float32Array,
  scratch: RowScratch,
): void {
  for (let i = 0; i < t; i++) {
    const at = ids[i]! * d;
    const isFloat = table instanceof Float32Array;
    const row = isFloat ? table : scratch.decodeBf16(table, at, d);
    const start = isFloat ? at : 0;
    for (let r = 0; r < repeat; r++) {
      const o = (i * repeat + r) * d;
      for (let c = 0; c < d; c++) out[o + c] = row[start + c]!;
    }
  }
}
