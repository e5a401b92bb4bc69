import type { Engine, EngineChunk, EngineRequest, EngineStream } from '@megamoe/model';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OutputVocabulary } from './decoder';
import type { AnswerRequest } from './types';

/** A chunk of the engine, or ids that were put after what was sampled. */
export type SourceChunk =
  EngineChunk | { readonly index: number; readonly inserted: readonly number[]; readonly text: string };

/** Chunks of all answers to a request. */
export interface Source {
  /** Hands chunks on as they come; of an answer no more once `take` has said that it ended with this one. */
  each(take: (chunk: SourceChunk) => boolean): Promise<void>;
  cancel(): void;
}

/** Waits between two tries to go on with an answer while the queue is full. */
const RETRY_MS = 50;

/** The request to the engine that all phases share. */
function engineRequest(request: AnswerRequest, signal: AbortSignal): EngineRequest {
  const { promptIds, sampling, maxTokens, minTokens, cacheKey, reusePrefix } = request;
  return { ...sampling, tokenIds: promptIds, maxTokens, minTokens, cacheKey, reusePrefix, progress: true, signal };
}

/**
 * Submits a request.
 * @throws what `Engine.submit` throws, at once
 */
export function openSource(
  engine: Engine,
  request: AnswerRequest,
  vocabulary: OutputVocabulary,
  signal: AbortSignal,
): Source {
  const { stage, thinkingBudget, afterThinking, n } = request;
  const inPhases = stage === 'thinking' && (thinkingBudget !== undefined || afterThinking !== '');
  if (!inPhases || vocabulary.endThink === undefined) {
    const stream = engine.submit({ ...engineRequest(request, signal), n });
    const each: Source['each'] = async (take) => {
      let open = n;
      for await (const chunk of stream) {
        if (!take(chunk)) continue;
        if (--open === 0) break;
        stream.finish(chunk.index); // the others go on
      }
    };
    return { each, cancel: () => stream.cancel() };
  }
  const seed = request.sampling.seed ?? randomBytes(8).readBigInt64LE();
  const phases: Phases[] = [];
  try {
    for (let i = 0; i < n; i++) phases.push(new Phases(engine, request, vocabulary, signal, i, seed));
  } catch (error) {
    for (const one of phases) one.cancel();
    throw error;
  }
  return {
    each: async (take) => void (await Promise.all(phases.map((one) => one.each(take)))),
    cancel: () => phases.forEach((one) => one.cancel()),
  };
}

/**
 * One answer in two requests to the engine: its reasoning, up to `</think>` or the budget, and what follows after the reasoning has been
 * closed and, where a call is wanted, the call opened. The second finds the KV of the first.
 */
class Phases {
  #stream: EngineStream;

  constructor(
    private readonly engine: Engine,
    private readonly request: AnswerRequest,
    private readonly vocabulary: OutputVocabulary,
    private readonly signal: AbortSignal,
    private readonly index: number,
    private readonly seed: number | bigint | string,
  ) {
    const { thinkingBudget = Infinity, maxTokens, sampling } = request;
    this.#stream = engine.submit({
      ...this.#common(request.promptIds),
      maxTokens: Math.min(thinkingBudget, maxTokens),
      minTokens: 0,
      stopIds: [...(sampling.stopIds ?? []), vocabulary.endThink!],
    });
  }

  #common(promptIds: readonly number[]): EngineRequest {
    const { temperature } = this.request.sampling;
    const greedy = temperature === undefined || temperature === 0;
    return {
      ...engineRequest({ ...this.request, promptIds }, this.signal),
      sequenceIndex: this.index,
      ...(greedy ? {} : { seed: this.seed }),
    };
  }

  cancel(): void {
    this.#stream.cancel();
  }

  async each(take: (chunk: SourceChunk) => boolean): Promise<void> {
    const { index, request, vocabulary } = this;
    const { maxTokens, minTokens, thinkingBudget = Infinity, tools, afterThinking } = request;
    const endThink = vocabulary.endThink!;
    const sampled: number[] = [];
    let last: EngineChunk | undefined;
    for await (const chunk of this.#stream) {
      sampled.push(...chunk.tokenIds);
      if (chunk.finishReason !== undefined) last = chunk;
      else if (take({ ...chunk, index })) return;
    }
    if (last === undefined) return;
    const closed = last.stop?.tokenId === endThink;
    const cut = last.finishReason === 'length' && sampled.length >= thinkingBudget && sampled.length < maxTokens;
    const called = tools.length > 0 && vocabulary.dsml !== undefined && sampled.includes(vocabulary.dsml);
    const gaveUp = last.finishReason === 'stop' && !closed && afterThinking !== '' && !called;
    const room = maxTokens - sampled.length;
    if (room <= 0 || !(closed || cut || gaveUp)) return void take({ ...last, index });
    // The reasoning is over: `</think>` was sampled, or is put there.
    const { finishReason, stop, usage, ...report } = last;
    if (gaveUp) sampled.pop();
    if (take({ ...report, index, ...(gaveUp ? { tokenIds: [], text: '' } : {}), ...(usage ? { usage } : {}) })) return;
    const open = called ? '' : `${closed ? '' : '</think>'}${afterThinking}`;
    const inserted = open === '' ? [] : vocabulary.encodeMarked(open);
    if (inserted.length > 0 && take({ index, inserted, text: open })) return;
    void finishReason;
    void stop;
    const promptIds = [...request.promptIds, ...sampled, ...inserted];
    this.#stream = await this.#submit({
      ...this.#common(promptIds),
      maxTokens: room,
      minTokens: Math.max(0, minTokens - sampled.length),
      priority: -1,
    });
    for await (const chunk of this.#stream) {
      if (chunk.prefill === undefined && take({ ...chunk, index })) return;
    }
  }

  /** Goes on as soon as the queue has a place: the answer has begun, and must not be refused any more. */
  async #submit(request: EngineRequest): Promise<EngineStream> {
    for (;;) {
      try {
        return this.engine.submit(request);
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'ERR_QUEUE_FULL') throw error;
        await sleep(RETRY_MS, undefined, { signal: this.signal });
      }
    }
  }
}
