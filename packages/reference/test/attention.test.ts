import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import {
  applyRope,
  attend,
  compress,
  indexScores,
  indexSelect,
  ropeFrequencies,
  topK,
  visibleEntries,
  visibleSet,
} from '../src/index';

describe('ropeFrequencies', () => {
  it('are theta^(-2i/dim), as float32', () => {
    const f = ropeFrequencies({ ropeDim: 8, theta: 10000 });
    expectClose(f, [1, 0.1, 0.01, 0.001], { nmse: 1e-14 });
    expectBytes(f, f.map(Math.fround));
    expect(f[1]).toBe(Math.fround(0.1));
  });
  it('YaRN leaves the fast dims, divides the slow ones by factor and blends between', () => {
    const yarn = { factor: 16, betaFast: 32, betaSlow: 1, originalMaxPositionEmbeddings: 65536 };
    const plain = ropeFrequencies({ ropeDim: 64, theta: 160000 });
    const f = ropeFrequencies({ ropeDim: 64, theta: 160000, yarn });
    // DeepSeek-V4: the ramp runs from dim floor(15.5) = 15 to dim ceil(24.7) = 25.
    expectBytes(f.subarray(0, 16), plain.subarray(0, 16));
    expectClose(
      f.subarray(25),
      plain.subarray(25).map((v) => v / 16),
      { nmse: 1e-13 },
    );
    for (let i = 16; i < 25; i++) {
      const keep = 1 - (i - 15) / 10;
      expect(f[i]! / (plain[i]! * (keep + (1 - keep) / 16))).toBeCloseTo(1, 5);
    }
  });
  it('YaRN with a ramp of width 0 steps', () => {
    const once = 64 / (2 * Math.PI); // dim 0 turns that often within 64 positions
    const yarn = { factor: 4, betaFast: once, betaSlow: once, originalMaxPositionEmbeddings: 64 };
    const f = ropeFrequencies({ ropeDim: 4, theta: 100, yarn });
    expectClose(f, [1, 0.1 / 4], { nmse: 1e-13 });
  });
  it('refuses odd dims and theta 0', () => {
    expect(() => ropeFrequencies({ ropeDim: 3, theta: 10 })).toThrow('"ropeDim" must be a multiple of 2');
    expect(() => ropeFrequencies({ ropeDim: 4, theta: 0 })).toThrow('"theta"');
  });
});

describe('applyRope', () => {
  const frequencies = ropeFrequencies({ ropeDim: 4, theta: 100 });
  it('turns neighbouring pairs of the last dims and leaves the first', () => {
    const got = applyRope([7, 8, 1, 0, 0, 1], { positions: [3], heads: 1, d: 6, frequencies });
    const slow = Math.fround(3 * Math.fround(0.1));
    expectClose(got, [7, 8, Math.cos(3), Math.sin(3), -Math.sin(slow), Math.cos(slow)], { maxAbs: 1e-15 });
  });
  it('inverse undoes it; position 0 does nothing; the input stays', () => {
    const x = seeded(1).floats(2 * 3 * 6);
    const copy = Float32Array.from(x);
    const shape = { positions: [0, 1234], heads: 3, d: 6, frequencies };
    const turned = applyRope(x, shape);
    expectBytes(turned.subarray(0, 18), x.subarray(0, 18));
    expect(turned[22]).not.toBe(x[22]);
    expectClose(applyRope(turned, { ...shape, inverse: true }), x, { maxAbs: 1e-15 });
    expectBytes(x, copy);
  });
  it('makes products depend on the distance', () => {
    const [q, k] = [seeded(2).floats(4), seeded(3).floats(4)];
    const product = (p: number, r: number): number => {
      const turn = (v: Float32Array, position: number): Float64Array =>
        applyRope(v, { positions: [position], heads: 1, d: 4, frequencies });
      const b = turn(k, r);
      return turn(q, p).reduce((s, v, i) => s + v * b[i]!, 0);
    };
    expect(product(17, 12)).toBeCloseTo(product(5, 0), 6);
    expect(product(17, 12)).not.toBeCloseTo(product(6, 0), 2);
  });
  it('rounds the angle to float32, as the published model does', () => {
    const frequency = Math.fround(1 / 3);
    const got = applyRope([1, 0], { positions: [1000001], heads: 1, d: 2, frequencies: [frequency] });
    expect(got[0]).toBe(Math.cos(Math.fround(1000001 * frequency)));
    expect(got[0]).not.toBe(Math.cos(1000001 * frequency));
  });
  it('refuses what does not fit', () => {
    expect(() => applyRope([1], { positions: [0], heads: 1, d: 2, frequencies: [1] })).toThrow('M*heads*D = 2, got 1');
    expect(() => applyRope([1, 2], { positions: [-1], heads: 1, d: 2, frequencies: [1] })).toThrow('"positions[0]"');
    expect(() => applyRope([1, 2], { positions: [0], heads: 1, d: 2, frequencies })).toThrow('"ropeDim"');
  });
});

