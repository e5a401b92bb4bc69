import type { LogitsScan } from '@megamoe/core';
import type { LogitsPipeline } from './process';
import type { Candidates } from './scratch';

/**
 * Fills `few` with every token that may stay and be drawn, and maybe more. False when the knobs do not bound their number, when there are too
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
  const { topK, topP, minP } = params;
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
  } else if (topP === 1) {
    few.count = scan.mayWin(logits, vocabSize, temperature, draw, few.tokens, few.work);
  } else {
    return false;
  }
  return few.count > 0 && few.count <= few.work.length;
}
