import { join, resolve } from 'node:path';
import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import { checkInteger, checkObject, checkString, describe, KindError, takeIds } from '@megamoe/core';
import { badFile, quote, reasonOf } from '../fail';
import { settle } from '../files/replacement';
import { BYTE_CHARACTERS, bytesOfToken } from './byte-level';
import type { TokenizerJson } from './tokenizer-json';
import { readTokenizerJson, unicodePreTokenizer } from './tokenizer-json';

/** How {@link Tokenizer.encode} reads text. */
export interface EncodeOptions {
  /** Whether text such as `<｜User｜>` becomes its token (default) or is plain text, as it must be in what users write. */
  readonly parseSpecial?: boolean;
}

/** How tokens become text. */
export interface DecodeOptions {
  /** Leave out the tokens that tokenizer.json marks as special. Default false. */
  readonly skipSpecial?: boolean;
}

/** Turns tokens into text one by one and never gives out half a character. */
export interface TokenStream {
  /** The text that is complete with this token: may be empty, may be several characters. */
  push(id: number): string;
  /** What is left: U+FFFD for the bytes of an unfinished character. The stream may be used again after it. */
  flush(): string;
}

/** A byte-level BPE tokenizer. */
export interface Tokenizer {
  /** One more than the largest token id. A model's vocabulary may be padded beyond it. */
  readonly vocabSize: number;
  /** Ids of the added tokens (BOS, turn markers, ...) by their text. */
  readonly specialIds: ReadonlyMap<string, number>;
  /** The folder that it was loaded from: another thread can load the same. Undefined where there is none. */
  readonly directory?: string | undefined;
  /** Token ids of a text. Nothing is added, BOS neither. Lone surrogates become U+FFFD. */
  encode(text: string, options?: EncodeOptions): number[];
  /** The text of token ids; bytes that are no UTF-8 become U+FFFD, ids without a token (vocabulary padding) nothing. */
  decode(ids: Iterable<number>, options?: DecodeOptions): string;
  /** The bytes of a token; empty for an id without one. */
  tokenBytes(id: number): Uint8Array;
  /** A streaming decoder; what it gives out joins to what `decode` gives at once. */
  createStream(options?: DecodeOptions): TokenStream;
}

const NO_BYTES = new Uint8Array(0);

/** A regular expression that finds the added tokens in a text, the longest where several start; nothing to find: none. */
function markerPattern(tokens: readonly string[]): RegExp | undefined {
  if (tokens.length === 0) return undefined;
  const longestFirst = [...tokens].sort((a, b) => b.length - a.length);
  return new RegExp(`(${longestFirst.map((t) => t.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')).join('|')})`);
}

/** The token of every id, from the vocabulary and the added tokens. */
function tokenTable({ model, added_tokens: added }: TokenizerJson, file: string): (string | undefined)[] {
  const tokens: (string | undefined)[] = [];
  const put = (token: string, id: number): void => {
    const other = tokens[id];
    if (other !== undefined && other !== token) {
      throw badFile(file, `id ${id} stands for two tokens, ${quote(other)} and ${quote(token)}`);
    }
    tokens[id] = token;
  };
  for (const [token, id] of Object.entries(model.vocab)) put(token, id);
  for (const { content, id } of added) put(content, id);
  const missing = BYTE_CHARACTERS.findIndex((c) => !Object.hasOwn(model.vocab, c));
  if (missing >= 0) throw badFile(file, `model.vocab: no token for byte ${missing}; text with it could not be encoded`);
  return tokens;
}

/** The library's tokenizer for text without added tokens: with those out of its vocabulary, no spelling of them comes out as one. */
function plainTokenizer(json: TokenizerJson, added: ReadonlyMap<string, number>, file: string): LibraryTokenizer {
  const { normalizer, model } = json;
  const vocab = { ...model.vocab };
  for (const token of added.keys()) Reflect.deleteProperty(vocab, token);
  const parts = {
    ...json,
    added_tokens: [],
    normalizer: normalizer ?? null,
    pre_tokenizer: unicodePreTokenizer(json.pre_tokenizer),
    post_processor: null, // would add BOS in some files: what is in the prompt is the caller's to say
    model: { ...model, vocab },
  };
  try {
    return new LibraryTokenizer(parts, {});
  } catch (cause) {
    throw badFile(file, `cannot be used: ${reasonOf(cause)}`, { cause });
  }
}

