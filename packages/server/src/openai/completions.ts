import type { EngineChunk, EngineStream, EngineUsage } from '@megamoe/model';
import { randomUUID } from 'node:crypto';
import type { AnswerUsage } from '../answer/types';
import type { AppContext, ServerContext } from '../context';
import { ClientGone, requestError, serverError } from '../errors';
import { clientSignal } from '../http/client';
import { streamResponse } from '../http/stream';
import type { Served } from '../served';
import {
  checkCompletion,
  completionFields,
  readCompletion,
  type CompletionPrompt,
  type CompletionRequest,
} from './completions-request';
import { unknownFields } from './fields';
import { TextLogprobs } from './logprobs';
import { timingsOf, usageOf } from './usage';

/** POST /v1/completions. */
export async function completions(context: ServerContext, c: AppContext): Promise<Response> {
  const served = context.admit();
  const body = await context.body(c);
  const fields = checkCompletion(body);
  context.checkModel(served, fields.model);
  context.noteUnknown(unknownFields(body.plain, completionFields));
  const abort = clientSignal(c);
  const cacheKey = context.cacheKey(c, fields.cache_salt);
  const request = await readCompletion(served, body, fields, { cacheKey, signal: abort.signal });
  const streams: EngineStream[] = [];
  try {
    for (const prompt of request.prompts) streams.push(served.engine.submit(prompt.request));
  } catch (error) {
    for (const stream of streams) void stream.return?.();
    throw requestError(error);
  }
  const completion = new Completion(context, c, served, request, streams);
  return fields.stream ? completion.stream(abort) : completion.whole(abort.signal);
}

/** A choice as far as it has come. */
interface Choice {
  text: string;
  readonly scores: TextLogprobs | undefined;
  finish: string | null;
  reason: string | number | null;
  begun: boolean;
  tokenAt: number | undefined;
}

/** The answer to one request, whole or as a stream. */
class Completion {
  readonly #started = performance.now();
  readonly #common;
  readonly #choices: readonly Choice[];
  readonly #usages: (EngineUsage | undefined)[];
  readonly #withUsage: boolean;
  #isFirst = true;

