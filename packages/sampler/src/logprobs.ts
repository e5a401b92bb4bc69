import { checkInteger, checkKind, checkLength, ValueError } from '@megamoe/core';
import { expNegative } from './exp';
import { checkScratch, type SamplerScratch } from './scratch';
import { kthLargest } from './select';

/** A token and its log-probability (natural logarithm). */
export interface TokenLogprob {
  readonly tokenId: number;
  readonly logprob: number;
}

/** A token with the likeliest ones at its place. */
export interface ScoredToken extends TokenLogprob {
  /** Best first, ties to the lowest id. */
  readonly topLogprobs: readonly TokenLogprob[];
}

/**
 * `log(sum(exp(x - max)))` in double; `max` is the largest of `x`. A log-probability is then `x - max - logSum`: in this order nothing is lost
 * when the logits are far from zero.
 */
export function logSum(x: Float32Array, max: number): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += expNegative(x[i]! - max);
  return Math.log(sum);
}

/**
 * Log-probability of a token by raw logits, and the `n` likeliest at its place, best first, ties to the lowest id: the figures of
 * {@link Sampler.sample}, for a token that nobody sampled, as those of a prompt.
 *
 * @param logits [V] f32, finite or -Infinity; not changed
 * @throws ValueError for NaN or +Infinity, naming the index; for a token id or `n` out of range
 */
export function scoreToken(logits: Float32Array, tokenId: number, n: number, scratch: SamplerScratch): ScoredToken {
  const fn = 'scoreToken';
  checkScratch(fn, scratch);
  const { all, vocabSize } = scratch;
  const { work } = all;
  checkKind(fn, 'logits', logits, Float32Array);
  checkLength(fn, 'logits', logits, 'V', vocabSize);
  checkInteger(fn, 'tokenId', tokenId, 0, vocabSize - 1);
  checkInteger(fn, 'n', n, 0, vocabSize);
  let max = -Infinity;
  for (let id = 0; id < vocabSize; id++) {
    const x = logits[id]!;
    if (!(x < Infinity)) throw new ValueError(`${fn}: "logits" must be finite or -Infinity, got ${x} at index ${id}`);
    if (x > max) max = x;
    work[id] = x;
  }
  if (max === -Infinity) throw new ValueError(`${fn}: "logits" must not all be -Infinity`);
  const log = logSum(work, max);
  return { tokenId, logprob: logits[tokenId]! - max - log, topLogprobs: topLogprobs(scratch, n, max, log) };
}

/** The `n` largest of `scratch.all` as log-probabilities, best first, ties to the lowest id. */
export function topLogprobs(scratch: SamplerScratch, n: number, max: number, log: number): TokenLogprob[] {
  const { work, count } = scratch.all;
  const top: TokenLogprob[] = [];
  if (n === 0) return top;
  const kth = kthLargest(scratch, scratch.all, n);
  let ties = n;
  for (let id = 0; id < count; id++) if (work[id]! > kth) ties--;
  for (let id = 0; id < count; id++) {
    const x = work[id]!;
    if (x > kth || (x === kth && ties-- > 0)) top.push({ tokenId: id, logprob: x - max - log });
  }
  return top.sort((a, b) => b.logprob - a.logprob || a.tokenId - b.tokenId);
}
