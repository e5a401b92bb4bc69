import { seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type LogitsScan, philox4x32, Sampler, type SamplingParams } from '../src/index';

/** A scan by definition, which counts its calls. */
class NaiveScan implements LogitsScan {
  calls = 0;
  firstNonFinite(logits: Float32Array, begin: number, end: number): number {
    const i = logits.subarray(begin, end).findIndex((x) => !Number.isFinite(x));
    return i < 0 ? -1 : begin + i;
  }
  argmax(logits: Float32Array, n: number): number {
    this.calls++;
    const x = [...logits.subarray(0, n)];
    const bad = x.findIndex((v) => !(v < Infinity));
    return bad >= 0 ? -1 - bad : x.indexOf(Math.max(...x));
  }
  top(logits: Float32Array, n: number, k: number, t: number, ids: Int32Array, values: Float32Array): number {
    this.calls++;
    const x = [...logits.subarray(0, n)];
    if (x.some((v) => !(v < Infinity))) return -1;
    const kth = Math.fround([...x].sort((a, b) => b - a)[k - 1]! / t);
    const found = x.flatMap((v, i) => (Math.fround(v / t) >= kth ? [i] : []));
    found.slice(0, ids.length).forEach((id, i) => ([ids[i], values[i]] = [id, x[id]!]));
    return found.length;
  }
  atLeast(logits: Float32Array, n: number, floor: number, ids: Int32Array, values: Float32Array): number {
    this.calls++;
    let count = 0;
    for (let i = 0; i < n; i++) {
      if (!(logits[i]! >= floor)) continue;
      if (count < ids.length) [ids[count], values[count]] = [i, logits[i]!];
      count++;
    }
    return count;
  }
  /** The one that is drawn, and its neighbours. */
  mayWin(logits: Float32Array, n: number, t: number, draw: Int32Array, ids: Int32Array, values: Float32Array): number {
    this.calls++;
    const [k0, k1, sequence, position] = draw as unknown as [number, number, number, number];
    const words = new Uint32Array(4);
    let [winner, score] = [-1, -Infinity];
    for (let i = 0; i < n; i++) {
      if (!(logits[i]! < Infinity)) return -1;
      philox4x32(i >>> 2, position, sequence, 0, k0, k1, words);
      const s = Math.fround(logits[i]! / t) - Math.log(-Math.log((words[i & 3]! + 0.5) / 2 ** 32));
      if (s > score) [winner, score] = [i, s];
    }
    if (winner < 0 || !(Math.fround(Math.max(...logits.subarray(0, n)) / t) < Infinity)) return -1;
    const found = [winner - 1, winner, winner + 1].filter((i) => i >= 0 && i < n);
    found.slice(0, ids.length).forEach((id, i) => ([ids[i], values[i]] = [id, logits[id]!]));
    return found.length;
  }
  /** Off by as much as it may be. */
  massBefore(logits: Float32Array, n: number, t: number, id: number): number {
    this.calls++;
    const x = [...logits.subarray(0, n)].map((v) => Math.fround(v / t));
    const most = Math.max(...x);
    let [all, before] = [0, 0];
    x.forEach((v, i) => {
      const weight = Math.exp(v - most);
      all += weight;
      if (i !== id && v >= x[id]!) before += weight;
    });
    return before === 0 ? 0 : Math.max(0, Math.min(1, before / all + 0.99e-5 * Math.sign((id % 2) - 0.5)));
  }
}

const VOCAB = 61;
const id = fc.integer({ min: 0, max: VOCAB - 1 });
const logit = fc.oneof(
  fc.integer({ min: -6, max: 6 }).map((n) => n / 2),
  fc.double({ min: -30, max: 30, noNaN: true }).map(Math.fround),
  fc.constantFrom(-0, 0, -Infinity, 1e-45, -1e-45, 20, 20.000002),
);
const unit = fc.oneof(fc.constantFrom(0.05, 0.1, 0.5, 0.9, 0.95), fc.double({ min: 0.001, max: 1, noNaN: true }));
const anyParams: fc.Arbitrary<SamplingParams> = fc.record(
  {
    temperature: fc.oneof(fc.constantFrom(0, 0.5, 0.7, 1, 3, 1e6), fc.double({ min: 0.01, max: 5, noNaN: true })),
    topK: fc.integer({ min: -1, max: VOCAB + 2 }),
    topP: unit,
    minP: unit,
    repetitionPenalty: fc.constantFrom(1, 1.1, 2),
    presencePenalty: fc.double({ min: -2, max: 2, noNaN: true }),
    frequencyPenalty: fc.constantFrom(0, 0.5),
    logitBias: fc.array(fc.tuple(id, fc.double({ min: -9, max: 9, noNaN: true }))).map((pairs) => new Map(pairs)),
    badWords: fc.array(fc.array(id, { minLength: 1, maxLength: 2 }), { maxLength: 3 }),
    allowedTokenIds: fc.array(id, { minLength: 3 }),
    minTokens: fc.integer({ min: 0, max: 3 }),
    logprobs: fc.integer({ min: 0, max: 3 }),
  },
  { requiredKeys: [] },
);

