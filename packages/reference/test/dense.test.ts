import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { gatherRows, groupedGemm, hcHead, hcPost, hcPre, linear, rmsNorm, swiglu } from '../src/index';

describe('linear', () => {
  it('multiplies by rows of w', () => {
    expect([...linear([1, 2, 3, 4], [1, 1, 1, -1, 0, 2], { m: 2, n: 3, k: 2 })]).toEqual([3, -1, 4, 7, -1, 8]);
  });
  it.each([1, 3, 4, 5, 8, 11])('adds in the order of k, for %d outputs', (n) => {
    const [m, k, groups] = [2, 37, 2];
    const random = seeded(n);
    const x = random.floats(m * groups * k);
    const w = random.floats(groups * n * k);
    const want = Float64Array.from({ length: m * groups * n }, (_, at) => {
      const [block, column] = [Math.floor(at / n), at % n];
      const row = w.subarray(((block % groups) * n + column) * k).subarray(0, k);
      return row.reduce((sum, v, i) => sum + v * x[block * k + i]!, 0);
    });
    expectBytes(linear(x, w, { m, n, k, groups }), want);
  });
  it('groups are block diagonal', () => {
    const [m, n, k, groups] = [3, 2, 4, 3];
    const random = seeded(1);
    const x = random.floats(m * groups * k);
    const w = random.floats(groups * n * k);
    // The same as one dense matrix with zeros off the diagonal blocks.
    const dense = new Float64Array(groups * n * groups * k);
    for (let row = 0; row < groups * n; row++)
      for (let c = 0; c < k; c++) dense[row * groups * k + Math.floor(row / n) * k + c] = w[row * k + c]!;
    const want = linear(x, dense, { m, n: groups * n, k: groups * k });
    expectClose(linear(x, w, { m, n, k, groups }), want, { maxAbs: 1e-14 });
  });
  it('reads views, takes no rows, refuses wrong lengths', () => {
    const view = Float32Array.of(9, 1, 2, 9).subarray(1, 3);
    expect([...linear(view, [3, 4], { m: 1, n: 1, k: 2 })]).toEqual([11]);
    expect(linear([], [3, 4], { m: 0, n: 1, k: 2 }).length).toBe(0);
    expect(() => linear([1], [3, 4], { m: 1, n: 1, k: 2 })).toThrow('"x" must have length M*G*K = 2, got 1');
    expect(() => linear([1, 2], [3], { m: 1, n: 1, k: 2 })).toThrow('"w" must have length G*N*K = 2, got 1');
    expect(() => linear([1, 2], [3], { m: 1, n: 1, k: 2, groups: 0 })).toThrow('"groups"');
  });
});

describe('groupedGemm', () => {
  const args = { n: 2, k: 2, expertOffsets: [0, 2, 3] };
  const a = [1, 0, 0, 1, 1, 1];
  const b = [9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8];
  it('gives each row its expert and each part its alpha', () => {
    expect([...groupedGemm(a, b, args)]).toEqual([1, 3, 2, 4, 11, 15]);
    const alpha = [0, 0, 10, 100, 2, 3];
    expect([...groupedGemm(a, b, { ...args, alpha, parts: 2 })]).toEqual([10, 300, 20, 400, 22, 45]);
  });
  it('refuses wrong lengths', () => {
    expect(() => groupedGemm([1], b, args)).toThrow('R*K = 6, got 1');
    expect(() => groupedGemm(a, [1], args)).toThrow('E*N*K = 12, got 1');
    expect(() => groupedGemm(a, b, { ...args, alpha: [1] })).toThrow('E*parts = 3, got 1');
    expect(() => groupedGemm(a, b, { ...args, parts: 3 })).toThrow('"n" must be a multiple of 3');
  });
});

it('gatherRows', () => {
  expect([...gatherRows([1, 2, 3, 4], [1, 1, 0], 2)]).toEqual([3, 4, 3, 4, 1, 2]);
  expect(() => gatherRows([1, 2, 3, 4], [2], 2)).toThrow('"index[0]" must be an integer in [0, 1], got 2');
  expect(() => gatherRows([1, 2, 3], [0], 2)).toThrow('multiple of 2');
});

