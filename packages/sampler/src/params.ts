import { checkInteger, checkNumber, checkPositive, describe, KindError, takeIds, ValueError } from '@megamoe/core';
import { checkSeed } from './seed';

/** The knobs of one request, under vLLM's meanings (docs/formats.md C1). Every knob left out is off. */
export interface SamplingParams {
  /** Divides the logits. Below 1e-5 (so at 0) greedy; otherwise raised to at least 0.01. Default 1. */
  readonly temperature?: number | undefined;
  /** Keep the k largest logits and all that equal the k-th. 0 or -1 = off, the default. */
  readonly topK?: number | undefined;
  /** Keep the smallest set whose probability reaches p, in (0, 1]. Default 1, off. */
  readonly topP?: number | undefined;
  /** Drop tokens less likely than minP times the likeliest, in [0, 1]. Default 0, off. */
  readonly minP?: number | undefined;
  /** Logits of tokens in prompt or output: divided when positive, multiplied when not. Above 0; default 1, off. */
  readonly repetitionPenalty?: number | undefined;
  /** Taken off once from every token in the output, in [-2, 2]. Default 0. */
  readonly presencePenalty?: number | undefined;
  /** Taken off per occurrence in the output, in [-2, 2]. Default 0. */
  readonly frequencyPenalty?: number | undefined;
  /**
   * Any signed 64-bit integer, as the OpenAI API has them: a number while it is exact (up to 2^53 - 1), else a bigint or decimal digits. Left
   * out: a random one, see `Sampler.seed`.
   */
  readonly seed?: number | bigint | string | undefined;
  /** Token id to a number in [-100, 100] that is added to its logit. */
  readonly logitBias?: ReadonlyMap<number, number> | undefined;
  /** Token sequences that must not be completed: the last id is masked when the tokens before it are the others. */
  readonly badWords?: readonly (readonly number[])[] | undefined;
  /** Only these may be sampled; at least one. */
  readonly allowedTokenIds?: readonly number[] | undefined;
  /** Stop ids stay masked until this many tokens are out. Default 0. */
  readonly minTokens?: number | undefined;
  /** Report the log-probability of the sampled token and of the n likeliest; 0 = of the sampled one only. Left out: none. */
  readonly logprobs?: number | undefined;
}

/** {@link SamplingParams} checked, with the defaults in place. */
export interface ResolvedSamplingParams {
  /** True when the temperature asks for the largest logit. */
  readonly greedy: boolean;
  /** At least 0.01, or 1 when greedy. */
  readonly temperature: number;
  /** 0 = off. */
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly seed: number | bigint | undefined;
  readonly logitBias: ReadonlyMap<number, number>;
  readonly badWords: readonly (readonly number[])[];
  readonly allowedTokenIds: readonly number[] | undefined;
  readonly minTokens: number;
  readonly logprobs: number | undefined;
}

/** Temperatures below this mean greedy (vLLM's `_SAMPLING_EPS`). */
const GREEDY_BELOW = 1e-5;

/** Smallest temperature that is divided by: smaller ones overflow (vLLM's `_MAX_TEMP`). */
const MIN_TEMPERATURE = 0.01;

/** How far presence, frequency penalty and logit bias may go (the ranges of the OpenAI API). */
const MAX_PENALTY = 2;
const MAX_BIAS = 100;

const KNOBS = new Set<string>([
  'temperature',
  'topK',
  'topP',
  'minP',
  'repetitionPenalty',
  'presencePenalty',
  'frequencyPenalty',
  'seed',
  'logitBias',
  'badWords',
  'allowedTokenIds',
  'minTokens',
  'logprobs',
]);

/**
 * Checks every knob and fills in the defaults. A server calls it to refuse a request before any work is done.
 *
 * @param vocabSize V; token ids must be in [0, V)
 * @param fn        the name that errors start with
 * @throws ValueError or KindError naming the knob and the value
 */
