import { createHash } from 'node:crypto';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import fc from 'fast-check';
import { repositoryFile } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import type { Tokenizer } from '../src/index';
import { loadTokenizer } from '../src/index';
import { BYTE_CHARACTERS } from '../src/text/byte-level';
import { temporaryFolder, thrown } from './helpers';
import { PROMPTS } from './prompts';

const TINY = repositoryFile('models/tiny');
const tokenizer = loadTokenizer(TINY);
/** Tokens that have a text; the model's vocabulary has 4096. */
const TOKENS = 2754;
const THE = 453;

/** Byte-level tokenizer.json of the 256 bytes, some merges and added tokens; `changes` replace parts. */
function tokenizerJson(
  changes: Record<string, unknown> = {},
  merges: [string, string][] = [],
  added: string[] = [],
): Record<string, unknown> {
  const vocab: Record<string, number> = {};
  for (const token of [...BYTE_CHARACTERS, ...merges.map((m) => m.join('')), ...added])
    vocab[token] ??= Object.keys(vocab).length;
  return {
    version: '1.0',
    added_tokens: added.map((content) => ({ id: vocab[content], content, special: !content.startsWith('~') })),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab, merges },
    ...changes,
  };
}

function load(json: unknown): Tokenizer {
  const dir = temporaryFolder();
  writeFileSync(join(dir, 'tokenizer.json'), typeof json === 'string' ? json : JSON.stringify(json));
  return loadTokenizer(dir);
}

