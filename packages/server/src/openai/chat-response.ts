import type { AnswerEnd, AnswerUsage, Delta, WholeAnswer } from '../answer/types';
import type { ScoredToken } from '@megamoe/model';
import type { Served } from '../served';
import type { ChatRequest } from './chat-request';
import { chatLogprobs } from './logprobs';
import { timingsOf, usageOf } from './usage';

/** What all objects of one answer say alike. */
export interface ResponseHead {
  readonly id: string;
  readonly created: number;
}

/** The detail of an end: the stop text or token that the request gave, or that nothing was said after the reasoning. */
const stopReason = ({ stopText, stopTokenId, isEmpty }: AnswerEnd): string | number | null =>
  stopText ?? stopTokenId ?? (isEmpty ? 'empty' : null);

const stopFields = (end: AnswerEnd) => ({
  stop_reason: stopReason(end),
  ...(end.stopText === undefined ? {} : { stop_sequence: end.stopText }),
});

/** The message of an answer: content is a text unless there are calls instead. */
function messageOf({ reasoning, content, calls }: WholeAnswer) {
  return {
    role: 'assistant',
    content: content ?? (calls.length > 0 ? null : ''),
    refusal: null,
    ...(reasoning === null ? {} : { reasoning_content: reasoning, reasoning }),
    ...(calls.length === 0
      ? {}
      : {
          tool_calls: calls.map(({ id, name, arguments: text }) => ({
            id,
            type: 'function',
            function: { name, arguments: text },
          })),
        }),
  };
}

/** A choice of a whole response. */
export interface ChatChoice {
  readonly index: number;
  readonly answer: WholeAnswer;
  readonly end: AnswerEnd;
  readonly scores: readonly ScoredToken[];
}

/** Writes what a client of Chat Completions gets. */
export class ChatWriter {
  readonly #common;
  readonly #tokenizer;
  readonly #hasLogprobs: boolean;
  readonly #withUsage: boolean;
  /** vLLM's `continuous_usage_stats`. */
  readonly #always: boolean;

  constructor(
    served: Served,
    private readonly request: ChatRequest,
    { id, created }: ResponseHead,
  ) {
    const { fields } = request;
    const named = fields.model ?? '';
    const model = served.names.includes(named) ? named : served.name;
    this.#common = { id, created, model, system_fingerprint: served.fingerprint };
    this.#tokenizer = served.engine.tokenizer;
    this.#hasLogprobs = fields.logprobs === true;
    this.#withUsage = fields.stream_options?.include_usage === true;
    this.#always = fields.stream_options?.continuous_usage_stats === true;
  }

  /** The effort in force, `none` without thinking. */
  get effort(): string {
    return this.request.encoded.effort ?? 'none';
  }

  whole(choices: readonly ChatChoice[], usage: AnswerUsage) {
    return {
      ...this.#common,
      object: 'chat.completion',
      reasoning_effort: this.effort,
      choices: choices.map(({ index, answer, end, scores }) => ({
        index,
        message: messageOf(answer),
        logprobs: this.#logprobs(scores, true),
        finish_reason: end.finishReason,
        ...stopFields(end),
      })),
      usage: usageOf(usage),
      timings: timingsOf(usage),
    };
  }

  role(index: number) {
    return { ...this.#chunk(index, { role: 'assistant', content: '' }), reasoning_effort: this.effort };
  }

  /** @param usage the figures so far, for who wants them with every chunk */
  delta(index: number, delta: Delta, scores: readonly ScoredToken[], usage: AnswerUsage) {
    return this.#chunk(index, deltaOf(delta), scores, { finish_reason: null }, usage);
  }

  end(index: number, end: AnswerEnd, scores: readonly ScoredToken[], usage: AnswerUsage) {
    return this.#chunk(index, {}, scores, { finish_reason: end.finishReason, ...stopFields(end) }, usage);
  }

  /** The chunk of the figures, for who asked for it. */
  usage(usage: AnswerUsage) {
    if (!this.#withUsage) return undefined;
    const { id, created, model, system_fingerprint } = this.#common;
    return {
      ...{ id, object: 'chat.completion.chunk', created, model, system_fingerprint },
      choices: [],
      usage: usageOf(usage),
      timings: timingsOf(usage),
    };
  }

  #logprobs(scores: readonly ScoredToken[], always: boolean) {
    return this.#hasLogprobs && (always || scores.length > 0) ? chatLogprobs(this.#tokenizer, scores) : null;
  }

  #chunk(
    index: number,
    delta: object,
    scores: readonly ScoredToken[] = [],
    end: object = { finish_reason: null },
    usage?: AnswerUsage,
  ) {
    const { id, created, model, system_fingerprint } = this.#common;
    return {
      ...{ id, object: 'chat.completion.chunk', created, model, system_fingerprint },
      choices: [{ index, delta, logprobs: this.#logprobs(scores, false), ...end }],
      ...(this.#withUsage ? { usage: this.#always && usage ? usageOf(usage) : null } : {}),
    };
  }
}

/** A delta of OpenAI's; reasoning goes under both of the names that clients read. */
function deltaOf(delta: Delta): object {
  switch (delta.kind) {
    case 'content':
      return { content: delta.text };
    case 'reasoning':
      return { reasoning_content: delta.text, reasoning: delta.text };
    case 'call':
      return {
        tool_calls: [
          { index: delta.call, id: delta.id, type: 'function', function: { name: delta.name, arguments: '' } },
        ],
      };
    case 'arguments':
      return { tool_calls: [{ index: delta.call, function: { arguments: delta.text } }] };
  }
}
