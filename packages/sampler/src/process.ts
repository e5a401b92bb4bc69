import {
  checkCapacity,
  checkKind,
  checkLength,
  checkObject,
  checkOneOf,
  plainView,
  takeIds,
  ValueError,
} from '@megamoe/core';
import { type ResolvedSamplingParams, resolveSamplingParams, type SamplingParams } from './params';
import { type Candidates, createSamplerScratch, type SamplerScratch, tokenOf } from './scratch';
import { type Cut, cutMinP, cutTopP, kthLargest } from './select';

const fround = Math.fround;

/**
 * Logits of one sequence through vLLM's steps: allowed ids, bad words, min_tokens, logit bias, penalties, temperature, min_p, top_k, top_p.
 * Holds what they need to know of prompt and output, kept up to date token by token.
 */
export class LogitsPipeline {
  readonly params: ResolvedSamplingParams;
  readonly scratch: SamplerScratch;
  /** Tokens of the prompt. */
  readonly promptLength: number;
  /** Set by {@link truncate} and {@link keepAll}. */
  readonly cut: Cut = { floor: -Infinity, lastTie: 0x7fffffff };
  readonly #stopIds: Int32Array;
  readonly #biasIds: Int32Array;
  readonly #biases: Float32Array;
  readonly #badWords: readonly Int32Array[];
  readonly #tail: Int32Array; // the last tokens of the output, as many as the longest bad word looks back
  #tailLength = 0;
  readonly #counts: Int32Array | undefined; // [V] occurrences in the output; undefined when no penalty is on
  readonly #isSeen: Uint8Array | undefined; // [V] in prompt or output
  readonly #seen: Int32Array | undefined; // those ids, each once
  #nSeen = 0;
  #nOutput = 0;

  constructor(
    fn: string,
    params: ResolvedSamplingParams,
    promptIds: ArrayLike<number>,
    stopIds: readonly number[],
    scratch: SamplerScratch,
  ) {
    const { vocabSize } = scratch;
    const prompt = takeIds(fn, 'promptIds', promptIds, vocabSize);
    this.params = params;
    this.scratch = scratch;
    this.#stopIds = takeIds(fn, 'stopIds', stopIds, vocabSize);
    this.#biasIds = Int32Array.from(params.logitBias.keys());
    this.#biases = Float32Array.from(params.logitBias.values());
    this.#badWords = params.badWords.map((word) => Int32Array.from(word));
    this.#tail = new Int32Array(this.#badWords.reduce((most, word) => Math.max(most, word.length - 1), 0));
    if (params.repetitionPenalty !== 1 || params.presencePenalty !== 0 || params.frequencyPenalty !== 0) {
      this.#counts = new Int32Array(vocabSize);
      this.#isSeen = new Uint8Array(vocabSize);
      this.#seen = new Int32Array(vocabSize);
    }
    this.promptLength = prompt.length;
    for (let i = 0; i < prompt.length; i++) this.#see(prompt[i]!);
  }

