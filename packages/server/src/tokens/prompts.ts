import type { PromptTokenizer } from '@megamoe/chat';
import type { Tokenizer } from '@megamoe/checkpoint';
import { EncodeCache } from './encode-cache';
import type { TextToEncode } from './orders';
import type { TokenizerThread } from './thread';
import { SHORT } from './thread';

/** Who encodes, and how much: what the body has in bytes is more than all texts in it have in characters. */
export interface PromptOptions {
  /** Who may learn from the time it takes that somebody has sent the same before. */
  readonly scope: string;
  readonly bytes: number;
  readonly signal?: AbortSignal | undefined;
}

const keyOf = (text: string, parseSpecial: boolean): string => `${parseSpecial ? 1 : 0}${text}`;

/** Encodes prompts and lets others be served while long ones are. */
export class PromptEncoder {
  readonly #cache: EncodeCache;

  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly thread: TokenizerThread,
  ) {
    this.#cache = new EncodeCache(tokenizer);
  }

  /**
   * What `use` makes with a tokenizer. With long texts it is called twice: first to learn them, with a tokenizer that gives no ids for them
   * (`isDry`), then with one that has their ids.
   * @throws what `use` throws; as `TokenizerThread.ask`
   */
  async with<T>(
    { scope, bytes, signal }: PromptOptions,
    use: (tokenizer: PromptTokenizer, isDry: boolean) => T,
  ): Promise<T> {
    const cached = this.#cache.of(scope);
    if (bytes <= SHORT) return use(cached, false);
    const { specialIds } = this.tokenizer;
    const texts = new Map<string, TextToEncode>();
    let size = 0;
    const learn = (text: string, { parseSpecial = true } = {}): number[] => {
      const key = keyOf(text, parseSpecial);
      if (texts.has(key) || (!parseSpecial && this.#cache.has(scope, text))) return [];
      texts.set(key, { text, parseSpecial });
      size += text.length;
      return [];
    };
    use({ specialIds, encode: learn }, true);
    if (size <= SHORT) return use(cached, false);
    const all = [...texts.values()];
    const ids = await this.thread.encode(all, signal);
    const ready = new Map([...texts.keys()].map((key, i) => [key, ids[i]!]));
    all.forEach(({ text, parseSpecial }, i) => {
      if (!parseSpecial) this.#cache.put(scope, text, ids[i]!);
    });
    const encode: PromptTokenizer['encode'] = (text, options = {}) =>
      ready.get(keyOf(text, options.parseSpecial ?? true))?.slice() ?? cached.encode(text, options);
    return use({ specialIds, encode }, false);
  }
}
