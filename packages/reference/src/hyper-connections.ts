/** Manifold-constrained hyper-connections (mHC): `hc` residual streams per token instead of one (docs/formats.md D10). */
import { checkInteger, checkNumber, checkObject } from '@megamoe/core';
import { result, takeNumbers, takePositiveSizes, takeSizes, type Want } from './arguments';
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

/** The shape, read once. */
function takeShape(fn: string, shape: HyperShape): HyperShape {
  const { hc, d } = takePositiveSizes(fn, 'shape', shape, 'hc', 'd');
  const { t } = takeSizes(fn, 'shape', shape, 't');
  const { rmsNormEps, hcEps } = shape;
  checkNumber(fn, 'rmsNormEps', rmsNormEps, 0);
  checkNumber(fn, 'hcEps', hcEps, 0);
  return { t, hc, d, rmsNormEps, hcEps };
}

/** The weights, read once; `rows` of them look at `width` numbers each. */
function takeWeights(fn: string, w: HyperWeights, rows: Want, width: Want, scales: number): HyperWeights {
  checkObject(fn, 'w', w);
  const { fn: matrix, base, scale } = w;
  return {
    fn: takeNumbers(fn, 'fn', matrix, [`${rows[0]}*${width[0]}`, rows[1] * width[1]]),
    base: takeNumbers(fn, 'base', base, rows),
    scale: takeNumbers(fn, 'scale', scale, [String(scales), scales]),
  };
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

/** Most normalisations, far beyond where they converge. */
export const MAX_ITERS = 1 << 16;

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
export function hcPre(
  values: Numbers,
  weights: HyperWeights,
  given: HyperShape & { readonly iters: number },
): HyperMix {
  const fn = 'hcPre';
  const shape = takeShape(fn, given);
  const { t, hc, d, hcEps } = shape;
  const { iters } = given;
  const width = (2 + hc) * hc;
  checkInteger(fn, 'iters', iters, 1, MAX_ITERS);
  const w = takeWeights(fn, weights, ['(2+hc)*hc', width], ['hc*D', hc * d], 3);
  const streams = takeNumbers(fn, 'streams', values, ['T*hc*D', t * hc * d]);
  const mix = project(streams, w.fn, width, shape);
  const pre = result(fn, 'T*hc', t * hc);
  const post = result(fn, 'T*hc', t * hc);
  const comb = result(fn, 'T*hc*hc', t * hc * hc);
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
  values: Numbers,
  block: Numbers,
  mix: { readonly post: Numbers; readonly comb: Numbers },
  shape: { readonly t: number; readonly hc: number; readonly d: number },
): Float64Array {
  const fn = 'hcPost';
  const { hc, d } = takePositiveSizes(fn, 'shape', shape, 'hc', 'd');
  const { t } = takeSizes(fn, 'shape', shape, 't');
  checkObject(fn, 'mix', mix);
  const { post: spread, comb: mixing } = mix;
  const streams = takeNumbers(fn, 'streams', values, ['T*hc*D', t * hc * d]);
  const blockOut = takeNumbers(fn, 'blockOut', block, ['T*D', t * d]);
  const post = takeNumbers(fn, 'post', spread, ['T*hc', t * hc]);
  const comb = takeNumbers(fn, 'comb', mixing, ['T*hc*hc', t * hc * hc]);
  const out = result(fn, 'T*hc*D', t * hc * d);
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
export function hcHead(values: Numbers, weights: HyperWeights, given: HyperShape): Float64Array {
  const fn = 'hcHead';
  const shape = takeShape(fn, given);
  const { t, hc, d, hcEps } = shape;
  const w = takeWeights(fn, weights, ['hc', hc], ['hc*D', hc * d], 1);
  const streams = takeNumbers(fn, 'streams', values, ['T*hc*D', t * hc * d]);
  const mix = project(streams, w.fn, hc, shape);
  const pre = mix.map((m, i) => sigmoid(m * w.scale[0]! + w.base[i % hc]!) + hcEps);
  return collapse(streams, pre, shape);
}
