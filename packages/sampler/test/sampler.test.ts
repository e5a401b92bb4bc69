import { seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSamplerScratch, Sampler, type SamplingParams } from '../src/index';
import { naiveDraw, naivePenalties, naiveTruncation } from './naive';

const NONE = -Infinity;

function make(vocabSize: number, params: SamplingParams = {}, more: object = {}): Sampler {
  return new Sampler({ vocabSize, params, promptIds: [], ...more });
}

describe('greedy', () => {
  it('takes the largest, ties to the lowest id, whatever the truncation', () => {
    expect(make(4, { temperature: 0 }).sample(Float32Array.of(1, 3, 3, 2))).toEqual({ tokenId: 1 });
    expect(make(3, { temperature: 0, topK: 1, topP: 0.1 }).sample(Float32Array.of(-1, -3, -1)).tokenId).toBe(0);
    expect(make(2, { temperature: 0 }).sample(Float32Array.of(-0, 0)).tokenId).toBe(0);
    expect(make(1).sample(Float32Array.of(-5)).tokenId).toBe(0);
  });
  it('sees masks and penalties', () => {
    const sampler = make(4, { temperature: 0, repetitionPenalty: 10 }, { promptIds: [3] });
    const logits = Float32Array.of(1, 2, 3, 4);
    const out: number[] = [];
    for (let i = 0; i < 4; i++) {
      out.push(sampler.sample(logits).tokenId);
      sampler.accept(out.at(-1)!);
    }
    expect(out).toEqual([2, 1, 0, 3]); // the prompt's 3 first of all counts as seen
    expect(make(4, { temperature: 0, badWords: [[3]] }).sample(logits).tokenId).toBe(2);
  });
  it('frees stop ids after minTokens', () => {
    const sampler = make(3, { temperature: 0, minTokens: 2 }, { stopIds: [2], promptIds: [0, 0, 0] });
    const logits = Float32Array.of(0, 1, 2);
    const out = [0, 1, 2].map(() => {
      const { tokenId } = sampler.sample(logits);
      sampler.accept(tokenId);
      return tokenId;
    });
    expect(out).toEqual([1, 1, 2]);
  });
});

