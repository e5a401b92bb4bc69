import { expectBytes, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { SCORINGS, scoreExperts, type Scoring } from '../src/index';

const f = Math.fround;

function scores(scoring: Scoring, logits: readonly number[]): number[] {
  const out = new Float32Array(logits.length).fill(NaN);
  scoreExperts(scoring, Float32Array.from(logits), 1, logits.length, out);
  return [...out];
}

/** The formulas in double, from the paper, not from the code. */
const EXACT: Record<Scoring, (x: number, all: readonly number[]) => number> = {
  sqrtsoftplus: (x) => Math.sqrt(Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
  sigmoid: (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x))),
  softmax: (x, all) => 1 / all.reduce((sum, y) => sum + Math.exp(y - x), 0),
};

describe.each(SCORINGS)('%s', (scoring) => {
  it('is within three float32 roundings of the formula', () => {
    const logits = [...seeded(1).floats(384, 6), 0, -0, 1e-30, -1e-30, 19.99, 20, 20.01];
    const got = scores(scoring, logits);
    logits.forEach((_, e) => {
      const all = logits.map(f);
      const want = EXACT[scoring](all[e]!, all);
      // softmax: exp of a float32 difference of up to 40 turns its half ulp (2^-24 * 40) into a relative error
      const bound = (scoring === 'softmax' ? 44 : 3) * 2 ** -24 * want;
      expect(Math.abs(got[e]! - want)).toBeLessThanOrEqual(bound);
    });
  });
  it('stays finite and in range for large logits', () => {
    for (const x of [80, 89, 200, 1e4, 3e38]) {
      for (const got of [...scores(scoring, [x, 0]), ...scores(scoring, [-x, 0])]) {
        expect(Number.isFinite(got) && got >= 0).toBe(true);
      }
    }
  });
});

it('sqrtsoftplus is sqrt(x) above 20, as torch cuts softplus', () => {
  expect(scores('sqrtsoftplus', [25, 400, 3e38, 20])).toEqual([5, 20, f(Math.sqrt(f(3e38))), f(Math.sqrt(20))]);
  expect(scores('sqrtsoftplus', [0])).toEqual([f(Math.sqrt(f(Math.LN2)))]);
  expect(scores('sqrtsoftplus', [-1e4])).toEqual([0]);
});

it('sigmoid and softmax at their ends', () => {
  expect(scores('sigmoid', [0, 3e38, -3e38])).toEqual([0.5, 1, 0]);
  expect(scores('softmax', [1, 1, 1, 1])).toEqual([0.25, 0.25, 0.25, 0.25]);
  expect(scores('softmax', [3e38, -3e38])).toEqual([1, 0]);
  expect(scores('softmax', [-1e4, -1e4])).toEqual([0.5, 0.5]);
});

it('works in place, at an offset, on exactly T*E elements', () => {
  const buffer = new Float32Array(20).fill(NaN);
  const view = buffer.subarray(3, 11).fill(0.5);
  scoreExperts('sigmoid', view, 2, 3, view);
  expectBytes(view.subarray(0, 6), new Float32Array(6).fill(1 / (1 + Math.exp(-0.5))));
  expectBytes(view.subarray(6), Float32Array.of(0.5, 0.5));
  expect([...buffer.subarray(0, 3), ...buffer.subarray(11)].every(Number.isNaN)).toBe(true);
  scoreExperts('softmax', new Float32Array(0), 0, 3, new Float32Array(0)); // zero tokens
});

it('refuses what is not finite, naming token and expert, before it writes', () => {
  const out = new Float32Array(4).fill(7);
  const run = (logits: number[]) => () => scoreExperts('sigmoid', Float32Array.from(logits), 2, 2, out);
  expect(run([0, 0, 0, NaN])).toThrow('scoreExperts: "logits" must be finite, got NaN at token 1, expert 1');
  expect(run([0, Infinity, 0, 0])).toThrow('got Infinity at token 0, expert 1');
  expect(run([0, 0, -Infinity, 0])).toThrow('got -Infinity at token 1, expert 0');
  expect([...out]).toEqual([7, 7, 7, 7]);
  expect(run([0])).toThrow('scoreExperts: "logits" must hold at least T*E = 4 elements, got 1');
  expect(() => scoreExperts('relu' as Scoring, out, 1, 1, out)).toThrow('"scoring" must be one of sqrtsoftplus, softmax, sigmoid, got relu'); // prettier-ignore
  expect(() => scoreExperts('sigmoid', out, -1, 1, out)).toThrow('"t" must be an integer at least 0, got -1');
  expect(() => scoreExperts('sigmoid', out, 1, 0, out)).toThrow('"numExperts" must be an integer at least 1, got 0');
  expect(() => scoreExperts('sigmoid', out, 1, 4, [] as never)).toThrow('"out" must be a Float32Array, got Array');
});
