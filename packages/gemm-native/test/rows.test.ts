import { rmsNorm, swiglu } from '@megamoe/reference';
import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { BACKENDS, odd, poisoned } from './backends';

const JS = BACKENDS[0]!.kernels;

describe.each(BACKENDS)('rows on $name', ({ kernels }) => {
  it('gathers rows', () => {
    const x = seeded(1).floats(6 * 7);
    const slotToken = Int32Array.of(5, 0, 0, 3, -9);
    const out = poisoned(4 * 7);
    kernels.gatherRows(odd(x, NaN), 7, slotToken, 4, out);
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
      kernels.swiglu(odd(gateUp, NaN), m, i, limit, out);
      expectClose(out, swiglu(gateUp, { m, i, limit }), { nmse: 1e-13, shape: [m, i] });
    }
  });

  it('SwiGLU: far ends, no limit, NaN', () => {
    const out = poisoned(5);
    kernels.swiglu(Float32Array.of(-1e4, 1e4, -30, NaN, 1, 2, 1e4, -1e4, 1, NaN), 1, 5, Infinity, out);
    expect(out[0]).toBe(-0);
    expect(out[1]).toBe(1e8);
    expect(out[2]).toBeCloseTo(30e4 * Math.exp(-30), 10);
    expect([out[3], out[4]]).toEqual([NaN, NaN]);
    kernels.swiglu(Float32Array.of(NaN, 1, 2, NaN), 1, 2, 1, out);
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
    kernels.scatterExperts(odd(y, NaN), d, tokenSlots, weights, t, topk, out);
    expectBytes(out, want, [t, d]);
    expect([...out.subarray(0, d)]).toEqual(new Array(d).fill(0));
  });

  it('adds in place, n elements and no more', () => {
    const out = odd(Float32Array.of(1, 2, 3), 9);
    kernels.addInPlace(out, Float32Array.of(10, 20, 30), 2);
    expect([...out]).toEqual([11, 22, 3]);
    const big = seeded(1).floats(100_000);
    const sum = big.slice();
    kernels.addInPlace(sum, big, big.length);
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
      kernels.rmsNorm(odd(x, NaN), m, d, w, 1e-6, out);
      expectClose(out, rmsNorm(x, w, { m, d, eps: 1e-6 }), { nmse: 1e-13, shape: [m, d] });
      const js = poisoned(m * d);
      JS.rmsNorm(x, m, d, w, 1e-6, js);
      expectBytes(out, js, [m, d]);
      const inPlace = x.slice();
      kernels.rmsNorm(inPlace, m, d, w, 1e-6, inPlace);
      expectBytes(inPlace, out, [m, d]);
    }
  });

  it('does nothing for zero rows', () => {
    const out = Float32Array.of(5);
    const none = new Float32Array(0);
    const noIds = new Int32Array(0);
    kernels.gatherRows(none, 4, noIds, 0, out);
    kernels.swiglu(none, 0, 4, 1, out);
    kernels.scatterExperts(none, 4, noIds, none, 0, 2, out);
    kernels.addInPlace(out, none, 0);
    kernels.rmsNorm(none, 0, 4, null, 1e-6, out);
    kernels.stageNvfp4(none, 16, null, noIds, none, new Uint8Array(0), new Uint8Array(0));
    kernels.stageNvfp4Dynamic(none, 16, noIds, 0, new Uint8Array(0), new Uint8Array(0), none);
    expect([...out]).toEqual([5]);
  });
});