describe('the draw', () => {
  it('equals argmax(p / q) computed for every token', () => {
    const random = seeded(5);
    for (let i = 0; i < 300; i++) {
      const vocabSize = 1 + random.int(200);
      const logits = random.floats(vocabSize, [0.01, 1, 8, 30][i % 4]);
      for (let id = 0; id < vocabSize; id++) if (random.next() < 0.05) logits[id] = logits[random.int(vocabSize)]!;
      const params = [{}, { topK: 5 }, { topP: 0.7 }, { minP: 0.1, topP: 0.9, temperature: 0.6 }][random.int(4)]!;
      const seed = Math.floor(random.next() * 2 ** 53);
      const sequence = random.int(2 ** 32);
      const promptIds = Array.from({ length: random.int(4) }, () => random.int(vocabSize));
      const sampler = make(vocabSize, { ...params, seed }, { sequence, promptIds });
      for (let step = 0; step < 3; step++) {
        const { tokenId } = sampler.sample(logits);
        expect(tokenId).toBe(naiveDraw(naiveTruncation([...logits], params), seed, sequence, promptIds.length + step));
        sampler.accept(tokenId);
      }
    }
  });

  it('has the right distribution (chi-square, fixed seeds)', () => {
    const cases: [number[], SamplingParams, number[]][] = [
      [[0.5, 0.25, 0.125, 0.0625, 0.0625], {}, [0.5, 0.25, 0.125, 0.0625, 0.0625]],
      [[0.4, 0.3, 0.2, 0.1], { topK: 2 }, [4 / 7, 3 / 7, 0, 0]],
      [[0.4, 0.3, 0.2, 0.1], { topP: 0.85 }, [4 / 9, 3 / 9, 2 / 9, 0]],
      [[0.4, 0.3, 0.2, 0.1], { minP: 0.6, temperature: 1 }, [4 / 7, 3 / 7, 0, 0]],
      [[0.8, 0.2], { temperature: 0.5 }, [64 / 68, 4 / 68]],
      [Array.from({ length: 64 }, () => 1 / 64), {}, Array.from({ length: 64 }, () => 1 / 64)],
    ];
    const n = 40_000;
    cases.forEach(([probabilities, params, want], c) => {
      const logits = Float32Array.from(probabilities, Math.log);
      const counts = new Array<number>(want.length).fill(0);
      const sampler = make(want.length, { ...params, seed: 1234 + c });
      for (let i = 0; i < n; i++) {
        const { tokenId } = sampler.sample(logits);
        counts[tokenId]!++;
        sampler.accept(tokenId);
      }
      let chi2 = 0;
      let cells = -1;
      want.forEach((p, id) => {
        if (p === 0) return expect(counts[id]).toBe(0);
        chi2 += (counts[id]! - n * p) ** 2 / (n * p);
        cells++;
      });
      // 99.9% of the chi-square distribution (Wilson-Hilferty), so a right sampler with these seeds passes and a wrong one does not.
      const limit = cells * (1 - 2 / (9 * cells) + 3.09 * Math.sqrt(2 / (9 * cells))) ** 3;
      expect(chi2, `case ${c}`).toBeLessThan(limit);
    });
  });

  it('lets light tokens win as often as they must: no shortcut skips a winner', () => {
    const logits = new Float32Array(50_000);
    logits[777] = 11; // the others are 60,000 times less likely each, and together nearly as likely
    let light = 0;
    for (let seed = 0; seed < 12; seed++) {
      const { tokenId } = make(50_000, { seed }).sample(logits);
      expect(tokenId).toBe(naiveDraw([...logits], seed, 0, 0));
      if (tokenId !== 777) light++;
    }
    expect(light).toBeGreaterThan(1);
  });

  it('is independent between positions, sequences and seeds', () => {
    const logits = new Float32Array(2);
    const n = 20_000;
    const heads = (draw: (i: number) => number): number => {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += draw(i);
      return sum / n;
    };
    const one = (seed: number, sequence: number, position: number): number =>
      naiveDraw([...logits], seed, sequence, position);
    const near = (x: number, want: number): void => expect(Math.abs(x - want)).toBeLessThan(4 * Math.sqrt(0.25 / n));
    near(
      heads((i) => one(i, 0, 0)),
      0.5,
    );
    near(
      heads((i) => one(7, i, 0)),
      0.5,
    );
    near(
      heads((i) => one(7, 0, i) ^ one(7, 0, i + 1)),
      0.5,
    );
    near(
      heads((i) => one(7, 0, i) ^ one(7, 1, i)),
      0.5,
    );
    near(
      heads((i) => one(7, 0, i) ^ one(8, 0, i)),
      0.5,
    );
    near(
      heads((i) => one(i, 0, 3) ^ one(i + 2 ** 32, 0, 3)),
      0.5,
    ); // the high word of the seed counts
  });

  it('does not depend on which other tokens there are', () => {
    // A token that wins among all wins among any candidates that include it.
    const logits = seeded(9).floats(500, 2);
    for (let seed = 0; seed < 50; seed++) {
      const { tokenId } = make(500, { seed }).sample(logits);
      const allowedTokenIds = [tokenId, ...seeded(seed).choose(500, 100)];
      expect(make(500, { seed, allowedTokenIds }).sample(logits).tokenId).toBe(tokenId);
    }
  });
});

describe('determinism', () => {
  const logits = seeded(2).floats(300, 2);
  const run = (sampler: Sampler, steps: number): number[] =>
    Array.from({ length: steps }, () => {
      const { tokenId } = sampler.sample(logits);
      sampler.accept(tokenId);
      return tokenId;
    });

  it('the same seed gives the same tokens, interleaved or alone, with shared buffers or not', () => {
    const params = { seed: 42, topP: 0.9, repetitionPenalty: 1.2 };
    const alone = run(make(300, params), 20);
    const scratch = createSamplerScratch(300);
    const a = make(300, params, { scratch });
    const b = make(300, { ...params, seed: 43 }, { scratch });
    const interleaved = Array.from({ length: 20 }, () => {
      run(b, 1);
      return run(a, 1)[0];
    });
    expect(interleaved).toEqual(alone);
  });
  it('sampling twice without accept gives the same token', () => {
    const sampler = make(300, { seed: 1 });
    expect(sampler.sample(logits)).toEqual(sampler.sample(logits));
    expect(sampler.position).toBe(0);
  });
  it('goes on where a prompt that holds the first part left off', () => {
    const first = run(make(300, { seed: 5 }, { promptIds: [1, 2] }), 10);
    const resumed = make(300, { seed: 5 }, { promptIds: [1, 2, ...first.slice(0, 4)] });
    expect(resumed.position).toBe(6);
    expect(run(resumed, 6)).toEqual(first.slice(4));
  });
  it('sequences and seeds differ', () => {
    const all = [
      run(make(300, { seed: 5 }), 12),
      run(make(300, { seed: 5 }, { sequence: 1 }), 12),
      run(make(300, { seed: 6 }), 12),
      run(make(300, { seed: 5 + 2 ** 40 }), 12),
    ].map(String);
    expect(new Set(all).size).toBe(4);
  });
  it('without a seed one is chosen, shown, and repeats the run', () => {
    const sampler = make(300);
    expect(Number.isSafeInteger(sampler.seed) && sampler.seed >= 0).toBe(true);
    expect(run(make(300, { seed: sampler.seed }), 10)).toEqual(run(sampler, 10));
    expect(new Set(Array.from({ length: 20 }, () => make(3).seed)).size).toBe(20);
    expect(make(3, { seed: 8 }).seed).toBe(8);
  });
  it('keeps known tokens: a change of the generator or the key is a breaking change', () => {
    expect(run(make(300, { seed: 2026, temperature: 0.8, topK: 40, topP: 0.95 }), 8)).toMatchInlineSnapshot(`
      [
        194,
        53,
        168,
        9,
        188,
        75,
        9,
        9,
      ]
    `);
  });
});

