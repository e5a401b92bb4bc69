import { OutputParser, type OutputEvent } from '@megamoe/chat';
import type { EngineChunk, ScoredToken, StopCause } from '@megamoe/model';
import { StopChecker } from '@megamoe/sampler';
import { randomBytes } from 'node:crypto';
import type { OutputDecoder, OutputVocabulary } from './decoder';
import type { AnswerEnd, AnswerEvent, AnswerRequest, Delta, WholeAnswer } from './types';

/** A call's id, unique for all time. */
const callId = (): string => `call_${randomBytes(12).toString('hex')}`;

/** One answer as it comes: ids in, pieces of reasoning, content and calls out. Knows nothing of HTTP. */
export class Answer {
  readonly #parser: OutputParser;
  readonly #decoder: OutputDecoder;
  readonly #stops: StopChecker;
  readonly #parallel: boolean;
  readonly #ids: number[] = [];
  readonly #calls: { readonly id: string; readonly name: string; arguments: string }[] = [];
  #reasoning: string | null = null;
  #content: string | null = null;
  /** Log-probabilities of tokens of which nothing has been given out yet. */
  #scores: ScoredToken[] = [];
  #thinking: boolean;
  #stopText: string | undefined;
  #events: AnswerEvent[] = [];
  #sampled = 0;
  #reasoningTokens = 0;
  /** Why it ended, once it has. */
  end: AnswerEnd | undefined;
  /** Whether it ended by itself and whole, so that it may be remembered. */
  isWhole = false;

  constructor(
    readonly index: number,
    request: AnswerRequest,
    private readonly vocabulary: OutputVocabulary,
  ) {
    const { stage, continued, tools, jsonObject, parallelToolCalls, stop, minTokens } = request;
    this.#parser = new OutputParser({ stage, continued, tools, jsonObject, parallelToolCalls });
    this.#decoder = vocabulary.createDecoder();
    this.#stops = new StopChecker({ stopIds: [], stopStrings: stop, minTokens });
    this.#thinking = stage === 'thinking';
    this.#parallel = parallelToolCalls;
    if (request.opened !== '') this.#parse(request.opened, false);
  }

  /** Tokens sampled, and those of them that were reasoning. */
  get sampledTokens(): number {
    return this.#sampled;
  }
  get reasoningTokens(): number {
    return this.#reasoningTokens;
  }

  /** Ids of the answer: sampled, and those that were put between. */
  get ids(): readonly number[] {
    return this.#ids;
  }

  get whole(): WholeAnswer {
    return { reasoning: this.#reasoning, content: this.#content, calls: this.#calls };
  }

  /** Whether no call and no content has begun. */
  get isThinking(): boolean {
    return this.#thinking;
  }

  /** Whether all has been said that counts: what is sampled from now on is not looked at. */
  get isOver(): boolean {
    return this.#stopText !== undefined || this.#parser.done;
  }

  /** The stop text that was met. */
  get stopText(): string | undefined {
    return this.#stopText;
  }

  /** What the prompt has opened already. */
  started(): AnswerEvent[] {
    return this.#take();
  }

  /** Takes what the engine sampled. */
  push({ tokenIds, logprobs, stop, finishReason }: EngineChunk): AnswerEvent[] {
    if (this.end) return []; // others of the request go on: what comes of this one is nobody's
    tokenIds.forEach((id, i) => {
      this.#sampled++;
      const ended = finishReason === 'stop' && i === tokenIds.length - 1 && stop?.tokenId === id;
      if (this.isOver && !ended) return;
      this.#ids.push(id);
      if (ended) return;
      if (logprobs?.[i]) this.#scores.push(logprobs[i]);
      if (this.#thinking && id !== this.vocabulary.endThink) this.#reasoningTokens++;
      this.#parse(this.#decoder.push(id));
      if (id === this.vocabulary.endThink) this.#thinking = false;
    });
    return finishReason === undefined ? this.#take() : this.finish(finishReason, stop);
  }

  /** Takes ids that were not sampled but put into the prompt after what was. */
  insert(ids: readonly number[], text: string): AnswerEvent[] {
    for (const id of ids) this.#ids.push(id);
    if (this.vocabulary.endThink !== undefined && ids.includes(this.vocabulary.endThink)) this.#thinking = false;
    this.#parse(this.#decoder.flush() + text, false);
    return this.#take();
  }

  /** Nothing more comes. */
  finish(reason: 'stop' | 'length', cause?: StopCause): AnswerEvent[] {
    if (this.end) return [];
    if (!this.isOver) this.#parse(this.#decoder.flush());
    const over = this.isOver;
    this.#read(this.#parser.end(over ? 'stop' : reason));
    if (this.#stopText === undefined) this.#show(this.#stops.flush());
    const parsed = this.#parser.result.finishReason ?? reason;
    const finishReason = this.#stopText !== undefined ? 'stop' : parsed;
    const own = cause?.tokenId !== undefined && !this.#isTurnEnd(cause.tokenId) ? cause.tokenId : undefined;
    this.end = {
      finishReason,
      stopText: this.#stopText,
      stopTokenId: finishReason === 'stop' ? own : undefined,
      isEmpty: finishReason === 'stop' && this.#content === null && this.#stopText === undefined && own === undefined,
    };
    const called = finishReason === 'tool_calls' && this.#parallel; // one call of several leaves the block open
    const endedItself = cause?.tokenId !== undefined && own === undefined;
    this.isWhole = finishReason !== 'length' && this.#stopText === undefined && (endedItself || called);
    this.#events.push({ type: 'end', index: this.index, end: this.end, scores: this.#scores.splice(0) });
    return this.#take();
  }

  #isTurnEnd(id: number): boolean {
    return this.vocabulary.hidden.has(id);
  }

  #take(): AnswerEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** @param isToken of a token that was sampled: the stop checker counts them for `minTokens`, with text or without */
  #parse(text: string, isToken = true): void {
    this.#read(text === '' ? [] : this.#parser.push(text), isToken);
  }

  /** What the parser made of a token. */
  #read(events: readonly OutputEvent[], isToken = false): void {
    let content = '';
    for (const event of events) {
      switch (event.type) {
        case 'reasoning':
          this.#reasoning = (this.#reasoning ?? '') + event.text;
          this.#give({ kind: 'reasoning', text: event.text });
          break;
        case 'content':
          this.#thinking = false;
          content += event.text;
          break;
        case 'tool_call': {
          this.#thinking = false;
          this.#show(this.#stopped(content) + (this.#stopText === undefined ? this.#stops.flush() : ''));
          content = '';
          if (this.#stopText !== undefined) return;
          const id = callId();
          this.#calls[event.index] = { id, name: event.name, arguments: '' };
          this.#give({ kind: 'call', call: event.index, id, name: event.name });
          break;
        }
        case 'arguments':
          this.#calls[event.index]!.arguments += event.text;
          this.#give({ kind: 'arguments', call: event.index, text: event.text });
          break;
        default: // the end of a call or of all: said elsewhere
      }
    }
    if (isToken || content !== '') this.#show(this.#stopped(content));
  }

  /** Content up to a stop text; what could become one is held back. */
  #stopped(text: string): string {
    if (this.#stopText !== undefined) return '';
    const { text: shown, stop } = this.#stops.push(0, text);
    this.#stopText = stop?.stopString;
    return shown;
  }

  #show(text: string): void {
    if (text === '') return;
    this.#content = (this.#content ?? '') + text;
    this.#give({ kind: 'content', text });
  }

  #give(delta: Delta): void {
    this.#events.push({ type: 'delta', index: this.index, delta, scores: this.#scores.splice(0) });
  }
}
