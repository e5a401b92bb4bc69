import { CHAT_TOKENS } from '@megamoe/chat';
import type { TokenStream } from '@megamoe/checkpoint';
import { Sampler, StopChecker, type LogitsScan, type SampleResult, type SamplerScratch } from '@megamoe/sampler';
import type { PreparedRequest, RequestContext } from '../request';
import { ReasoningSplitter, type SplitText } from './reasoning';
import type { EngineChunk, EngineFinishReason, StopCause } from './types';

/** What answers draw and write with: those of one engine share it. */
export interface AnswerTools {
  readonly model: RequestContext;
  readonly scratch: SamplerScratch;
  readonly scan: LogitsScan | null;
}

/** What became of a token. */
export interface Written {
  readonly chunk: EngineChunk;
  readonly ended: boolean;
}

/** One answer to a request as it comes: draws tokens, turns them into text, and says when it ends. Knows nothing of steps. */
export class Answer {
  readonly #sampler: Sampler;
  readonly #checker: StopChecker;
  readonly #stream: TokenStream | undefined;
  readonly #budget: number;
  /** With `splitReasoning`, where the prompt has begun reasoning. */
  readonly #splitter: ReasoningSplitter | undefined;
  /** Id of `</think>` while reasoning that the prompt began is open. */
  #closesThinking: number | undefined;
  #tokens = 0;

  constructor(
    { model, scratch, scan }: AnswerTools,
    request: PreparedRequest,
    readonly index: number,
    seed: number | bigint | undefined,
  ) {
    const { stopIds, stopTexts, includeStop, skipSpecialTokens } = request;
    this.#budget = request.budget;
    this.#sampler = new Sampler({
      vocabSize: model.config.vocabSize,
      params: seed === undefined ? request.params : { ...request.params, seed },
      promptIds: request.promptIds,
      stopIds,
      sequence: (request.sequenceIndex + index) % 2 ** 32,
      scratch,
      ...(scan ? { scan } : {}),
    });
    const minTokens = request.params.minTokens ?? 0;
    this.#checker = new StopChecker({ stopIds, stopStrings: stopTexts, includeStop, minTokens });
    this.#stream = model.hasTokenizer ? model.tokenizer.createStream({ skipSpecial: skipSpecialTokens }) : undefined;
    this.#closesThinking = closesThinking(model, request.promptIds);
    const splits = request.splitReasoning && this.#closesThinking !== undefined;
    this.#splitter = splits ? new ReasoningSplitter() : undefined;
  }

  /** The seed that its tokens are drawn with. */
  get seed(): number | bigint {
    return this.#sampler.seed;
  }

  /** The next token, by the logits of its place. @throws ValueError for logits that are no numbers */
  next(logits: Float32Array): Written & { readonly tokenId: number } {
    const sampled = this.#sampler.sample(logits);
    const { tokenId } = sampled;
    this.#sampler.accept(tokenId);
    this.#tokens++;
    const added = this.#split(this.#textOf(tokenId));
    const { text, stop } = this.#checker.push(tokenId, added.text);
    const shown = { ...added, text };
    if (stop !== undefined) {
      const cause: StopCause =
        stop.stopString === undefined ? { tokenId: stop.tokenId ?? tokenId } : { text: stop.stopString };
      const all = stop.stopString === undefined ? join(shown, this.#rest()) : shown;
      return { tokenId, chunk: this.#chunk(sampled, all, 'stop', cause), ended: true };
    }
    if (this.#tokens < this.#budget) return { tokenId, chunk: this.#chunk(sampled, shown), ended: false };
    const held = { reasoning: '', text: this.#checker.flush() };
    return { tokenId, chunk: this.#chunk(sampled, join(join(shown, held), this.#rest()), 'length'), ended: true };
  }

  #split(output: string): SplitText {
    return this.#splitter === undefined ? { reasoning: '', text: output } : this.#splitter.push(output);
  }

  /** What is held back when nothing follows. */
  #rest(): SplitText {
    const output = this.#stream?.flush() ?? '';
    return this.#splitter === undefined ? { reasoning: '', text: output } : this.#splitter.end(output);
  }

  /** What a token adds to the text. The marker that parts reasoning from the answer stays, special or not: the two would run together. */
  #textOf(tokenId: number): string {
    const text = this.#stream?.push(tokenId) ?? '';
    if (tokenId !== this.#closesThinking) return text;
    this.#closesThinking = undefined;
    return text === '' ? this.#stream!.flush() + CHAT_TOKENS.endThink : text;
  }

  #chunk(
    { tokenId, logprob, topLogprobs }: SampleResult,
    { reasoning, text }: SplitText,
    finishReason?: EngineFinishReason,
    stop?: StopCause,
  ): EngineChunk {
    return {
      index: this.index,
      tokenIds: [tokenId],
      text,
      ...(reasoning === '' ? {} : { reasoning }),
      ...(logprob === undefined ? {} : { logprobs: [{ tokenId, logprob, topLogprobs: topLogprobs! }] }),
      ...(finishReason === undefined ? {} : { finishReason }),
      ...(stop === undefined ? {} : { stop }),
    };
  }
}

const join = (a: SplitText, b: SplitText): SplitText => ({
  reasoning: a.reasoning + b.reasoning,
  text: a.text + b.text,
});

/** The id that ends the reasoning that a prompt has begun; undefined when it has begun none, or ended it. */
function closesThinking(model: RequestContext, promptIds: Int32Array): number | undefined {
  if (!model.hasTokenizer) return undefined;
  const { tokenizer } = model;
  const open = tokenizer.specialIds.get(CHAT_TOKENS.think);
  const close = tokenizer.specialIds.get(CHAT_TOKENS.endThink);
  if (open === undefined || close === undefined) return undefined;
  return promptIds.lastIndexOf(open) > promptIds.lastIndexOf(close) ? close : undefined;
}
