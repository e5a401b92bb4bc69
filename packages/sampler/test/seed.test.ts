import { seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { createSamplerScratch, philox4x32, Sampler, scoreToken } from '../src/index';

/** The first token of a sampler over equal logits: which one says what its key is. */
function firstToken(seed: number | bigint | string): number {
  return new Sampler({ vocabSize: 1024, params: { seed }, promptIds: [] }).sample(new Float32Array(1024)).tokenId;
}

/** The same from the two words of the key, by definition. */
function tokenOfKey(low: number, high: number): number {
  const words = new Uint32Array(4);
  let [winner, best] = [-1, -1];
  for (let id = 0; id < 1024; id++) {
    philox4x32(id >>> 2, 0, 0, 0, low, high, words);
    const score = 1 / -Math.log((words[id & 3]! + 0.5) / 2 ** 32);
    if (score > best) [winner, best] = [id, score];
  }
  return winner;
}

describe('seeds', () => {
  it.each<[number | bigint | string, number, number]>([
    [0, 0, 0],
    [7, 7, 0],
    [2 ** 32 + 5, 5, 1],
    [2 ** 53 - 1, 0xffffffff, 0x1fffff],
    [10n, 10, 0],
    ['10', 10, 0],
    ['+10', 10, 0],
    [9223372036854775807n, 0xffffffff, 0x7fffffff],
    ['9223372036854775807', 0xffffffff, 0x7fffffff],
    [-1, 0xffffffff, 0xffffffff],
    ['-1', 0xffffffff, 0xffffffff],
    [-9223372036854775808n, 0, 0x80000000],
  ])('%s has the key (%d, %d): its two words in two’s complement', (seed, low, high) => {
    expect(firstToken(seed)).toBe(tokenOfKey(low, high));
  });
  it('are given back: a number where that is exact, else a bigint', () => {
    const seedOf = (seed: number | bigint | string): unknown =>
      new Sampler({ vocabSize: 3, params: { seed }, promptIds: [] }).seed;
    expect([seedOf('12'), seedOf(12n), seedOf('9223372036854775807')]).toEqual([12, 12, 9223372036854775807n]);
    const { seed } = new Sampler({ vocabSize: 3, params: {}, promptIds: [] });
    expect(Number.isSafeInteger(seed)).toBe(true);
  });
});

describe('scoreToken', () => {
  it('gives what a sampler reports of the token that it takes', () => {
    const random = seeded(8);
    const scratch = createSamplerScratch(50);
    for (let i = 0; i < 50; i++) {
      const logits = random.floats(50, 6);
      const n = random.int(6);
      const sampler = new Sampler({ vocabSize: 50, params: { temperature: 0, logprobs: n }, promptIds: [] });
      const { tokenId, logprob, topLogprobs } = sampler.sample(logits);
      const scored = scoreToken(logits, tokenId, n, scratch);
      expect(scored.logprob).toBe(logprob);
      expect(scored.topLogprobs).toEqual(topLogprobs!.slice(0, n));
      const all = Array.from(logits, (_, id) => Math.exp(scoreToken(logits, id, 0, scratch).logprob));
      expect(all.reduce((a, b) => a + b)).toBeCloseTo(1, 6);
    }
  });
  it('refuses what is no row of logits, and ids out of range', () => {
    const scratch = createSamplerScratch(2);
    expect(() => scoreToken(Float32Array.of(1, NaN), 0, 1, scratch)).toThrow('got NaN at index 1');
    expect(() => scoreToken(Float32Array.of(-Infinity, -Infinity), 0, 1, scratch)).toThrow('must not all be');
    expect(() => scoreToken(Float32Array.of(1, 2, 3), 0, 1, scratch)).toThrow('"logits" must have length V = 2, got 3');
    expect(() => scoreToken(Float32Array.of(1, 2), 2, 1, scratch)).toThrow('"tokenId" must be an integer in [0, 1]');
    expect(() => scoreToken(Float32Array.of(1, 2), 0, 3, scratch)).toThrow('"n" must be an integer in [0, 2]');
  });
});