  /** Takes in a token of the output. */
  accept(tokenId: number): void {
    this.#see(tokenId);
    this.#remember(tokenId);
    if (this.#counts) this.#counts[tokenId] = this.#counts[tokenId]! + 1;
    this.#nOutput++;
  }

  /** Notes a token of the prompt or the output for the repetition penalty. */
  #see(tokenId: number): void {
    if (!this.#isSeen || this.#isSeen[tokenId] !== 0) return;
    this.#isSeen[tokenId] = 1;
    this.#seen![this.#nSeen++] = tokenId;
  }

  /** Notes a token of the output for bad words, which vLLM matches against the output alone. */
  #remember(tokenId: number): void {
    const tail = this.#tail;
    if (tail.length === 0) return;
    if (this.#tailLength === tail.length) tail.copyWithin(0, 1);
    else this.#tailLength++;
    tail[this.#tailLength - 1] = tokenId;
  }

  /** Throws unless `logits` is a Float32Array of V. */
  check(fn: string, logits: Float32Array): void {
    checkKind(fn, 'logits', logits, Float32Array);
    checkLength(fn, 'logits', logits, 'V', this.scratch.vocabSize);
  }

  /** Copies the raw logits into the scratch; throws for NaN and +Infinity. */
  load(fn: string, logits: Float32Array): void {
    const { all, vocabSize } = this.scratch;
    const { work } = all;
    this.check(fn, logits);
    for (let id = 0; id < vocabSize; id++) {
      const x = logits[id]!;
      if (!(x < Infinity)) throw new ValueError(`${fn}: "logits" must be finite or -Infinity, got ${x} at index ${id}`);
      work[id] = x;
    }
  }

  /** True when {@link adjust} would change anything in this step. */
  get adjusts(): boolean {
    const { allowedTokenIds, minTokens } = this.params;
    return (
      allowedTokenIds !== undefined ||
      this.#badWords.length > 0 ||
      (this.#nOutput < minTokens && this.#stopIds.length > 0) ||
      this.#biasIds.length > 0 ||
      this.#nSeen > 0
    );
  }

  /** The steps that a greedy choice sees too: masks, bias, penalties. `scratch.all` holds the raw logits. */
  adjust(logits: Float32Array): void {
    const { work } = this.scratch.all;
    const { allowedTokenIds, minTokens } = this.params;
    if (allowedTokenIds) {
      work.fill(-Infinity);
      for (let i = 0; i < allowedTokenIds.length; i++) work[allowedTokenIds[i]!] = logits[allowedTokenIds[i]!]!;
    }
    for (let i = 0; i < this.#badWords.length; i++) this.#maskBadWord(this.#badWords[i]!);
    if (this.#nOutput < minTokens) {
      for (let i = 0; i < this.#stopIds.length; i++) work[this.#stopIds[i]!] = -Infinity;
    }
    for (let i = 0; i < this.#biasIds.length; i++) {
      const id = this.#biasIds[i]!;
      work[id] = work[id]! + this.#biases[i]!;
    }
    if (this.#counts) this.#penalize(this.#counts, this.#seen!);
  }

  #maskBadWord(word: Int32Array): void {
    const n = word.length - 1;
    const from = this.#tailLength - n;
    if (from < 0) return;
    for (let i = 0; i < n; i++) if (this.#tail[from + i] !== word[i]) return;
    this.scratch.all.work[word[n]!] = -Infinity;
  }

  #penalize(counts: Int32Array, seen: Int32Array): void {
    const { work } = this.scratch.all;
    const repetition = fround(this.params.repetitionPenalty);
    const frequency = fround(this.params.frequencyPenalty);
    const presence = fround(this.params.presencePenalty);
    for (let i = 0; i < this.#nSeen; i++) {
      const id = seen[i]!;
      let x = work[id]!;
      x = fround(x > 0 ? x / repetition : x * repetition);
      const count = counts[id]!;
      if (count > 0) x = fround(fround(x - fround(frequency * count)) - presence);
      work[id] = x;
    }
  }

  /** Divides by the temperature. */
  scale({ work, count }: Candidates): void {
    const temperature = fround(this.params.temperature);
    if (temperature === 1) return;
    for (let i = 0; i < count; i++) work[i] = work[i]! / temperature;
  }

  /** Index of the likeliest candidate, ties to the lowest; throws when nothing is left or float32 overflowed. */
  best(fn: string, candidates: Candidates): number {
    const { work, count } = candidates;
    let best = 0;
    let max = work[0]!;
    for (let i = 1; i < count; i++) {
      if (work[i]! > max) {
        max = work[i]!;
        best = i;
      }
    }
    if (max === -Infinity) {
      throw new ValueError(
        `${fn}: no token is left: every logit is -Infinity after allowed ids, bad words and min_tokens`,
      );
    }
    if (max === Infinity) {
      throw new ValueError(
        `${fn}: logit ${tokenOf(candidates, best)} overflows float32 after penalties and temperature`,
      );
    }
    return best;
  }

  /** Sets {@link cut} so that it drops nothing. */
  keepAll(): void {
    this.cut.floor = -Infinity;
    this.cut.lastTie = 0x7fffffff;
  }

  /** min_p, top_k, top_p: finds {@link cut}. `max` is the largest logit. */
  truncate(candidates: Candidates, max: number): void {
    const { topK, topP, minP } = this.params;
    const cut = this.cut;
    this.keepAll();
    if (minP > 0) cutMinP(candidates, max, minP, cut);
    if (topK > 0) cut.floor = Math.max(cut.floor, kthLargest(this.scratch, candidates, topK));
    if (topP < 1) cutTopP(this.scratch, candidates, max, topP, cut);
  }
}

/** How far {@link processLogits} goes: `penalties` is what a greedy choice sees. */
export type ProcessStage = 'penalties' | 'temperature' | 'truncation';

const STAGES: readonly ProcessStage[] = ['penalties', 'temperature', 'truncation'];

/** What {@link processLogits} needs beside the logits. */
export interface ProcessOptions {
  readonly params: SamplingParams;
  readonly promptIds: ArrayLike<number>;
  /** Tokens generated so far. Default none. */
  readonly outputIds?: ArrayLike<number>;
  /** Masked while the output is shorter than `params.minTokens`. */
  readonly stopIds?: readonly number[];
  /** Default `truncation`, all steps. Greedy parameters end after `penalties`, as sampling does. */
  readonly stage?: ProcessStage;
}

/**
 * The logits that the next token is drawn from, masked tokens at -Infinity: the steps of `Sampler.sample` as a pure function, for tools
 * that compare them with another engine.
 *
 * @param logits [V] f32, finite or -Infinity; not changed
 * @param into   [V] f32, may be `logits`; default: a new array
 * @throws as `Sampler` does
 */
export function processLogits(logits: Float32Array, options: ProcessOptions, into?: Float32Array): Float32Array {
  const fn = 'processLogits';
  checkObject(fn, 'options', options);
  const { params, promptIds, outputIds = [], stopIds = [], stage = 'truncation' } = options;
  checkKind(fn, 'logits', logits, Float32Array);
  checkOneOf(fn, 'stage', stage, STAGES);
  const vocabSize = logits.length;
  const resolved = resolveSamplingParams(params, vocabSize, fn);
  const output = takeIds(fn, 'outputIds', outputIds, vocabSize);
  const pipeline = new LogitsPipeline(fn, resolved, promptIds, stopIds, createSamplerScratch(vocabSize));
  for (let i = 0; i < output.length; i++) pipeline.accept(output[i]!);
  const out = into ?? new Float32Array(vocabSize); // looked at when all else has been read: a getter may do anything
  checkKind(fn, 'out', out, Float32Array);
  checkCapacity(fn, 'out', out, 'V', vocabSize);
  pipeline.load(fn, logits);
  pipeline.adjust(logits);
  const { all } = pipeline.scratch;
  const { work } = all;
  if (stage !== 'penalties' && !resolved.greedy) {
    pipeline.scale(all);
    const max = work[pipeline.best(fn, all)]!;
    if (stage === 'truncation') {
      pipeline.truncate(all, max);
      const { floor, lastTie } = pipeline.cut;
      for (let id = 0; id < vocabSize; id++) {
        const x = work[id]!;
        if (x < floor || (x === floor && id > lastTie)) work[id] = -Infinity;
      }
    }
  } else {
    pipeline.best(fn, all);
  }
  plainView(out, Float32Array).set(work);
  return out;
}