describe('models/tiny', () => {
  it('the goldens are the ones described', () => {
    const { sha256 } = JSON.parse(
      readFileSync(new URL('./goldens/prompts.provenance.json', import.meta.url), 'utf8'),
    ) as { sha256: string };
    expect(
      createHash('sha256')
        .update(readFileSync(new URL('./goldens/prompts.json', import.meta.url)))
        .digest('hex'),
    ).toBe(sha256);
  });

  it('says where it was loaded from, so that another thread can load the same', () => {
    expect(tokenizer.directory).toBe(TINY);
    expect(loadTokenizer(relative(process.cwd(), TINY)).directory).toBe(TINY);
  });

  it.each(PROMPTS)('$id encodes as Hugging Face does and decodes to itself', ({ text, inputIds }) => {
    expect(tokenizer.encode(text)).toEqual(inputIds);
    expect(tokenizer.decode(inputIds)).toBe(text);
  });

  it('knows its tokens', () => {
    expect(tokenizer.vocabSize).toBe(TOKENS);
    expect([...tokenizer.specialIds]).toEqual([
      ['<｜begin▁of▁sentence｜>', 0],
      ['<｜end▁of▁sentence｜>', 1],
      ['<｜▁pad▁｜>', 2],
      ['<｜User｜>', 3],
      ['<｜Assistant｜>', 4],
      ['<think>', 5],
      ['</think>', 6],
      ['｜DSML｜', 7],
      ['<｜latest_reminder｜>', 8],
      ['<｜action｜>', 9],
      ['<｜query｜>', 10],
      ['<｜authority｜>', 11],
      ['<｜domain｜>', 12],
      ['<｜title｜>', 13],
      ['<｜read_url｜>', 14],
    ]);
    expect(Buffer.from(tokenizer.tokenBytes(THE)).toString()).toBe('The');
    expect(Buffer.from(tokenizer.tokenBytes(3)).toString()).toBe('<｜User｜>');
    expect(tokenizer.tokenBytes(99999).length).toBe(0);
    tokenizer.tokenBytes(THE).fill(0);
    expect(tokenizer.decode([THE])).toBe('The'); // the table was not handed out
  });

  it('adds nothing, BOS neither', () => {
    expect(tokenizer.encode('')).toEqual([]);
    expect(tokenizer.encode('The')).toEqual([THE]);
    expect(tokenizer.decode([])).toBe('');
  });

  it('special tokens in plain text stay text', () => {
    const special = new Set(tokenizer.specialIds.values());
    for (const text of tokenizer.specialIds.keys()) {
      const plain = tokenizer.encode(`a${text}b`, { parseSpecial: false });
      expect(plain.filter((id) => special.has(id))).toEqual([]);
      expect(tokenizer.decode(plain)).toBe(`a${text}b`);
      const parsed = tokenizer.encode(`a${text}b`);
      expect(parsed).toEqual([...tokenizer.encode('a'), tokenizer.specialIds.get(text), ...tokenizer.encode('b')]);
    }
  });

  it('skips special tokens when asked', () => {
    const ids = tokenizer.encode('<｜User｜>What<｜Assistant｜></think>The<｜end▁of▁sentence｜>');
    expect(tokenizer.decode(ids, { skipSpecial: true })).toBe('WhatThe');
    const stream = tokenizer.createStream({ skipSpecial: true });
    expect(ids.map((id) => stream.push(id)).join('') + stream.flush()).toBe('WhatThe');
  });

  it('any text survives the way there and back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.boolean(), (text, parseSpecial) => {
        const ids = tokenizer.encode(text, { parseSpecial });
        expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < TOKENS)).toBe(true);
        expect(tokenizer.decode(ids)).toBe(text);
      }),
      { numRuns: 500 },
    );
    const markers = fc.array(
      fc.oneof(fc.constantFrom(...tokenizer.specialIds.keys()), fc.string({ unit: 'grapheme', maxLength: 5 })),
    );
    fc.assert(
      fc.property(markers, (parts) => {
        expect(tokenizer.decode(tokenizer.encode(parts.join('')))).toBe(parts.join(''));
      }),
    );
  });

  it('lone surrogates become U+FFFD', () => {
    expect(tokenizer.decode(tokenizer.encode('a\ud800b'))).toBe('a\ufffdb');
  });

  it('the stream gives out what decode does, and never half a character', () => {
    // Bytes of their own, for unfinished characters; and ids of the padded vocabulary, which have no text.
    const [firstByte, lastByte] = [tokenizer.specialIds.size, tokenizer.specialIds.size + 255];
    const id = fc.oneof(
      fc.nat(4095),
      fc.integer({ min: firstByte, max: lastByte }),
      fc.constantFrom(TOKENS, 4095, 5000),
    );
    fc.assert(
      fc.property(fc.array(id, { maxLength: 40 }), (ids) => {
        const stream = tokenizer.createStream();
        const parts = ids.map((i) => stream.push(i));
        const rest = stream.flush();
        expect(parts.join('') + rest).toBe(tokenizer.decode(ids));
        expect([...parts, rest].every((part) => !/\p{Cs}/u.test(part))).toBe(true);
        expect(stream.flush()).toBe(''); // and it can be used again
        expect(stream.push(THE)).toBe('The');
      }),
      { numRuns: 500 },
    );
  });

  it('ids of the padded vocabulary have no text, and part no character', () => {
    const stream = tokenizer.createStream();
    for (let id = TOKENS; id < 4096; id++) {
      expect(tokenizer.tokenBytes(id).length).toBe(0);
      expect(stream.push(id)).toBe('');
    }
    expect(stream.flush()).toBe('');
    expect(tokenizer.decode([THE, 4095, THE])).toBe('TheThe');
    const bytes = tokenizer.encode('😀'); // no token of its own
    expect(bytes.length).toBeGreaterThan(1);
    expect(tokenizer.decode(bytes.flatMap((id) => [id, TOKENS]))).toBe('😀');
  });

  it('holds back exactly until the character is complete', () => {
    const bytesOf = (text: string): number[] =>
      [...Buffer.from(text)].map((b) => tokenizer.encode(String.fromCharCode(b < 128 ? b : 0)).length && b);
    const ids = [...Buffer.from('é€😀x')].map((b) => {
      for (let id = 7; id < TOKENS; id++) {
        const bytes = tokenizer.tokenBytes(id);
        if (bytes.length === 1 && bytes[0] === b) return id;
      }
      throw new Error(`no token for byte ${b}`);
    });
    expect(bytesOf('x').length).toBe(1);
    const stream = tokenizer.createStream();
    expect(ids.map((id) => stream.push(id))).toEqual(['', 'é', '', '', '€', '', '', '', '😀', 'x']);
    expect(stream.flush()).toBe('');
    stream.push(ids[5]!);
    stream.push(ids[6]!);
    expect(stream.flush()).toBe('\ufffd');
    stream.push(ids[5]!);
    expect(stream.push(ids[9]!)).toBe('\ufffdx'); // what can no longer become a character comes out at once
  });

  it('refuses what is no text and no id', () => {
    expect(thrown(() => tokenizer.encode(1 as unknown as string))).toBe(
      'ERR_KIND: encode: "text" must be a string, got 1',
    );
    expect(thrown(() => tokenizer.decode([1.5]))).toBe(
      'ERR_VALUE: decode: "ids" must hold token ids in [0, 2147483647), got 1.5 at index 0',
    );
    expect(thrown(() => tokenizer.decode([-1]))).toBe(
      'ERR_VALUE: decode: "ids" must hold token ids in [0, 2147483647), got -1 at index 0',
    );
    expect(thrown(() => tokenizer.createStream().push(NaN))).toBe(
      'ERR_VALUE: decode: "id" must be an integer at least 0, got NaN',
    );
    expect(thrown(() => tokenizer.tokenBytes(-1))).toBe(
      'ERR_VALUE: tokenBytes: "id" must be an integer at least 0, got -1',
    );
  });
});

