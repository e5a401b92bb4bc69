import { randomUUID } from 'node:crypto';
import { AnswerRun } from '../answer/run';
import type { AnswerEvent } from '../answer/types';
import type { AppContext, ServerContext } from '../context';
import { ClientGone, requestError, serverError } from '../errors';
import { clientSignal } from '../http/client';
import { streamResponse } from '../http/stream';
import type { Served } from '../served';
import { chatFields, checkChat, readChat, type ChatRequest } from './chat-request';
import { ChatWriter, type ChatChoice } from './chat-response';
import { unknownFields } from './fields';

/** POST /v1/chat/completions. */
export async function chatCompletions(context: ServerContext, c: AppContext): Promise<Response> {
  const served = context.admit();
  const body = await context.body(c);
  const fields = checkChat(body);
  context.checkModel(served, fields.model);
  context.noteUnknown(unknownFields(body.plain, chatFields));
  const cacheKey = context.cacheKey(c, fields.cache_salt);
  const abort = clientSignal(c);
  const { thinking } = context.settings;
  const request = await readChat(served, body, fields, { thinking, cacheKey, signal: abort.signal });
  if (context.settings.logContent)
    context.settings.log('info', 'prompt', { id: c.get('requestId'), text: request.encoded.text });
  let run: AnswerRun;
  try {
    run = new AnswerRun(served.engine, request.answer, served.vocabulary, abort.signal, context.metrics);
  } catch (error) {
    throw requestError(error);
  }
  const head = { id: `chatcmpl-${randomUUID().replaceAll('-', '')}`, created: Math.floor(Date.now() / 1000) };
  const chat = new ChatAnswer(context, c, served, request, run, new ChatWriter(served, request, head));
  return fields.stream ? chat.stream(abort) : chat.whole(abort.signal);
}

/** The answer to one request, whole or as a stream. */
class ChatAnswer {
  readonly #started = performance.now();

  constructor(
    private readonly context: ServerContext,
    private readonly c: AppContext,
    private readonly served: Served,
    private readonly request: ChatRequest,
    private readonly run: AnswerRun,
    private readonly writer: ChatWriter,
  ) {}

  async whole(signal: AbortSignal): Promise<Response> {
    const { run, writer } = this;
    const scores = run.answers.map(() => [] as Extract<AnswerEvent, { type: 'delta' }>['scores'][number][]);
    try {
      await run.each((event) => {
        if (event.type === 'delta' || event.type === 'end') scores[event.index]!.push(...event.scores);
      });
    } catch (error) {
      this.context.host.check();
      this.context.metrics.brokenOff(signal.aborted ? 'abort' : 'error');
      if (signal.aborted) throw new ClientGone('the client went away');
      throw serverError(error);
    }
    this.#ended();
    const choices = run.answers.map(({ index, whole, end }): ChatChoice => ({
      index,
      answer: whole,
      end: end!,
      scores: scores[index]!,
    }));
    return this.c.json(writer.whole(choices, run.usage));
  }

  stream(abort: AbortController): Response {
    const { context, c, run, writer } = this;
    return streamResponse(context, c, abort, ({ send, prefill }) => {
      const open = new Set<number>();
      return run.each((event) => {
        if (event.type === 'prefill') return prefill(event);
        if (event.type === 'usage') {
          this.#ended();
          const json = writer.usage(event.usage);
          return json === undefined ? undefined : send(json);
        }
        const { index, scores } = event;
        if (!open.has(index)) send(writer.role(index));
        open.add(index);
        if (event.type === 'delta') send(writer.delta(index, event.delta, scores, run));
        else send(writer.end(index, event.end, scores, run));
      });
    });
  }

  /** All answers are there: they are counted, and remembered so that they find their KV when they come back. */
  #ended(): void {
    const { context, c, request, run, served } = this;
    const { answer, encoded, prefix } = request;
    const { answerStart } = encoded;
    for (const one of run.answers) {
      const { content, reasoning, calls } = one.whole;
      if (answer.tools.length > 0) context.metrics.toolsParsed(calls.length > 0);
      if (one.end?.isEmpty) context.settings.log('warn', 'empty_answer', { id: c.get('requestId'), index: one.index });
      if (context.settings.logContent) {
        context.settings.log('info', 'answer', { id: c.get('requestId'), index: one.index, reasoning, content, calls });
      }
      if (!one.isWhole || answerStart === undefined || !answer.reusePrefix) continue;
      served.memory.remember({
        before: answer.promptIds.slice(0, answerStart),
        ids: [...answer.promptIds.slice(answerStart), ...one.ids],
        answer: { content: prefix + (content ?? ''), reasoning, toolCalls: calls },
        scope: answer.cacheKey,
      });
    }
    context.answered(c, {
      usage: run.usage,
      n: answer.n,
      maxTokens: answer.maxTokens,
      finishReasons: run.answers.map(({ end }) => end?.finishReason ?? 'abort'),
      seconds: (performance.now() - this.#started) / 1000,
    });
  }
}
