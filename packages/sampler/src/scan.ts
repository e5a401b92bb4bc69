import type { LogitsPipeline } from './process';
import type { Candidates } from './scratch';

/**
 * Passes over the logits of one sequence that a native addon can do faster; `createLogitsScan` of `@megamoe/gemm-native` makes one. They
 * are exact, so that a sampler chooses the same tokens with it as without.
 */
export interface LogitsScan {
  /** Index of the largest of the first n, ties to the lowest; below 0 when a NaN or +Infinity is among them. */
  argmax(logits: Float32Array, n: number): number;
  /** The k-th largest of the first n, ties counted one each; NaN when a NaN or +Infinity is among them. */
  kthLargest(logits: Float32Array, n: number, k: number): number;
  /** How many of the first n are at least `floor`; as many as fit go to `ids` and `values`, ids ascending. */
  atLeast(logits: Float32Array, n: number, floor: number, ids: Int32Array, values: Float32Array): number;
}

/** Floats that {@link rawFloor} tries before it gives up. */
const MAX_STEPS = 64;

/**
 * The smallest float32 x with `fround(x / temperature) >= fround(kth / temperature)`: division may round smaller logits to the same value,
 * and what ties with the k-th stays. NaN when it is far away (overflow, underflow). `work` and `bits` are one buffer, overwritten.
 */
export function rawFloor(kth: number, temperature: number, { work, bits }: Pick<Candidates, 'work' | 'bits'>): number {
  if (temperature === 1) return kth;
  const floor = Math.fround(kth / temperature);
  work[0] = kth;
  for (let step = 0; step < MAX_STEPS; step++) {
    const x = work[0]!;
    if (x === 0)
      bits[0] = -0x7fffffff; // below both zeros: the negative number nearest to them
    else bits[0] = bits[0]! + (x > 0 ? -1 : 1);
    if (!(Math.fround(work[0]! / temperature) >= floor)) return x;
  }
  return NaN;
}

/**
 * Fills `few` with every token that may stay, and maybe more. False when the knobs do not bound their number, when there are too many, or
 * when something is wrong with the logits: then the whole vocabulary is to be worked on, which reports it.
 *
 * @param logits [V] after masks, bias and penalties
 */
export function findFew(
  scan: LogitsScan,
  { params, scratch }: LogitsPipeline,
  logits: Float32Array,
  few: Candidates & { readonly tokens: Int32Array },
): boolean {
  const { topK, minP } = params;
  const { vocabSize } = scratch;
  const temperature = Math.fround(params.temperature);
  let floor: number;
  if (topK > 0) {
    floor = rawFloor(scan.kthLargest(logits, vocabSize, topK), temperature, few);
  } else if (minP > 0) {
    const best = scan.argmax(logits, vocabSize);
    if (best < 0) return false;
    const max = logits[best]! / temperature;
    const gap = Math.log(minP);
    floor = Math.fround((max + gap - 1e-5 * (1 + Math.abs(max) - gap)) * temperature); // a little too low
  } else {
    return false;
  }
  if (!(floor > -Infinity)) return false;
  const count = scan.atLeast(logits, vocabSize, floor, few.tokens, few.work);
  few.count = count;
  return count > 0 && count <= few.work.length;
}
