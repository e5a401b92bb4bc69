/** What the sampler draws from, by definition: vLLM's formulas in vLLM's order (docs/formats.md C1, C2), float64. */
import {
  checkInteger,
  checkNumber,
  checkObject,
  checkPositive,
  describe,
  KindError,
  takeIds,
  takeList,
} from '@megamoe/core';
import { takeNumbers } from './arguments';
import type { Numbers } from './numbers';

/** Sampling knobs; what is left out is off (temperature 1). */
export interface SamplingKnobs {
  /** Below 1e-5: greedy, and nothing from min-p on is applied. From there up to 0.01 it counts as 0.01. */
  readonly temperature?: number | undefined;
  /** Keep every logit that is at least the k-th largest (ties are kept); 0 or -1 = off. */
  readonly topK?: number | undefined;
  /** In ascending order, drop while the cumulative probability is at most 1 - p; the largest always stays. 1 = off. */
  readonly topP?: number | undefined;
  /** Drop probabilities below `minP` times the largest. */
  readonly minP?: number | undefined;
  /** For each id of prompt or output: s > 0 ? s / r : s * r. */
  readonly repetitionPenalty?: number | undefined;
  /** Subtracted once from each id of the output. */
  readonly presencePenalty?: number | undefined;
  /** Subtracted per occurrence in the output. */
  readonly frequencyPenalty?: number | undefined;
  readonly logitBias?: ReadonlyMap<number, number> | undefined;
  /** Sequences of ids; the last id of each is masked when the output ends with the others. */
  readonly badWords?: readonly (readonly number[])[] | undefined;
  /** When given, every other id is masked. */
  readonly allowedTokenIds?: readonly number[] | undefined;
  /** While the output is shorter, the stop ids are masked. */
  readonly minTokens?: number | undefined;
}

/** What has been said so far. */
export interface SamplingHistory {
  readonly promptIds: ArrayLike<number>;
  readonly outputIds: ArrayLike<number>;
  /** Masked while `outputIds` is shorter than `minTokens`. */
  readonly stopIds?: readonly number[];
}

/** Natural log of the softmax; -Infinity where the logit is. */
export function logSoftmax(logits: Numbers): Float64Array {
  return logSoftmaxOf(Float64Array.from(takeNumbers('logSoftmax', 'logits', logits)));
}

function logSoftmaxOf(x: Float64Array): Float64Array {
  const max = x.reduce((a, b) => Math.max(a, b), -Infinity);
  const logSum = Math.log(x.reduce((sum, v) => sum + Math.exp(v - max), 0));
  return x.map((v) => v - max - logSum);
}

/** True when `temperature` means "take the largest". */
export function isGreedy(temperature = 1): boolean {
  checkNumber('isGreedy', 'temperature', temperature, 0);
  return temperature < 1e-5;
}

function maskWords(s: Float64Array, words: readonly Int32Array[], output: ArrayLike<number>): void {
  for (const word of words) {
    const prefix = word.slice(0, -1);
    const start = output.length - prefix.length;
    if (start >= 0 && prefix.every((id, i) => output[start + i] === id)) s[word[word.length - 1]!] = -Infinity;
  }
}

interface History {
  readonly promptIds: Int32Array;
  readonly outputIds: Int32Array;
  readonly stopIds: Int32Array;
}

/** The history, read once. */
function takeHistory(
  fn: string,
  { promptIds, outputIds, stopIds }: Required<SamplingHistory>,
  vocabSize: number,
): History {
  return {
    promptIds: takeIds(fn, 'promptIds', promptIds, vocabSize),
    outputIds: takeIds(fn, 'outputIds', outputIds, vocabSize),
    stopIds: takeIds(fn, 'stopIds', stopIds),
  };
}

/** Knobs whose values need a look at each: ids and words are lists of token ids, biases numbers by id. */
function takeLists(
  fn: string,
  { badWords = [], allowedTokenIds, logitBias = new Map<number, number>() }: SamplingKnobs,
  vocabSize: number,
): { badWords: Int32Array[]; allowed: Set<number> | undefined; logitBias: [number, number][] } {
  if (!(logitBias instanceof Map)) throw new KindError(`${fn}: "logitBias" must be a Map, got ${describe(logitBias)}`);
  const biases = [...(logitBias as ReadonlyMap<number, number>)];
  for (const [id, bias] of biases) {
    checkInteger(fn, 'logitBias id', id, 0, vocabSize - 1);
    checkNumber(fn, `logitBias of ${id}`, bias);
  }
  const words = takeList(fn, 'badWords', badWords, 65536, (word, i) => takeIds(fn, `badWords[${i}]`, word as number[]));
  return {
    badWords: words.filter(({ length }) => length > 0),
    allowed: allowedTokenIds === undefined ? undefined : new Set(takeIds(fn, 'allowedTokenIds', allowedTokenIds)),
    logitBias: biases,
  };
}