/** What four steps answer, or the error. */
function run(logits: Float32Array, params: SamplingParams, promptIds: number[], scan: LogitsScan | undefined): unknown {
  const sampler = new Sampler({
    vocabSize: logits.length,
    params: { ...params, seed: 9 },
    promptIds,
    stopIds: [3, 4],
    ...(scan ? { scan } : {}),
  });
  const out = [];
  try {
    for (let i = 0; i < 4; i++) {
      out.push(sampler.sample(logits));
      sampler.accept(out.at(-1)!.tokenId);
    }
  } catch (error) {
    out.push((error as Error).message);
  }
  return out;
}

describe('a scan', () => {
  it('changes no answer and no error, whatever the knobs', () => {
    let used = 0;
    fc.assert(
      fc.property(
        fc.array(logit, { minLength: VOCAB, maxLength: VOCAB }),
        anyParams,
        fc.array(id, { maxLength: 6 }),
        fc.tuple(fc.integer({ min: 0, max: 19 }), id, fc.constantFrom(NaN, Infinity)),
        (values, params, promptIds, [rare, place, bad]) => {
          const logits = Float32Array.from(values);
          if (rare === 0) logits[place] = bad;
          const scan = new NaiveScan();
          expect(run(logits, params, promptIds, scan)).toEqual(run(logits, params, promptIds, undefined));
          used += scan.calls;
        },
      ),
      { numRuns: 3000, seed: 5 },
    );
    expect(used).toBeGreaterThan(2000);
  });

  it('changes no answer on a large vocabulary of close logits', () => {
    const logits = seeded(3).floats(20_000, 1.5);
    for (const params of [
      { topK: 50, topP: 0.9, temperature: 0.8 },
      { topK: 1 },
      { topK: 5000 }, // more than few
      { minP: 0.3, temperature: 0.5 },
      { minP: 0.9, topP: 0.5 },
      { temperature: 0 },
      { temperature: 0, repetitionPenalty: 1.3 },
      { topK: 40, topP: 0.95, temperature: 0.7, frequencyPenalty: 0.5 },
      { topP: 0.9 },
      { topP: 0.5, temperature: 0.7 },
      { topP: 0.99, temperature: 3, presencePenalty: 0.1 },
      { topP: 0.01 },
      {},
      { temperature: 2 },
      { temperature: 0.7, presencePenalty: 0.5, minTokens: 2 },
    ]) {
      const scan = new NaiveScan();
      expect(run(logits, params, [1, 2, 3], scan)).toEqual(run(logits, params, [1, 2, 3], undefined));
    }
  });

  it('is asked for what the knobs bound, and not for the rest', () => {
    const logits = seeded(1).floats(100);
    const calls = (params: SamplingParams): number => {
      const scan = new NaiveScan();
      new Sampler({ vocabSize: 100, params, promptIds: [], scan }).sample(logits);
      return scan.calls;
    };
    expect(calls({ temperature: 0 })).toBe(1);
    expect(calls({ topK: 5, topP: 0.9 })).toBe(1);
    expect(calls({ minP: 0.5 })).toBe(2);
    expect(calls({ topK: 5, logitBias: new Map([[1, 2]]) })).toBe(2);
    expect(calls({})).toBe(1);
    expect(calls({ topP: 0.9 })).toBe(2);
    expect(calls({ topK: 5, minP: 0.1, topP: 0.9 })).toBe(1);
    expect(calls({ topK: 5, logprobs: 2 })).toBe(0);
  });

  it('does not change the logits, and allocates no buffers once warm', () => {
    const logits = seeded(8).floats(50_000, 3);
    const copy = logits.slice();
    const scan: LogitsScan = {
      firstNonFinite: () => -1,
      argmax: () => 0,
      top: (x, n, _k, _t, ids, values) => new NaiveScan().atLeast(x, n, 2.999, ids, values),
      atLeast: () => 0,
      mayWin: () => -1,
      massBefore: () => -1,
    };
    const sampler = new Sampler({ vocabSize: 50_000, params: { seed: 1, topK: 9, topP: 0.9 }, promptIds: [], scan });
    const step = (): void => sampler.accept(sampler.sample(logits).tokenId);
    step();
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 40; i++) step();
    expect(process.memoryUsage().arrayBuffers).toBeLessThanOrEqual(before);
    expect(logits).toEqual(copy);
  });
});