describe('log-probabilities', () => {
  const probabilities = [0.1, 0.4, 0.3, 0.1, 0.1];
  const logits = Float32Array.from(probabilities, (p) => Math.log(p) + 3);
  it('are raw: before masks, bias and temperature, best first, ties to the lowest id', () => {
    const params = { temperature: 0, logprobs: 4, allowedTokenIds: [2], logitBias: new Map([[2, -9]]) };
    const { tokenId, logprob, topLogprobs } = make(5, params).sample(logits);
    expect(tokenId).toBe(2);
    expect(logprob).toBeCloseTo(Math.log(0.3), 6);
    expect(topLogprobs!.map((e) => e.tokenId)).toEqual([1, 2, 0, 3]);
    topLogprobs!.forEach((e) => expect(e.logprob).toBeCloseTo(Math.log(probabilities[e.tokenId]!), 6));
  });
  it('always include the sampled token', () => {
    const { topLogprobs, logprob } = make(5, { temperature: 0, logprobs: 1, allowedTokenIds: [4] }).sample(logits);
    expect(topLogprobs!.map((e) => e.tokenId)).toEqual([1, 4]);
    expect(topLogprobs![1]!.logprob).toBe(logprob);
    const none = make(5, { temperature: 0, logprobs: 0 }).sample(logits);
    expect(none.topLogprobs).toEqual([{ tokenId: 1, logprob: none.logprob }]);
  });
  it('cover the vocabulary when asked, and sum to 1', () => {
    const random = seeded(1).floats(97, 4);
    random[5] = NONE;
    const { topLogprobs } = make(97, { logprobs: 97 }).sample(random);
    expect(topLogprobs!.length).toBe(97);
    expect(topLogprobs!.reduce((sum, e) => sum + Math.exp(e.logprob), 0)).toBeCloseTo(1, 12);
    expect(topLogprobs!.at(-1)).toEqual({ tokenId: 5, logprob: NONE });
    for (let i = 1; i < 97; i++) expect(topLogprobs![i]!.logprob).toBeLessThanOrEqual(topLogprobs![i - 1]!.logprob);
  });
  it('survive logits far from zero', () => {
    expect(make(2, { temperature: 0, logprobs: 0 }).sample(Float32Array.of(1e30, 1e30)).logprob).toBeCloseTo(-Math.LN2, 6); // prettier-ignore
    expect(make(2, { temperature: 0, logprobs: 0 }).sample(Float32Array.of(-5e4, -5e4)).logprob).toBeCloseTo(-Math.LN2, 6); // prettier-ignore
  });
  it('are left out when not asked for, and do not change the token', () => {
    const asked = make(5, { seed: 3, logprobs: 2 }).sample(logits);
    expect(make(5, { seed: 3 }).sample(logits)).toEqual({ tokenId: asked.tokenId });
  });
});

it('does not change the logits, at any offset, and reads no further', () => {
  const buffer = seeded(4).floats(40);
  const before = buffer.slice();
  buffer.fill(NaN, 0, 3).fill(NaN, 13);
  const view = buffer.subarray(3, 13);
  const sampler = make(10, {
    seed: 1,
    topP: 0.5,
    topK: 3,
    minP: 0.01,
    logprobs: 3,
    repetitionPenalty: 2,
    badWords: [[1]],
  });
  sampler.accept(2);
  const { tokenId } = sampler.sample(view);
  expect(view).toEqual(before.subarray(3, 13));
  expect(tokenId).toBeLessThan(10);
});

