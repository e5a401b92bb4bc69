/** What goes between an engine and its worker arrives as it was, in order. */
import { expect, it } from 'vitest';
import { eachToken, Happenings, type Happening } from '../src/engine/protocol';
import type { EngineChunk } from '../src/engine/types';

const LARGE = 2 ** 33; // numbers of requests go on beyond 32 bits
const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 2, queueMs: 0, prefillMs: 1, decodeMs: 1 };

const CHUNKS: readonly (readonly [number, EngineChunk])[] = [
  [1, { index: 0, tokenIds: [], text: '', prefill: { done: 1, cached: 0, total: 1 } }],
  [1, { index: 0, tokenIds: [7], text: 'a' }],
  [LARGE, { index: 3, tokenIds: [129_279], text: '' }],
  [2, { index: 0, tokenIds: [9], text: '\ud83d\ude00\0' }],
  [2, { index: 0, tokenIds: [9], text: 'x', logprobs: [{ tokenId: 9, logprob: -1, topLogprobs: [] }] }],
  [1, { index: 0, tokenIds: [8], text: 'b' }],
  [1, { index: 0, tokenIds: [1], text: 'c', finishReason: 'stop', stop: { tokenId: 1 }, usage }],
  [LARGE, { index: 3, tokenIds: [5, 6], text: 'two' }],
];

/** As a worker's message carries them. */
function replay(all: readonly Happening[]): (readonly [number, unknown])[] {
  const got: (readonly [number, unknown])[] = [];
  for (const what of structuredClone(all)) {
    if ('tokens' in what) eachToken(what, (id, chunk) => got.push([id, chunk]));
    else got.push([what.id, 'chunk' in what ? what.chunk : what]);
  }
  return got;
}

it('chunks of many requests keep their order and all that they say', () => {
  const happenings = new Happenings();
  for (const [id, chunk] of CHUNKS) happenings.chunk(id, chunk);
  happenings.add({ id: 1, ended: true });
  const all = happenings.take();
  expect(replay(all)).toEqual([...CHUNKS, [1, { id: 1, ended: true }]]);
  expect(happenings.take()).toEqual([]);
});

it('a step of many sequences is one batch', () => {
  const happenings = new Happenings();
  for (let id = 0; id < 64; id++) happenings.chunk(id, { index: 0, tokenIds: [id], text: 'word' });
  expect(happenings.take()).toHaveLength(1);
});
