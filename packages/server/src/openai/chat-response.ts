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
  /** How the JSON of every chunk begins. */
  readonly #head: string;
  readonly #effort: string;
  readonly #tokenizer;
  readonly #hasLogprobs: boolean;
  readonly #top: number;
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
    const system_fingerprint = served.fingerprint;
    this.#common = { id, created, model, system_fingerprint };
    const head = JSON.stringify({ id, object: 'chat.completion.chunk', created, model, system_fingerprint });
    this.#head = `${head.slice(0, -1)},`;
    this.#effort = `,"reasoning_effort":${JSON.stringify(this.effort)}`;
    this.#tokenizer = served.engine.tokenizer;
    this.#hasLogprobs = fields.logprobs === true;
    this.#top = fields.top_logprobs ?? 0;
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

  /** The first chunk of an answer, as JSON; so are the others below. */
  role(index: number): string {
    return this.#chunk(index, '{"role":"assistant","content":""}', [], OPEN, undefined, this.#effort);
  }

  /** @param run has the figures so far, for who wants them with every chunk */
  delta(index: number, delta: Delta, scores: readonly ScoredToken[], run: Figures): string {
    return this.#chunk(index, deltaOf(delta), scores, OPEN, run);
  }

  end(index: number, end: AnswerEnd, scores: readonly ScoredToken[], run: Figures): string {
    const fields = JSON.stringify({ finish_reason: end.finishReason, ...stopFields(end) });
    return this.#chunk(index, '{}', scores, fields.slice(1, -1), run);
  }

  /** The chunk of the figures, for who asked for it. */
  usage(usage: AnswerUsage): string | undefined {
    if (!this.#withUsage) return undefined;
    const figures = JSON.stringify({ usage: usageOf(usage), timings: timingsOf(usage) });
    return `${this.#head}"choices":[],${figures.slice(1)}`;
  }

  #logprobs(scores: readonly ScoredToken[], always: boolean) {
    return this.#hasLogprobs && (always || scores.length > 0) ? chatLogprobs(this.#tokenizer, scores, this.#top) : null;
  }

  /** A chunk of a stream. There is one for each token: what all have alike is written once, the rest put between. */
  #chunk(index: number, delta: string, scores: readonly ScoredToken[], end: string, run?: Figures, more = ''): string {
    const logprobs = this.#hasLogprobs ? JSON.stringify(this.#logprobs(scores, false)) : 'null';
    const usage = !this.#withUsage
      ? ''
      : `,"usage":${this.#always && run ? JSON.stringify(usageOf(run.usage)) : 'null'}`;
    return `${this.#head}"choices":[{"index":${index},"delta":${delta},"logprobs":${logprobs},${end}}]${usage}${more}}`;
  }
}

/** Has the figures of an answer so far. */
interface Figures {
  readonly usage: AnswerUsage;
}

/** What a choice says of its end as long as there is none. */
const OPEN = '"finish_reason":null';

/** A delta of OpenAI's, as JSON; reasoning goes under both of the names that clients read. */
function deltaOf(delta: Delta): string {
  switch (delta.kind) {
    case 'content':
      return `{"content":${JSON.stringify(delta.text)}}`;
    case 'reasoning': {
      const text = JSON.stringify(delta.text);
      return `{"reasoning_content":${text},"reasoning":${text}}`;
    }
    case 'call': {
      const { call: index, id, name } = delta;
      return JSON.stringify({ tool_calls: [{ index, id, type: 'function', function: { name, arguments: '' } }] });
    }
    case 'arguments':
      return JSON.stringify({ tool_calls: [{ index: delta.call, function: { arguments: delta.text } }] });
  }
}
