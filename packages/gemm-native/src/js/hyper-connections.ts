import { rmsFactor } from './rows';

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** `fn[row] . streams[t]`, float64. */
function mixDot(fn: Float32Array, row: number, streams: Float32Array, s0: number, width: number): number {
  let even = 0;
  let odd = 0;
  const f0 = row * width;
  const w2 = width - (width % 2);
  for (let i = 0; i < w2; i += 2) {
    even += fn[f0 + i]! * streams[s0 + i]!;
    odd += fn[f0 + i + 1]! * streams[s0 + i + 1]!;
  }
  if (w2 < width) even += fn[f0 + w2]! * streams[s0 + w2]!;
  return even + odd;
}

/**
 * Sinkhorn normalisation of one hc x hc matrix [j, k] in place: softmax over k plus eps, one column normalisation, then iters-1 times
 * rows and columns, each dividing by (sum + eps).
 */
export function sinkhorn(m: Float64Array, hc: number, iters: number, eps: number): void {
  for (let j = 0; j < hc; j++) {
    let max = -Infinity;
    for (let k = 0; k < hc; k++) max = Math.max(max, m[j * hc + k]!);
    let sum = 0;
    for (let k = 0; k < hc; k++) sum += m[j * hc + k] = Math.exp(m[j * hc + k]! - max);
    for (let k = 0; k < hc; k++) m[j * hc + k] = m[j * hc + k]! / sum + eps;
  }
  for (let i = 0; i < iters; i++) {
    if (i > 0) normalise(m, hc, hc, 1, eps);
    normalise(m, hc, 1, hc, eps);
  }
}

/** Divides each line by (its sum + eps); lines start `lineStride` apart, their elements lie `step` apart. */
function normalise(m: Float64Array, hc: number, lineStride: number, step: number, eps: number): void {
  for (let line = 0; line < hc; line++) {
    let sum = eps;
    for (let i = 0; i < hc; i++) sum += m[line * lineStride + i * step]!;
    for (let i = 0; i < hc; i++) m[line * lineStride + i * step]! /= sum;
  }
}

/** `out[d] = sum_j pre[j]*streams[t, j, d]`, float64, rounded once. */
function collapse(
  streams: Float32Array,
  s0: number,
  hc: number,
  d: number,
  pre: Float64Array,
  out: Float32Array,
  o0: number,
): void {
  for (let c = 0; c < d; c++) {
    let acc = 0;
    for (let j = 0; j < hc; j++) acc += pre[j]! * streams[s0 + j * d + c]!;
    out[o0 + c] = acc;
  }
}

/** Hyper-connection kernels with their scratch. */
export class HyperConnections {
  private readonly pre: Float64Array;
  private readonly matrix: Float64Array;
  private readonly old: Float32Array;

  constructor(maxHc: number) {
    this.pre = new Float64Array(maxHc);
    this.matrix = new Float64Array(maxHc * maxHc);
    this.old = new Float32Array(maxHc);
  }

  /** See GemmKernels.hcPre. */
  hcPre(
    streams: Float32Array,
    t: number,
    hc: number,
    d: number,
    fn: Float32Array,
    base: Float32Array,
    scale: Float32Array,
    rmsNormEps: number,
    hcEps: number,
    iters: number,
    post: Float32Array,
    comb: Float32Array,
    collapsed: Float32Array,
  ): void {
    const { pre, matrix } = this;
    const width = hc * d;
    for (let i = 0; i < t; i++) {
      const s0 = i * width;
      const f = rmsFactor(streams, s0, width, rmsNormEps);
      for (let j = 0; j < hc; j++) {
        pre[j] = sigmoid(mixDot(fn, j, streams, s0, width) * f * scale[0]! + base[j]!) + hcEps;
        post[i * hc + j] = 2 * sigmoid(mixDot(fn, hc + j, streams, s0, width) * f * scale[1]! + base[hc + j]!);
      }
      for (let j = 0; j < hc * hc; j++)
        matrix[j] = mixDot(fn, 2 * hc + j, streams, s0, width) * f * scale[2]! + base[2 * hc + j]!;
      sinkhorn(matrix, hc, iters, hcEps);
      for (let j = 0; j < hc * hc; j++) comb[i * hc * hc + j] = matrix[j]!;
      collapse(streams, s0, hc, d, pre, collapsed, i * d);
    }
  }

  /** See GemmKernels.hcPost. */
  hcPost(
    streams: Float32Array,
    blockOut: Float32Array,
    t: number,
    hc: number,
    d: number,
    post: Float32Array,
    comb: Float32Array,
  ): void {
    const { old } = this;
    for (let i = 0; i < t; i++) {
      const s0 = i * hc * d;
      const c0 = i * hc * hc;
      for (let c = 0; c < d; c++) {
        for (let j = 0; j < hc; j++) old[j] = streams[s0 + j * d + c]!;
        const o = blockOut[i * d + c]!;
        for (let k = 0; k < hc; k++) {
          let acc = post[i * hc + k]! * o; // float64 with j ascending, as in the C++ kernel: the same bits
          for (let j = 0; j < hc; j++) acc += comb[c0 + j * hc + k]! * old[j]!;
          streams[s0 + k * d + c] = acc;
        }
      }
    }
  }

  /** See GemmKernels.hcHead. */
  hcHead(
    streams: Float32Array,
    t: number,
    hc: number,
    d: number,
    fn: Float32Array,
    base: Float32Array,
    scale: Float32Array,
    rmsNormEps: number,
    hcEps: number,
    out: Float32Array,
  ): void {
    const { pre } = this;
    const width = hc * d;
    for (let i = 0; i < t; i++) {
      const s0 = i * width;
      const f = rmsFactor(streams, s0, width, rmsNormEps);
      for (let j = 0; j < hc; j++)
        pre[j] = sigmoid(mixDot(fn, j, streams, s0, width) * f * scale[0]! + base[j]!) + hcEps;
      collapse(streams, s0, hc, d, pre, out, i * d);
    }
  }
}