export function resolveSamplingParams(
  params: SamplingParams,
  vocabSize: number,
  fn = 'resolveSamplingParams',
): ResolvedSamplingParams {
  checkInteger(fn, 'vocabSize', vocabSize, 1, 0x7fffffff);
  if (typeof params !== 'object' || params === null) {
    throw new KindError(`${fn}: "params" must be an object, got ${describe(params)}`);
  }
  for (const key of Object.keys(params)) {
    if (!KNOBS.has(key)) throw new ValueError(`${fn}: unknown parameter "${key}"; there are ${[...KNOBS].join(', ')}`);
  }
  const { temperature = 1, topK = 0, topP = 1, minP = 0, minTokens = 0, seed, logprobs } = params;
  const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0 } = params;
  const { logitBias = new Map<number, number>(), badWords = [], allowedTokenIds } = params;
  checkNumber(fn, 'temperature', temperature, 0, 3.4e38);
  checkInteger(fn, 'topK', topK, -1);
  checkPositive(fn, 'topP', topP);
  checkNumber(fn, 'topP', topP, 0, 1);
  checkNumber(fn, 'minP', minP, 0, 1);
  checkPositive(fn, 'repetitionPenalty', repetitionPenalty);
  if (!(Math.fround(repetitionPenalty) > 0 && Math.fround(repetitionPenalty) < Infinity)) {
    throw new ValueError(`${fn}: "repetitionPenalty" must be a float32 above 0, got ${repetitionPenalty}`);
  }
  checkNumber(fn, 'presencePenalty', presencePenalty, -MAX_PENALTY, MAX_PENALTY);
  checkNumber(fn, 'frequencyPenalty', frequencyPenalty, -MAX_PENALTY, MAX_PENALTY);
  checkInteger(fn, 'minTokens', minTokens, 0);
  if (logprobs !== undefined) checkInteger(fn, 'logprobs', logprobs, 0, vocabSize);
  if (!(logitBias instanceof Map)) throw new KindError(`${fn}: "logitBias" must be a Map of token id to number`);
  for (const [id, bias] of logitBias) {
    checkInteger(fn, 'logitBias id', id, 0, vocabSize - 1);
    checkNumber(fn, `logitBias of ${id}`, bias, -MAX_BIAS, MAX_BIAS);
  }
  if (!Array.isArray(badWords)) throw new KindError(`${fn}: "badWords" must be an array of token id arrays`);
  const words: number[][] = [];
  for (let i = 0; i < badWords.length; i++) {
    if (!Array.isArray(badWords[i])) throw new KindError(`${fn}: "badWords[${i}]" must be an array of token ids`);
    if (badWords[i]!.length === 0) throw new ValueError(`${fn}: "badWords[${i}]" must not be empty`);
    words.push([...takeIds(fn, `badWords[${i}]`, badWords[i]!, vocabSize)]);
  }
  let allowed: readonly number[] | undefined;
  if (allowedTokenIds !== undefined) {
    if (!Array.isArray(allowedTokenIds)) throw new KindError(`${fn}: "allowedTokenIds" must be an array of token ids`);
    if (allowedTokenIds.length === 0) throw new ValueError(`${fn}: "allowedTokenIds" must not be empty`);
    allowed = [...takeIds(fn, 'allowedTokenIds', allowedTokenIds, vocabSize)];
  }
  const greedy = temperature < GREEDY_BELOW;
  return {
    greedy,
    temperature: greedy ? 1 : Math.max(temperature, MIN_TEMPERATURE),
    topK: topK > 0 && topK < vocabSize ? topK : 0,
    topP,
    minP,
    repetitionPenalty,
    presencePenalty,
    frequencyPenalty,
    seed: seed === undefined ? undefined : checkSeed(fn, seed),
    logitBias: new Map(logitBias),
    badWords: words,
    allowedTokenIds: allowed,
    minTokens,
    logprobs,
  };
}
