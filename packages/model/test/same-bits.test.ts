/** The headline: a request gets the tokens and log-probabilities that it gets alone, whoever else is served and however. */
import { setImmediate as turn } from 'node:timers/promises';
import { sequenceBytes } from '@megamoe/ops';
import { Sampler } from '@megamoe/sampler';
import { seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { openEngine, type EngineChunk, type EngineLimits, type Model, type TokenPrompt } from '../src/index';
import type { RequestOptions } from '../src/index';
import { BACKENDS, MICRO_FLASH, model, TINY } from './support';

type Ask = TokenPrompt & RequestOptions & { readonly maxTokens: number };

/** What a request gets alone, by `forward` and the sampler: no engine, no company, one token after the other. */
function alone(m: Model, { tokenIds, maxTokens, ...o }: Ask): { ids: number[]; logprobs: number[] } {
  const params = { temperature: o.temperature ?? 0, logprobs: 1, ...(o.seed === undefined ? {} : { seed: o.seed }) };
  const sampler = new Sampler({ vocabSize: m.config.vocabSize, params, promptIds: tokenIds });
  const sequence = m.createSequence();
  const ids: number[] = [];
  const logprobs: number[] = [];
  for (let next: ArrayLike<number> = tokenIds; ids.length < maxTokens; next = [ids.at(-1)!]) {
    const { tokenId, logprob } = sampler.sample(m.forward([{ sequence, tokenIds: next }]));
    sampler.accept(tokenId);
    ids.push(tokenId);
    logprobs.push(logprob!);
  }
  sequence.dispose();
  return { ids, logprobs };
}

interface Case {
  readonly requests: number;
  readonly longest: number;
  readonly tokens: number;
  /** Of the roomy engine: fewer than requests, so that priorities count. */
  readonly places: number;
}

/** Prompts of which many begin alike, at any length. */
function asks(m: Model, { requests, longest, tokens }: Case, seed: number): Ask[] {
  const random = seeded(seed);
  const v = m.config.vocabSize;
  const text = (n: number): number[] => Array.from({ length: n }, () => random.int(v));
  const stems = [text(longest), text(longest)];
  return Array.from({ length: requests }, (_, i) => {
    const stem = stems[random.int(2)]!.slice(0, random.int(longest));
    const tokenIds = [...stem, ...text(1 + random.int(8))];
    const maxTokens = 1 + random.int(tokens);
    const sampling = i % 2 === 0 ? { temperature: 1.3, seed: i } : {};
    return { tokenIds, maxTokens, ignoreEos: true, logprobs: 1, ...sampling };
  });
}

async function serve(
  m: Model,
  all: readonly Ask[],
  want: readonly ReturnType<typeof alone>[],
  { seed, reusePrefix, ...limits }: EngineLimits & { readonly seed: number; readonly reusePrefix: boolean },
) {
  const random = seeded(seed);
  const engine = await openEngine({ model: m, ...limits });
  const cancelled = new Set<number>();
  const one = async (ask: Ask, i: number): Promise<void> => {
    for (let turns = random.int(40); turns > 0; turns--) await turn(); // arrivals
    const quits = random.int(5) === 0 ? random.int(ask.maxTokens) : Infinity;
    const stream = engine.submit({ ...ask, reusePrefix, priority: random.int(3), cacheKey: String(random.int(2)) });
    const ids: number[] = [];
    const logprobs: number[] = [];
    let last: EngineChunk | undefined;
    if (random.int(12) === 0) {
      // Cancelled wherever it is: in the queue, in its prompt, in its answer, or too late.
      for (let turns = random.int(30); turns > 0; turns--) await turn();
      stream.cancel(new Error('enough'));
    }
    try {
      for await (const chunk of stream) {
        ids.push(...chunk.tokenIds);
        logprobs.push(...(chunk.logprobs ?? []).map((l) => l.logprob));
        last = chunk;
        if (ids.length > quits) break;
      }
    } catch (error) {
      expect((error as Error).message).toBe('enough');
      cancelled.add(i);
      return;
    }
    const n = ids.length;
    expect(ids, `request ${i}`).toEqual(want[i]!.ids.slice(0, n));
    expect(logprobs, `request ${i}`).toEqual(want[i]!.logprobs.slice(0, n));
    if (n > quits) return; // it may have been ready before
    expect(n).toBe(ask.maxTokens);
    expect(last?.usage).toMatchObject({ promptTokens: ask.tokenIds.length, completionTokens: n });
  };
  await Promise.all(all.map(one));
  const stats = engine.stats();
  expect(stats).toMatchObject({ running: 0, waiting: 0 });
  const { length, stop, cancelled: ended, failed } = stats.finished;
  expect([length + ended, stop, failed]).toEqual([all.length, 0, 0]);
  expect(ended).toBeGreaterThanOrEqual(cancelled.size);
  await engine.close();
  expect(m.kvBytes).toBe(0);
  return stats;
}

describe.each(BACKENDS)('%s: same bits', (backend) => {
  const [dir, size] =
    backend === 'js'
      ? [MICRO_FLASH, { requests: 12, longest: 140, tokens: 6, places: 3 }]
      : [TINY, { requests: 64, longest: 160, tokens: 12, places: 24 }];

  it('of many requests at once: with prefixes reused and not, put back and not', async () => {
    const m = await model(dir, { backend });
    const all = asks(m, size, 1);
    const want = all.map((ask) => alone(m, ask));
    const roomy = await serve(m, all, want, {
      maxSequences: size.places,
      maxStepTokens: 100,
      reusePrefix: true,
      seed: 2,
    });
    expect(roomy.prefixHitTokens).toBeGreaterThan(0);
    // Memory for about three: decodes run out of it.
    const kvBytes = 3 * sequenceBytes(size.longest + 8 + size.tokens, m.memory.layers);
    const few = { maxSequences: 24, maxStepTokens: 64, promptMs: 20, kvBytes };
    const saved = await serve(m, all, want, { ...few, reusePrefix: false, preemption: 'save', seed: 3 });
    const again = await serve(m, all, want, { ...few, reusePrefix: true, preemption: 'recompute', seed: 4 });
    // What was saved and restored is kept too, and cut back for others.
    const both = await serve(m, all, want, { ...few, reusePrefix: true, preemption: 'save', seed: 5 });
    for (const { preemptions } of [saved, again, both]) expect(preemptions).toBeGreaterThan(0);
    expect(saved.prefixQueryTokens).toBe(0);
    expect(Math.max(saved.kvBytes, again.kvBytes, both.kvBytes)).toBeLessThanOrEqual(kvBytes);
  });
});