it('penalties follow the output as it grows', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 8 }),
      fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 20 }),
      (promptIds, outputIds) => {
        const params = { temperature: 0, repetitionPenalty: 1.3, frequencyPenalty: 0.4, presencePenalty: 0.3 };
        const logits = Float32Array.of(1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, -0.1, 0.2, 0.1);
        const sampler = make(10, params, { promptIds });
        outputIds.forEach((tokenId, i) => {
          const want = naivePenalties(logits, { params, promptIds, outputIds: outputIds.slice(0, i), stopIds: [] });
          expect(sampler.sample(logits).tokenId).toBe(want.indexOf(Math.max(...want)));
          sampler.accept(tokenId);
        });
      },
    ),
    { seed: 4 },
  );
});

describe('errors', () => {
  it('name the index of a bad logit, before anything is drawn', () => {
    const sampler = make(3, { seed: 0 });
    expect(() => sampler.sample(Float32Array.of(0, NaN, NaN))).toThrow('Sampler.sample: "logits" must be finite or -Infinity, got NaN at index 1'); // prettier-ignore
    expect(() => sampler.sample(Float32Array.of(0, 0, Infinity))).toThrow('got Infinity at index 2');
    expect(() => make(2, { allowedTokenIds: [0] }).sample(Float32Array.of(0, NaN))).toThrow('got NaN at index 1');
  });
  it('say that no token is left', () => {
    const message =
      'Sampler.sample: no token is left: every logit is -Infinity after allowed ids, bad words and min_tokens';
    expect(() => make(2, { badWords: [[0], [1]] }).sample(Float32Array.of(0, 1))).toThrow(message);
    expect(() => make(2, { allowedTokenIds: [1], minTokens: 1 }, { stopIds: [1] }).sample(Float32Array.of(0, 1))).toThrow(message); // prettier-ignore
    expect(() => make(2, { logprobs: 1 }).sample(Float32Array.of(NONE, NONE))).toThrow(message);
  });
  it('say that a penalty or temperature overflowed', () => {
    expect(() => make(2, { temperature: 0.01 }).sample(Float32Array.of(0, 3e37))).toThrow('logit 1 overflows float32 after penalties and temperature'); // prettier-ignore
  });
  it('check shapes, kinds and ids', () => {
    const sampler = make(3);
    expect(() => sampler.sample(new Float32Array(4))).toThrow('"logits" must have length V = 3, got 4');
    expect(() => sampler.sample([1, 2, 3] as unknown as Float32Array)).toThrow('"logits" must be a Float32Array, got Array'); // prettier-ignore
    expect(() => sampler.accept(3)).toThrow('Sampler.accept: "tokenId" must be an integer in [0, 2], got 3');
    expect(() => sampler.accept(0.5)).toThrow('"tokenId" must be an integer in [0, 2], got 0.5');
    expect(() => make(3, {}, { promptIds: [0, 3] })).toThrow('Sampler: "promptIds" must hold token ids in [0, 3), got 3 at index 1'); // prettier-ignore
    expect(() => make(3, {}, { stopIds: [-1] })).toThrow('Sampler: "stopIds" must hold token ids in [0, 3), got -1 at index 0'); // prettier-ignore
    expect(() => make(3, {}, { sequence: 2 ** 32 })).toThrow('"sequence" must be an integer in [0, 4294967295], got 4294967296'); // prettier-ignore
    expect(() => make(3, {}, { scratch: createSamplerScratch(4) })).toThrow(
      '"scratch" must be for vocabSize = 3, got 4',
    );
    expect(() => createSamplerScratch(0)).toThrow('"vocabSize" must be an integer in [1, 2147483647], got 0');
  });
});

it('allocates no buffers once warm', () => {
  const vocabSize = 50_000;
  const logits = seeded(8).floats(vocabSize, 3);
  const params = {
    seed: 1,
    topK: 100,
    topP: 0.9,
    minP: 0.001,
    repetitionPenalty: 1.1,
    badWords: [[1, 2]],
    minTokens: 9,
  };
  const sampler = make(vocabSize, params, { stopIds: [4] });
  const step = (): void => sampler.accept(sampler.sample(logits).tokenId);
  step();
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 40; i++) step();
  expect(process.memoryUsage().arrayBuffers).toBeLessThanOrEqual(before);
});
