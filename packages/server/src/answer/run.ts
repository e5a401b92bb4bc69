import type { Engine, EngineChunk } from '@megamoe/model';
import { Answer } from './answer';
import type { OutputVocabulary } from './decoder';
import { openSource, type Source, type SourceChunk } from './source';
import type { AnswerEvent, AnswerRequest, AnswerUsage } from './types';

/** Tokens that are waited for after all has been said, in which the model ends its turn: then its state is kept, and its figures are exact. */
const WAIT_FOR_END = 2;

/** Told of what happens, for metrics. */
export interface RunObserver {
  /** The first token came, so long after the request. */
  firstToken(ms: number): void;
  /** Another token of an answer came, so long after the one before. */
  nextToken(ms: number): void;
}

/** Answers to one request, from submission to figures. */
export class AnswerRun {
  readonly answers: readonly Answer[];
  readonly #source: Source;
  readonly #started = performance.now();
  #firstToken: number | undefined;
  #usage = { cachedTokens: 0, queueMs: 0, prefillMs: 0, decodeMs: 0 };
  #reported = 0;
  /** Whether the engine has said how much of the prompt was there. */
  #prefilled = false;
  /** When the last token of each answer came. */
  readonly #tokenAt: number[] = [];
  /** Tokens sampled since an answer was over. */
  readonly #late: number[];

  /** @throws what `Engine.submit` throws, before any work */
  constructor(
    engine: Engine,
    private readonly request: AnswerRequest,
    vocabulary: OutputVocabulary,
    signal: AbortSignal,
    private readonly observer?: RunObserver,
  ) {
    this.answers = Array.from({ length: request.n }, (_, i) => new Answer(i, request, vocabulary));
    this.#late = this.answers.map(() => 0);
    this.#source = openSource(engine, request, vocabulary, signal);
  }

  /** Hands on all that comes, the figures last. @throws what the engine throws; what is left of the request has been cancelled then */
  async each(take: (event: AnswerEvent) => void): Promise<void> {
    try {
      for (const answer of this.answers) for (const event of answer.started()) take(event);
      await this.#source.each((chunk) => {
        const answer = this.answers[chunk.index]!;
        const had = answer.end;
        for (const event of this.#take(answer, chunk)) take(event);
        return had === undefined && answer.end !== undefined;
      });
      take({ type: 'usage', usage: this.usage });
    } finally {
      this.#source.cancel();
    }
  }

  /** What a chunk adds to its answer. */
  #take(answer: Answer, chunk: SourceChunk): AnswerEvent[] {
    if ('inserted' in chunk) return answer.insert(chunk.inserted, chunk.text);
    this.#note(chunk);
    const events = answer.push(chunk);
    if (chunk.prefill) events.unshift({ type: 'prefill', ...chunk.prefill });
    if (this.#isEnough(answer, chunk)) events.push(...answer.finish('stop'));
    return events;
  }

  get usage(): AnswerUsage {
    const sum = (pick: (answer: Answer) => number): number => this.answers.reduce((total, one) => total + pick(one), 0);
    const now = performance.now();
    const first = this.#firstToken ?? now;
    // An answer that ended before the engine's request did is measured here.
    const figures =
      this.#reported > 0
        ? this.#usage
        : {
            ...this.#usage,
            cachedTokens: this.#prefilled ? this.#usage.cachedTokens : undefined,
            prefillMs: first - this.#started,
            decodeMs: now - first,
          };
    return {
      promptTokens: this.request.promptIds.length,
      completionTokens: sum((one) => one.sampledTokens),
      reasoningTokens: sum((one) => one.reasoningTokens),
      ...figures,
    };
  }

  #note({ index, tokenIds, prefill, usage }: EngineChunk): void {
    if (prefill && !this.#prefilled) this.#usage.cachedTokens = prefill.cached;
    if (prefill) this.#prefilled = true;
    if (tokenIds.length > 0) {
      const now = performance.now();
      const before = this.#tokenAt[index];
      if (this.#firstToken === undefined) this.observer?.firstToken(now - this.#started);
      else if (before !== undefined) this.observer?.nextToken((now - before) / tokenIds.length);
      this.#firstToken ??= now;
      this.#tokenAt[index] = now;
    }
    if (!usage) return;
    const { queueMs, prefillMs, decodeMs } = this.#usage;
    const isFirst = this.#reported++ === 0;
    this.#usage = {
      cachedTokens: isFirst ? usage.cachedTokens : this.#usage.cachedTokens,
      queueMs: isFirst ? usage.queueMs : queueMs,
      prefillMs: isFirst ? usage.prefillMs : prefillMs,
      decodeMs: decodeMs + usage.decodeMs,
    };
  }

  /** Whether an answer is over and its end need not be waited for any more. */
  #isEnough(answer: Answer, { tokenIds }: EngineChunk): boolean {
    if (answer.end !== undefined || !answer.isOver) return false;
    if (answer.stopText !== undefined) return true;
    const seen = (this.#late[answer.index]! += tokenIds.length);
    return seen > WAIT_FOR_END;
  }
}
