import { expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { BACKENDS } from './backends';
import { oneLayer } from './one-layer';

describe.each(BACKENDS)('attend on $name', ({ kernels }) => {
  /** One query, of ones if not given, against window keys and then entries. */
  const attend = (keys: number[][], sinks: number[], q?: number[], entries: number[][] = []): number[] => {
    const d = keys[0]!.length;
    const heads = sinks.length;
    const length = Math.max(keys.length, 4 * entries.length) - 1;
    const spec = { ratio: 4, window: keys.length, headDim: d, indexHeadDim: 2 } as const;
    const { at, cache, step, layer } = oneLayer(kernels, spec, length, 1);
    keys.forEach((key, i) => at('window', 'window', length + 1 - keys.length + i).set(key));
    entries.forEach((key, w) => at('entries', 'entries4', w).set(key));
    const out = new Float32Array(heads * d + 1).fill(NaN);
    const topk = entries.length;
    const selected = Int32Array.from({ length: topk }, (_, w) => w);
    const query = Float32Array.from(q ?? Array.from({ length: heads * d }, () => 1));
    const shape = { heads, d, selected, topk, sinks: Float32Array.from(sinks), softmaxScale: 1 };
    kernels.attend({ cache, step, layer, q: query, ...shape, out });
    expect(out[heads * d]).toBeNaN();
    return Array.from(out.subarray(0, heads * d));
  };
  /** The same with keys of two channels, of which the second is 0: entries need room for RoPE. */
  const attend1 = (keys: number[], sinks: number[], q: number[] = sinks.map(() => 1)): number[] =>
    attend(keys.map((k) => [k, 0]), sinks, q.flatMap((v) => [v, 0])).filter((_, i) => i % 2 === 0); // prettier-ignore

  it('a sink takes its share of the weight, and no value', () => {
    const keys = [Math.log(3), 0];
    // logits ln 3 and 0, sink 0: weights 3/5, 1/5, 1/5
    expectClose(attend1(keys, [0]), [(Math.log(3) * 3) / 5], { maxAbs: 1e-7 });
    expectClose(attend1(keys, [-Infinity]), [(Math.log(3) * 3) / 4], { maxAbs: 1e-7 });
    expect(attend1(keys, [Infinity])).toEqual([0]);
  });
  it('huge logits do not overflow, and a sink far above or below counts as it should', () => {
    const keys = [300, 299];
    expectClose(attend1(keys, [0], [300]), [300], { maxAbs: 1e-4 });
    expectClose(attend1(keys, [90000, 1e30, -1e30], [300, 300, 300]), [150, 0, 300], { maxAbs: 1e-3 });
    expectClose(attend1([299, 300, 299], [-Infinity, -89700], [-300, -300]), [299, 598 / 3], { maxAbs: 1e-4 });
  });
  it('logits of -Infinity have no weight; a NaN shows', () => {
    expect(attend1([3e38], [0], [-3e38])).toEqual([0]);
    expectClose(attend1([3e38, 2], [-Infinity], [-1e38]), [2], { maxAbs: 0 });
    expect(attend1([NaN, 2], [0])).toEqual([NaN]);
    expect(attend1([2, NaN], [0])).toEqual([NaN]);
  });
  it('entries follow the window', () => {
    const entries = [[50, 60], [70, 80]]; // prettier-ignore
    expect(attend([[1, 2]], [-Infinity], [1, 1], [entries[0]!])).toEqual([50, 60]);
    expect(attend([[1, 2]], [-Infinity], [1, 1], entries)).toEqual([70, 80]);
    expect(attend([[1, 2], [3, 4]], [-Infinity], [-1, -1], entries)).toEqual([1, 2].map((v) => expect.closeTo(v, 1) as number)); // prettier-ignore
  });
  it('a running maximum that grows in every block changes nothing', () => {
    const n = 131;
    const keys = Array.from({ length: n }, (_, i) => i / 4);
    const e = keys.map((k) => Math.exp(k - n / 4));
    const want = keys.reduce((s, k, i) => s + k * e[i]!, 0) / e.reduce((a, b) => a + b, 0);
    for (const order of [keys, [...keys].reverse()]) expectClose(attend1(order, [-Infinity]), [want], { maxAbs: 2e-5 });
  });
  it('selected null is every visible entry, of each row its own; views at odd offsets work', () => {
    const spec = { ratio: 4, window: 1, headDim: 2, indexHeadDim: 2 } as const;
    const { at, cache, step, layer } = oneLayer(kernels, spec, 6, 6);
    for (let p = 6; p < 12; p++) at('window', 'window', p).set([0, 0]);
    for (let w = 0; w < 3; w++) at('entries', 'entries4', w).set([0, 2 ** w]);
    const q = new Float32Array(13).subarray(1);
    const out = new Float32Array(13).subarray(1);
    const sinks = Float32Array.of(-Infinity);
    const shape = { heads: 1, d: 2, topk: 0, sinks, softmaxScale: 1, out };
    kernels.attend({ cache, step, layer, q, ...shape, selected: null });
    // rows 6 to 11 see 1, 2, 2, 2, 2, 3 entries, and all keys have one weight
    const want = [1 / 2, 1, 1, 1, 1, 7 / 4];
    expectClose(Array.from(out).filter((_, i) => i % 2 === 1), want, { maxAbs: 1e-6 }); // prettier-ignore
  });
});

describe.each(BACKENDS)('indexSelect on $name', ({ kernels }) => {
  /** Queries of one head at positions p0 on, against indexer keys [entries, dim]. */
  const select = (keys: number[], q: number[], weights: number[], p0: number, topk: number): number[] => {
    const n = weights.length;
    const spec = { ratio: 4, window: 1, headDim: 2, indexHeadDim: 2 } as const;
    const { at, cache, step, layer } = oneLayer(kernels, spec, p0, n);
    const visible = Math.floor((p0 + n) / 4);
    for (let w = 0; n > 0 && w < visible; w++) at('indexEntries', 'entries4', w).set([keys[w]!, 0]);
    const selected = new Int32Array(n * topk + 1).fill(-99);
    const query = Float32Array.from(q.flatMap((v) => [v, 0]));
    const headWeights = Float32Array.from(weights);
    kernels.indexSelect({ cache, step, layer, q: query, headWeights, heads: 1, dim: 2, topk, selected });
    expect(selected[n * topk]).toBe(-99);
    return Array.from(selected.subarray(0, n * topk));
  };

  it('keeps the best, ascending', () => expect(select([1, 5, 2, 9, 3], [1], [1], 19, 2)).toEqual([1, 3]));
  it('ties go to the lowest index', () => {
    expect(select([1, 5, 5, 5, 5], [1], [1], 19, 2)).toEqual([1, 2]);
    expect(select([5, 9, 5, 5, 9], [1], [1], 19, 3)).toEqual([0, 1, 4]);
    expect(select([-1, -2, -3, 4, -5], [1], [1], 19, 3)).toEqual([0, 1, 3]); // relu: all but one are 0
    expect(select([-1, 2, -3, 4, -5], [1], [-1], 19, 3)).toEqual([0, 2, 4]); // a negative head weight
    expect(select([-1, 2, 3], [1], [0], 11, 2)).toEqual([0, 1]); // -0 and 0 are equal
  });
  it('only sees closed windows, and pads with -1', () => {
    expect(select([1, 2, 3], [1], [1], 2, 2)).toEqual([-1, -1]);
    expect(select([1, 2, 3], [1, 1, 1], [1, 1, 1], 6, 2)).toEqual([0, -1, 0, 1, 0, 1]);
    expect(select([1, 2, 3], [1, 1], [1, 1], 10, 2)).toEqual([0, 1, 1, 2]);
  });
  it('takes nothing for topk 0 and for no rows', () => {
    expect(select([1, 2], [1], [1], 7, 0)).toEqual([]);
    expect(select([1, 2], [], [], 8, 3)).toEqual([]);
  });
  it('NaN scores rank last and stay in range', () => {
    expect(select([NaN, NaN, 1, NaN, NaN], [1], [1], 19, 2)).toEqual([0, 2]);
  });
  it('sums heads with their weights, relu before the sum', () => {
    const { at, cache, step, layer } = oneLayer(kernels, { ratio: 4, window: 1, headDim: 2, indexHeadDim: 2 }, 11, 1);
    [2, -1, 3].forEach((key, w) => at('indexEntries', 'entries4', w).set([key, 0]));
    // heads 2: entry 0 scores relu(2)*1 + relu(-2)*5 = 2, entry 1 scores 0 + 1*5 = 5, entry 2: 3 + 0
    const [q, headWeights, selected] = [Float32Array.of(1, 0, -1, 0), Float32Array.of(1, 5), new Int32Array(1)];
    kernels.indexSelect({ cache, step, layer, q, headWeights, heads: 2, dim: 2, topk: 1, selected });
    expect(selected[0]).toBe(1);
  });
  it('agrees with a sort on thousands of entries with many ties', () => {
    const random = seeded(5);
    const n = 3000;
    const keys = Array.from({ length: n }, () => random.int(40) - 15);
    const want = keys.map((k, w) => ({ s: Math.max(k, 0), w })).sort((a, b) => b.s - a.s || a.w - b.w);
    for (const topk of [1, 17, 512, 1700, 2999]) {
      const picked = want.slice(0, topk).map(({ w }) => w);
      expect(select(keys, [1], [1], 4 * n - 1, topk)).toEqual(picked.sort((a, b) => a - b));
    }
  });
});

describe.each(BACKENDS)('compress and writeWindow on $name', ({ kernels }) => {
  const CSA = { ratio: 4, window: 1, headDim: 2, indexHeadDim: 2 } as const;
  const WEIGHTS = kernels.packCompressor(new Float32Array(4 * 4), Float32Array.of(1, 1));

  it('entry 0 pools its own window only, entry 1 both halves', () => {
    const home = oneLayer(kernels, CSA, 0, 8);
    kernels.planStep(home.step, home.stepRows, home.cache, kernels.createRope({ ropeDim: 2, theta: 1 }));
    // First halves 1, second halves 100; equal gates. After the RMS norm only ratios of channels are left, so channel 1 is a ruler.
    const kv = new Float32Array(8 * 4).map((_, i) => [1, 1, 100, 50][i % 4]!);
    const shape = { indexer: false, width: 4, weights: WEIGHTS, eps: 0 };
    kernels.compress({ ...home, ...shape, kv, gate: new Float32Array(8 * 4) });
    const rms = (a: number, b: number): number[] => [a, b].map((v) => v / Math.sqrt((a * a + b * b) / 2));
    expectClose(home.at('entries', 'entries4', 0), rms(100, 50), { maxAbs: 2e-7 });
    const [a, b] = rms(50.5, 25.5); // four of 1 and four of 100; four of 1 and four of 50; theta 1: an angle of 4
    const want = [a! * Math.cos(4) - b! * Math.sin(4), b! * Math.cos(4) + a! * Math.sin(4)];
    expectClose(home.at('entries', 'entries4', 1), want, { maxAbs: 4e-7 });
  });
  it('extreme gates and zero values stay finite', () => {
    const home = oneLayer(kernels, CSA, 0, 16);
    const gate = new Float32Array(16 * 4).map((_, i) => (i % 3 === 0 ? 3e38 : -3e38));
    const shape = { indexer: false, width: 4, weights: WEIGHTS, eps: 1e-6 };
    kernels.compress({ ...home, ...shape, kv: new Float32Array(16 * 4), gate });
    for (let w = 0; w < 4; w++) expectClose(home.at('entries', 'entries4', w), [0, 0], { maxAbs: 0 });
  });
  it('keeps projections by position, gates with ape added, and closes no window before its last token', () => {
    const home = oneLayer(kernels, CSA, 61, 6); // positions 61 to 66: a page border, and windows 15 and 16
    const ape = new Float32Array(16).map((_, i) => i);
    const weights = kernels.packCompressor(ape, Float32Array.of(1, 1));
    home.at('entries', 'entries4', 16 - 1).fill(9);
    const kv = new Float32Array(24).map((_, i) => 100 + i);
    kernels.compress({ ...home, indexer: false, width: 4, kv, gate: new Float32Array(24), weights, eps: 0 });
    for (let r = 0; r < 6; r++) {
      expect(Array.from(home.at('openKv', 'open4', 61 + r))).toEqual([0, 1, 2, 3].map((i) => 100 + 4 * r + i));
      expect(Array.from(home.at('openGate', 'open4', 61 + r))).toEqual([0, 1, 2, 3].map((i) => ((61 + r) % 4) * 4 + i));
    }
    expect(home.at('entries', 'entries4', 15)).not.toEqual(Float32Array.of(9, 9));
    expect(home.step.rows).toBe(6);
  });
  it('takes no tokens', () => {
    const home = oneLayer(kernels, CSA, 5, 0);
    const none = new Float32Array(0);
    kernels.compress({ ...home, indexer: false, width: 4, kv: none, gate: none, weights: WEIGHTS, eps: 1e-6 });
    kernels.writeWindow({ ...home, d: 2, kv: none });
    const shape = { heads: 1, d: 2, selected: null, topk: 0, sinks: new Float32Array(1), softmaxScale: 1 };
    kernels.attend({ ...home, q: none, ...shape, out: none });
  });
  it('writes window rows by position', () => {
    const home = oneLayer(kernels, { ratio: 0, window: 2, headDim: 1 }, 63, 3);
    kernels.writeWindow({ ...home, d: 1, kv: Float32Array.of(10, 11, 12, 13) });
    expect([63, 64, 65].map((p) => home.at('window', 'window', p)[0])).toEqual([10, 11, 12]);
    expect(home.pages.list('window').ids.length).toBe(2);
  });
});
