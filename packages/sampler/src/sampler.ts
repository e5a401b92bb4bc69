import { checkInteger, checkObject, ValueError, type LogitsScan } from '@megamoe/core';
import { drawToken } from './draw';
import { logSum, topLogprobs, type TokenLogprob } from './logprobs';
import { type ResolvedSamplingParams, resolveSamplingParams, type SamplingParams } from './params';
import { LogitsPipeline } from './process';
import { drawsFromAll, findFew, surelyStays } from './scan';
import { randomSeed, seedWords, type SeedWords } from './seed';
import { type Candidates, checkScratch, createSamplerScratch, type SamplerScratch } from './scratch';

/** What {@link Sampler.sample} answers. */
export interface SampleResult {
  readonly tokenId: number;
  /** Of the sampled token, from the raw logits: before masks, penalties and temperature. Present when `params.logprobs` is. */
  readonly logprob?: number;
  /**
   * The `params.logprobs` likeliest tokens by the raw logits, best first, ties to the lowest id; then the sampled token if it is not
   * among them. Present when `params.logprobs` is.
   */
  readonly topLogprobs?: readonly TokenLogprob[];
}

/** What a {@link Sampler} is made from. */
export interface SamplerOptions {
  /** V. */
  readonly vocabSize: number;
  readonly params: SamplingParams;
  /** Token ids of the prompt: the repetition penalty looks at them, and positions count from their number. */
  readonly promptIds: ArrayLike<number>;
  /** Which of the `n` answers to one prompt this is, in [0, 2^32): each draws its own random numbers from one seed. Default 0. */
  readonly sequence?: number;
  /** Masked while the output is shorter than `params.minTokens`. */
  readonly stopIds?: readonly number[];
  /** Buffers shared with other samplers of the same vocabulary that run on this thread. Default: its own. */
  readonly scratch?: SamplerScratch;
  /** Faster passes over the logits; the tokens are the same with and without. Default: none. */
  readonly scan?: LogitsScan;
}

const MAX_U32 = 0xffffffff;

/**
 * Samples one sequence, token by token, in vLLM's order (docs/formats.md C2): raw log-probabilities, allowed ids, bad words, min_tokens, logit bias,
 * repetition, frequency and presence penalty, greedy test, temperature, min_p, top_k, top_p, draw.
 *
 * The draw is `argmax(p / q)` with `q ~ Exp(1)` from Philox4x32-10 keyed by (seed, sequence, position, token id): it depends on nothing else,
 * not on batches, threads, earlier draws, or which other tokens are candidates. Calling `sample` twice gives the same token twice.
 */
export class Sampler {
  /** The seed in use: `params.seed`, or a random one chosen when the sampler was made. Give it back to repeat a run. */
  readonly seed: number | bigint;
  readonly sequence: number;
  readonly params: ResolvedSamplingParams;
  readonly #pipeline: LogitsPipeline;
  readonly #scan: LogitsScan | undefined;
  readonly #key: SeedWords;
  /** [4] what a scan needs to know of the draw. */
  readonly #drawWords: Int32Array;
  #position: number;

