import type { EngineArgs } from '../engine';
import { rmsFactor } from './rows';

/** Most residual streams that there is scratch for, as the list says; DeepSeek-V4 has 4. */
const MAX_HC = 16;

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
  private readonly pre = new Float64Array(MAX_HC);
  private readonly matrix = new Float64Array(MAX_HC * MAX_HC);
  private readonly old = new Float32Array(MAX_HC);

  /**
   * Before a block (docs/formats.md D10). With `mix = fn . rms(streams)`: `pre = sigmoid(mix*gain[0]+base)+hcEps`,
   * `post = 2*sigmoid(mix*gain[1]+base)`, comb [j, k] = Sinkhorn of `mix*gain[2]+base`, `collapsed = sum_j pre[j]*streams[j]`; float64, each
   * result rounded once. Rows of `fn` and `base` are those of pre, post and comb; `iters` as in {@link sinkhorn}.
   */
  hcPre(a: EngineArgs<'hcPre'>): void {
    const { streams, rows, hc, d, fn, base, gain, rmsNormEps, hcEps, iters, post, comb, collapsed } = a;
    const { pre, matrix } = this;
    const width = hc * d;
    for (let i = 0; i < rows; i++) {
      const s0 = i * width;
      const f = rmsFactor(streams, s0, width, rmsNormEps);
      for (let j = 0; j < hc; j++) {
        pre[j] = sigmoid(mixDot(fn, j, streams, s0, width) * f * gain[0]! + base[j]!) + hcEps;
        post[i * hc + j] = 2 * sigmoid(mixDot(fn, hc + j, streams, s0, width) * f * gain[1]! + base[hc + j]!);
      }
      for (let j = 0; j < hc * hc; j++)
        matrix[j] = mixDot(fn, 2 * hc + j, streams, s0, width) * f * gain[2]! + base[2 * hc + j]!;
      sinkhorn(matrix, hc, iters, hcEps);
      for (let j = 0; j < hc * hc; j++) comb[i * hc * hc + j] = matrix[j]!;
      collapse(streams, s0, hc, d, pre, collapsed, i * d);
    }
  }

  /** After a block, in place: `streams[t, k] = post[t, k]*blockOut[t] + sum_j comb[t, j, k]*streams[t, j]`, float64, rounded once. */
  hcPost({ streams, blockOut, rows, hc, d, post, comb }: EngineArgs<'hcPost'>): void {
    const { old } = this;
    for (let i = 0; i < rows; i++) {
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

  /** Before the head: `out = sum_j pre[j]*streams[j]` with `pre` as in hcPre. */
  hcHead({ streams, rows, hc, d, fn, base, gain, rmsNormEps, hcEps, out }: EngineArgs<'hcHead'>): void {
    const { pre } = this;
    const width = hc * d;
    for (let i = 0; i < rows; i++) {
      const s0 = i * width;
      const f = rmsFactor(streams, s0, width, rmsNormEps);
      for (let j = 0; j < hc; j++)
        pre[j] = sigmoid(mixDot(fn, j, streams, s0, width) * f * gain[0]! + base[j]!) + hcEps;
      collapse(streams, s0, hc, d, pre, out, i * d);
    }
  }
}