describe('Unicode rules of the original library', () => {
  const split = (t: Tokenizer, text: string): string[] => t.encode(text).map((id) => t.decode([id]));
  /** Merges that glue together whatever pre-tokenization leaves in one piece, byte by byte from the left. */
  const glue = (...texts: string[]): [string, string][] =>
    texts.flatMap((text) => {
      const chars = [...Buffer.from(text)].map((b) => BYTE_CHARACTERS[b]!);
      return chars.slice(1).map((c, i): [string, string] => [chars.slice(0, i + 1).join(''), c]);
    });

  it('Digits knows every numeric character', () => {
    const pre_tokenizer = {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Digits', individual_digits: true },
        { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
      ],
    };
    const t = load(tokenizerJson({ pre_tokenizer }, glue(' ½', '½٣', '٣', ' ab', '½4')));
    expect(split(t, '½٣')).toEqual(['½', '٣']);
    expect(split(t, '½4')).toEqual(['½', '4']);
    expect(split(t, 'x ½ ab')).toEqual(['x', ' ', '½', ' ab']);
    const runs = { type: 'Sequence', pretokenizers: [{ type: 'Digits' }, pre_tokenizer.pretokenizers[1]] };
    const whole = load(tokenizerJson({ pre_tokenizer: runs }, glue('½4', ' ½')));
    expect(split(whole, '½4')).toEqual(['½4']);
  });

  it('white space is Unicode white space: U+0085 is, U+FEFF is not', () => {
    const t = load(tokenizerJson({}, glue('\u0085\n', '!\ufeff')));
    expect(split(t, '\u0085\n')).toEqual(['\u0085\n']); // one run of white space
    expect(split(t, '!\ufeff')).toEqual(['!\ufeff']); // one run of neither letter, number nor space
  });
});

