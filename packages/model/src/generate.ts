import { checkSignal, KindError, ValueError } from '@megamoe/core';
import type { TokenLogprob } from '@megamoe/sampler';
import type { EngineCore } from './engine/core';
import { ChunkStream, followSignal } from './engine/stream';
import type { EngineChunk, EngineFinishReason, StopCause } from './engine/types';
import { checkRequestNames, prepareRequest, type Prompt, type RequestOptions } from './request';
import { Sequence } from './sequence';

/** What to generate from a prompt, and how. */
export type GenerateOptions = Prompt & RequestOptions & GenerateExtras;

/** What {@link Model.generate} takes besides a prompt and how to continue it. */
export interface GenerateExtras {
  /**
   * A sequence of this model to go on with, as for the next turn of a conversation. The prompt is the whole conversation all the same: what the
   * sequence holds of it is not computed again, and where they part, the sequence is cut back. Afterwards it holds prompt and answer, but for
   * the last token. Default: a new one, given back at the end.
   */
  readonly sequence?: Sequence | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Why a generation ended. */
export type FinishReason = EngineFinishReason;

/** Figures of a whole generation. */
export interface GenerateUsage {
  readonly promptTokens: number;
  /** Of them, tokens that `sequence` held: they were not computed. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** Milliseconds of the steps that took in the prompt; of all steps after them. Steps are shared with generations that run beside it. */
  readonly prefillMs: number;
  readonly decodeMs: number;
}

/** One step of a generation: a token, and the text that may be shown now (held back while it could become a stop text). */
export interface GenerateChunk {
  readonly text: string;
  /**
   * Reasoning that may be shown now, where the prompt asks for it: with `messages` and `chat: { thinking: true }`. It is not in `text`, nor is the
   * `</think>` between them.
   */
  readonly reasoning?: string | undefined;
  /** Undefined only where nothing was generated: `maxTokens` 0. */
  readonly tokenId: number | undefined;
  readonly logprob?: number | undefined;
  readonly topLogprobs?: readonly TokenLogprob[] | undefined;
  /** Set on the last chunk. */
  readonly finishReason?: FinishReason | undefined;
  /** What ended it, when `finishReason` is `stop`: a token id or a text. */
  readonly stop?: StopCause | undefined;
  /** Set on the last chunk. */
  readonly usage?: GenerateUsage | undefined;
}

const OWN_NAMES = ['sequence', 'signal'];

/**
 * Generates token by token, in steps that all generations of a model share; each gets the tokens that it gets alone. Greedy when `temperature`
 * is 0 or left out. Nothing is computed before somebody waits for it.
 * @throws ValueError, KindError for options that cannot be, naming them; ContextLengthError for a prompt too long. While it runs: the abort
 * reason as soon as `signal` fires
 */
export function generate(core: EngineCore, o: GenerateOptions): AsyncGenerator<GenerateChunk, void, undefined> {
  const fn = 'generate';
  const { model } = core;
  checkRequestNames(fn, o, OWN_NAMES);
  const { sequence, signal } = o;
  if (typeof sequence === 'number') {
    throw new KindError(
      `${fn}: "sequence" must be a Sequence of this model; the number of a sequence is "sequenceIndex"`,
    );
  }
  let maxLength = model.config.maxPositionEmbeddings;
  if (sequence !== undefined) {
    if (!(sequence instanceof Sequence) || sequence.memory !== model.memory) {
      throw new ValueError(`${fn}: "sequence" is not one that this model made`);
    }
    void sequence.pages; // throws when it has been disposed
    maxLength = sequence.maxTokens;
  }
  if (signal !== undefined) checkSignal(fn, 'signal', signal);
  const prepared = prepareRequest(fn, model, maxLength, o);
  return run();

  async function* run(): AsyncGenerator<GenerateChunk, void, undefined> {
    signal?.throwIfAborted();
    const stream = new ChunkStream([], true);
    const request = {
      ...prepared,
      n: 1,
      priority: 0,
      cacheKey: '',
      reusePrefix: false,
      promptLogprobs: undefined,
      progress: false,
    };
    const job = core.add(request, stream, sequence);
    stream.onCancel = (reason) => core.cancel(job, reason);
    stream.onWant = () => core.wake();
    stream.onEnd = followSignal(signal, (reason) => stream.cancel(reason));
    try {
      for await (const chunk of stream) yield chunkOf(chunk);
    } finally {
      stream.cancel();
    }
  }
}

function chunkOf({ text, reasoning, tokenIds, logprobs, finishReason, stop, usage }: EngineChunk): GenerateChunk {
  const scored = logprobs?.[0];
  return {
    text,
    ...(reasoning === undefined ? {} : { reasoning }),
    tokenId: tokenIds[0],
    ...(scored === undefined ? {} : { logprob: scored.logprob, topLogprobs: scored.topLogprobs }),
    ...(finishReason === undefined ? {} : { finishReason }),
    ...(stop === undefined ? {} : { stop }),
    ...(usage === undefined ? {} : { usage }),
  };
}
