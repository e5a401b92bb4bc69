import { rmsNorm, swiglu } from '@megamoe/reference';
import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { BACKENDS, odd, poisoned, stageNvfp4 } from './backends';

const JS = BACKENDS[0]!.kernels;

describe.each(BACKENDS)('rows on $name', ({ kernels }) => {
  it('gathers rows', () => {
    const x = seeded(1).floats(6 * 7);
    const slotToken = Int32Array.of(5, 0, 0, 3, -9);
    const out = poisoned(4 * 7);
    kernels.gatherRows({ x: odd(x, NaN), d: 7, index: slotToken, rows: 4, out });
    expectBytes(
      out,
      [5, 0, 0, 3].flatMap((t) => [...x.subarray(t * 7, t * 7 + 7)]),
    );
  });

  it.each([
    [1, 1],
    [3, 17],
    [40, 64],
  ])('SwiGLU of %i x %i matches the reference, clamps one side of the gate and both of up', (m, i) => {
    const gateUp = seeded(m).floats(m * 2 * i, 5);
    for (const limit of [0.5, 10]) {
      const out = poisoned(m * i);
      kernels.swiglu({ gateUp: odd(gateUp, NaN), rows: m, i, limit, out });
      expectClose(out, swiglu(gateUp, { m, i, limit }), { nmse: 1e-13, shape: [m, i] });
    }
  });

  it('SwiGLU: far ends, no limit, NaN', () => {
    const out = poisoned(5);
    kernels.swiglu({
      gateUp: Float32Array.of(-1e4, 1e4, -30, NaN, 1, 2, 1e4, -1e4, 1, NaN),
      rows: 1,
      i: 5,
      limit: Infinity,
      out,
    });
    expect(out[0]).toBe(-0);
    expect(out[1]).toBe(1e8);
    expect(out[2]).toBeCloseTo(30e4 * Math.exp(-30), 10);
    expect([out[3], out[4]]).toEqual([NaN, NaN]);
    kernels.swiglu({ gateUp: Float32Array.of(NaN, 1, 2, NaN), rows: 1, i: 2, limit: 1, out });
    expect([...out.subarray(0, 2)]).toEqual([NaN, NaN]);
  });

  it('scatters with weights, j ascending in float32, slot -1 left out', () => {
    const [t, topk, d, rows] = [9, 3, 37, 14];
    const r = seeded(4);
    const y = r.floats(rows * d);
    const tokenSlots = Int32Array.from({ length: t * topk }, () => r.int(rows + 1) - 1);
    tokenSlots.fill(-1, 0, topk);
    const weights = r.floats(t * topk);
    const want = new Float32Array(t * d);
    for (let i = 0; i < t; i++)
      for (let c = 0; c < d; c++)
        for (let j = 0; j < topk; j++) {
          const slot = tokenSlots[i * topk + j]!;
          if (slot >= 0) want[i * d + c] = want[i * d + c]! + Math.fround(weights[i * topk + j]! * y[slot * d + c]!);
        }
    const out = poisoned(t * d);
    kernels.scatterExperts({ y: odd(y, NaN), d, tokenSlots, topkWeights: weights, rows: t, topk, out });
    expectBytes(out, want, [t, d]);
    expect([...out.subarray(0, d)]).toEqual(new Array(d).fill(0));
  });

  it('adds in place, n elements and no more', () => {
    const out = odd(Float32Array.of(1, 2, 3), 9);
    kernels.add({ out, x: Float32Array.of(10, 20, 30), n: 2 });
    expect([...out]).toEqual([11, 22, 3]);
    const big = seeded(1).floats(100_000);
    const sum = big.slice();
    kernels.add({ out: sum, x: big, n: big.length });
    expectBytes(
      sum,
      big.map((v) => v + v),
    );
  });

  it.each([
    [1, 1],
    [3, 7],
    [5, 8],
    [33, 129],
  ])('RMS norm of %i x %i matches the reference and has the bits of the js backend', (m, d) => {
    const r = seeded(d);
    const x = r.floats(m * d, 3);
    x.fill(0, 0, d);
    const weight = r.floats(d);
    for (const w of [weight, null]) {
      const out = poisoned(m * d);
      kernels.rmsNorm({ x: odd(x, NaN), rows: m, d, weight: w, eps: 1e-6, out });
      expectClose(out, rmsNorm(x, w, { m, d, eps: 1e-6 }), { nmse: 1e-13, shape: [m, d] });
      const js = poisoned(m * d);
      JS.rmsNorm({ x, rows: m, d, weight: w, eps: 1e-6, out: js });
      expectBytes(out, js, [m, d]);
      const inPlace = x.slice();
      kernels.rmsNorm({ x: inPlace, rows: m, d, weight: w, eps: 1e-6, out: inPlace });
      expectBytes(inPlace, out, [m, d]);
    }
  });

  it('does nothing for zero rows', () => {
    const out = Float32Array.of(5);
    const none = new Float32Array(0);
    const noIds = new Int32Array(0);
    kernels.gatherRows({ x: none, d: 4, index: noIds, rows: 0, out });
    kernels.swiglu({ gateUp: none, rows: 0, i: 4, limit: 1, out });
    kernels.scatterExperts({ y: none, d: 4, tokenSlots: noIds, topkWeights: none, rows: 0, topk: 2, out });
    kernels.add({ out, x: none, n: 0 });
    kernels.rmsNorm({ x: none, rows: 0, d: 4, weight: null, eps: 1e-6, out });
    for (const globalDecodeScale of [none, null]) {
      const { codes } = stageNvfp4(kernels, { x: none, k: 16, expertOffsets: noIds, globalDecodeScale });
      expect(codes.length).toBe(0);
    }
    expect([...out]).toEqual([5]);
  });
});
