import { expectBytes, expectClose } from '@megamoe/testkit';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createRope } from '../src/rope';
import { BACKENDS } from './backends';

interface RopeCase {
  ropeDim: number;
  theta: number;
  yarn: { factor: number; fast: number; slow: number; original: number } | null;
  invFreq: number[];
}
const { cases } = JSON.parse(readFileSync(new URL('./goldens/rope.json', import.meta.url), 'utf8')) as {
  cases: RopeCase[];
};

function ropeOf({ ropeDim, theta, yarn }: RopeCase) {
  return createRope({
    ropeDim,
    theta,
    yarn: yarn
      ? { factor: yarn.factor, betaFast: yarn.fast, betaSlow: yarn.slow, originalMaxPositionEmbeddings: yarn.original }
      : undefined,
  });
}

describe('createRope', () => {
  it.each(cases)('ropeDim $ropeDim, theta $theta, yarn $yarn: the float32 steps of transformers', (c) => {
    const { ropeDim, invFreq } = ropeOf(c);
    expect(ropeDim).toBe(c.ropeDim);
    expect(invFreq.length).toBe(c.ropeDim / 2);
    // numpy's float32 power may round the other way in the last bit: one ulp there, one in the blend
    invFreq.forEach((v, i) => expect(Math.abs(v - c.invFreq[i]!)).toBeLessThanOrEqual(2 ** -22 * c.invFreq[i]!));
  });
  it('yarn leaves fast pairs alone, divides slow ones by the factor, and blends between', () => {
    const plain = createRope({ ropeDim: 64, theta: 160000 }).invFreq;
    const yarn = ropeOf(cases[1]!).invFreq;
    const ratio = plain.map((v, i) => v / yarn[i]!);
    expect(ratio[0]).toBe(1);
    expect(ratio[31]).toBeCloseTo(16, 4);
    for (let i = 1; i < 32; i++) expect(ratio[i]).toBeGreaterThanOrEqual(ratio[i - 1]! - 1e-6);
    expect(ratio.filter((r) => r > 1.01 && r < 15.9).length).toBeGreaterThan(3);
  });
  it.each([
    [{ ropeDim: 3, theta: 10 }, 'createRope: "ropeDim" must be a multiple of 2, got 3'],
    [{ ropeDim: 0, theta: 10 }, '"ropeDim" must be an integer in [2, 65536], got 0'],
    [{ ropeDim: 4, theta: NaN }, '"theta" must be a finite number in [1, Infinity], got NaN'],
    [{ ropeDim: 4, theta: 1, yarn: yarn({}) }, '"theta" must be above 1 with yarn, got 1'],
    [
      { ropeDim: 4, theta: 10, yarn: yarn({ factor: 0.5 }) },
      '"yarn.factor" must be a finite number in [1, Infinity], got 0.5',
    ],
    [{ ropeDim: 4, theta: 10, yarn: yarn({ betaFast: 0 }) }, '"yarn.betaFast" must be a finite number above 0, got 0'],
    [
      { ropeDim: 4, theta: 10, yarn: yarn({ betaSlow: NaN }) },
      '"yarn.betaSlow" must be a finite number above 0, got NaN',
    ],
    [
      { ropeDim: 4, theta: 10, yarn: yarn({ betaFast: 0.5 }) },
      '"yarn.betaFast" must be at least betaSlow = 1, got 0.5',
    ],
    [
      { ropeDim: 4, theta: 10, yarn: yarn({ originalMaxPositionEmbeddings: 0 }) },
      '"yarn.originalMaxPositionEmbeddings" must be an integer at least 1, got 0',
    ],
  ])('refuses %j', (options, message) => expect(() => createRope(options)).toThrow(message));
});

function yarn(change: Partial<Record<'factor' | 'betaFast' | 'betaSlow' | 'originalMaxPositionEmbeddings', number>>) {
  return { factor: 4, betaFast: 32, betaSlow: 1, originalMaxPositionEmbeddings: 128, ...change };
}

describe.each(BACKENDS)('ropeTables on $name', ({ kernels }) => {
  it('rounds the angle to float32 before cos and sin', () => {
    const rope = createRope({ ropeDim: 8, theta: 10000 });
    const positions = Int32Array.of(0, 1, 77777, 1048575, -5);
    const cos = new Float32Array(4 * 4 + 1).fill(NaN);
    const sin = cos.slice();
    kernels.ropeTables({ rope, positions, rows: 4, cos, sin });
    for (let r = 0; r < 4; r++) {
      for (let i = 0; i < 4; i++) {
        const angle = Math.fround(positions[r]! * rope.invFreq[i]!);
        expect(cos[r * 4 + i]).toBe(Math.fround(Math.cos(angle)));
        expect(sin[r * 4 + i]).toBe(Math.fround(Math.sin(angle)));
      }
    }
    expect([cos[16], sin[16]]).toEqual([NaN, NaN]);
  });
  it('takes no rows', () => {
    const rope = kernels.createRope({ ropeDim: 2, theta: 10 });
    const [cos, sin] = [new Float32Array(0), new Float32Array(0)];
    kernels.ropeTables({ rope, positions: new Int32Array(0), rows: 0, cos, sin });
  });
});

describe.each(BACKENDS)('rope on $name', ({ kernels }) => {
  const [heads, d, ropeDim] = [2, 6, 4];
  const rope = createRope({ ropeDim, theta: 50 });
  const cos = new Float32Array(3 * 2);
  const sin = new Float32Array(3 * 2);
  kernels.ropeTables({ rope, positions: Int32Array.of(5, 0, 1000), rows: 3, cos, sin });
  const turn = (y: Float32Array, inverse: boolean, rows = 3, dim = ropeDim): void =>
    kernels.rope({ x: y, rows, heads, d, ropeDim: dim, cos, sin, inverse });
  const x = Float32Array.from({ length: 3 * heads * d }, (_, i) => Math.sin(i + 1));

  it('turns the last ropeDim of each head in interleaved pairs, and leaves the rest', () => {
    const y = x.slice();
    turn(y, false);
    const want = Array.from(x);
    for (const [r, position] of [5, 0, 1000].entries()) {
      for (let h = 0; h < heads; h++) {
        for (let i = 0; i < 2; i++) {
          const at = (r * heads + h) * d + 2 + 2 * i;
          const angle = position * rope.invFreq[i]!;
          want[at] = x[at]! * Math.cos(angle) - x[at + 1]! * Math.sin(angle);
          want[at + 1] = x[at + 1]! * Math.cos(angle) + x[at]! * Math.sin(angle);
        }
      }
    }
    expectClose(y, want, { maxAbs: 1e-4 }); // an angle of 1000 has an ulp of 6e-5
    expectBytes(y.subarray(0, 2), x.subarray(0, 2));
    expectBytes(y.subarray(heads * d, 2 * heads * d), x.subarray(heads * d, 2 * heads * d)); // position 0
  });
  it('inverse turns back', () => {
    const y = x.slice();
    turn(y, false);
    turn(y, true);
    expectClose(y, x, { maxAbs: 2e-7 });
  });
  it('takes no rows, and ropeDim 0 changes nothing', () => {
    const y = x.slice();
    turn(y, false, 0);
    turn(y, false, 3, 0);
    expectBytes(y, x);
  });
  it('uses the first rows of larger buffers', () => {
    const y = x.slice();
    turn(y, false, 1);
    expectBytes(y.subarray(heads * d), x.subarray(heads * d));
    expect(y[2]).not.toBe(x[2]);
  });
});
