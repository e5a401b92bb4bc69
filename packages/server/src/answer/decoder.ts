import { CHAT_TOKENS, OUTPUT_MARKERS, TASK_TOKENS } from '@megamoe/chat';
import type { Tokenizer, TokenStream } from '@megamoe/checkpoint';

/** Which tokens of a vocabulary are markers of output, and which are never text. */
export class OutputVocabulary {
  readonly shown = new Map<number, string>();
  readonly hidden = new Set<number>();
  readonly endThink: number | undefined;
  readonly dsml: number | undefined;

  constructor(readonly tokenizer: Tokenizer) {
    const { specialIds } = tokenizer;
    for (const text of [...Object.values(CHAT_TOKENS), ...TASK_TOKENS.values()]) {
      const id = specialIds.get(text);
      if (id === undefined) continue;
      if (OUTPUT_MARKERS.includes(text)) this.shown.set(id, text);
      else this.hidden.add(id);
    }
    this.endThink = specialIds.get(CHAT_TOKENS.endThink);
    this.dsml = specialIds.get(CHAT_TOKENS.dsml);
  }

  /** Ids of a text with markers in it. */
  encodeMarked(text: string): number[] {
    return this.tokenizer.encode(text);
  }

  createDecoder(): OutputDecoder {
    return new OutputDecoder(this);
  }
}

/** Text of sampled ids as the output parser wants it: markers written out, other special tokens left out. */
export class OutputDecoder {
  readonly #stream: TokenStream;

  constructor(private readonly vocabulary: OutputVocabulary) {
    this.#stream = vocabulary.tokenizer.createStream({ skipSpecial: true });
  }

  /** The text that is complete with this token. */
  push(id: number): string {
    const marker = this.vocabulary.shown.get(id);
    if (marker !== undefined) return this.#stream.flush() + marker;
    return this.vocabulary.hidden.has(id) ? this.#stream.flush() : this.#stream.push(id);
  }

  flush(): string {
    return this.#stream.flush();
  }
}
