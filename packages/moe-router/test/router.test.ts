import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRouter, type RouterSpec, SCORINGS, type Scoring } from '../src/index';

const f = Math.fround;
const SPEC: RouterSpec = {
  maxTokens: 64,
  numExperts: 4,
  topk: 2,
  scoring: 'sigmoid',
  normTopkProb: true,
  routedScalingFactor: 1,
};

/** Routes `logits` and returns poisoned, then written outputs with room behind them. */
function route(spec: Partial<RouterSpec>, logits: readonly number[], bias: readonly number[] | null = null) {
  const all = { ...SPEC, ...spec };
  const t = logits.length / all.numExperts;
  const ids = new Int32Array(t * all.topk + 3).fill(-858993460);
  const weights = new Float32Array(t * all.topk + 3).fill(NaN);
  createRouter(all).route(Float32Array.from(logits), t, bias && Float32Array.from(bias), ids, weights);
  expect([...ids.subarray(t * all.topk)]).toEqual([-858993460, -858993460, -858993460]);
  expect([...weights.subarray(t * all.topk)]).toEqual([NaN, NaN, NaN]);
  return { ids: [...ids.subarray(0, t * all.topk)], weights: [...weights.subarray(0, t * all.topk)] };
}

describe('top-k by hand', () => {
  it('best first, ties to the lowest id', () => {
    expect(route({ topk: 3 }, [1, 2, 1, 2]).ids).toEqual([1, 3, 0]);
    expect(route({ topk: 4 }, [0, 0, 0, 0]).ids).toEqual([0, 1, 2, 3]);
    expect(route({ topk: 1 }, [-5, -4, -4, -6]).ids).toEqual([1]);
  });
  it('the bias selects, the score alone weighs', () => {
    const { ids, weights } = route({ normTopkProb: false }, [0, 3, 1, -1], [0, -1, 0, 0.5]);
    const sigmoid = (x: number): number => f(1 / f(1 + f(Math.exp(-x))));
    expect(ids).toEqual([3, 2]); // 0.27 + 0.5, 0.73, 0.5, 0.95 - 1
    expectBytes(weights, [sigmoid(-1), sigmoid(1)]);
  });
  it('an infinite bias switches an expert on or off', () => {
    expect(route({}, [0, 3, 1, -1], [Infinity, -Infinity, 0, 0])).toMatchObject({ ids: [0, 2] });
    expect(route({ topk: 4 }, [0, 3, 1, -1], [0, -Infinity, 0, 0]).ids).toEqual([2, 0, 3, 1]);
  });
  it('weights sum to the factor when normalised', () => {
    expectClose(route({ routedScalingFactor: 2.5 }, [0, 0, -9, -9]).weights, [1.25, 1.25], { maxAbs: 0 });
    const { weights } = route({ scoring: 'sqrtsoftplus', routedScalingFactor: 1.5 }, [25, 400, -3, 0]);
    expectBytes(weights, [f(f(20 / 25) * 1.5), f(f(5 / 25) * 1.5)]);
  });
  it('not normalised, they are the scores times the factor', () => {
    expectBytes(route({ normTopkProb: false, routedScalingFactor: 2 }, [0, 9, -9, -8]).weights, [f(2 / f(1 + f(Math.exp(-9)))), 1]); // prettier-ignore
  });
  it('scores of zero give weights of zero, not NaN', () => {
    expect(route({ scoring: 'sqrtsoftplus' }, [-200, -300, -1e30, -150])).toEqual({ ids: [0, 1], weights: [0, 0] });
  });
  it('zero tokens, one expert', () => {
    expect(route({}, [])).toEqual({ ids: [], weights: [] });
    expect(route({ numExperts: 1, topk: 1 }, [3])).toEqual({ ids: [0], weights: [1] });
  });
  it('the tie is of float32 sums: a bias that rounding swallows does not decide', () => {
    expect(route({ scoring: 'sigmoid', topk: 1 }, [0, 0, 0, 0], [1, 1 + 2 ** -30, 0, 0]).ids).toEqual([0]);
    expect(route({ scoring: 'sigmoid', topk: 1 }, [0, 0, 0, 0], [1, 1 + 2 ** -22, 0, 0]).ids).toEqual([1]);
  });
});

