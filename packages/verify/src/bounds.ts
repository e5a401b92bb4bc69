/**
 * How far each operation may be from the exact answer on the same inputs, and why. Errors of float32 operations are counted in
 * roundings: units of 2^-24 of a scale that says how large the terms of the sum were, so that cancellation does not count as error.
 * A serial sum of k float32 terms drifts like a random walk, at worst about 0.33 sqrt(k) roundings; 4 + 2 sqrt(k) leaves room for
 * any order of addition, and not for inputs rounded to BF16. Our kernels stay below 5 roundings everywhere; a mistake is off by
 * thousands to millions.
 */

import type { KvDtype } from '@megamoe/ops';

/** What an error is counted in. */
export type Metric = 'roundings' | 'mismatches' | 'ulp' | 'nmse';

/** A bound with its reason. */
export interface Bound {
  readonly metric: Metric;
  readonly limit: number;
  readonly reason: string;
}

const roundings = (limit: number, reason: string): Bound => ({ metric: 'roundings', limit, reason });

/** Copies of values. */
export const COPIED: Bound = { metric: 'mismatches', limit: 0, reason: 'copies values: every bit is the same' };
/** Counts, offsets, ids. */
export const INTEGERS: Bound = { metric: 'mismatches', limit: 0, reason: 'integers: there is one answer' };
/** Quantized bytes. */
export const BYTES: Bound = {
  metric: 'mismatches',
  limit: 0,
  reason: "codes and scales follow ModelOpt's rule, float32 at every step: byte for byte",
};
/** One addition of each element. */
export const ONE_ADDITION: Bound = {
  metric: 'mismatches',
  limit: 0,
  reason: 'one float32 addition: IEEE rounding has one answer',
};
/** W4A4 products. */
export const BY_BLOCKS: Bound = {
  metric: 'ulp',
  limit: 0,
  reason:
    'acc = f32(acc + dot * sa * sb) over ascending blocks, then alpha: nothing else rounds, so every bit is given',
};
/** The best of several, as a set. */
export const CHOSEN: Bound = {
  metric: 'mismatches',
  limit: 0,
  reason: 'the best by score, ties to the lowest index; only scores that float32 cannot tell apart may change places',
};

/** A float32 sum of `k` products, scale |x| |w|. */
export const product = (k: number): Bound =>
  roundings(4 + 2 * Math.sqrt(k), `a float32 sum of ${k} products, in any order: 4 + 2 sqrt(k) roundings of |x| |w|`);

/** RMS norm over `d`, scale |result|. */
export const norm = (d: number): Bound =>
  roundings(
    8 + Math.sqrt(d) / 2,
    `a float32 mean of ${d} squares under a root: 8 + sqrt(d) / 2 roundings of the result`,
  );

/** SwiGLU, scale |result|. */
export const SWIGLU = roundings(
  32,
  'exp to 2 ulp, a division and two products: 32 roundings of the result, gates of -20 included',
);
/** A rotation, scale: the length of the pair. */
export const ROTATED = roundings(
  4,
  'two products and a sum, by the cosines and sines that were given: at most 3 roundings of the pair',
);
/** Cosines and sines. */
export const TABLE = roundings(2, 'cosine and sine of a float32 angle, rounded once: 2 roundings of 1');
/** An expert's weight, scale |result|. */
export const ROUTED = roundings(32, 'softplus, root and a normalised sum in float32: 32 roundings of the weight');

/** A weighted sum of `n` terms, scale: the sum of their magnitudes. */
export const weighted = (n: number): Bound =>
  roundings(4 + n, `a float32 sum of ${n} weighted terms: ${4 + n} roundings of their magnitudes`);

/** Hyper-connection mixes, scale 1 + the largest logit's terms. */
export const mixed = (k: number, iterations: number): Bound =>
  roundings(
    4 + Math.sqrt(k) / 2 + iterations / 4,
    `logits are float32 sums of ${k} products, then a sigmoid${iterations > 0 ? ` or ${iterations} normalisations` : ''}: 4 + sqrt(k) / 2 + iterations / 4 roundings of the largest logit's terms`,
  );

/** Attention over up to `keys` keys of `d`, scale: the largest value; `logit` bounds |q . k| times the softmax scale. */
export const attended = (keys: number, d: number, logit: number): Bound =>
  roundings(
    16 + 4 * Math.sqrt(keys) + 2 * logit * (8 + Math.sqrt(d)),
    `logits up to ${logit.toPrecision(3)} off by sqrt(d) roundings move the weights by twice that; ${keys} weighted values are added`,
  );

/** The mean over the visible keys, scale: the largest value. */
export const averaged = (keys: number): Bound =>
  roundings(
    16 + 4 * Math.sqrt(keys),
    `with a zero query attention is the mean of the visible keys: one key more or less moves it by 1/${keys} of a key`,
  );

/** Pooled entries of a compressor; scale: the largest candidate over the pooled RMS, times the norm's weight. */
export const pooled = (candidates: number, d: number, gate: number): Bound =>
  roundings(
    24 + 4 * Math.sqrt(candidates) + Math.sqrt(d) / 2 + 2 * gate,
    `a softmax over ${candidates} gates up to ${gate.toPrecision(3)}, a weighted mean, a norm and a rotation in float32`,
  );

/** {@link COPIED}, where keys are held in BF16. */
export const COPIED_IN_BF16: Bound = {
  metric: 'mismatches',
  limit: 0,
  reason: 'copies keys, each rounded once to BF16, nearest even: there is one answer',
};

/** {@link pooled}, where keys are held in BF16: error is counted from the nearest value that rounds to what is held. */
export const pooledInBf16 = (candidates: number, d: number, gate: number): Bound => {
  const { limit, reason } = pooled(candidates, d, gate);
  return roundings(limit, `${reason}, then once to BF16: counted from the nearest value that rounds to what is held`);
};

/** W4A4 products of a backend with fast math; scale: over the blocks, the sum before the block and the magnitudes of its products. */
export const summedByTensorCore = (blocks: number): Bound =>
  roundings(
    44,
    `sums stay in the tensor core over ${blocks} blocks: each adds 16 exact products to the sum in one or two goes, aligned to the largest and cut below its 24th bit: at most 20 cuts of 2^-23, 40 roundings, of what it adds; then alpha and the row's scale`,
  );

/** A whole layer on the backend's own input streams. */
export const wholeLayer = (quantized: boolean, kv: KvDtype): Bound =>
  kv === 'bf16' && !quantized
    ? {
        metric: 'nmse',
        limit: 1e-7,
        reason:
          'all float32 operations of a layer at once, keys rounded to BF16 on both sides: of some thousands of values one falls on the other side of a boundary, 2^-8 of itself away',
      }
    : quantized
      ? {
          metric: 'nmse',
          limit: 1e-3,
          reason:
            'all operations of a layer at once; an activation next to a rounding boundary of NVFP4 may fall on its other side and move its token, so single tokens differ',
        }
      : {
          metric: 'nmse',
          limit: 1e-8,
          reason:
            'all float32 operations of a layer at once: about 1e-6 each; experts and keys that tie may change places',
        };
