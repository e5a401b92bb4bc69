import type { PromptTokenizer } from '@megamoe/chat';

/** Shorter texts are encoded as fast as they are found. */
const LEAST_CHARACTERS = 200;
/** Most characters of all texts that are kept, and as many token ids at most. */
const MAX_CHARACTERS = 16 << 20;

const keyOf = (scope: string, text: string): string => `${scope}\n${text}`;

/**
 * Token ids of long texts that came before: a conversation comes back with all that was said, and encoding it again and again would hold up
 * others. Kept by scope, so that nobody learns from the time an answer takes what others have sent. The least recently used go first.
 */
export class EncodeCache {
  readonly #ids = new Map<string, readonly number[]>();
  #characters = 0;

  constructor(
    private readonly tokenizer: PromptTokenizer,
    private readonly maxCharacters = MAX_CHARACTERS,
  ) {}

  /** The tokenizer with this cache before it, for texts without special tokens. */
  of(scope: string): PromptTokenizer {
    const { tokenizer } = this;
    return {
      specialIds: tokenizer.specialIds,
      encode: (text, options) => {
        const plain = options?.parseSpecial === false && text.length >= LEAST_CHARACTERS;
        return plain ? this.#encode(scope, text) : tokenizer.encode(text, options);
      },
    };
  }

  /** Whether the ids of a text without special tokens are there. */
  has(scope: string, text: string): boolean {
    return this.#ids.has(keyOf(scope, text));
  }

  /** Keeps the ids of a text without special tokens. */
  put(scope: string, text: string, ids: readonly number[]): void {
    if (text.length < LEAST_CHARACTERS) return;
    const key = keyOf(scope, text);
    if (!this.#ids.delete(key)) this.#characters += key.length;
    this.#ids.set(key, ids); // the last in a Map is the most recent
    for (const oldest of this.#ids.keys()) {
      if (this.#characters <= this.maxCharacters) break;
      this.#ids.delete(oldest);
      this.#characters -= oldest.length;
    }
  }

  #encode(scope: string, text: string): number[] {
    const ids = this.#ids.get(keyOf(scope, text)) ?? this.tokenizer.encode(text, { parseSpecial: false });
    this.put(scope, text, ids);
    return ids.slice();
  }
}
