import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import {
  type Expert,
  expertForward,
  hashIds,
  linear,
  mixtureOfExperts,
  nvfp4RowDecodeScales,
  route,
  routerScores,
  roundTripNvfp4,
  swiglu,
} from '../src/index';

describe('routerScores', () => {
  it('follow their formulas', () => {
    expectClose(routerScores([0, 1, -3], 'sqrtsoftplus'), [Math.log(2), Math.log(1 + Math.E), Math.log(1 + Math.exp(-3))].map(Math.sqrt), { maxAbs: 1e-15 }); // prettier-ignore
    expectClose(routerScores([0, Math.log(3)], 'sigmoid'), [0.5, 0.75], { maxAbs: 1e-15 });
    expectClose(routerScores([0, Math.log(3)], 'softmax'), [0.25, 0.75], { maxAbs: 1e-15 });
  });
  it('survive large logits', () => {
    expect(routerScores([1e4], 'sqrtsoftplus')[0]).toBe(100);
    expect(routerScores([-1e4], 'sqrtsoftplus')[0]).toBe(0);
    expect([...routerScores([1e4, 0], 'softmax')]).toEqual([1, 0]);
    expect([...routerScores([-1e4, 1e4], 'sigmoid')]).toEqual([0, 1]);
  });
  it('refuse an unknown function', () =>
    expect(() => routerScores([1], 'relu' as never)).toThrow(
      '"scoring" must be one of sqrtsoftplus, softmax, sigmoid',
    ));
});

describe('route', () => {
  const base = {
    t: 1,
    numExperts: 4,
    topk: 2,
    scoring: 'sigmoid',
    normTopkProb: true,
    routedScalingFactor: 1.5,
  } as const;
  const logits = [2, 1, 0, -1];
  const s = [...routerScores(logits, 'sigmoid')];
  it('chooses by score + bias and weighs by score', () => {
    const { topkIds, topkWeights } = route(logits, { ...base, bias: [0, 0, 0, 5] });
    expect([...topkIds]).toEqual([3, 0]);
    expectClose(
      topkWeights,
      [s[3]!, s[0]!].map((v) => (1.5 * v) / (s[3]! + s[0]!)),
      { maxAbs: 1e-15 },
    );
  });
  it('without normalisation only scales', () => {
    const { topkIds, topkWeights } = route(logits, { ...base, normTopkProb: false });
    expect([...topkIds]).toEqual([0, 1]);
    expectClose(topkWeights, [1.5 * s[0]!, 1.5 * s[1]!], { maxAbs: 1e-15 });
  });
  it('ties go to the lowest expert', () => {
    expect([...route([1, 1, 1, 1], base).topkIds]).toEqual([0, 1]);
    expect([...route([0, 1, 1, 1], { ...base, topk: 4 }).topkIds]).toEqual([1, 2, 3, 0]);
  });
  it('hash layers: the table chooses, the scores weigh', () => {
    const ids = hashIds([2, 0], [0, 1, 2, 3, 3, 1], 2);
    expect([...ids]).toEqual([3, 1, 0, 1]);
    const { topkIds, topkWeights } = route([...logits, ...logits], { ...base, t: 2, topkIds: ids });
    expectBytes(topkIds, ids);
    expectClose(
      topkWeights.subarray(0, 2),
      [s[3]!, s[1]!].map((v) => (1.5 * v) / (s[3]! + s[1]!)),
      { maxAbs: 1e-15 },
    );
  });
  it('all scores zero does not divide by zero', () => {
    const { topkWeights } = route([-1e6, -1e6, -1e6, -1e6], { ...base, scoring: 'sqrtsoftplus' });
    expect([...topkWeights]).toEqual([0, 0]);
  });
  it('refuses what does not fit', () => {
    expect(() => route(logits, { ...base, topk: 5 })).toThrow('"topk" must be an integer in [1, 4], got 5');
    expect(() => route([1], base)).toThrow('T*E = 4, got 1');
    expect(() => route(logits, { ...base, bias: [1] })).toThrow('"bias" must have length E = 4, got 1');
    expect(() => route(logits, { ...base, topkIds: [0] })).toThrow('T*topk = 2, got 1');
    expect(() => route(logits, { ...base, topkIds: [0, 4] })).toThrow(
      '"topkIds[0, 1]" must be an integer in [0, 3], got 4',
    );
    expect(() => hashIds([3], [0, 1, 2], 1)).toThrow('"tokenIds[0]" must be an integer in [0, 2], got 3');
  });
});

