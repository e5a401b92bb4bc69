/** Manifold-constrained hyper-connections (mHC): `hc` residual streams per token instead of one (docs/formats.md D10). */
import { checkInteger, checkLength } from '@megamoe/core';
import { linear } from './linear';
import { rmsNorm } from './norm';
import type { Numbers } from './numbers';

/** The learned weights that look at the streams and decide how to mix them. */
export interface HyperWeights {
  /** [(2+hc)*hc, hc*D] before a block, [hc, hc*D] at the head. */
  readonly fn: Numbers;
  /** One per row of `fn`. */
  readonly base: Numbers;
  /** [3] for pre, post, comb; [1] at the head. */
  readonly scale: Numbers;
}

/** Shape and constants of the mixing. */
export interface HyperShape {
  readonly t: number;
  readonly hc: number;
  readonly d: number;
  readonly rmsNormEps: number;
  readonly hcEps: number;
}

/** What {@link hcPre} decides for each token. */
export interface HyperMix {
  /** [T, hc] weights that collapse the streams into the block's input. */
  readonly pre: Float64Array;
  /** [T, hc] weights that spread the block's output over the streams. */
  readonly post: Float64Array;
  /** [T, hc, hc] (nearly) doubly stochastic mixing of the streams; used transposed. */
  readonly comb: Float64Array;
  /** [T, D] the block's input. */
  readonly collapsed: Float64Array;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** `sum_j pre[t, j] * streams[t, j]`, [T, D]. */
function collapse(streams: Numbers, pre: Float64Array, { t, hc, d }: HyperShape): Float64Array {
  const out = new Float64Array(t * d);
  for (let token = 0; token < t; token++)
    for (let j = 0; j < hc; j++)
      for (let c = 0; c < d; c++) out[token * d + c]! += pre[token * hc + j]! * streams[(token * hc + j) * d + c]!;
  return out;
}

/** `fn . rms(streams)` for each token, [T, rows of fn]. */
function project(streams: Numbers, fn: Numbers, rows: number, { t, hc, d, rmsNormEps }: HyperShape): Float64Array {
  const flat = rmsNorm(streams, null, { m: t, d: hc * d, eps: rmsNormEps });
  return linear(flat, fn, { m: t, n: rows, k: hc * d });
}

/** One hc x hc matrix: softmax of each row, then Sinkhorn: `iters` column normalisations with a row one before all but the first. */
function sinkhorn(logits: Float64Array, hc: number, eps: number, iters: number): Float64Array {
  const comb = new Float64Array(hc * hc);
  for (let j = 0; j < hc; j++) {
    const row = logits.subarray(j * hc, (j + 1) * hc);
    const max = Math.max(...row);
    const sum = row.reduce((s, x) => s + Math.exp(x - max), 0);
    row.forEach((x, k) => (comb[j * hc + k] = Math.exp(x - max) / sum + eps));
  }
  const normalise = (at: (line: number, i: number) => number): void => {
    for (let line = 0; line < hc; line++) {
      let sum = eps;
      for (let i = 0; i < hc; i++) sum += comb[at(line, i)]!;
      for (let i = 0; i < hc; i++) comb[at(line, i)]! /= sum;
    }
  };
  const columns = (k: number, j: number): number => j * hc + k;
  const rows = (j: number, k: number): number => j * hc + k;
  normalise(columns);
  for (let i = 1; i < iters; i++) {
    normalise(rows);
    normalise(columns);
  }
  return comb;
}

/**
 * Before a block: with m = fn . rms(streams), `pre = sigmoid(m * s0 + b) + hcEps`, `post = 2 sigmoid(m * s1 + b)`,
 * `comb = sinkhorn(softmax_rows(m * s2 + b) + hcEps)`, `collapsed = sum_j pre[j] * streams[j]`. streams [T, hc, D].
 */
export function hcPre(streams: Numbers, w: HyperWeights, shape: HyperShape & { readonly iters: number }): HyperMix {
  const { t, hc, d, hcEps, iters } = shape;
  const width = (2 + hc) * hc;
  checkInteger('hcPre', 'iters', iters, 1);
  checkLength('hcPre', 'streams', streams, 'T*hc*D', t * hc * d);
  checkLength('hcPre', 'fn', w.fn, '(2+hc)*hc*hc*D', width * hc * d);
  checkLength('hcPre', 'base', w.base, '(2+hc)*hc', width);
  checkLength('hcPre', 'scale', w.scale, '3', 3);
  const mix = project(streams, w.fn, width, shape);
  const pre = new Float64Array(t * hc);
  const post = new Float64Array(t * hc);
  const comb = new Float64Array(t * hc * hc);
  for (let token = 0; token < t; token++) {
    const m = (i: number, part: number): number => mix[token * width + i]! * w.scale[part]! + w.base[i]!;
    for (let j = 0; j < hc; j++) {
      pre[token * hc + j] = sigmoid(m(j, 0)) + hcEps;
      post[token * hc + j] = 2 * sigmoid(m(hc + j, 1));
    }
    const logits = Float64Array.from({ length: hc * hc }, (_, i) => m(2 * hc + i, 2));
    comb.set(sinkhorn(logits, hc, hcEps, iters), token * hc * hc);
  }
  return { pre, post, comb, collapsed: collapse(streams, pre, shape) };
}

/** After a block: `new[t, k] = post[t, k] * blockOut[t] + sum_j comb[t, j, k] * streams[t, j]`, [T, hc, D]. Transposed on purpose. */
export function hcPost(
  streams: Numbers,
  blockOut: Numbers,
  { post, comb }: { post: Numbers; comb: Numbers },
  { t, hc, d }: { t: number; hc: number; d: number },
): Float64Array {
  checkLength('hcPost', 'streams', streams, 'T*hc*D', t * hc * d);
  checkLength('hcPost', 'blockOut', blockOut, 'T*D', t * d);
  checkLength('hcPost', 'post', post, 'T*hc', t * hc);
  checkLength('hcPost', 'comb', comb, 'T*hc*hc', t * hc * hc);
  const out = new Float64Array(t * hc * d);
  for (let token = 0; token < t; token++)
    for (let k = 0; k < hc; k++)
      for (let c = 0; c < d; c++) {
        let sum = post[token * hc + k]! * blockOut[token * d + c]!;
        for (let j = 0; j < hc; j++) sum += comb[(token * hc + j) * hc + k]! * streams[(token * hc + j) * d + c]!;
        out[(token * hc + k) * d + c] = sum;
      }
  return out;
}

/** At the head: `sum_j pre[j] * streams[j]` [T, D] with `pre = sigmoid(fn . rms(streams) * scale + base) + hcEps`. */
export function hcHead(streams: Numbers, w: HyperWeights, shape: HyperShape): Float64Array {
  const { t, hc, d, hcEps } = shape;
  checkLength('hcHead', 'streams', streams, 'T*hc*D', t * hc * d);
  checkLength('hcHead', 'fn', w.fn, 'hc*hc*D', hc * hc * d);
  checkLength('hcHead', 'base', w.base, 'hc', hc);
  checkLength('hcHead', 'scale', w.scale, '1', 1);
  const mix = project(streams, w.fn, hc, shape);
  const pre = mix.map((m, i) => sigmoid(m * w.scale[0]! + w.base[i % hc]!) + hcEps);
  return collapse(streams, pre, shape);
}
