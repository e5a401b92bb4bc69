import { setImmediate as turn } from 'node:timers/promises';
import { openCheckpoint } from '@megamoe/checkpoint';
import { expectBytes, seeded } from '@megamoe/testkit';
import { afterEach, describe, expect, it } from 'vitest';
import {
  createModel,
  openEngine,
  type EngineChunk,
  type Engine,
  type EngineLimits,
  type EngineRequest,
} from '../src/index';
import { BACKENDS, MICRO_FLASH, model, TINY } from './support';

const opened: Engine[] = [];
async function open(limits: EngineLimits = {}, dir = MICRO_FLASH, backend = 'js' as 'js' | 'cpu'): Promise<Engine> {
  const engine = await openEngine({ model: await model(dir, { backend }), ...limits });
  opened.push(engine);
  return engine;
}
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
});

async function all(engine: Engine, request: EngineRequest): Promise<EngineChunk[]> {
  const chunks: EngineChunk[] = [];
  for await (const chunk of engine.submit(request)) chunks.push(chunk);
  return chunks;
}
const idsOf = (chunks: readonly EngineChunk[], index = 0): number[] =>
  chunks.filter((c) => c.index === index).flatMap((c) => c.tokenIds);
const text = (n: number, seed = 1): number[] => {
  const random = seeded(seed);
  return Array.from({ length: n }, () => random.int(160));
};
const plain = { maxTokens: 4, ignoreEos: true };

