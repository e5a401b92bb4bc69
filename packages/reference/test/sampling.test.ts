import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { isGreedy, logSoftmax, processLogits, type SamplingKnobs } from '../src/index';

const NONE = -Infinity;
const history = { promptIds: [] as number[], outputIds: [] as number[] };
const run = (logits: number[], knobs: SamplingKnobs, h: object = {}): number[] => [
  ...processLogits(logits, knobs, { ...history, ...h }),
];
const kept = (logits: number[], knobs: SamplingKnobs): number[] =>
  run(logits, knobs).flatMap((v, id) => (v > NONE ? [id] : []));

it('does nothing by default and leaves its input alone', () => {
  const logits = Float32Array.of(1, 2, 3);
  expectBytes(processLogits(logits, {}, history), logits);
  processLogits(logits, { temperature: 0.5 }, history);
  expect([...logits]).toEqual([1, 2, 3]);
});

it('temperature divides; 0 is greedy; below 0.01 it counts as 0.01', () => {
  expect(run([1, -2], { temperature: 0.5 })).toEqual([2, -4]);
  expect(run([1, -2], { temperature: 0, topK: 1, minP: 1 })).toEqual([1, -2]);
  expect(run([1, -2], { temperature: 0.001 })).toEqual([100, -200]);
  expect([isGreedy(0), isGreedy(9e-6), isGreedy(1e-5), isGreedy()]).toEqual([true, true, false, false]);
  expect(() => run([1], { temperature: NaN })).toThrow('"temperature"');
  expect(() => run([1], { temperature: -1 })).toThrow('"temperature"');
});

describe('penalties', () => {
  it('repetition sees prompt and output and pushes both signs down', () => {
    const h = { promptIds: [0, 1], outputIds: [2, 2] };
    expect(run([4, -4, 4, 4], { repetitionPenalty: 2 }, h)).toEqual([2, -8, 2, 4]);
  });
  it('presence and frequency see the output only', () => {
    const h = { promptIds: [0], outputIds: [1, 2, 2] };
    expect(run([4, 4, 4], { presencePenalty: 1 }, h)).toEqual([4, 3, 3]);
    expect(run([4, 4, 4], { frequencyPenalty: 0.5 }, h)).toEqual([4, 3.5, 3]);
  });
  it('repetition comes first, then the two that subtract, then temperature', () => {
    const knobs = { repetitionPenalty: 2, frequencyPenalty: 1, presencePenalty: 2, temperature: 0.5 };
    expect(run([8, 1], knobs, { outputIds: [0, 0] })).toEqual([0, 2]);
  });
  it('refuses a factor of 0 and ids outside the vocabulary', () => {
    expect(() => run([1], { repetitionPenalty: 0 })).toThrow('"repetitionPenalty"');
    expect(() => run([1], { frequencyPenalty: NaN })).toThrow('"frequencyPenalty"');
    expect(() => run([1], { presencePenalty: Infinity })).toThrow('"presencePenalty"');
    expect(() => run([1], {}, { promptIds: [1] })).toThrow('"promptIds" must hold token ids in [0, 1), got 1');
  });
});

describe('masks', () => {
  it('allowed ids, then bias', () => {
    const logitBias = new Map([
      [0, 5],
      [2, 1],
    ]);
    expect(run([1, 1, 1], { allowedTokenIds: [1, 2], logitBias })).toEqual([NONE, 1, 2]);
    expect(() => run([1], { logitBias: new Map([[1, 1]]) })).toThrow('"logitBias id"');
  });
  it('bad words: the last id, when the output ends with the others', () => {
    const knobs = { badWords: [[0], [1, 2], [1, 1, 1]] };
    expect(run([1, 1, 1], knobs)).toEqual([NONE, 1, 1]);
    expect(run([1, 1, 1], knobs, { outputIds: [1] })).toEqual([NONE, 1, NONE]);
    expect(run([1, 1, 1], knobs, { outputIds: [1, 1] })).toEqual([NONE, NONE, NONE]);
    expect(run([1, 1, 1], knobs, { promptIds: [1], outputIds: [] })).toEqual([NONE, 1, 1]);
  });
  it('stop ids until the output is long enough', () => {
    const knobs = { minTokens: 2 };
    const stopIds = [1];
    expect(run([1, 1], knobs, { stopIds, outputIds: [0] })).toEqual([1, NONE]);
    expect(run([1, 1], knobs, { stopIds, outputIds: [0, 0] })).toEqual([1, 1]);
  });
});