describe('compress', () => {
  const plain = { norm: [1, 1], rmsNormEps: 0, frequencies: [0], dim: 2 };
  const unit = (a: number, b: number): number[] => [a, b].map((v) => v / Math.sqrt((a * a + b * b) / 2));
  it('HCA: equal gates give the mean of the window; a partial window is left out', () => {
    const kv = [1, 2, 3, 4, 5, 6, 7, 80, NaN, NaN];
    const args = { ...plain, tokens: 5, ratio: 2, overlapping: false, ape: new Float64Array(4) };
    const gate = new Float64Array(10);
    expectClose(compress(kv, gate, args), [...unit(2, 3), ...unit(6, 43)], { maxAbs: 1e-14 });
  });
  it('HCA: the gate and ape choose, channel by channel', () => {
    const args = { ...plain, tokens: 2, ratio: 2, overlapping: false, ape: [0, 0, 1000, 0] };
    expectClose(compress([1, 2, 3, 4], [0, 900, 0, 0], args), unit(3, 2), { maxAbs: 1e-14 });
  });
  it('CSA: previous window by the first half, own window by the second', () => {
    // Each token: [Ca0, Ca1, Cb0, Cb1].
    const kv = [1, 1, 10, 20, 2, 3, 30, 40, 5, 5, 50, 60, 6, 6, 70, 80];
    const args = { ...plain, tokens: 4, ratio: 2, overlapping: true, ape: new Float64Array(8) };
    const got = compress(kv, new Float64Array(16), args);
    expectClose(got, [...unit(20, 30), ...unit((1 + 2 + 50 + 70) / 4, (1 + 3 + 60 + 80) / 4)], { maxAbs: 1e-14 });
  });
  it('CSA: ape rows are the place in the window, for both halves', () => {
    const kv = [1, 1, 10, 20, 2, 3, 30, 40, 5, 5, 50, 60, 6, 6, 70, 80];
    const ape = [0, 0, 0, 0, 500, 0, 0, 500]; // second place: channel 0 of Ca, channel 1 of Cb
    const got = compress(kv, new Float64Array(16), { ...plain, tokens: 4, ratio: 2, overlapping: true, ape });
    expectClose(got, [...unit(20, 40), ...unit(2, 80)], { maxAbs: 1e-12 });
  });
  it('norm weight, then RoPE at the first position of the window', () => {
    const frequencies = [0.25];
    const args = { tokens: 6, ratio: 3, dim: 2, overlapping: false, ape: new Float64Array(6), norm: [2, 3] };
    const kv = seeded(5).floats(12);
    const gate = seeded(6).floats(12);
    const still = compress(kv, gate, { ...args, rmsNormEps: 1e-6, frequencies: [0] });
    const got = compress(kv, gate, { ...args, rmsNormEps: 1e-6, frequencies });
    expectBytes(got, applyRope(still, { positions: [0, 3], heads: 1, d: 2, frequencies }));
  });
  it('gates far apart do not overflow; no window, no entry', () => {
    const args = { ...plain, tokens: 2, ratio: 2, overlapping: false, ape: new Float64Array(4) };
    expect(compress([1, 2, 3, 4], [1e5, -1e5, -1e5, 1e5], args).every(Number.isFinite)).toBe(true);
    expect(compress([1, 2], [1, 2], { ...args, tokens: 1 }).length).toBe(0);
  });
  it('refuses wrong lengths', () => {
    const args = { ...plain, tokens: 2, ratio: 2, overlapping: false, ape: new Float64Array(4) };
    expect(() => compress([1], [1, 2, 3, 4], args)).toThrow('"kv" must have length tokens*width = 4, got 1');
    expect(() => compress([1, 2, 3, 4], [1], args)).toThrow('"gate"');
    expect(() => compress([1, 2, 3, 4], [1, 2, 3, 4], { ...args, ape: [] })).toThrow('"ape"');
    expect(() => compress([1, 2, 3, 4], [1, 2, 3, 4], { ...args, norm: [] })).toThrow('"norm"');
    expect(() => compress([], [], { ...args, tokens: 0, ratio: 0 })).toThrow('"ratio"');
  });
});