describe('Engine', () => {
  it('n answers share the prompt, draw with their own numbers, and end with one usage', async () => {
    const engine = await open();
    const request = { tokenIds: text(40), ...plain, temperature: 1.2, seed: 5 };
    const chunks = await all(engine, { ...request, n: 3 });
    for (let i = 0; i < 3; i++) {
      expect(idsOf(chunks, i)).toEqual(idsOf(await all(engine, { ...request, sequenceIndex: i })));
    }
    expect(chunks.filter((c) => c.usage)).toEqual([chunks.at(-1)]);
    expect(chunks.at(-1)!.usage).toMatchObject({ promptTokens: 40, completionTokens: 12 });
    expect(chunks.filter((c) => c.finishReason === 'length')).toHaveLength(3);
  });

  it('ends one of n answers where it is told; the others go on as if alone, and nothing more is computed for it', async () => {
    const engine = await open();
    const request = { tokenIds: text(9), maxTokens: 12, ignoreEos: true, temperature: 1.2, seed: 5 };
    const stream = engine.submit({ ...request, n: 3 });
    const chunks: EngineChunk[] = [];
    stream.finish(1); // nothing has begun
    for await (const chunk of stream) {
      chunks.push(chunk);
      if (chunk.index === 1 && idsOf(chunks, 1).length === 3) stream.finish(1);
      if (chunk.finishReason) for (const index of [chunk.index, 7]) stream.finish(index);
    }
    for (const index of [-1, NaN, 0.5])
      expect(() => stream.finish(index)).toThrow('EngineStream.finish: "index" must be an integer');
    const alone = await Promise.all([0, 1, 2].map((i) => all(engine, { ...request, sequenceIndex: i })));
    for (const i of [0, 2]) expect(idsOf(chunks, i)).toEqual(idsOf(alone[i]!));
    const sampled = idsOf(chunks, 1);
    expect(sampled).toEqual(idsOf(alone[1]!).slice(0, sampled.length));
    expect(sampled.length).toBe(3);
    const last = chunks.filter((c) => c.index === 1).at(-1);
    expect(last).toEqual({ index: 1, tokenIds: [], text: '', finishReason: 'stop' });
    expect(chunks.at(-1)!.usage).toMatchObject({ completionTokens: 12 + 3 + 12 });
    // All of them ended so: the last one's end is the request's.
    const both = engine.submit({ ...request, n: 2 });
    const ends: EngineChunk[] = [];
    for await (const chunk of both) {
      if (chunk.finishReason) ends.push(chunk);
      else if (chunk.tokenIds.length > 0) both.finish(chunk.index);
    }
    expect(ends.map((c) => [c.index, c.finishReason, c.usage?.completionTokens])).toEqual([
      [0, 'stop', undefined],
      [1, 'stop', 2],
    ]);
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0 });
  });

  it('ends an answer that has been put back, which waits for its turn', async () => {
    const engine = await open({ maxSequences: 2 });
    const request = { tokenIds: text(9), maxTokens: 12, ignoreEos: true, temperature: 1.2, seed: 5 };
    const stream = engine.submit({ ...request, n: 2, priority: 1 });
    const chunks: EngineChunk[] = [];
    let urgent: Promise<void> | undefined;
    const goFirst = async (): Promise<void> => {
      for await (const { tokenIds } of engine.submit({ ...request, seed: 6 })) {
        if (tokenIds.length > 0 && engine.stats().preemptions === 1) stream.finish(1);
      }
    };
    for await (const chunk of stream) {
      chunks.push(chunk);
      if (chunk.index === 1 && idsOf(chunks, 1).length === 2) urgent ??= goFirst();
    }
    await urgent;
    expect(chunks.filter((c) => c.index === 1).at(-1)).toEqual({
      index: 1,
      tokenIds: [],
      text: '',
      finishReason: 'stop',
    });
    expect(idsOf(chunks, 1).length).toBeLessThan(12);
    expect(idsOf(chunks)).toEqual(idsOf(await all(engine, request)));
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, preemptions: 1 });
  });

  it('scores the tokens of a prompt from the raw logits, however it is cut, and echoes without an answer', async () => {
    const engine = await open({ maxStepTokens: 7 });
    const m = await model(MICRO_FLASH, { backend: 'js' });
    const tokenIds = text(41);
    const [only] = await all(engine, { tokenIds, maxTokens: 0, promptLogprobs: 2, temperature: 3, seed: 1 });
    const scores = only!.promptLogprobs!;
    expect(scores).toHaveLength(41);
    expect(scores[0]).toBeNull();
    const sequence = m.createSequence();
    const logits = m.forward([{ sequence, tokenIds }], { logits: 'all' });
    sequence.dispose();
    const v = m.config.vocabSize;
    for (let t = 1; t < 41; t++) {
      const row = logits.subarray((t - 1) * v, t * v);
      const top = row.reduce((a, b) => Math.max(a, b));
      const total = row.reduce((sum, x) => sum + Math.exp(x - top), 0);
      expect(scores[t]!.tokenId).toBe(tokenIds[t]);
      expect(scores[t]!.logprob).toBeCloseTo(row[tokenIds[t]!]! - top - Math.log(total), 5); // sums in float64, theirs and ours
      expect(scores[t]!.topLogprobs[0]!.logprob).toBeCloseTo(-Math.log(total), 5);
    }
    const chunks = await all(engine, { tokenIds, ...plain, promptLogprobs: 0 });
    expect(chunks[0]!.promptLogprobs).toHaveLength(41);
    expect(idsOf(chunks)).toEqual(idsOf(await all(engine, { tokenIds, ...plain })));
    expect(await all(engine, { tokenIds, maxTokens: 0 })).toMatchObject([
      { finishReason: 'length', usage: { completionTokens: 0 } },
    ]);
  });

  it('logit bias, minimum length and ignored ends do what they say', async () => {
    const engine = await open();
    const tokenIds = text(9);
    const biased = await all(engine, { tokenIds, maxTokens: 3, logitBias: new Map([[77, 100]]), ignoreEos: true });
    expect(idsOf(biased)).toEqual([77, 77, 77]);
    const stopped = await all(engine, { tokenIds, maxTokens: 9, logitBias: new Map([[77, 100]]), stopIds: [77] });
    expect(stopped.at(-1)).toMatchObject({ finishReason: 'stop', stop: { tokenId: 77 } });
    expect(idsOf(stopped)).toHaveLength(1);
    const held = await all(engine, {
      tokenIds,
      maxTokens: 9,
      logitBias: new Map([[77, 100]]),
      stopIds: [77],
      minTokens: 5,
    });
    expect(idsOf(held)).toHaveLength(6);
  });

  it('reports the prompt chunk by chunk, and counts it so', async () => {
    const engine = await open({ maxStepTokens: 16 });
    const stream = engine.submit({ tokenIds: text(40), ...plain, progress: true });
    const done: number[] = [];
    for await (const { prefill } of stream) {
      if (prefill) {
        done.push(prefill.done);
        expect(prefill).toMatchObject({ cached: 0, total: 40 });
        expect(engine.stats().promptTokens).toBeGreaterThanOrEqual(prefill.done);
      }
    }
    expect(done).toEqual([16, 32, 40]);
    const { steps, stepSizes } = engine.stats();
    expect(stepSizes).toEqual([steps - 3, 0, 3, ...Array.from({ length: 11 }, () => 0)]); // with the token after its end the last part has 9
    for await (const { prefill } of engine.submit({ tokenIds: text(40), ...plain, progress: true })) {
      if (prefill) expect(prefill).toEqual({ done: 40, cached: 39, total: 40 });
    }
  });

  it('refuses what does not fit into the queue before any work, and says how many wait', async () => {
    const engine = await open({ maxSequences: 2, maxQueue: 1 });
    const request = { tokenIds: text(5), ...plain };
    const streams = [1, 2, 3].map(() => engine.submit(request));
    for (const bad of [request, { tokenIds: [] }, {} as never]) {
      expect(() => engine.submit(bad)).toThrow(
        expect.objectContaining({ code: 'ERR_QUEUE_FULL', waiting: 3, maxQueue: 1 }),
      );
    }
    expect(() => engine.checkAdmission()).toThrow(/queue is full/);
    expect(engine.stats()).toMatchObject({ waiting: 3, finished: { refused: 4 } });
    for (const stream of streams) for await (const chunk of stream) void chunk;
    expect(idsOf(await all(engine, request))).toHaveLength(4);
  });

  it('says what is wrong with a request before any work', async () => {
    const engine = await open({ kvBytes: 2 ** 21 });
    const { maxTokens } = engine.model;
    const cases: [object, RegExp][] = [
      [{}, /Engine.submit: give exactly one of/],
      [{ tokenIds: [1], n: 0 }, /"n"/],
      [{ tokenIds: [1], max_tokens: 3 }, /unknown option "max_tokens"; did you mean "maxTokens"\?/],
      [{ tokenIds: [1], cacheSalt: 'x' }, /unknown option "cacheSalt"/],
      [{ tokenIds: [1], cacheKey: 5 }, /"cacheKey" must be a string, got number/],
      [{ tokenIds: [1], topP: 0.5 }, /"topP" without "temperature"/],
      [{ tokenIds: [1], promptLogprobs: -1 }, /promptLogprobs/],
      [{ tokenIds: text(maxTokens) }, new RegExp(`${maxTokens} tokens.*limit is ${maxTokens}`)],
    ];
    for (const [request, message] of cases) expect(() => engine.submit(request as never)).toThrow(message);
    expect(engine.stats()).toMatchObject({ steps: 0, waiting: 0, running: 0 });
  });

  it('a cancelled request ends within one step: queued, in its prompt, in its answer; its memory comes back', async () => {
    const engine = await open({ maxSequences: 1, maxStepTokens: 8, cacheBytes: 0 });
    const abort = new AbortController();
    const request = { tokenIds: text(400), ...plain, maxTokens: 500, signal: abort.signal };
    const [running, queued] = [engine.submit({ ...request, progress: true }), engine.submit(request)];
    await running.next();
    const { steps } = engine.stats();
    abort.abort(new Error('gone'));
    await expect(running.next()).rejects.toThrow('gone');
    await expect(queued.next()).rejects.toThrow('gone');
    for (let i = 0; i < 4; i++) await turn();
    expect(engine.stats().steps - steps).toBeLessThanOrEqual(1);
    expect(engine.stats()).toMatchObject({ kvBytes: 0, running: 0, waiting: 0, finished: { cancelled: 2 } });
    const answering = engine.submit({ ...request, tokenIds: text(5), signal: undefined });
    await answering.next();
    answering.cancel(new Error('enough'));
    await expect(answering.next()).rejects.toThrow('enough');
    expect((await answering.next()).done).toBe(true);
    const left = engine.submit({ ...request, tokenIds: text(5), signal: undefined });
    for await (const chunk of left) if (chunk) break;
    await turn();
    expect(engine.stats()).toMatchObject({ kvBytes: 0, running: 0 });
    await expect(engine.submit({ ...request, signal: AbortSignal.abort(new Error('before')) }).next()).rejects.toThrow(
      'before',
    );
  });

  it('a request whose data are bad fails alone', async () => {
    const checkpoint = openCheckpoint(MICRO_FLASH);
    const m = await createModel(
      {
        config: checkpoint.config,
        linear(module, n, k) {
          const t = checkpoint.linear(module, n, k);
          if (module === 'embed' && t.format === 'f32') t.data.fill(NaN, 13 * k, 14 * k);
          return t;
        },
        expert: (...a) => checkpoint.expert(...a),
        vector: (...a) => checkpoint.vector(...a),
        ints: (...a) => checkpoint.ints(...a),
      },
      { backend: 'js' },
    );
    checkpoint.close();
    const engine = await openEngine({ model: m });
    opened.push(engine);
    const good = { tokenIds: text(20).map((id) => (id === 13 ? 14 : id)), ...plain };
    const want = idsOf(await all(engine, { ...good, reusePrefix: false }));
    const bad = { tokenIds: [...good.tokenIds, 13], ...plain };
    const got = await Promise.allSettled([all(engine, good), all(engine, bad), all(engine, good)]);
    expect(got.map((g) => g.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    for (const g of got) if (g.status === 'fulfilled') expect(idsOf(g.value)).toEqual(want);
    expect(engine.stats().finished).toMatchObject({ failed: 1, length: 3 });
  });

  it.each(['save', 'recompute'] as const)(
    'puts back what is less important, and %s gives it the same bits',
    async (preemption) => {
      const engine = await open({ maxSequences: 1, preemption });
      const request = { tokenIds: text(70), ...plain, maxTokens: 12, logprobs: 1 };
      const want = await all(engine, { ...request, reusePrefix: false });
      const low = engine.submit({ ...request, priority: 1, reusePrefix: false });
      const got = [(await low.next()).value!];
      const high = await all(engine, { ...request, maxTokens: 2 });
      expect(engine.stats().preemptions).toBe(1);
      for await (const chunk of low) got.push(chunk);
      const logprobs = (chunks: readonly EngineChunk[]): unknown[] => chunks.flatMap((c) => c.logprobs ?? []);
      expect(logprobs(got)).toEqual(logprobs(want));
      expect(logprobs(high)).toEqual(logprobs(want).slice(0, 2));
    },
  );

  it('closes with a drain, or at once by name', async () => {
    const engine = await open();
    const chunks = all(engine, { tokenIds: text(5), ...plain });
    const closed = engine.close({ drain: true });
    expect(engine.health()).toEqual({ status: 'draining' });
    expect(() => engine.submit({ tokenIds: [1] })).toThrow(/takes no more requests/);
    expect(idsOf(await chunks)).toHaveLength(4);
    await closed;
    const other = await open();
    const cut = all(other, { tokenIds: text(5), maxTokens: 400, ignoreEos: true });
    await other.close({ drain: true, timeoutMs: 1 });
    await expect(cut).rejects.toMatchObject({ code: 'ERR_ENGINE_CLOSED' });
    expect(() => other.submit({ tokenIds: [1] })).toThrow(expect.objectContaining({ code: 'ERR_ENGINE_CLOSED' }));
    expect((await model(MICRO_FLASH, { backend: 'js' })).kvBytes).toBe(0);
  });
});