describe('rmsNorm', () => {
  it('divides by the root mean square', () => {
    const got = rmsNorm([3, 4, 0, 0], [2, 10], { m: 2, d: 2, eps: 0.5 });
    const rms = Math.sqrt(12.5 + 0.5);
    expectClose(got, [6 / rms, 40 / rms, 0, 0], { maxAbs: 1e-15 });
  });
  it('without weight the result has root mean square 1', () => {
    const y = rmsNorm(seeded(2).floats(64, 30), null, { m: 1, d: 64, eps: 0 });
    expect(y.reduce((s, v) => s + v * v, 0) / 64).toBeCloseTo(1, 14);
  });
  it('refuses wrong lengths and NaN', () => {
    expect(() => rmsNorm([1], null, { m: 1, d: 2, eps: 0 })).toThrow('M*D = 2, got 1');
    expect(() => rmsNorm([1, 2], [1], { m: 1, d: 2, eps: 0 })).toThrow('"weight" must have length D = 2');
    expect(() => rmsNorm([1, 2], null, { m: 1, d: 2, eps: NaN })).toThrow('"eps"');
  });
});

describe('swiglu', () => {
  const silu = (x: number): number => x / (1 + Math.exp(-x));
  it('clamps the gate above only and the up value on both sides', () => {
    const got = swiglu([20, -20, 1, 0.5, -30, 30], { m: 1, i: 3, limit: 10 });
    expectClose(got, [silu(10) * 0.5, silu(-20) * -10, silu(1) * 10], { maxAbs: 1e-15 });
  });
  it('pairs gate and up within a row', () => {
    const got = swiglu([1, 2, 3, 4], { m: 2, i: 1, limit: 100 });
    expectClose(got, [silu(1) * 2, silu(3) * 4], { maxAbs: 1e-15 });
  });
  it('of a very negative gate is -0, not NaN', () => expect(swiglu([-1e6, 1], { m: 1, i: 1, limit: 10 })[0]).toBe(-0));
  it('refuses a wrong length and limit', () => {
    expect(() => swiglu([1], { m: 1, i: 1, limit: 1 })).toThrow('M*2*I = 2, got 1');
    expect(() => swiglu([1, 1], { m: 1, i: 1, limit: 0 })).toThrow('"limit"');
  });
});