/** Scores in double, the choice by a full sort, the weights in double. */
function naive(spec: RouterSpec, logits: Float32Array, bias: Float32Array | null) {
  const { numExperts, topk, scoring, normTopkProb, routedScalingFactor } = spec;
  const ids: number[] = [];
  const weights: number[] = [];
  let gap = Infinity; // between the last chosen and the next, and among the chosen: below float32's error the order may differ
  for (let from = 0; from < logits.length; from += numExperts) {
    const x = [...logits.subarray(from, from + numExperts)];
    const score = {
      sqrtsoftplus: () => x.map((v) => Math.sqrt(v > 20 ? v : Math.log1p(Math.exp(v)))),
      sigmoid: () => x.map((v) => 1 / (1 + Math.exp(-v))),
      softmax: () => x.map((v) => 1 / x.reduce((sum, y) => sum + Math.exp(y - v), 0)),
    }[scoring]();
    const biased = score.map((s, e) => s + (bias?.[e] ?? 0));
    const order = x.map((_, e) => e).sort((a, b) => biased[b]! - biased[a]! || a - b);
    for (let j = 0; j < Math.min(topk, numExperts - 1); j++) {
      gap = Math.min(gap, biased[order[j]!]! - biased[order[j + 1]!]!);
    }
    const chosen = order.slice(0, topk);
    const sum = normTopkProb ? chosen.reduce((s, e) => s + score[e]!, 1e-20) : 1;
    ids.push(...chosen);
    weights.push(...chosen.map((e) => (score[e]! / sum) * routedScalingFactor));
  }
  return { ids, weights, gap };
}

it.each(SCORINGS)('%s: equals a naive double implementation on DeepSeek-V4 shapes', (scoring: Scoring) => {
  const random = seeded(17);
  for (const numExperts of [16, 256, 384]) {
    const spec = { ...SPEC, scoring, numExperts, topk: 6, routedScalingFactor: 1.5 };
    for (const withBias of [true, false]) {
      let compared = 0;
      for (let i = 0; i < 40; i++) {
        const logits = random.floats(numExperts, 3);
        const bias = withBias ? random.floats(numExperts, scoring === 'softmax' ? 0.02 : 0.3) : null;
        const want = naive(spec, logits, bias);
        if (want.gap < 1e-6) continue;
        const got = route(spec, [...logits], bias && [...bias]);
        expect(got.ids).toEqual(want.ids);
        expectClose(got.weights, want.weights, { maxAbs: 1.5e-6 }); // some ten float32 roundings of values up to 1.5
        compared++;
      }
      expect(compared).toBeGreaterThan(15);
    }
  }
});

it('has its properties for any logits: different ids, best first, rows alone equal rows in a batch', () => {
  const small = fc.integer({ min: -4, max: 4 }).map((n) => n / 2); // many ties
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }).chain((e) =>
        fc.record({
          e: fc.constant(e),
          topk: fc.integer({ min: 1, max: e }),
          rows: fc.array(
            fc.array(fc.oneof(small, fc.float({ noNaN: true, noDefaultInfinity: true })), {
              minLength: e,
              maxLength: e,
            }),
            { maxLength: 5 },
          ),
          bias: fc.option(fc.array(small, { minLength: e, maxLength: e })),
        }),
      ),
      fc.constantFrom(...SCORINGS),
      fc.boolean(),
      ({ e, topk, rows, bias }, scoring, normTopkProb) => {
        const spec = { numExperts: e, topk, scoring, normTopkProb };
        const { ids, weights } = route(spec, rows.flat(), bias);
        rows.forEach((row, t) => {
          const chosen = ids.slice(t * topk, (t + 1) * topk);
          expect(new Set(chosen).size).toBe(topk);
          expect(route(spec, row, bias)).toEqual({ ids: chosen, weights: weights.slice(t * topk, (t + 1) * topk) });
        });
        weights.forEach((w) => expect(w >= 0 && Number.isFinite(w)).toBe(true));
      },
    ),
    { seed: 3, numRuns: 300 },
  );
});

describe('hash routing', () => {
  const tid2eid = Int32Array.of(3, 0, 1, 2, 2, 2);
  const hash = (tokenIds: readonly number[], table = tid2eid, logits?: Float32Array) => {
    const t = tokenIds.length;
    const ids = new Int32Array(t * 2).fill(-7);
    const weights = new Float32Array(t * 2).fill(NaN);
    const x = logits ?? new Float32Array(t * 4).fill(1);
    createRouter({ ...SPEC, routedScalingFactor: 2 }).routeHash(x, t, Int32Array.from(tokenIds), table, ids, weights);
    return { ids: [...ids], weights: [...weights] };
  };
  it('takes the table’s experts in its order, weighed by their scores', () => {
    expect(hash([0, 2, 0, 1])).toEqual({ ids: [3, 0, 2, 2, 3, 0, 1, 2], weights: [1, 1, 1, 1, 1, 1, 1, 1] });
    const { ids, weights } = hash([0], tid2eid, Float32Array.of(-1, 50, 0, 1));
    expect(ids).toEqual([3, 0]); // whatever the scores: expert 1 is not in the row
    const [a, b] = [f(1 / f(1 + f(Math.exp(-1)))), f(1 / f(1 + f(Math.exp(1))))];
    expectBytes(weights, [f(a / f(a + b)) * 2, f(b / f(a + b)) * 2]);
  });
  it('weighs like top-k routing that chose the same experts', () => {
    const logits = seeded(4).floats(4, 2);
    const top = route({ routedScalingFactor: 2 }, [...logits]);
    expect(hash([0], Int32Array.from(top.ids), logits)).toEqual(top);
  });
  it('zero tokens', () => expect(hash([])).toEqual({ ids: [], weights: [] }));
  it('names the token of an id out of range, and writes nothing', () => {
    expect(() => hash([0, 3])).toThrow('routeHash: "tokenIds" must be in [0, 3), got 3 at token 1');
    expect(() => hash([-1])).toThrow('routeHash: "tokenIds" must be in [0, 3), got -1 at token 0');
    expect(() => hash([0, 1], Int32Array.of(0, 1, 2, 4))).toThrow('routeHash: "tid2eid" must be in [0, 4), got 4 for token id 1 at 1'); // prettier-ignore
    expect(() => hash([0], Int32Array.of(-1, 1))).toThrow('"tid2eid" must be in [0, 4), got -1 for token id 0 at 0');
    expect(() => hash([0], Int32Array.of(0, 1, 2))).toThrow('"tid2eid.length" must be a multiple of 2, got 3');
    const ids = new Int32Array(4).fill(-7);
    const weights = new Float32Array(4).fill(-7);
    const router = createRouter(SPEC);
    expect(() => router.routeHash(new Float32Array(8), 2, Int32Array.of(0, 9), tid2eid, ids, weights)).toThrow();
    expect([...ids, ...weights]).toEqual(new Array(8).fill(-7));
  });
});