/** Ids of a list or of anything else that can be gone through once. */
function takeAnyIds(fn: string, ids: Iterable<number>): Iterable<number> {
  const isOther = typeof ids === 'object' && ids !== null && !('length' in ids);
  if (!isOther) return takeIds(fn, 'ids', ids as number[]);
  if (typeof ids[Symbol.iterator] === 'function') return takeIds(fn, 'ids', [...ids]);
  throw new KindError(`${fn}: "ids" must be token ids, got ${describe(ids)}`);
}

class BpeTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly specialIds: ReadonlyMap<string, number>;
  readonly #tokens: readonly (string | undefined)[];
  /** What has been asked for: most of a vocabulary never is. */
  readonly #bytes = new Map<number, Uint8Array>();
  readonly #encoder = new TextEncoder();
  readonly #added: ReadonlySet<number>;
  readonly #special: ReadonlySet<number>;
  readonly #markers: RegExp | undefined;
  readonly #library: LibraryTokenizer;

  constructor(
    json: TokenizerJson,
    file: string,
    readonly directory: string,
  ) {
    this.specialIds = new Map(json.added_tokens.map((t) => [t.content, t.id]));
    this.#tokens = tokenTable(json, file);
    this.vocabSize = this.#tokens.length;
    this.#added = new Set(json.added_tokens.map((t) => t.id));
    this.#special = new Set(json.added_tokens.filter((t) => t.special).map((t) => t.id));
    this.#markers = markerPattern([...this.specialIds.keys()]);
    this.#library = plainTokenizer(json, this.specialIds, file);
  }

  encode(text: string, options: EncodeOptions = {}): number[] {
    checkString('encode', 'text', text);
    checkObject('encode', 'options', options);
    const { parseSpecial = true } = options;
    const ids: number[] = [];
    // Splitting at a group keeps what it matched: every odd part is an added token.
    const parts = parseSpecial && this.#markers ? text.split(this.#markers) : [text];
    for (const [i, part] of parts.entries()) {
      if (i % 2 === 1) ids.push(this.specialIds.get(part)!);
      else if (part !== '')
        for (const id of this.#library.encode(part, { add_special_tokens: false }).ids) ids.push(id);
    }
    return ids;
  }

  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    checkObject('decode', 'options', options);
    const stream = this.createStream(options);
    let text = '';
    for (const id of takeAnyIds('decode', ids)) text += stream.push(id);
    return text + stream.flush();
  }

  tokenBytes(id: number): Uint8Array {
    checkInteger('tokenBytes', 'id', id, 0);
    return this.#bytesOf(id)?.slice() ?? NO_BYTES;
  }

  /** An added token stands for its own text, one of the vocabulary for bytes. */
  #bytesOf(id: number): Uint8Array | undefined {
    const token = this.#tokens[id];
    if (token === undefined) return undefined;
    let bytes = this.#bytes.get(id);
    if (!bytes) {
      bytes = (this.#added.has(id) ? undefined : bytesOfToken(token)) ?? this.#encoder.encode(token);
      this.#bytes.set(id, bytes);
    }
    return bytes;
  }

  createStream(options: DecodeOptions = {}): TokenStream {
    checkObject('createStream', 'options', options);
    const { skipSpecial = false } = options;
    // A decoder in stream mode is the hold-back: it keeps the bytes of an unfinished character. U+FEFF is text here, not a mark.
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    return {
      push: (id) => {
        checkInteger('decode', 'id', id, 0);
        const bytes = this.#bytesOf(id);
        return bytes === undefined || (skipSpecial && this.#special.has(id))
          ? ''
          : decoder.decode(bytes, { stream: true });
      },
      flush: () => decoder.decode(),
    };
  }
}

/**
 * Loads `DIR/tokenizer.json` (byte-level BPE, as every DeepSeek-V4 checkpoint has it).
 *
 * Encoding is @huggingface/tokenizers', with the Unicode rules of the original (Rust) library restored; decoding works on bytes.
 * Throws CheckpointError when the file is missing, damaged or another kind of tokenizer.
 */
export function loadTokenizer(dir: string): Tokenizer {
  checkString('loadTokenizer', 'dir', dir);
  settle(dir);
  const file = join(dir, 'tokenizer.json');
  return new BpeTokenizer(readTokenizerJson(file), file, resolve(dir));
}