describe('topK', () => {
  it('takes the best, ties to the lowest index', () => {
    expect(topK([1, 5, 5, 0, 5], 2)).toEqual([1, 2]);
    expect(topK([0, -0, 0], 2)).toEqual([0, 1]);
    expect(topK([3, -Infinity], 5)).toEqual([0, 1]);
    expect(topK([], 3)).toEqual([]);
    expect(topK([1], 0)).toEqual([]);
    expect(() => topK([1], -1)).toThrow('"k"');
  });
});

describe('indexer', () => {
  it('scores are weighted ReLU products', () => {
    const got = indexScores([1, 0, 0, 2], [3, 4, -5, 1], [2, -1], { n: 1, heads: 2, dim: 2, entries: 2 });
    // head 0: q = (1, 0), head 1: q = (0, 2); scale 2^-.5 * 2^-.5
    expectClose(got, [(2 * 3 - 1 * 8) / 2, (0 - 1 * 2) / 2], { maxAbs: 1e-15 });
  });
  it('selects among visible entries only, ascending, padded with -1', () => {
    const n = 9;
    const shape = { n, heads: 1, dim: 1, entries: 3, firstPosition: 2, ratio: 3, topk: 2 };
    const selected = indexSelect(new Float64Array(n).fill(1), [1, 3, 2], new Float64Array(n).fill(1), shape);
    // position 2..4 sees 1 entry, 5..7 two, 8..10 three: the best two of (1, 3, 2) are 1 and 2
    expect([...selected]).toEqual([0, -1, 0, -1, 0, -1, 0, 1, 0, 1, 0, 1, 1, 2, 1, 2, 1, 2]);
  });
  it('sends the ties of the ReLU to the lowest index', () => {
    const shape = { n: 1, heads: 1, dim: 1, entries: 4, firstPosition: 15, ratio: 4, topk: 2 };
    expect([...indexSelect([-1], [1, 2, -1, 3], [1], shape)]).toEqual([0, 2]); // only entry 2 is positive
    expect([...indexSelect([-1], [1, 2, 1, 3], [1], shape)]).toEqual([0, 1]);
  });
  it('refuses wrong lengths', () => {
    const shape = { n: 1, heads: 1, dim: 1, entries: 1 };
    expect(() => indexScores([], [1], [1], shape)).toThrow('"q" must have length N*heads*dim = 1, got 0');
    expect(() => indexScores([1], [], [1], shape)).toThrow('"keys"');
    expect(() => indexScores([1], [1], [], shape)).toThrow('"headWeights"');
  });
});

describe('visibility', () => {
  it('an entry is visible from the last token of its window on', () => {
    expect([0, 2, 3, 6, 7].map((t) => visibleEntries(t, 4))).toEqual([0, 0, 1, 1, 2]);
    expect(() => visibleEntries(-1, 4)).toThrow('"position"');
    expect(() => visibleEntries(1, 0)).toThrow('"ratio"');
  });
  it('all visible, or the selected ones', () => {
    const args = { n: 3, firstPosition: 2, ratio: 2, entries: 2 };
    expect([...visibleSet(args)]).toEqual([1, 0, 1, 1, 1, 1]);
    const selected = [0, -1, 1, -1, -1, 0];
    expect([...visibleSet({ ...args, selected, topk: 2 })]).toEqual([1, 0, 0, 1, 1, 0]);
    expect(() => visibleSet({ ...args, selected: [1, -1, -1, -1, -1, -1], topk: 2 })).toThrow(
      '"selected[0, 0]" must be an integer in [-1, 0], got 1',
    );
    expect(() => visibleSet({ ...args, selected: [1], topk: 2 })).toThrow('N*topk = 6, got 1');
  });
});