describe('prefixes', () => {
  it('hit at any length, compressed layers included; the same bits', async () => {
    const engine = await open();
    const stem = text(300, 2);
    await all(engine, { tokenIds: stem, ...plain });
    for (const shared of [1, 64, 127, 129, 257]) {
      const tokenIds = [...stem.slice(0, shared), ...text(9, 100 + shared)];
      if (tokenIds[shared] === stem[shared]) tokenIds[shared] = (stem[shared]! + 1) % 160;
      await all(engine, { tokenIds, ...plain }); // departs here: the next one finds a state at this place
      const again = [...tokenIds.slice(0, shared), (tokenIds[shared]! + 7) % 160, ...text(5, 7)];
      const chunks = await all(engine, { tokenIds: again, ...plain, logprobs: 1 });
      if (shared >= 16) expect(chunks.at(-1)!.usage!.cachedTokens, `${shared}`).toBeGreaterThanOrEqual(shared);
      const fresh = await all(engine, { tokenIds: again, ...plain, logprobs: 1, reusePrefix: false });
      expect(chunks.map((c) => c.logprobs)).toEqual(fresh.map((c) => c.logprobs));
    }
    const { prefixHitTokens, prefixQueryTokens } = engine.stats();
    expect(prefixHitTokens / prefixQueryTokens).toBeGreaterThan(0.5);
  });

  it('are shared by those with the same key only, and by nobody who does not want it', async () => {
    const engine = await open();
    const request = { tokenIds: text(50), ...plain };
    const cached = async (o: object): Promise<number> =>
      (await all(engine, { ...request, ...o })).at(-1)!.usage!.cachedTokens;
    expect(await cached({ cacheKey: 'a' })).toBe(0);
    expect(await cached({ cacheKey: 'a' })).toBe(49);
    expect(await cached({ cacheKey: 'b' })).toBe(0);
    expect(await cached({ cacheKey: '' })).toBe(0);
    expect(await cached({ cacheKey: 'a', reusePrefix: false })).toBe(0);
    expect(await cached({ cacheKey: 'a', promptLogprobs: 0 })).toBe(0);
  });

  it('keep to their limit, and the turns of a conversation hit though others come and go', async () => {
    const m = await model(MICRO_FLASH, { backend: 'js' });
    const engine = await open({ kvBytes: 2 ** 23, cacheBytes: 2 ** 22 });
    const system = text(64, 3);
    const talks = [1, 2, 3].map((i) => [...system, ...text(20, 50 + i)]);
    for (let round = 0; round < 3; round++) {
      for (const [i, talk] of talks.entries()) {
        const chunks = await all(engine, { tokenIds: talk, ...plain });
        const { cachedTokens } = chunks.at(-1)!.usage!;
        // All of the last turn but the token that was drawn last and never taken in.
        if (round > 0) expect(cachedTokens, `talk ${i}, round ${round}`).toBe(talk.length - 10 - 1);
        talks[i] = [...talk, ...idsOf(chunks), ...text(10, 10 * round + i)];
      }
      // Visitors with the same system prompt, who never come back.
      for (let i = 0; i < 3; i++)
        await all(engine, { tokenIds: [...system, ...text(30, 900 + 10 * round + i)], ...plain });
      const { cacheBytes, cacheLimitBytes, cachedPrefixes } = engine.stats();
      expect(cacheBytes).toBeLessThanOrEqual(cacheLimitBytes);
      expect(cachedPrefixes).toBeGreaterThan(0);
    }
    for (let i = 0; i < 4; i++) await all(engine, { tokenIds: text(300, 2000 + i), ...plain, maxTokens: 1 });
    const { cacheBytes, cacheLimitBytes, kvBytes } = engine.stats();
    expect(cacheBytes).toBeLessThanOrEqual(cacheLimitBytes);
    expect(kvBytes).toBe(cacheBytes); // what is there is what is kept
    await engine.close();
    expect(m.kvBytes).toBe(0);
  });
});