describe('truncation', () => {
  const probabilities = [0.4, 0.3, 0.2, 0.1];
  const logits = probabilities.map(Math.log);
  it('top-k keeps ties of the k-th', () => {
    expect(kept([1, 3, 2, 2, 0], { topK: 2 })).toEqual([1, 2, 3]);
    expect(kept([1, 3, 2], { topK: 0 })).toEqual([0, 1, 2]);
    expect(kept([1, 3, 2], { topK: -1 })).toEqual([0, 1, 2]);
    expect(kept([1, 3, 2], { topK: 9 })).toEqual([0, 1, 2]);
  });
  it('top-p drops the tail whose sum is at most 1 - p', () => {
    expect(kept(logits, { topP: 0.65 })).toEqual([0, 1]);
    expect(kept(logits, { topP: 0.75 })).toEqual([0, 1, 2]);
    expect(kept(logits, { topP: 0 })).toEqual([0]);
    expect(kept(logits, { topP: 1 })).toEqual([0, 1, 2, 3]);
    expect(kept([0, 0, 0, 0], { topP: 0.4 })).toEqual([0, 1]);
    expect(kept([0, 0], { topP: 0.5 })).toEqual([0]); // at most: exactly 1 - p goes
  });
  it('min-p is relative to the best', () => {
    expect(kept(logits, { minP: 0.6 })).toEqual([0, 1]);
    expect(kept(logits, { minP: 0 })).toEqual([0, 1, 2, 3]);
    expect(kept([0, 0, -1], { minP: 1 })).toEqual([0, 1]);
  });
  it('comes after temperature, in the order min-p, top-k, top-p', () => {
    // T = 2 flattens 0.4 : 0.1 to 2 : 1.
    expect(kept(logits, { temperature: 2, minP: 0.49 })).toEqual([0, 1, 2, 3]);
    expect(kept(logits, { minP: 0.49 })).toEqual([0, 1, 2]);
    // Top-p works on what top-k left: 0.4, 0.3 become 4/7, 3/7.
    expect(kept(logits, { topK: 2, topP: 0.5 })).toEqual([0]);
    expect(kept(logits, { topK: 2, topP: 0.6 })).toEqual([0, 1]);
  });
  it('never takes everything', () => {
    const random = seeded(1);
    for (let i = 0; i < 50; i++) {
      const x = [...random.floats(20, 4)];
      expect(kept(x, { topK: 1 + random.int(20), topP: random.next(), minP: random.next() }).length).toBeGreaterThan(0);
    }
  });
  it('refuses values outside their range', () => {
    expect(() => run([1], { topP: 1.1 })).toThrow('"topP" must be a finite number in [0, 1], got 1.1');
    expect(() => run([1], { minP: NaN })).toThrow('"minP"');
    expect(() => run([1], { topK: 1.5 })).toThrow('"topK"');
    expect(() => run([1], { topK: -2 })).toThrow('"topK"');
  });
});

it('logSoftmax', () => {
  expectClose(logSoftmax([0, Math.log(3), NONE]), [Math.log(0.25), Math.log(0.75), NONE], { maxAbs: 1e-15 });
  expectClose(logSoftmax([1e5, 1e5]), [-Math.LN2, -Math.LN2], { maxAbs: 1e-15 });
});
