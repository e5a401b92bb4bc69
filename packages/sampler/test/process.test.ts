import { seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { processLogits, type ProcessStage, type SamplingParams } from '../src/index';
import { naivePenalties, naiveTruncation, type NaiveState } from './naive';

const NONE = -Infinity;

/** Processed logits of a prompt without output. */
function process(
  logits: readonly number[],
  params: SamplingParams,
  promptIds: number[] = [],
  outputIds: number[] = [],
) {
  return [...processLogits(Float32Array.from(logits), { params, promptIds, outputIds })];
}

/** Ids that are not masked. */
function kept(logits: readonly number[], params: SamplingParams): number[] {
  return process(logits, params).flatMap((x, id) => (x === NONE ? [] : [id]));
}

/** Logits of given probabilities. */
const logs = (probabilities: number[]): number[] => probabilities.map((p) => Math.log(p));

describe('each knob alone', () => {
  it('does nothing when nothing is asked', () => {
    expect(process([1, -2, 0.5, NONE], {})).toEqual([1, -2, 0.5, NONE]);
  });
  it('allowedTokenIds masks the rest', () => {
    expect(process([1, 2, 3, 4], { allowedTokenIds: [2, 0, 2] })).toEqual([1, NONE, 3, NONE]);
  });
  it('badWords masks the last id when the output ends in the others', () => {
    const badWords = [[3], [1, 2], [0, 1, 0]];
    expect(process([1, 1, 1, 1], { badWords }, [], [])).toEqual([1, 1, 1, NONE]);
    expect(process([1, 1, 1, 1], { badWords }, [], [1])).toEqual([1, 1, NONE, NONE]);
    expect(process([1, 1, 1, 1], { badWords }, [], [0, 1])).toEqual([NONE, 1, NONE, NONE]);
    expect(process([1, 1, 1, 1], { badWords }, [0], [1])).toEqual([1, 1, NONE, NONE]); // [0, 1, 0] begins in the prompt
    expect(process([1, 1, 1, 1], { badWords }, [], [0, 1, 2])).toEqual([1, 1, 1, NONE]); // the prefix is over
    expect(process([1, 1, 1, 1], { badWords }, [1], [])).toEqual([1, 1, 1, NONE]); // nothing has been generated
  });
  it('minTokens masks stop ids until enough tokens are out', () => {
    const at = (outputIds: number[]) => [
      ...processLogits(Float32Array.of(1, 2, 3), {
        params: { minTokens: 2 },
        promptIds: [0, 0],
        outputIds,
        stopIds: [2, 0],
      }),
    ];
    expect(at([])).toEqual([NONE, 2, NONE]);
    expect(at([1])).toEqual([NONE, 2, NONE]);
    expect(at([1, 1])).toEqual([1, 2, 3]);
  });
  it('logitBias is added, and does not lift a mask', () => {
    expect(process([1, 2, 3], { logitBias: new Map([[0, 100], [2, -1.5]]), badWords: [[0]] })).toEqual([NONE, 2, 1.5]); // prettier-ignore
  });
  it('repetition divides positive and multiplies other logits, once, of prompt and output', () => {
    expect(process([2, -2, 4, 0, 8], { repetitionPenalty: 2 }, [0, 0, 1], [2, 2])).toEqual([1, -4, 2, 0, 8]);
  });
  it('frequency counts and presence marks the output only', () => {
    expect(process([2, 2, 2], { frequencyPenalty: 0.5 }, [0], [1, 1, 2])).toEqual([2, 1, 1.5]);
    expect(process([2, 2, 2], { presencePenalty: 0.5 }, [0], [1, 1, 2])).toEqual([2, 1.5, 1.5]);
    expect(process([2, 2, 2], { presencePenalty: -2, frequencyPenalty: -1 }, [], [1, 1])).toEqual([2, 6, 2]);
  });
  it('temperature divides in float32, and is raised to 0.01', () => {
    expect(process([1, 3], { temperature: 0.3 })).toEqual([Math.fround(1 / Math.fround(0.3)), Math.fround(3 / Math.fround(0.3))]); // prettier-ignore
    expect(process([1, 3], { temperature: 0.001 })).toEqual(process([1, 3], { temperature: 0.01 }));
    expect(process([1, 3], { temperature: 0.001 })[0]).toBeCloseTo(100, 3);
  });
  it('minP keeps what reaches its share of the likeliest', () => {
    expect(kept(logs([0.4, 0.2, 0.1, 0.3]), { minP: 0.4 })).toEqual([0, 1, 3]);
    expect(kept([2, 1, 2, 1.9999], { minP: 1 })).toEqual([0, 2]);
    expect(kept([0, -1, -1.0001], { minP: Math.exp(-1) })).toEqual([0, 1]); // equality stays
    expect(kept([0, -0.0001, -5], { minP: 1e-9 })).toEqual([0, 1, 2]);
  });
  it('topK keeps ties with the k-th', () => {
    expect(kept([1, 3, 2, 2, 0], { topK: 2 })).toEqual([1, 2, 3]);
    expect(kept([1, 3, 2, 2, 0], { topK: 1 })).toEqual([1]);
    expect(kept([-0, 0, 1, -1], { topK: 2 })).toEqual([0, 1, 2]); // the two zeros are equal
    expect(kept([-3, -1, -2], { topK: 2 })).toEqual([1, 2]);
    for (const topK of [0, -1, 5, 9]) expect(kept([1, 3, 2, 2, 0], { topK })).toEqual([0, 1, 2, 3, 4]);
    expect(kept([1, NONE, 2, NONE], { topK: 3 })).toEqual([0, 2]);
  });
  it('topP keeps the smallest set that reaches p, of equals the lowest ids, and at least one', () => {
    expect(kept(logs([0.5, 0.1, 0.3, 0.1]), { topP: 0.75 })).toEqual([0, 2]);
    expect(kept(logs([0.5, 0.1, 0.3, 0.1]), { topP: 0.85 })).toEqual([0, 1, 2]);
    expect(kept([0, 0, 0, 0], { topP: 0.5 })).toEqual([0, 1]); // cumulative <= 1 - p is dropped, exactly at the edge too
    expect(kept([0, 0, 0, 0], { topP: 0.51 })).toEqual([0, 1, 2]);
    expect(kept([0, 0, 0, 0], { topP: 1e-12 })).toEqual([0]);
    expect(kept([0, 5, 5], { topP: 1e-12 })).toEqual([1]);
    expect(kept([0, 5, 5], { topP: 1 })).toEqual([0, 1, 2]);
    expect(kept([0, -90, NONE, -2000], { topP: 0.9999999999 })).toEqual([0, 1]); // p is 1 in float32: zero probabilities go
  });
});

describe('the order is vLLM’s', () => {
  it('temperature comes before top_p: another order keeps another set', () => {
    const x = logs([0.5, 0.3, 0.2]);
    expect(kept(x, { topP: 0.75 })).toEqual([0, 1]); // 0.5 + 0.3 reach it at T = 1
    expect(kept(x, { topP: 0.75, temperature: 3 })).toEqual([0, 1, 2]); // flattened first: 0.39, 0.33, 0.28
    expect(kept(x, { topP: 0.75, temperature: 0.3 })).toEqual([0]); // sharpened first: 0.81, 0.15, 0.04
  });
  it('min_p comes before top_p: the mass of what it dropped is gone', () => {
    const x = logs([0.4, 0.3, 0.1, 0.1, 0.1]);
    expect(kept(x, { topP: 0.6 })).toEqual([0, 1]);
    expect(kept(x, { topP: 0.55, minP: 0.5 })).toEqual([0]); // of 0.7, the first alone has 0.57
    expect(kept(x, { topP: 0.55 })).toEqual([0, 1]);
  });
  it('top_k comes before top_p, renormalised', () => {
    const x = logs([0.4, 0.3, 0.2, 0.1]);
    expect(kept(x, { topP: 0.55 })).toEqual([0, 1]);
    expect(kept(x, { topP: 0.55, topK: 2 })).toEqual([0]); // 0.4 / 0.7
  });
  it('bias comes before repetition', () => {
    expect(process([-1], { logitBias: new Map([[0, 3]]), repetitionPenalty: 2 }, [0])).toEqual([1]); // (-1 + 3) / 2, not -1 * 2 + 3
  });
  it('repetition comes before frequency and presence', () => {
    expect(process([1], { repetitionPenalty: 2, frequencyPenalty: 1, presencePenalty: 1 }, [], [0])).toEqual([-1.5]);
  });
  it('greedy parameters end after the penalties', () => {
    expect(process([4, 2, 1], { temperature: 0, topK: 1, topP: 0.1, minP: 1, repetitionPenalty: 2 }, [0])).toEqual([2, 2, 1]); // prettier-ignore
  });
});

it('stages end where they say', () => {
  const logits = Float32Array.of(4, 2, 1);
  const at = (stage: ProcessStage) => [
    ...processLogits(logits, { params: { temperature: 2, topK: 1, repetitionPenalty: 2 }, promptIds: [0], stage }),
  ];
  expect(at('penalties')).toEqual([2, 2, 1]);
  expect(at('temperature')).toEqual([1, 1, 0.5]);
  expect(at('truncation')).toEqual([1, 1, NONE]);
  expect(logits).toEqual(Float32Array.of(4, 2, 1));
});

it('writes to out, which may be the input', () => {
  const logits = Float32Array.of(1, 2, 3);
  const out = new Float32Array(8).fill(NaN);
  expect(processLogits(logits, { params: { topK: 1 }, promptIds: [] }, out)).toBe(out);
  expect([...out.subarray(0, 4)]).toEqual([NONE, NONE, 3, NaN]);
  processLogits(logits, { params: { topK: 1 }, promptIds: [] }, logits);
  expect([...logits]).toEqual([NONE, NONE, 3]);
});

it('refuses what it cannot process', () => {
  const run = (logits: Float32Array, more: object) => () =>
    processLogits(logits, { params: {}, promptIds: [], ...more });
  const one = Float32Array.of(1, 2);
  expect(run(Float32Array.of(1, NaN), {})).toThrow(
    'processLogits: "logits" must be finite or -Infinity, got NaN at index 1',
  );
  expect(run(one, { promptIds: [2] })).toThrow(
    'processLogits: "promptIds" must hold token ids in [0, 2), got 2 at index 0',
  );
  expect(run(one, { outputIds: [0, -1] })).toThrow('"outputIds" must hold token ids in [0, 2), got -1 at index 1');
  expect(run(one, { stopIds: [0.5] })).toThrow('"stopIds" must hold token ids in [0, 2), got 0.5 at index 0');
  expect(run(one, { stage: 'all' })).toThrow('"stage" must be one of penalties, temperature, truncation, got all');
  expect(run(one, { params: { badWords: [[0], [1]] } })).toThrow('processLogits: no token is left');
  expect(run(Float32Array.of(NONE, NONE), { params: { temperature: 0 } })).toThrow('no token is left');
  expect(run(Float32Array.of(0, 3e38), { params: { temperature: 0.5 } })).toThrow('logit 1 overflows float32');
  expect(() => processLogits([1] as unknown as Float32Array, { params: {}, promptIds: [] })).toThrow('"logits" must be a Float32Array, got Array'); // prettier-ignore
  expect(() => processLogits(one, { params: {}, promptIds: [] }, new Float32Array(1))).toThrow('"out" must hold at least V = 2 elements, got 1'); // prettier-ignore
});

const VOCAB = 23;
const id = fc.integer({ min: 0, max: VOCAB - 1 });
const ids = fc.array(id, { maxLength: 12 });
/** Small halves give many ties, exactly representable sums and signed zeros; floats give the rest. */
const logit = fc.oneof(
  fc.integer({ min: -6, max: 6 }).map((n) => n / 2),
  fc.double({ min: -30, max: 30, noNaN: true }).map(Math.fround),
  fc.constantFrom(-0, NONE, -200, 20),
);
const unit = fc.oneof(fc.constantFrom(0.1, 0.5, 0.9, 0.95), fc.double({ min: 0.001, max: 1, noNaN: true }));
const anyParams: fc.Arbitrary<SamplingParams> = fc.record(
  {
    temperature: fc.oneof(fc.constantFrom(0.001, 0.5, 1, 2), fc.double({ min: 0.01, max: 5, noNaN: true })),
    topK: fc.integer({ min: -1, max: VOCAB + 2 }),
    topP: unit,
    minP: unit,
    repetitionPenalty: fc.constantFrom(0.5, 1, 1.1, 2),
    presencePenalty: fc.double({ min: -2, max: 2, noNaN: true }),
    frequencyPenalty: fc.double({ min: -2, max: 2, noNaN: true }),
    logitBias: fc.array(fc.tuple(id, fc.double({ min: -9, max: 9, noNaN: true }))).map((pairs) => new Map(pairs)),
    badWords: fc.array(fc.array(id, { minLength: 1, maxLength: 3 }), { maxLength: 3 }),
    allowedTokenIds: fc.array(id, { minLength: 3 }),
    minTokens: fc.integer({ min: 0, max: 6 }),
  },
  { requiredKeys: [] },
);

it('equals a naive implementation, whatever the knobs', () => {
  fc.assert(
    fc.property(
      fc.array(logit, { minLength: VOCAB, maxLength: VOCAB }),
      anyParams,
      ids,
      ids,
      fc.array(id, { maxLength: 3 }),
      (values, params, promptIds, outputIds, stopIds) => {
        const logits = Float32Array.from(values);
        const state: NaiveState = { params, promptIds, outputIds, stopIds };
        const penalized = naivePenalties(logits, state);
        if (Math.max(...penalized) === NONE) {
          expect(() => processLogits(logits, state)).toThrow('no token is left');
          return;
        }
        const plus = (x: number): number => x + 0; // the sign of a zero means nothing here
        expect([...processLogits(logits, { ...state, stage: 'penalties' })].map(plus)).toEqual(penalized.map(plus));
        expect([...processLogits(logits, state)].map(plus)).toEqual(naiveTruncation(penalized, params).map(plus));
      },
    ),
    { numRuns: 3000, seed: 11 },
  );
});

it('equals the naive implementation on a large vocabulary of close logits', () => {
  const random = seeded(3);
  const logits = random.floats(20_000, 1.5);
  for (const params of [
    { topK: 50 },
    { topP: 0.9 },
    { topK: 1000, topP: 0.5 },
    { minP: 0.02, topP: 0.8, topK: 300, temperature: 0.7 },
  ]) {
    const want = naiveTruncation([...logits], params);
    expect([...processLogits(logits, { params, promptIds: [] })]).toEqual(want);
    expect(want.filter((x) => x !== NONE).length).toBeGreaterThan(4);
  }
});
