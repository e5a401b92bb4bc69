import { expNegative } from './exp';
import type { SamplerScratch } from './scratch';
import { kthLargest } from './select';

/** A token and its log-probability (natural logarithm). */
export interface TokenLogprob {
  readonly tokenId: number;
  readonly logprob: number;
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