describe.each(BACKENDS)('generate on %s', (backend) => {
  it('goes on with a sequence: only what is new is computed, with the same bits', async () => {
    const m = await model(backend === 'js' ? MICRO_FLASH : TINY, { backend });
    const sequence = m.createSequence();
    const turnOf = async (tokenIds: number[], s?: typeof sequence) => {
      const got: { ids: number[]; logprobs: (number | undefined)[]; cached: number } = {
        ids: [],
        logprobs: [],
        cached: 0,
      };
      for await (const c of m.generate({ tokenIds, ...plain, logprobs: 1, sequence: s })) {
        got.ids.push(c.tokenId!);
        got.logprobs.push(c.logprob);
        got.cached = c.usage?.cachedTokens ?? 0;
      }
      return got;
    };
    let talk = text(90);
    for (let round = 0; round < 3; round++) {
      const [kept, fresh] = [await turnOf(talk, sequence), await turnOf(talk)];
      expect(kept.ids).toEqual(fresh.ids);
      expect(kept.logprobs).toEqual(fresh.logprobs);
      expect(kept.cached).toBe(round === 0 ? 0 : talk.length - 5 - 1);
      talk = [...talk, ...kept.ids, ...text(5, round)];
    }
    // An edited message: the sequence is cut back to where the two part, or begins anew; the bits are those of a new one.
    talk = [...talk.slice(0, 95), ...text(12, 77)];
    expect((await turnOf(talk, sequence)).logprobs).toEqual((await turnOf(talk)).logprobs);
    const probe = m.createSequence();
    expectBytes(
      m.forward([{ sequence, tokenIds: [3] }]),
      m.forward([{ sequence: probe, tokenIds: [...sequence.tokenIds.subarray(0, sequence.length - 1), 3] }]),
    );
    expect(() => m.generate({ tokenIds: [1], sequence: 3 as never })).toThrow(
      /the number of a sequence is "sequenceIndex"/,
    );
  });
});