describe('hyper-connections', () => {
  const [t, hc, d] = [3, 4, 8];
  const shape = { t, hc, d, rmsNormEps: 1e-6, hcEps: 1e-6, iters: 20 };
  const random = seeded(6);
  const streams = random.floats(t * hc * d);
  const weights = {
    fn: random.floats((2 + hc) * hc * hc * d, 0.3),
    base: random.floats((2 + hc) * hc),
    scale: random.floats(3),
  };
  it('comb is doubly stochastic after 20 iterations; columns are normalised last', () => {
    const { comb } = hcPre(streams, weights, shape);
    for (let token = 0; token < t; token++)
      for (let i = 0; i < hc; i++) {
        const line = (at: (j: number) => number): number =>
          Array.from({ length: hc }, (_, j) => comb[token * hc * hc + at(j)]!).reduce((a, b) => a + b, 0);
        expect(line((j) => j * hc + i)).toBeCloseTo(1, 5); // column
        expect(line((j) => i * hc + j)).toBeCloseTo(1, 1); // row, still converging
      }
  });
  it('with zero projection follows the formulas by hand', () => {
    const base = Float64Array.from({ length: 8 }, (_, i) => i / 4 - 1);
    const w = { fn: new Float64Array(8 * 6), base, scale: [1, 1, 1] };
    const tiny = { t: 1, hc: 2, d: 3, rmsNormEps: 1e-6, hcEps: 0.01, iters: 2 };
    const x = [1, 2, 3, 10, 20, 30];
    const { pre, post, comb, collapsed } = hcPre(x, w, tiny);
    const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v));
    expectClose(pre, [sigmoid(-1) + 0.01, sigmoid(-0.75) + 0.01], { maxAbs: 1e-15 });
    expectClose(post, [2 * sigmoid(-0.5), 2 * sigmoid(-0.25)], { maxAbs: 1e-15 });
    expectClose(
      collapsed,
      [1, 2, 3].map((v) => v * pre[0]! + 10 * v * pre[1]!),
      { maxAbs: 1e-14 },
    );
    // softmax of (0, .25) and (.5, .75): both rows the same
    let m = [1, Math.exp(0.25), 1, Math.exp(0.25)].map((e) => e / (1 + Math.exp(0.25)) + 0.01);
    const columns = (a: number[]): number[] => a.map((v, i) => v / (a[i % 2]! + a[2 + (i % 2)]! + 0.01));
    const rows = (a: number[]): number[] => a.map((v, i) => v / (a[i - (i % 2)]! + a[i - (i % 2) + 1]! + 0.01));
    m = columns(rows(columns(m)));
    expectClose(comb, m, { maxAbs: 1e-15 });
  });
  it('one iteration is one column normalisation', () => {
    const { comb } = hcPre(streams, weights, { ...shape, hcEps: 0, iters: 1 });
    const column = comb[0]! + comb[hc]! + comb[2 * hc]! + comb[3 * hc]!;
    expect(column).toBeCloseTo(1, 14);
    expect(comb[0]! + comb[1]! + comb[2]! + comb[3]!).not.toBeCloseTo(1, 3);
  });
  it('hcPost mixes by the transpose', () => {
    const comb = [0, 1, 0, 0]; // only comb[0][1]: old stream 0 goes to new stream 1
    const got = hcPost([5, 7], [100], { post: [1, 2], comb }, { t: 1, hc: 2, d: 1 });
    expect([...got]).toEqual([100, 205]);
  });
  it('hcHead collapses with pre weights of its own', () => {
    const head = { fn: new Float64Array(hc * hc * d), base: [50, -50, 50, -50], scale: [3] };
    const want = Float64Array.from(
      { length: t * d },
      (_, i) => streams[Math.floor(i / d) * hc * d + (i % d)]! + streams[Math.floor(i / d) * hc * d + 2 * d + (i % d)]!,
    );
    expectClose(hcHead(streams, head, { ...shape, hcEps: 0 }), want, { maxAbs: 1e-14 });
  });
  it('a token does not depend on its neighbours', () => {
    const all = hcPre(streams, weights, shape);
    const one = hcPre(streams.subarray(hc * d, 2 * hc * d), weights, { ...shape, t: 1 });
    expectBytes(one.collapsed, all.collapsed.subarray(d, 2 * d));
    expectBytes(one.comb, all.comb.subarray(hc * hc, 2 * hc * hc));
  });
  it('refuses wrong lengths', () => {
    expect(() => hcPre([1], weights, shape)).toThrow('"streams" must have length T*hc*D = 96, got 1');
    expect(() => hcPre(streams, { ...weights, fn: [1] }, shape)).toThrow('"fn"');
    expect(() => hcPre(streams, { ...weights, base: [1] }, shape)).toThrow('"base" must have length (2+hc)*hc = 24');
    expect(() => hcPre(streams, { ...weights, scale: [1] }, shape)).toThrow('"scale" must have length 3, got 1');
    expect(() => hcPre(streams, weights, { ...shape, iters: 0 })).toThrow('"iters"');
    const post = { post: [1, 2], comb: [1, 2, 3, 4] };
    expect(() => hcPost([1], [1], post, { t: 1, hc: 2, d: 1 })).toThrow('"streams"');
    expect(() => hcPost([1, 2], [], post, { t: 1, hc: 2, d: 1 })).toThrow('"blockOut"');
    expect(() => hcPost([1, 2], [1], { ...post, post: [] }, { t: 1, hc: 2, d: 1 })).toThrow('"post"');
    expect(() => hcPost([1, 2], [1], { ...post, comb: [] }, { t: 1, hc: 2, d: 1 })).toThrow('"comb"');
    expect(() => hcHead(streams, weights, shape)).toThrow('"fn" must have length hc*hc*D = 128');
  });
});