  constructor(
    private readonly context: ServerContext,
    private readonly c: AppContext,
    private readonly served: Served,
    private readonly request: CompletionRequest,
    private readonly streams: readonly EngineStream[],
  ) {
    const { fields, prompts, n, logprobs } = request;
    const skipSpecial = fields.skip_special_tokens ?? true;
    this.#common = {
      id: `cmpl-${randomUUID().replaceAll('-', '')}`,
      object: 'text_completion',
      created: Math.floor(Date.now() / 1000),
      model: served.names.includes(fields.model ?? '') ? fields.model! : served.name,
      system_fingerprint: served.fingerprint,
    };
    this.#choices = prompts.flatMap(() =>
      Array.from({ length: n }, () => ({
        text: '',
        scores: logprobs === undefined ? undefined : new TextLogprobs(served.engine.tokenizer, skipSpecial),
        finish: null,
        reason: null,
        begun: false,
        tokenAt: undefined,
      })),
    );
    this.#usages = prompts.map(() => undefined);
    this.#withUsage = fields.stream_options?.include_usage === true;
  }

  async whole(signal: AbortSignal): Promise<Response> {
    const logprobs = this.#choices.map(({ scores }) => scores?.take());
    try {
      await this.#each((prompt, chunk) => {
        const part = this.#take(prompt, chunk);
        const all = part && logprobs[part.index];
        if (!all || !part.logprobs) return;
        all.tokens.push(...part.logprobs.tokens);
        all.token_logprobs.push(...part.logprobs.token_logprobs);
        all.top_logprobs.push(...part.logprobs.top_logprobs);
        all.text_offset.push(...part.logprobs.text_offset);
      });
    } catch (error) {
      this.context.host.check();
      this.context.metrics.brokenOff(signal.aborted ? 'abort' : 'error');
      if (signal.aborted) throw new ClientGone('the client went away');
      throw serverError(error);
    }
    const usage = this.#ended();
    const choices = this.#choices.map(({ text, finish, reason }, index) => ({
      index,
      text,
      logprobs: logprobs[index] ?? null,
      finish_reason: finish,
      stop_reason: reason,
    }));
    return this.c.json({ ...this.#common, choices, usage: usageOf(usage), timings: timingsOf(usage) });
  }

  stream(abort: AbortController): Response {
    const common = JSON.stringify(this.#common).slice(0, -1);
    const usageLater = this.#withUsage ? ',"usage":null' : '';
    return streamResponse(this.context, this.c, abort, async ({ send, prefill }) => {
      await this.#each((prompt, chunk) => {
        if (chunk.prefill) prefill(chunk.prefill);
        const part = this.#take(prompt, chunk);
        if (!part) return;
        const choice = JSON.stringify({ ...part, logprobs: part.logprobs ?? null });
        send(`${common},"choices":[${choice}]${usageLater}}`);
      });
      const usage = this.#ended();
      if (!this.#withUsage) return;
      const figures = JSON.stringify({ usage: usageOf(usage), timings: timingsOf(usage) });
      send(`${common},"choices":[],${figures.slice(1)}`);
    });
  }

  /** Hands on the chunks of all prompts as they come. @throws what the engine throws; all are cancelled then */
  async #each(take: (prompt: number, chunk: EngineChunk) => void): Promise<void> {
    const read = async (stream: EngineStream, prompt: number): Promise<void> => {
      for await (const chunk of stream) take(prompt, chunk);
    };
    try {
      await Promise.all(this.streams.map(read));
    } finally {
      for (const stream of this.streams) stream.cancel();
    }
  }

  /** What a chunk adds to its choice; undefined when nothing is to be said. */
  #take(prompt: number, chunk: EngineChunk) {
    const { n, echo, prompts } = this.request;
    const index = prompt * n + chunk.index;
    if (chunk.usage) this.#usages[prompt] = chunk.usage;
    if (chunk.promptLogprobs) {
      for (let i = 0; i < n; i++)
        this.#scorePrompt(prompts[prompt]!, chunk.promptLogprobs, this.#choices[prompt * n + i]!);
      return undefined;
    }
    if (chunk.tokenIds.length === 0 && chunk.finishReason === undefined) return undefined;
    const choice = this.#choices[index]!;
    this.#time(choice, chunk.tokenIds.length);
    let { text } = chunk;
    if (!choice.begun && echo) text = prompts[prompt]!.text + text;
    if (!choice.begun) choice.scores?.begin(echo ? prompts[prompt]!.text.length : 0);
    choice.begun = true;
    choice.text += text;
    const ends = chunk.finishReason === 'stop' ? chunk.stop?.tokenId : undefined;
    chunk.logprobs?.forEach((score) => {
      if (score.tokenId !== ends) choice.scores?.add(score);
    });
    if (chunk.finishReason !== undefined) {
      choice.finish = chunk.finishReason;
      const isOwn = ends !== undefined && !this.served.engine.model.stopTokenIds.includes(ends);
      choice.reason = chunk.stop?.text ?? (isOwn ? ends : null);
    }
    if (text === '' && chunk.finishReason === undefined && !chunk.logprobs) return undefined;
    return { index, text, logprobs: choice.scores?.take(), finish_reason: choice.finish, stop_reason: choice.reason };
  }

  #scorePrompt(
    { request, hasBos }: CompletionPrompt,
    scores: NonNullable<EngineChunk['promptLogprobs']>,
    choice: Choice,
  ): void {
    const ids = request.tokenIds!;
    for (let i = 0; i < ids.length; i++) choice.scores?.addPrompt(ids[i]!, scores[i] ?? null, i > 0 || !hasBos);
  }

  #time(choice: Choice, tokens: number): void {
    if (tokens === 0) return;
    const now = performance.now();
    if (this.#isFirst) this.context.metrics.firstToken(now - this.#started);
    else if (choice.tokenAt !== undefined) this.context.metrics.nextToken((now - choice.tokenAt) / tokens);
    this.#isFirst = false;
    choice.tokenAt = now;
  }

  #ended(): AnswerUsage {
    const sum = (pick: (usage: EngineUsage) => number): number =>
      this.#usages.reduce((total, usage) => total + (usage ? pick(usage) : 0), 0);
    const usage: AnswerUsage = {
      promptTokens: sum((u) => u.promptTokens),
      cachedTokens: sum((u) => u.cachedTokens),
      completionTokens: sum((u) => u.completionTokens),
      reasoningTokens: 0,
      queueMs: sum((u) => u.queueMs),
      prefillMs: sum((u) => u.prefillMs),
      decodeMs: sum((u) => u.decodeMs),
    };
    this.context.answered(this.c, {
      usage,
      n: this.request.n,
      maxTokens: this.request.maxTokens,
      finishReasons: this.#choices.map(({ finish }) => finish ?? 'abort'),
      seconds: (performance.now() - this.#started) / 1000,
    });
    return usage;
  }
}
