import { CheckpointError } from '@megamoe/core';
import * as z from 'zod/mini';
import { issueText, notJson } from '../config/config';
import { inWords } from '../config/schema';
import { badFile } from '../fail';
import { readWhole } from '../files/read-file';

/** Largest token id: far beyond any vocabulary, and small enough for a table. */
const MAX_ID = 2 ** 24 - 1;

/**
 * The parts of tokenizer.json that are looked at here; the library sees the whole file.
 * Source: huggingface/tokenizers, the serialization of `Tokenizer`.
 */
const isVocab = (v: unknown): v is Record<string, number> =>
  typeof v === 'object' &&
  v !== null &&
  Object.values(v).every((id) => Number.isInteger(id) && (id as number) >= 0 && (id as number) <= MAX_ID);

/** "left right" or [left, right]: checked by hand, for a big vocabulary has hundreds of thousands and every start waits for it. */
const isMerges = (v: unknown): v is (string | [string, string])[] =>
  Array.isArray(v) &&
  v.every(
    (merge) =>
      typeof merge === 'string' ||
      (Array.isArray(merge) && merge.length === 2 && typeof merge[0] === 'string' && typeof merge[1] === 'string'),
  );

/** What all pre-tokenizers that are used say where they say it; what they do is huggingface/tokenizers' to know. */
const splitting = {
  type: z.string(),
  behavior: z.optional(z.string()),
  pattern: z.optional(z.union([z.looseObject({ String: z.string() }), z.looseObject({ Regex: z.string() })])),
};

const schema = z.looseObject({
  added_tokens: z.array(
    z.looseObject({
      id: z.int().check(z.nonnegative(), z.maximum(MAX_ID)),
      content: z.string().check(z.minLength(1)),
      special: z._default(z.boolean(), false),
      lstrip: z._default(z.literal(false), false),
      rstrip: z._default(z.literal(false), false),
      single_word: z._default(z.literal(false), false),
    }),
  ),
  normalizer: z.nullish(z.looseObject({ type: z.string() })),
  pre_tokenizer: z.nullish(
    z.looseObject({ ...splitting, pretokenizers: z.optional(z.array(z.looseObject(splitting))) }),
  ),
  decoder: z.nullish(z.looseObject({ type: z.string() })),
  post_processor: z.unknown(),
  model: z.looseObject({
    type: z.literal('BPE'),
    vocab: z.custom<Record<string, number>>(isVocab, 'expected an object of token ids'),
    merges: z.custom<(string | [string, string])[]>(isMerges, 'expected an array of pairs of texts'),
  }),
});

/** A checked tokenizer.json. */
export type TokenizerJson = z.infer<typeof schema>;

/** Reads and checks a tokenizer.json. Throws CheckpointError. */
export function readTokenizerJson(path: string): TokenizerJson {
  let json: unknown;
  try {
    json = JSON.parse(readWhole(path).toString());
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause;
    throw badFile(path, notJson(path, cause), { cause });
  }
  const checked = schema.safeParse(json, inWords);
  if (!checked.success) throw badFile(path, `not a byte-level BPE tokenizer: ${issueText(checked.error)}`);
  const decoder = checked.data.decoder?.type;
  if (decoder !== 'ByteLevel')
    throw badFile(path, `decoder: expected "ByteLevel", found ${JSON.stringify(decoder ?? null)}`);
  return checked.data;
}

/** One pre-tokenizer of tokenizer.json. */
type PreTokenizer = Readonly<Record<string, unknown>>;

/** The pattern of huggingface/tokenizers' ByteLevel (`src/pre_tokenizers/byte_level.rs`), GPT-2's. */
const BYTE_LEVEL_REGEX = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const split = (regex: string): PreTokenizer => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior: 'Isolated',
  invert: false,
});

/**
 * Spells `Digits` and `ByteLevel` as `Split`, which means the same to Hugging Face's tokenizers but not to the JavaScript library: its
 * `Digits` knows ASCII digits only (the original: every numeric character, as in "½"), and the `\s` of its `ByteLevel` is JavaScript's
 * (counts U+FEFF, misses U+0085). Its `Split` has neither fault.
 */
export function unicodePreTokenizer(pre: PreTokenizer | null | undefined): PreTokenizer | null {
  if (!pre) return null;
  if (pre.type === 'Sequence' && Array.isArray(pre.pretokenizers)) {
    return { ...pre, pretokenizers: (pre.pretokenizers as PreTokenizer[]).map(unicodePreTokenizer) };
  }
  if (pre.type === 'Digits') return split(pre.individual_digits === true ? '\\p{N}' : '\\p{N}+');
  if (pre.type === 'ByteLevel' && pre.use_regex !== false && pre.add_prefix_space !== true) {
    return { type: 'Sequence', pretokenizers: [split(BYTE_LEVEL_REGEX), { ...pre, use_regex: false }] };
  }
  return pre;
}