describe('errors', () => {
  it.each<[object, string]>([
    [{ topk: 5 }, 'createRouter: "topk" must be at most numExperts = 4, got 5'],
    [{ topk: 0 }, 'createRouter: "topk" must be an integer at least 1, got 0'],
    [{ topk: 1.5 }, '"topk" must be an integer at least 1, got 1.5'],
    [{ numExperts: 0 }, '"numExperts" must be an integer at least 1, got 0'],
    [{ maxTokens: -1 }, '"maxTokens" must be an integer at least 0, got -1'],
    [{ scoring: 'tanh' }, '"scoring" must be one of sqrtsoftplus, softmax, sigmoid, got tanh'],
    [{ normTopkProb: 1 }, '"normTopkProb" must be a boolean, got 1'],
    [{ routedScalingFactor: NaN }, '"routedScalingFactor" must be a finite number above 0, got NaN'],
  ])('%o', (spec, message) => expect(() => createRouter({ ...SPEC, ...spec } as RouterSpec)).toThrow(message));

  const call =
    (more: { x?: Float32Array; t?: number; bias?: Float32Array; ids?: Int32Array; w?: Float32Array }) => () =>
      createRouter({ ...SPEC, maxTokens: 2 }).route(
        more.x ?? new Float32Array(8),
        more.t ?? 2,
        more.bias ?? null,
        more.ids ?? new Int32Array(4),
        more.w ?? new Float32Array(4),
      );
  it('name the bad value and where it is', () => {
    expect(call({ x: Float32Array.of(0, 0, 0, 0, 0, NaN, 0, 0) })).toThrow('route: "logits" must be finite, got NaN at token 1, expert 1'); // prettier-ignore
    expect(call({ bias: Float32Array.of(0, 0, NaN, 0) })).toThrow('route: "bias" must not be NaN, got NaN at expert 2');
    expect(call({ bias: new Float32Array(3) })).toThrow('route: "bias" must have length E = 4, got 3');
    expect(call({ t: 3 })).toThrow('route: "t" must be an integer in [0, 2], got 3');
    expect(call({ x: new Float32Array(7) })).toThrow('route: "logits" must hold at least T*E = 8 elements, got 7');
    expect(call({ ids: new Int32Array(3) })).toThrow('route: "topkIds" must hold at least T*topk = 4 elements, got 3');
    expect(call({ w: new Float32Array(3) })).toThrow('route: "topkWeights" must hold at least T*topk = 4 elements, got 3'); // prettier-ignore
    expect(call({ ids: new Float32Array(4) as never })).toThrow(
      'route: "topkIds" must be a Int32Array, got Float32Array',
    );
    expect(call({ bias: [0, 0, 0, 0] as never })).toThrow('route: "bias" must be a Float32Array, got Array');
  });
  it('NaN past the last token is not read', () => {
    expect(call({ t: 1, x: Float32Array.of(0, 0, 0, 0, NaN, NaN) })).not.toThrow();
  });
});

it('keeps a copy of the spec', () => {
  const spec = { ...SPEC };
  const router = createRouter(spec);
  spec.topk = 4;
  expect(router.spec.topk).toBe(2);
  expect(Object.isFrozen(router.spec)).toBe(true);
});

it('allocates no buffers once warm', () => {
  const router = createRouter({ ...SPEC, numExperts: 384, topk: 6 });
  const logits = seeded(1).floats(64 * 384);
  const bias = seeded(2).floats(384);
  const ids = new Int32Array(64 * 6);
  const weights = new Float32Array(64 * 6);
  router.route(logits, 64, bias, ids, weights);
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 20; i++) router.route(logits, 64, bias, ids, weights);
  expect(process.memoryUsage().arrayBuffers).toBeLessThanOrEqual(before);
});
