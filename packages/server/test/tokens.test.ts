import { loadTokenizer } from '@megamoe/checkpoint';
import { expect, it } from 'vitest';
import { EncodeCache } from '../src/tokens/encode-cache';
import { TINY } from './support';

const tokenizer = loadTokenizer(TINY);

/** A cache over a tokenizer that counts the characters that it is asked for. */
function make(maxCharacters?: number) {
  let asked = 0;
  const counting = {
    specialIds: tokenizer.specialIds,
    encode: (text: string, options?: { readonly parseSpecial?: boolean }): number[] => {
      asked += text.length;
      return tokenizer.encode(text, options);
    },
  };
  const cache = new EncodeCache(counting, maxCharacters);
  const plain = { parseSpecial: false };
  return {
    encode: (text: string, scope = '', options: { readonly parseSpecial?: boolean } = plain) =>
      cache.of(scope).encode(text, options),
    asked: () => asked,
  };
}

const text = (i: number, length = 400): string => `${i} <think> `.repeat(length).slice(0, length);

it('gives the ids of the tokenizer, again and again, and encodes a long text once', () => {
  const { encode, asked } = make();
  for (let k = 0; k < 3; k++) {
    for (const one of [text(1), text(2), '']) {
      const ids = encode(one);
      expect(ids).toEqual(tokenizer.encode(one, { parseSpecial: false }));
      ids.length = 0; // what it gives is the caller's own
    }
  }
  expect(asked()).toBe(800);
});

it('keeps scopes and special tokens apart', () => {
  const { encode, asked } = make();
  encode(text(1), 'a');
  encode(text(1), 'b');
  expect(asked()).toBe(800);
  expect(encode(text(1), 'a', {})).toEqual(tokenizer.encode(text(1)));
  expect(encode(text(1), 'a')).toEqual(tokenizer.encode(text(1), { parseSpecial: false }));
});

it('forgets what was used longest ago', () => {
  const { encode, asked } = make(1000);
  encode(text(1));
  encode(text(2));
  encode(text(1)); // used: the other one is the oldest now
  encode(text(3));
  expect(asked()).toBe(1200);
  encode(text(1));
  expect(asked()).toBe(1200);
  encode(text(2));
  expect(asked()).toBe(1600);
  encode(text(4, 5000)); // larger than all: not kept, and others neither
  expect(encode(text(4, 5000))).toEqual(tokenizer.encode(text(4, 5000), { parseSpecial: false }));
});
