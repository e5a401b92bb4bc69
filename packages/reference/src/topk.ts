import { checkInteger } from '@megamoe/core';
import { takeNumbers } from './arguments';
import type { Numbers } from './numbers';

/** Indices of the `k` largest of `scores`, best first, ties to the lowest index; all of them when there are fewer. */
export function topK(values: Numbers, k: number): number[] {
  checkInteger('topK', 'k', k, 0);
  const scores = takeNumbers('topK', 'scores', values);
  return Array.from({ length: scores.length }, (_, i) => i)
    .sort((a, b) => scores[b]! - scores[a]! || a - b)
    .slice(0, k);
}
