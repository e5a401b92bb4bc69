import type { LogitsScan } from '@megamoe/core';
import type { LogitsPipeline } from './process';
import type { Candidates } from './scratch';

/** How far a share that a scan gives may be off, twice. */
const DOUBT = 2e-5;

/**
 * Fills `few` with every token that may stay and be drawn, and maybe more: with {@link drawsFromAll} every token that may be drawn if nothing is
 * dropped. False when the knobs do not bound their number, when there are too
 * many, or when something is wrong with the logits: then the whole vocabulary is to be worked on, which reports it.
 *
 * @param logits [V] after masks, bias and penalties
 * @param draw   [4] key, sequence and position of the draw
 */
export function findFew(
  scan: LogitsScan,
  { params, scratch }: LogitsPipeline,
  logits: Float32Array,
  few: Candidates & { readonly tokens: Int32Array },
  draw: Int32Array,
): boolean {
  const { topK, minP } = params;
  const { vocabSize } = scratch;
  const temperature = Math.fround(params.temperature);
  if (topK > 0) {
    few.count = scan.top(logits, vocabSize, topK, temperature, few.tokens, few.work);
  } else if (minP > 0) {
    const best = scan.argmax(logits, vocabSize);
    if (best < 0) return false;
    const max = logits[best]! / temperature;
    const gap = Math.log(minP);
    const floor = Math.fround((max + gap - 1e-5 * (1 + Math.abs(max) - gap)) * temperature); // a little too low
    if (!(floor > -Infinity)) return false;
    few.count = scan.atLeast(logits, vocabSize, floor, few.tokens, few.work);
  } else {
    few.count = scan.mayWin(logits, vocabSize, temperature, draw, few.tokens, few.work);
  }
  return few.count > 0 && few.count <= few.work.length;
}

/** Whether top_p comes after the draw: the token that wins among all wins among those that stay too, when it stays. */
export const drawsFromAll = ({ params: { topK, minP, topP } }: LogitsPipeline): boolean =>
  topK === 0 && minP === 0 && topP < 1;

/** Whether top_p alone keeps `tokenId` for sure. False is no answer: then the vocabulary is to be sorted out. */
export function surelyStays(
  scan: LogitsScan,
  { params, scratch }: LogitsPipeline,
  logits: Float32Array,
  tokenId: number,
): boolean {
  const before = scan.massBefore(logits, scratch.vocabSize, Math.fround(params.temperature), tokenId);
  // Dropped are those from the lightest on that together have at most 1 - p, but never the last one.
  return before === 0 || (before > 0 && 1 - before > Math.fround(1 - Math.fround(params.topP)) + DOUBT);
}
