import { checkApartOrSame, checkCapacity, checkInteger, checkKind, checkOneOf, ValueError } from '@megamoe/core';

/** How a router turns its logits into scores; DeepSeek-V4 uses `sqrtsoftplus` (docs/formats.md D8). */
export type Scoring = 'sqrtsoftplus' | 'softmax' | 'sigmoid';

/** Every {@link Scoring}, as `scoring_func` in config.json spells it. */
export const SCORINGS: readonly Scoring[] = ['sqrtsoftplus', 'softmax', 'sigmoid'];

const fround = Math.fround;

/** torch's softplus: the identity above this, where `log1p(exp(x))` would add nothing in float32 and overflow further up. */
const SOFTPLUS_THRESHOLD = 20;

/**
 * Scores of `t` tokens, rounded to float32 after each step as a float32 run of torch does.
 *
 * - `sqrtsoftplus`: `sqrt(x > 20 ? x : log1p(exp(x)))`
 * - `sigmoid`: `1 / (1 + exp(-x))`
 * - `softmax`: `exp(x - max) / sum`, the sum rounded once
 *
 * @param logits [T, E] f32, finite
 * @param out    [T, E] f32, may be `logits` itself; every one of T*E elements is written
 * @throws ValueError naming token and expert of the first logit that is NaN or infinite
 */
export function scoreExperts(
  scoring: Scoring,
  logits: Float32Array,
  t: number,
  numExperts: number,
  out: Float32Array,
): void {
  const fn = 'scoreExperts';
  checkOneOf(fn, 'scoring', scoring, SCORINGS);
  checkInteger(fn, 't', t, 0);
  checkInteger(fn, 'numExperts', numExperts, 1);
  checkKind(fn, 'logits', logits, Float32Array);
  checkKind(fn, 'out', out, Float32Array);
  checkCapacity(fn, 'logits', logits, 'T*E', t * numExperts);
  checkCapacity(fn, 'out', out, 'T*E', t * numExperts);
  checkApartOrSame(fn, 'out', out, 'logits', logits, t * numExperts, t * numExperts);
  checkLogits(fn, logits, t, numExperts);
  for (let row = 0; row < t; row++) scoreRow(scoring, logits, row * numExperts, numExperts, out, row * numExperts);
}

/** Throws the error of {@link scoreExperts} for a logit that is not finite, before anything is written. */
export function checkLogits(fn: string, logits: Float32Array, t: number, numExperts: number): void {
  const n = t * numExperts;
  for (let i = 0; i < n; i++) {
    const x = logits[i]!;
    if (x - x === 0) continue; // false for NaN and both infinities
    const at = `token ${Math.floor(i / numExperts)}, expert ${i % numExperts}`;
    throw new ValueError(`${fn}: "logits" must be finite, got ${x} at ${at}`);
  }
}

/** Scores of one token: `numExperts` logits from `from` to `out` from `to`. Arguments are checked by the caller. */
export function scoreRow(
  scoring: Scoring,
  logits: Float32Array,
  from: number,
  numExperts: number,
  out: Float32Array,
  to: number,
): void {
  if (scoring === 'softmax') {
    softmaxRow(logits, from, numExperts, out, to);
  } else if (scoring === 'sigmoid') {
    for (let e = 0; e < numExperts; e++) {
      out[to + e] = 1 / fround(1 + fround(Math.exp(-logits[from + e]!)));
    }
  } else {
    for (let e = 0; e < numExperts; e++) {
      const x = logits[from + e]!;
      const softplus = x > SOFTPLUS_THRESHOLD ? x : fround(Math.log1p(fround(Math.exp(x))));
      out[to + e] = Math.sqrt(softplus);
    }
  }
}

function softmaxRow(logits: Float32Array, from: number, numExperts: number, out: Float32Array, to: number): void {
  let max = -Infinity;
  for (let e = 0; e < numExperts; e++) if (logits[from + e]! > max) max = logits[from + e]!;
  let sum = 0;
  for (let e = 0; e < numExperts; e++) {
    const w = fround(Math.exp(fround(logits[from + e]! - max)));
    out[to + e] = w;
    sum += w;
  }
  sum = fround(sum);
  for (let e = 0; e < numExperts; e++) out[to + e] = out[to + e]! / sum;
}