describe('attend', () => {
  const base = { n: 1, firstPosition: 0, heads: 1, d: 2, window: 4, sinks: [-Infinity], softmaxScale: 0.5 };
  it('one key and no sink gives the key', () => {
    expect([...attend([5, 6], { ...base, kv: [1, 2] })]).toEqual([1, 2]);
  });
  it('the sink takes part in the denominator only, unscaled', () => {
    const got = attend([2, 0], { ...base, kv: [3, 4], sinks: [1] });
    const p = Math.exp(3) / (Math.exp(3) + Math.exp(1));
    expectClose(got, [3 * p, 4 * p], { maxAbs: 1e-14 });
    expect([...attend([2, 0], { ...base, kv: [3, 4], sinks: [Infinity] })]).toEqual([0, 0]);
    expect(attend([2, 0], { ...base, kv: [3, 4], sinks: [1e4] }).every((v) => v === 0)).toBe(true);
  });
  it('softmax over window and visible entries; keys that are not seen are never read', () => {
    const args = { ...base, n: 1, firstPosition: 3, window: 2, softmaxScale: 1, sinks: [0] };
    const kv = [NaN, NaN, NaN, NaN, 1, 0, 0, 1];
    const compressed = [NaN, NaN, 2, 2, NaN, NaN];
    const got = attend([1, 2], { ...args, kv, compressed, visible: [0, 1, 0] });
    const e = [1, 2, 6].map(Math.exp);
    const sum = 1 + e[0]! + e[1]! + e[2]!;
    expectClose(got, [(e[0]! + 2 * e[2]!) / sum, (e[1]! + 2 * e[2]!) / sum], { maxAbs: 1e-14 });
  });
  it('a chunk equals the same rows of the whole', () => {
    const [s, heads, d, entries] = [11, 3, 4, 2];
    const random = seeded(8);
    const q = random.floats(s * heads * d);
    const kv = random.floats(s * d);
    const compressed = random.floats(entries * d);
    const args = { heads, d, kv, window: 4, compressed, sinks: [0.5, -Infinity, 2], softmaxScale: 0.7 };
    const visible = visibleSet({ n: s, firstPosition: 0, ratio: 4, entries });
    const all = attend(q, { ...args, n: s, firstPosition: 0, visible });
    const from = 6;
    const part = { n: s - from, firstPosition: from, visible: visible.subarray(from * entries) };
    expectBytes(attend(q.subarray(from * heads * d), { ...args, ...part }), all.subarray(from * heads * d));
  });
  it('huge logits do not overflow', () => {
    const got = attend([1e4, 0], { ...base, firstPosition: 1, kv: [1, 0, -1, 5], sinks: [0] });
    expect([...got]).toEqual([1, 0]);
  });
  it('refuses what does not fit', () => {
    const ok = { ...base, kv: [1, 2] };
    expect(() => attend([1], ok)).toThrow('"q" must have length N*heads*D = 2, got 1');
    expect(() => attend([1, 2], { ...ok, kv: [1] })).toThrow('"kv" must have length (firstPosition+N)*D = 2, got 1');
    expect(() => attend([1, 2], { ...ok, sinks: [] })).toThrow('"sinks"');
    expect(() => attend([1, 2], { ...ok, window: 0 })).toThrow('"window"');
    expect(() => attend([1, 2], { ...ok, compressed: [1, 2] })).toThrow(
      '"visible" must have length N*entries = 1, got 0',
    );
    expect(() => attend([1, 2], { ...ok, softmaxScale: NaN })).toThrow('"softmaxScale"');
  });
});
