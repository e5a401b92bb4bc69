import type { EngineArgs } from '../engine';

/** Copies rows: `out[r] = x[index[r]]`. */
export function gatherRows({ x, d, index, rows, out }: EngineArgs<'gatherRows'>): void {
  for (let r = 0; r < rows; r++) {
    const x0 = index[r]! * d;
    const o0 = r * d;
    for (let c = 0; c < d; c++) out[o0 + c] = x[x0 + c]!;
  }
}

/** Clamped SwiGLU; the comparisons let a NaN through instead of hiding it behind the limit. */
export function swiglu({ gateUp, rows, i, limit, out }: EngineArgs<'swiglu'>): void {
  for (let r = 0; r < rows; r++) swigluRow(gateUp, r * 2 * i, i, limit, out, r * i);
}

/** One row: gates at `g0`, then as many ups. */
export function swigluRow(
  gateUp: Float32Array,
  g0: number,
  i: number,
  limit: number,
  out: Float32Array,
  o0: number,
): void {
  for (let c = 0; c < i; c++) {
    const gate = gateUp[g0 + c]!;
    const up = gateUp[g0 + i + c]!;
    const g = gate > limit ? limit : gate;
    const u = up > limit ? limit : up < -limit ? -limit : up;
    out[o0 + c] = (g / (1 + Math.exp(-g))) * u;
  }
}

/** Weighted sum of each token's expert rows, float32 at every step, j ascending. */
export function scatterExperts({ y, d, tokenSlots, topkWeights, rows, topk, out }: EngineArgs<'scatterExperts'>): void {
  for (let i = 0; i < rows; i++) {
    const o0 = i * d;
    for (let c = 0; c < d; c++) out[o0 + c] = 0;
    for (let j = 0; j < topk; j++) {
      const slot = tokenSlots[i * topk + j]!;
      if (slot < 0) continue;
      const w = topkWeights[i * topk + j]!;
      const y0 = slot * d;
      for (let c = 0; c < d; c++) out[o0 + c] = out[o0 + c]! + Math.fround(w * y[y0 + c]!);
    }
  }
}

/** `out += x`. */
export function add({ out, x, n }: EngineArgs<'add'>): void {
  for (let i = 0; i < n; i++) out[i] = out[i]! + x[i]!;
}

/** Sum of squares of `x[x0, x0+d)`: eight float64 partial sums in a fixed order, the same as in the C++ kernel. */
export function sumOfSquares(x: Float32Array, x0: number, d: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let s4 = 0;
  let s5 = 0;
  let s6 = 0;
  let s7 = 0;
  const d8 = d - (d % 8);
  for (let c = 0; c < d8; c += 8) {
    const i = x0 + c;
    s0 += x[i]! * x[i]!;
    s1 += x[i + 1]! * x[i + 1]!;
    s2 += x[i + 2]! * x[i + 2]!;
    s3 += x[i + 3]! * x[i + 3]!;
    s4 += x[i + 4]! * x[i + 4]!;
    s5 += x[i + 5]! * x[i + 5]!;
    s6 += x[i + 6]! * x[i + 6]!;
    s7 += x[i + 7]! * x[i + 7]!;
  }
  for (let c = d8; c < d; c++) s0 += x[x0 + c]! * x[x0 + c]!;
  return s0 + s1 + (s2 + s3) + (s4 + s5 + (s6 + s7));
}

/** `1/sqrt(mean(x^2) + eps)` of one row, rounded to float32. */
export function rmsFactor(x: Float32Array, x0: number, d: number, eps: number): number {
  return Math.fround(1 / Math.sqrt(sumOfSquares(x, x0, d) / d + eps));
}

/** `x * f32(1/sqrt(mean(x^2) + eps)) * weight`, the mean in float64, float32 at every step after it; `out` may be `x`. */
export function rmsNorm({ x, rows, d, weight, eps, out }: EngineArgs<'rmsNorm'>): void {
  for (let r = 0; r < rows; r++) {
    const x0 = r * d;
    const f = rmsFactor(x, x0, d, eps);
    if (weight === null) for (let c = 0; c < d; c++) out[x0 + c] = x[x0 + c]! * f;
    else for (let c = 0; c < d; c++) out[x0 + c] = Math.fround(x[x0 + c]! * f) * weight[c]!;
  }
}