  /** @throws ValueError or KindError that names the parameter */
  constructor(options: SamplerOptions) {
    const fn = 'Sampler';
    checkObject(fn, 'options', options);
    const { vocabSize, params, promptIds, sequence = 0, stopIds = [], scratch, scan } = options;
    if (scratch !== undefined) checkScratch(fn, scratch);
    this.params = resolveSamplingParams(params, vocabSize, fn);
    checkInteger(fn, 'sequence', sequence, 0, MAX_U32);
    if (scratch && scratch.vocabSize !== vocabSize) {
      throw new ValueError(`${fn}: "scratch" must be for vocabSize = ${vocabSize}, got ${scratch.vocabSize}`);
    }
    this.#pipeline = new LogitsPipeline(
      fn,
      this.params,
      promptIds,
      stopIds,
      scratch ?? createSamplerScratch(vocabSize),
    );
    this.#scan = scan;
    this.seed = this.params.seed ?? randomSeed();
    this.#key = seedWords(this.seed);
    this.sequence = sequence;
    this.#position = this.#pipeline.promptLength;
    this.#drawWords = Int32Array.of(...this.#key, sequence, 0);
  }

  /** Position of the token that is sampled next: prompt and accepted tokens before it. */
  get position(): number {
    return this.#position;
  }

  /**
   * Chooses the next token; {@link accept} then takes it (or another) into the sequence.
   *
   * @param logits [V] f32, finite or -Infinity; not changed
   * @throws ValueError for NaN or +Infinity, naming the index, and when no token is left
   */
  sample(logits: Float32Array): SampleResult {
    const fn = 'Sampler.sample';
    const pipeline = this.#pipeline;
    const { all } = pipeline.scratch;
    const { logprobs, greedy } = this.params;
    if (this.#scan !== undefined && logprobs === undefined) {
      const tokenId = this.#sampleByScan(fn, this.#scan, logits);
      if (tokenId >= 0) return { tokenId };
    }
    pipeline.load(fn, logits);
    let max = 0;
    let log = 0;
    let top: TokenLogprob[] | undefined;
    if (logprobs !== undefined) {
      max = all.work[pipeline.best(fn, all)]!;
      log = logSum(all.work, max);
      top = topLogprobs(pipeline.scratch, logprobs, max, log);
    }
    pipeline.adjust(logits);
    const tokenId = greedy ? pipeline.best(fn, all) : this.#draw(fn, all);
    if (top === undefined) return { tokenId };
    const logprob = logits[tokenId]! - max - log;
    if (!top.some((entry) => entry.tokenId === tokenId)) top.push({ tokenId, logprob });
    return { tokenId, logprob, topLogprobs: top };
  }

  /** The token, or -1 when the whole vocabulary is to be worked on. */
  #sampleByScan(fn: string, scan: LogitsScan, logits: Float32Array): number {
    const pipeline = this.#pipeline;
    const { all, few, vocabSize } = pipeline.scratch;
    pipeline.check(fn, logits);
    let processed = logits;
    if (pipeline.adjusts) {
      if (scan.argmax(logits, vocabSize) < 0) return -1; // a NaN is an error wherever it is, under a mask too
      processed = all.work;
      processed.set(logits);
      pipeline.adjust(logits);
    }
    if (this.params.greedy) {
      const best = scan.argmax(processed, vocabSize);
      return best >= 0 && processed[best]! > -Infinity ? best : -1;
    }
    this.#drawWords[3] = this.#position;
    if (!findFew(scan, pipeline, processed, few, this.#drawWords)) return -1;
    if (!drawsFromAll(pipeline)) return this.#draw(fn, few);
    const tokenId = this.#draw(fn, few, false);
    return surelyStays(scan, pipeline, processed, tokenId) ? tokenId : -1;
  }

  /** Temperature, truncation and draw. */
  #draw(fn: string, candidates: Candidates, truncates = true): number {
    const pipeline = this.#pipeline;
    pipeline.scale(candidates);
    const best = pipeline.best(fn, candidates);
    if (truncates) pipeline.truncate(candidates, candidates.work[best]!);
    else pipeline.keepAll();
    return drawToken(candidates, best, pipeline.cut, this.#key, this.sequence, this.#position, pipeline.scratch.words);
  }

  /**
   * Takes a token into the output: penalties, bad words and min_tokens see it, the position moves on.
   *
   * @throws ValueError unless `tokenId` is in [0, V)
   */
  accept(tokenId: number): void {
    checkInteger('Sampler.accept', 'tokenId', tokenId, 0, this.#pipeline.scratch.vocabSize - 1);
    this.#pipeline.accept(tokenId);
    this.#position++;
  }
}