const [t, d, i, experts, topk] = [5, 32, 16, 4, 2];
const random = seeded(12);
const all: Expert[] = Array.from({ length: experts }, () => ({
  w1: random.floats(i * d, 0.3),
  w3: random.floats(i * d, 0.3),
  w2: random.floats(d * i, 0.3),
  w13InputScale: 0.002,
  w2InputScale: 0.01,
}));
const x = random.floats(t * d);
const shape = { d, i, swigluLimit: 10 };

describe('expertForward', () => {
  const chain = (input: ArrayLike<number>, m: number, hiddenMap: (h: Float64Array) => Float64Array): Float64Array => {
    const { w1, w3, w2 } = all[1]!;
    const w13 = Float64Array.from([...Array.from(w1), ...Array.from(w3)]);
    const hidden = swiglu(linear(input, w13, { m, n: 2 * i, k: d }), { m, i, limit: 10 });
    return linear(hiddenMap(hidden), w2, { m, n: d, k: i });
  };
  it('is w2 . swiglu(w1 x, w3 x)', () => {
    expectClose(
      expertForward(x, all[1]!, shape),
      chain(x, t, (h) => h),
      { maxAbs: 1e-14 },
    );
  });
  it('quantizes both inputs with their own scale', () => {
    const input = roundTripNvfp4(x, { m: t, k: d, globalDecodeScale: 0.002 });
    const want = chain(input, t, (h) => roundTripNvfp4(h, { m: t, k: i, globalDecodeScale: 0.01 }));
    expectBytes(expertForward(x, all[1]!, { ...shape, activations: 'nvfp4' }), want);
    expect(() => expectClose(want, expertForward(x, all[1]!, shape), { nmse: 1e-6 })).toThrow(/NMSE/);
  });
  it('or with the scale of each row', () => {
    const rows = (v: Float64Array, k: number): Float64Array =>
      roundTripNvfp4(v, { m: t, k, globalDecodeScale: nvfp4RowDecodeScales(v, { m: t, k }) });
    const want = chain(rows(Float64Array.from(x), d), t, (h) => rows(h, i));
    expectBytes(expertForward(x, all[1]!, { ...shape, activations: 'nvfp4-dynamic' }), want);
  });
  it('needs the scales it is told to use', () => {
    const { w1, w3, w2 } = all[0]!;
    const nvfp4 = { ...shape, activations: 'nvfp4' } as const;
    expect(() => expertForward(x, { w1, w3, w2 }, nvfp4)).toThrow('"w13InputScale" is needed for activations nvfp4');
    expect(() => expertForward(x, { w1, w3, w2, w13InputScale: 1 }, nvfp4)).toThrow('"w2InputScale" is needed');
    expect(() => expertForward(x.subarray(1), all[0]!, shape)).toThrow('"x.length" must be a multiple of');
  });
});

describe('mixtureOfExperts', () => {
  const topkIds = [0, 2, 2, 0, 1, 2, -1, 1, 0, 1];
  const topkWeights = random.floats(t * topk);
  it('adds the weighted experts of each token', () => {
    const asked: number[] = [];
    const expert = (id: number): Expert => {
      asked.push(id);
      return all[id]!;
    };
    const got = mixtureOfExperts(x, { ...shape, t, topk, topkIds, topkWeights, expert });
    const want = new Float64Array(t * d);
    topkIds.forEach((id, at) => {
      if (id < 0) return;
      const token = Math.floor(at / topk);
      expertForward(x.subarray(token * d, (token + 1) * d), all[id]!, shape).forEach((y, c) => {
        want[token * d + c]! += topkWeights[at]! * y;
      });
    });
    expectClose(got, want, { maxAbs: 1e-13 });
    expect(asked).toEqual([0, 1, 2]); // expert 3 has no token
  });
  it('takes no tokens and refuses wrong lengths', () => {
    const args = { ...shape, t, topk, topkIds, topkWeights, expert: (id: number): Expert => all[id]! };
    expect(mixtureOfExperts([], { ...args, t: 0, topkIds: [], topkWeights: [] }).length).toBe(0);
    expect(() => mixtureOfExperts([1], args)).toThrow('"x" must have length T*D = 160, got 1');
    expect(() => mixtureOfExperts(x, { ...args, topkIds: [] })).toThrow('"topkIds"');
    expect(() => mixtureOfExperts(x, { ...args, topkWeights: [] })).toThrow('"topkWeights"');
  });
});