function penalize(s: Float64Array, knobs: SamplingKnobs, { promptIds, outputIds }: History): void {
  const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0 } = knobs;
  checkPositive('processLogits', 'repetitionPenalty', repetitionPenalty);
  checkNumber('processLogits', 'frequencyPenalty', frequencyPenalty);
  checkNumber('processLogits', 'presencePenalty', presencePenalty);
  const count = new Map<number, number>();
  for (const id of outputIds) count.set(id, (count.get(id) ?? 0) + 1);
  for (const id of new Set([...promptIds, ...count.keys()])) {
    s[id] = s[id]! > 0 ? s[id]! / repetitionPenalty : s[id]! * repetitionPenalty;
  }
  for (const [id, n] of count) s[id]! -= frequencyPenalty * n + presencePenalty;
}

function truncate(s: Float64Array, { topK = 0, topP = 1, minP = 0 }: SamplingKnobs): void {
  checkInteger('processLogits', 'topK', topK, -1);
  checkNumber('processLogits', 'topP', topP, 0, 1);
  checkNumber('processLogits', 'minP', minP, 0, 1);
  const keep = (test: (i: number) => boolean): void => s.forEach((_, i) => test(i) || (s[i] = -Infinity));
  if (minP > 0) {
    const p = logSoftmaxOf(s).map(Math.exp);
    const limit = minP * p.reduce((a, b) => Math.max(a, b), 0);
    keep((i) => p[i]! >= limit);
  }
  if (topK > 0 && topK < s.length) {
    const limit = Float64Array.from(s).sort()[s.length - topK]!;
    keep((i) => s[i]! >= limit);
  }
  if (topP < 1) {
    const p = logSoftmaxOf(s).map(Math.exp);
    // Ascending; of equal ones the highest id first, so that the lowest id stays longest.
    const order = Array.from(s.keys()).sort((a, b) => p[a]! - p[b]! || b - a);
    let cumulative = 0;
    const dropped = order.slice(0, -1).filter((i) => (cumulative += p[i]!) <= 1 - topP);
    for (const i of dropped) s[i] = -Infinity;
  }
}

/**
 * The logits [V] that the next token is drawn from: allowed ids, bad words, minimum length and bias, repetition, frequency and
 * presence penalties, then (unless greedy) temperature, min-p, top-k, top-p. A token that cannot be drawn is -Infinity.
 */
export function processLogits(logits: Numbers, knobs: SamplingKnobs, history: SamplingHistory): Float64Array {
  const fn = 'processLogits';
  checkObject(fn, 'knobs', knobs);
  checkObject(fn, 'history', history);
  const { temperature = 1, minTokens = 0, ...others } = plain(knobs);
  const { promptIds, outputIds, stopIds } = history;
  const s = Float64Array.from(takeNumbers(fn, 'logits', logits));
  checkNumber(fn, 'temperature', temperature, 0);
  checkInteger(fn, 'minTokens', minTokens, 0);
  const { badWords, allowed, logitBias } = takeLists(fn, others, s.length);
  const said = takeHistory(fn, { promptIds, outputIds, stopIds: stopIds ?? [] }, s.length);
  if (allowed) s.forEach((_, id) => allowed.has(id) || (s[id] = -Infinity));
  maskWords(s, badWords, said.outputIds);
  if (said.outputIds.length < minTokens) for (const id of said.stopIds) s[id] = -Infinity;
  for (const [id, bias] of logitBias) s[id]! += bias;
  penalize(s, others, said);
  if (isGreedy(temperature)) return s;
  const divisor = Math.max(temperature, 0.01);
  s.forEach((v, id) => (s[id] = v / divisor));
  truncate(s, others);
  return s;
}

/** The knobs, read once. */
function plain({
  temperature,
  topK,
  topP,
  minP,
  repetitionPenalty,
  presencePenalty,
  frequencyPenalty,
  logitBias,
  badWords,
  allowedTokenIds,
  minTokens,
}: SamplingKnobs): SamplingKnobs {
  return {
    ...{ temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty },
    ...{ logitBias, badWords, allowedTokenIds, minTokens },
  };
}