describe('tokenizer.json', () => {
  it('added tokens: the longest wins, those not special are not skipped', () => {
    const t = load(tokenizerJson({}, [], ['<a>', '<a><b>', '~|x|']));
    const [short, long, plain] = ['<a>', '<a><b>', '~|x|'].map((m) => t.specialIds.get(m)!);
    expect(t.encode('<a><b><a>~|x|')).toEqual([long, short, plain]);
    expect(t.decode([short!, plain!], { skipSpecial: true })).toBe('~|x|');
  });

  it('a spelled-out added token is never parsed in plain text, even when merges are ignored', () => {
    const json = tokenizerJson({}, [], ['<think>']);
    (json.model as Record<string, unknown>).ignore_merges = true;
    const t = load({ ...json, pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: false } });
    expect(t.encode('<think>', { parseSpecial: false }).length).toBe(7);
    expect(t.encode('<think>')).toEqual([t.specialIds.get('<think>')]);
  });

  it('a post processor that would add BOS is left out', () => {
    const json = tokenizerJson({}, [], ['<bos>']);
    const post_processor = {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<bos>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<bos>': { id: '<bos>', ids: [256], tokens: ['<bos>'] } },
    };
    expect(load({ ...json, post_processor }).encode('a')).toEqual([65 - 1 + BYTE_CHARACTERS.indexOf('a') - 64]);
  });

  it('one without added tokens, with merges as text and with gaps in its ids works', () => {
    const json = tokenizerJson({ added_tokens: [] });
    (json.model as { merges: unknown }).merges = ['a b'];
    (json.model as { vocab: Record<string, number> }).vocab.ab = 300;
    const t = load(json);
    expect(t.encode('ab<')).toEqual([300, BYTE_CHARACTERS.indexOf('<')]);
    expect([t.vocabSize, t.decode([299, 300, 301])]).toEqual([301, 'ab']);
  });

  it('one with a token named __proto__ works', () => {
    const text = JSON.stringify(
      tokenizerJson({ pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: false } }),
    )
      .replace('"vocab":{', '"vocab":{"__proto__":256,')
      .replace(
        '"merges":[]',
        '"merges":[["_","_"],["__","p"],["__p","r"],["__pr","o"],["__pro","to__"],["t","o"],["to","__"]]',
      );
    const json = text.replace(
      '"__proto__":256,',
      '"__proto__":256,"__":257,"__p":258,"__pr":259,"__pro":260,"to":261,"to__":262,',
    );
    expect(load(json).encode('__proto__', { parseSpecial: false })).toEqual([256]);
  });

  it.each<[string, unknown, RegExp]>([
    ['no JSON', '{', /cannot be read as JSON/],
    ['no object', '[]', /not a byte-level BPE tokenizer/],
    [
      'another model',
      { ...tokenizerJson(), model: { type: 'Unigram', vocab: [] } },
      /not a byte-level BPE tokenizer: model\.type/,
    ],
    [
      'another decoder',
      { ...tokenizerJson(), decoder: { type: 'Metaspace' } },
      /decoder: expected "ByteLevel", found "Metaspace"$/,
    ],
    ['no decoder', { ...tokenizerJson(), decoder: null }, /decoder: expected "ByteLevel", found null$/],
    [
      'bad ids',
      { ...tokenizerJson(), model: { type: 'BPE', vocab: { a: -1 }, merges: [] } },
      /expected an object of token ids/,
    ],
    [
      'ids beyond all reason',
      { ...tokenizerJson(), model: { type: 'BPE', vocab: { a: 2 ** 40 }, merges: [] } },
      /expected an object of token ids/,
    ],
    [
      'merges that are no pairs',
      { ...tokenizerJson(), model: { type: 'BPE', vocab: { a: 0 }, merges: ['a b', ['a']] } },
      /model\.merges: expected an array of pairs of texts$/,
    ],
    [
      'a byte without a token',
      { ...tokenizerJson(), model: { type: 'BPE', vocab: { a: 0 }, merges: [] } },
      /model\.vocab: no token for byte 0; text with it could not be encoded$/,
    ],
    [
      'an id twice',
      { ...tokenizerJson(), added_tokens: [{ id: 0, content: 'x' }] },
      /id 0 stands for two tokens, "Ā" and "x"$/,
    ],
    [
      'stripping tokens',
      { ...tokenizerJson(), added_tokens: [{ id: 300, content: 'x', lstrip: true }] },
      /added_tokens\.0\.lstrip/,
    ],
    [
      'an unknown pre-tokenizer',
      { ...tokenizerJson(), pre_tokenizer: { type: 'Strange' } },
      /cannot be used: .*Strange/,
    ],
    [
      'a behavior that is no word, which the library would meet at the first text',
      {
        ...tokenizerJson(),
        pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: 'a' }, behavior: {} }] },
      },
      /pre_tokenizer\.pretokenizers\.0\.behavior/,
    ],
    [
      'a pattern of an unknown kind',
      { ...tokenizerJson(), pre_tokenizer: { type: 'Split', pattern: {}, behavior: 'Isolated' } },
      /pre_tokenizer\.pattern/,
    ],
  ])('refuses %s', (_, json, message) => {
    const text = thrown(() => load(json));
    expect(text).toMatch(/^ERR_CHECKPOINT: .*tokenizer\.json: /);
    expect(text).toMatch(message);
  });

  it('says when there is none', () => {
    const dir = temporaryFolder();
    expect(thrown(() => loadTokenizer(dir), dir)).toMatch(
      /^ERR_CHECKPOINT: DIR\/tokenizer.json: cannot be read as JSON: ENOENT/,
    );
    cpSync(join(TINY, 'tokenizer.json'), join(dir, 'tokenizer.json'));
    expect(loadTokenizer(dir).vocabSize).toBe(TOKENS); // needs no other file
  });
});
