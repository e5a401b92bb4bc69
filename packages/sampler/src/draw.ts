import { philox4x32 } from '@megamoe/core';
import type { SeedWords } from './seed';
import { type Candidates, tokenOf } from './scratch';
import type { Cut } from './select';

/** log of the smallest q that {@link uniform} can give, less a margin for rounding: a lighter token cannot win against `best * q`. */
const LOG_MIN_Q = Math.log(-Math.log1p(-(2 ** -33))) - 1e-6;

/** A word as a double in (0, 1), exact: the middle of one of 2^32 equal cells. */
function uniform(word: number): number {
  return (word + 0.5) * 2 ** -32;
}

/**
 * The token of `argmax(p / q)` over the candidates that `cut` leaves, ties to the lowest id; `q = -log(u)`, u from word `id % 4` of the Philox block with counter
 * (floor(id / 4), position, sequence, 0) and the seed's low and high word as key. p needs no normalisation.
 *
 * Tokens too light to win are skipped before their random number is made: with the first score at hand (the likeliest token's), a token can only
 * win when `p > score * q` for the smallest q there is. Then `-log(u) >= 1 - u` and `exp(-y) <= 1 / (1 + y + y^2/2 + y^3/6)` tell most losers
 * without a logarithm or an exponential. None of this changes the winner.
 *
 * @param best  index of the likeliest candidate
 * @param words [4] scratch
 */
export function drawToken(
  candidates: Candidates,
  best: number,
  { floor, lastTie }: Cut,
  [k0, k1]: SeedWords,
  sequence: number,
  position: number,
  words: Uint32Array,
): number {
  const { work, count } = candidates;
  const max = work[best]!;
  const likeliest = tokenOf(candidates, best);
  let block = likeliest >>> 2;
  philox4x32(block, position, sequence, 0, k0, k1, words);
  let winner = likeliest;
  let score = 1 / -Math.log(uniform(words[likeliest & 3]!));
  let least = Math.max(floor, max + Math.log(score) + LOG_MIN_Q);
  for (let i = 0; i < count; i++) {
    const x = work[i]!;
    if (x < least || i === best || (x === floor && i > lastTie)) continue;
    const id = tokenOf(candidates, i);
    if (id >>> 2 !== block) {
      block = id >>> 2;
      philox4x32(block, position, sequence, 0, k0, k1, words);
    }
    const u = uniform(words[id & 3]!);
    const bound = score * (1 - u); // p must reach it
    const y = max - x;
    if (bound > 1 || bound * (1 + y * (1 + y * (0.5 + y * (1 / 6)))) > 1 + 1e-9) continue;
    const s = Math.exp(-y) / -Math.log(u);
    if (s > score || (s === score && id < winner)) {
      score = s;
      winner = id;
      least = Math.max(floor, max + Math.log(score) + LOG_MIN_Q);
    }
  }
  return winner;
}
