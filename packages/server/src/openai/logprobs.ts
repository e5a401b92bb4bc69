import type { Tokenizer, TokenStream } from '@megamoe/checkpoint';
import type { ScoredToken, TokenLogprob } from '@megamoe/model';
import { tokenText } from '../tokens/orders';

/** JSON has no -Infinity; vLLM writes this. */
const LOWEST = -9999;

const logprobOf = (x: number): number => (x === -Infinity ? LOWEST : x);
function entry(tokenizer: Tokenizer, { tokenId, logprob }: TokenLogprob) {
  const bytes = tokenizer.tokenBytes(tokenId);
  return { token: tokenText(tokenizer, tokenId), logprob: logprobOf(logprob), bytes: [...bytes] };
}

/** `logprobs` of a choice or chunk of Chat Completions: of each token, and of the `top` likeliest at its place. */
export function chatLogprobs(tokenizer: Tokenizer, scores: readonly ScoredToken[], top: number) {
  return {
    content: scores.map((score) => ({
      ...entry(tokenizer, score),
      // The engine adds the token itself where it is none of them.
      top_logprobs: score.topLogprobs.slice(0, top).map((one) => entry(tokenizer, one)),
    })),
    refusal: null,
  };
}

/** Tokens with their log-probabilities in the form of Completions; their places count in the text that they are decoded to. */
export class TextLogprobs {
  readonly tokens: string[] = [];
  readonly token_logprobs: (number | null)[] = [];
  readonly top_logprobs: (Record<string, number> | null)[] = [];
  readonly text_offset: number[] = [];

  /** Where the next token begins in the text. */
  #offset = 0;
  #stream: TokenStream;

  /** @param skipSpecial whether special tokens that are sampled are left out of the text */
  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly skipSpecial: boolean,
  ) {
    this.#stream = tokenizer.createStream();
  }

  /** A token of the prompt, in which special tokens are text. @param isText false for a token that stands for none of it */
  addPrompt(tokenId: number, score: ScoredToken | null, isText: boolean): void {
    this.#add(tokenId, score, isText ? this.#stream.push(tokenId).length : 0);
  }

  /** What was sampled begins, after a prompt of so many units that is shown before it. */
  begin(offset: number): void {
    this.#offset = offset;
    this.#stream = this.tokenizer.createStream({ skipSpecial: this.skipSpecial });
  }

  /** A token that was sampled. */
  add(score: ScoredToken): void {
    this.#add(score.tokenId, score, this.#stream.push(score.tokenId).length);
  }

  #add(tokenId: number, score: ScoredToken | null, width: number): void {
    const text = tokenText(this.tokenizer, tokenId);
    this.tokens.push(text);
    this.token_logprobs.push(score === null ? null : logprobOf(score.logprob));
    this.text_offset.push(this.#offset);
    this.#offset += width; // of a character of several tokens all but the last take none
    if (score === null) {
      this.top_logprobs.push(null);
      return;
    }
    const top = Object.create(null) as Record<string, number>;
    for (const { tokenId: id, logprob } of score.topLogprobs) {
      const key = tokenText(this.tokenizer, id);
      if (!Object.hasOwn(top, key)) top[key] = logprobOf(logprob); // the likelier of two with one text
    }
    if (!Object.hasOwn(top, text)) top[text] = logprobOf(score.logprob); // the token itself is always there
    this.top_logprobs.push(top);
  }

  /** What has been added since the last call. */
  take() {
    const { tokens, token_logprobs, top_logprobs, text_offset } = this;
    return {
      tokens: tokens.splice(0),
      token_logprobs: token_logprobs.splice(0),
      top_logprobs: top_logprobs.splice(0),
      text_offset: text_offset.splice(0),
    };
  }
}
