import type { LayerSpec } from '@megamoe/ops';
import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAttentionKernels } from '../src/index';
import { BACKENDS, ISAS } from './backends';
import { makeLayer, makeTokens, run } from './layer-run';
import { attendAll } from './naive';

interface Case {
  readonly name: string;
  readonly spec: LayerSpec;
  readonly tokens: number;
  readonly heads: number;
  readonly topk?: number;
  readonly ropeDim?: number;
}

const CASES: readonly Case[] = [
  { name: 'window only', spec: { ratio: 0, window: 5, headDim: 7 }, tokens: 140, heads: 3 },
  { name: 'window of one', spec: { ratio: 0, window: 1, headDim: 4 }, tokens: 9, heads: 1 },
  {
    name: 'CSA, few entries chosen',
    spec: { ratio: 4, window: 6, headDim: 10, indexHeadDim: 6 },
    tokens: 61,
    heads: 4,
    topk: 3,
  },
  {
    name: 'CSA, every entry',
    spec: { ratio: 4, window: 3, headDim: 8, indexHeadDim: 4 },
    tokens: 37,
    heads: 2,
    topk: 50,
  },
  {
    name: 'CSA, none chosen',
    spec: { ratio: 4, window: 3, headDim: 8, indexHeadDim: 4 },
    tokens: 9,
    heads: 2,
    topk: 0,
  },
  {
    name: 'CSA, two pages of entries',
    spec: { ratio: 4, window: 9, headDim: 8, indexHeadDim: 4 },
    tokens: 290,
    heads: 2,
    topk: 12,
  },
  {
    name: 'CSA, more heads and channels than a register tile',
    spec: { ratio: 4, window: 37, headDim: 72, indexHeadDim: 20 },
    tokens: 90,
    heads: 35,
    topk: 9,
    ropeDim: 10,
  },
  { name: 'HCA', spec: { ratio: 128, window: 16, headDim: 9 }, tokens: 300, heads: 3, ropeDim: 6 },
  { name: 'HCA, wide window', spec: { ratio: 128, window: 200, headDim: 6 }, tokens: 270, heads: 9, ropeDim: 2 },
];

const inputsOf = ({ spec, tokens, ...rest }: Case, seed: number) => makeTokens(makeLayer(spec, rest), tokens, seed);

/** Scores up to about 20 in float32 are off by 1e-6, and so are the weights: values up to 4 by 5e-6, larger ones in proportion. */
const bound = (want: ArrayLike<number>): number =>
  1.25e-6 * Array.from(want).reduce((most, v) => Math.max(most, Math.abs(v)), 4);

describe.each(BACKENDS)('a layer on $name', ({ kernels }) => {
  it.each(CASES)('$name: gathers the right keys and attends like a dense float64 softmax', (c) => {
    const inputs = inputsOf(c, 3);
    const want = attendAll(inputs);
    const got = run(kernels, inputs, [inputs.tokens]);
    got.keys.forEach((keys, t) => {
      expect(new Set(keys), `keys of position ${t}`).toEqual(want.keys[t]);
      expect(keys.length).toBe(want.keys[t]!.size);
    });
    expectClose(got.out, want.out, { maxAbs: bound(want.out), shape: [inputs.tokens, c.heads, c.spec.headDim] });
  });

  it.each(CASES)('$name: any chunks give the same bits', (c) => {
    const inputs = inputsOf(c, 4);
    const whole = run(kernels, inputs, [inputs.tokens]);
    for (const chunks of [[1], [3, 1, 5], [64], [127, 2]]) {
      const parts = run(kernels, inputs, chunks);
      expectBytes(parts.out, whole.out);
      expect(parts.keys).toEqual(whole.keys);
    }
  });

  it('random shapes and chunks give the same bits as one prefill', () => {
    fc.assert(
      fc.property(
        fc.record({
          ratio: fc.constantFrom(0, 4, 128) as fc.Arbitrary<0 | 4 | 128>,
          window: fc.integer({ min: 1, max: 40 }),
          headDim: fc.integer({ min: 4, max: 21 }),
          indexHeadDim: fc.integer({ min: 4, max: 9 }),
          heads: fc.integer({ min: 1, max: 10 }),
          tokens: fc.integer({ min: 1, max: 150 }),
          topk: fc.integer({ min: 0, max: 12 }),
          chunks: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 5 }),
          seed: fc.nat(),
        }),
        ({ ratio, window, headDim, indexHeadDim, heads, topk, tokens, chunks, seed }) => {
          const spec: LayerSpec = { ratio, window, headDim, ...(ratio === 4 && { indexHeadDim }) };
          const inputs = makeTokens(makeLayer(spec, { heads, topk, seed }), tokens, seed);
          const whole = run(kernels, inputs, [tokens]);
          const parts = run(kernels, inputs, chunks);
          expect(whole.out.some(Number.isNaN)).toBe(false);
          expectBytes(parts.out, whole.out);
          expect(parts.keys).toEqual(whole.keys);
        },
      ),
      { numRuns: 60, seed: 20 },
    );
  });
});

describe('backends compared', () => {
  const [js, ...others] = BACKENDS;
  it('native is there when the addon loads, and auto takes it', () => {
    expect(createAttentionKernels().backend).toBe(others.length > 0 ? 'native' : 'js');
  });
  it.each(CASES)('$name: close to js, and the same keys', (c) => {
    const inputs = inputsOf(c, 8);
    const want = run(js!.kernels, inputs, [inputs.tokens]);
    for (const { kernels } of others) {
      const got = run(kernels, inputs, [inputs.tokens]);
      expectClose(got.out, want.out, { maxAbs: bound(want.out), nmse: 1e-12 });
      expect(got.keys).toEqual(want.keys);
    }
    for (const isa of ISAS) {
      const [one, ...more] = others.filter(({ kernels }) => kernels.isa === isa);
      expect(more.length).toBeGreaterThan(0);
      for (const { kernels } of more) {
        expectBytes(run(kernels, inputs, [7]).out, run(one!.kernels, inputs, [inputs.tokens]).out); // threads
      }
    }
  });
  it('rope gives the same bits everywhere', () => {
    const random = seeded(9);
    const [rows, heads, d, ropeDim] = [7, 3, 37, 32];
    const x = random.floats(rows * heads * d + 1);
    const cos = random.floats((rows * ropeDim) / 2);
    const sin = random.floats((rows * ropeDim) / 2);
    const results = BACKENDS.map(({ kernels }) => {
      const y = x.slice();
      const shape = { x: y.subarray(1), rows, heads, d, ropeDim }; // a view at an odd offset
      kernels.rope({ ...shape, cos, sin, inverse: false });
      kernels.rope({ ...shape, cos: sin, sin: cos, inverse: true });
      return y;
    });
    for (const y of results) expectBytes(y, results[0]!);
    expect(results[0]![0]).toBe(x[0]);
  });
});
