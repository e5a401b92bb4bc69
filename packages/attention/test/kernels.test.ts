import { expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { createRope, SequenceState } from '../src/index';
import type { CompressorState, LayerState } from '../src/index';
import { BACKENDS } from './backends';

const ROPE = createRope({ ropeDim: 2, theta: 100 });

/** A layer whose ring holds `ring` and whose entries are `entries`, as if they had been written. */
function layerOf(d: number, ring: number[], entries: number[] = []): LayerState {
  const layer = new SequenceState({
    layers: [{ ratio: 128, window: ring.length / d, headDim: d }],
    maxTokens: 1000,
    maxChunk: 1,
  }).layers[0]!;
  layer.ring.set(ring);
  layer.position = 1000;
  layer.compressor!.entries.set(entries);
  layer.compressor!.position = (entries.length / d) * 128;
  return layer;
}

function indexerOf(dim: number, keys: number[]): CompressorState {
  const tokens = (keys.length / dim) * 4;
  const layer = { ratio: 4 as const, window: 1, headDim: 1, indexHeadDim: dim };
  const c = new SequenceState({ layers: [layer], maxTokens: tokens, maxChunk: 1 }).layers[0]!.indexer!;
  c.entries.set(keys);
  c.position = tokens;
  return c;
}

describe.each(BACKENDS)('attend on $name', ({ kernels }) => {
  /** One query of ones against the given keys. */
  const attend = (layer: LayerState, keys: number[], sinks: number[], q?: number[]): number[] => {
    const d = layer.headDim;
    const heads = sinks.length;
    const out = new Float32Array(heads * d + 1).fill(NaN);
    const query = Float32Array.from(q ?? Array.from({ length: heads * d }, () => 1));
    const index = Int32Array.from([...keys, -99]);
    kernels.attend(
      layer,
      query,
      0,
      1,
      heads,
      index,
      keys.length + 1,
      Int32Array.of(keys.length),
      Float32Array.from(sinks),
      1,
      out,
    );
    expect(out[heads * d]).toBeNaN();
    return Array.from(out.subarray(0, heads * d));
  };

  it('a sink takes its share of the weight, and no value', () => {
    const layer = layerOf(1, [0, 0]);
    layer.ring.set([Math.log(3), 0]);
    // logits ln 3 and 0, sink 0: weights 3/5, 1/5, 1/5
    expectClose(attend(layer, [0, 1], [0]), [(Math.log(3) * 3) / 5], { maxAbs: 1e-7 });
    expectClose(attend(layer, [0, 1], [-Infinity]), [(Math.log(3) * 3) / 4], { maxAbs: 1e-7 });
    expect(attend(layer, [0, 1], [Infinity])).toEqual([0]);
  });
  it('no keys give 0 whatever the sink', () => {
    expect(attend(layerOf(2, [1, 2]), [], [0, -Infinity, Infinity])).toEqual([0, 0, 0, 0, 0, 0]);
  });
  it('huge logits do not overflow, and a sink far above or below counts as it should', () => {
    const layer = layerOf(1, [300, 299]);
    expectClose(attend(layer, [0, 1], [0], [300]), [300], { maxAbs: 1e-4 });
    expectClose(attend(layer, [0, 1], [90000, 1e30, -1e30], [300, 300, 300]), [150, 0, 300], { maxAbs: 1e-3 });
    expectClose(attend(layer, [1, 0, 1], [-Infinity, -89700], [-300, -300]), [299, 598 / 3], { maxAbs: 1e-4 });
  });
  it('logits of -Infinity have no weight; a NaN shows', () => {
    const layer = layerOf(1, [3e38, 2]);
    expect(attend(layer, [0], [0], [-3e38])).toEqual([0]);
    expectClose(attend(layer, [0, 1], [-Infinity], [-1e38]), [2], { maxAbs: 0 });
    expect(attend(layerOf(1, [NaN, 2]), [0, 1], [0])).toEqual([NaN]);
    expect(attend(layerOf(1, [NaN, 2]), [1, 0], [0])).toEqual([NaN]);
  });
  it('entries follow the ring rows', () => {
    const layer = layerOf(2, [1, 2, 3, 4], [50, 60, 70, 80]);
    expect(attend(layer, [2], [-Infinity])).toEqual([50, 60]);
    expect(attend(layer, [3], [-Infinity])).toEqual([70, 80]);
    expect(attend(layer, [1], [-Infinity])).toEqual([3, 4]);
  });
  it('a running maximum that grows in every block changes nothing', () => {
    const n = 131;
    const layer = layerOf(
      1,
      Array.from({ length: n }, (_, i) => i / 4),
    );
    const keys = Array.from({ length: n }, (_, i) => i);
    const want = (order: number[]): number => {
      const e = order.map((i) => Math.exp(i / 4 - n / 4));
      return order.reduce((s, i, j) => s + (i / 4) * e[j]!, 0) / e.reduce((a, b) => a + b, 0);
    };
    for (const order of [keys, [...keys].reverse()]) {
      expectClose(attend(layer, order, [-Infinity]), [want(order)], { maxAbs: 2e-5 });
    }
  });
  it('row0 moves queries and outputs, not the plan; views at odd offsets work; zero rows do nothing', () => {
    const layer = layerOf(2, [1, 2, 3, 4]);
    const q = new Float32Array(9).fill(NaN).subarray(1);
    q.set([1, 1, 1, 1], 4);
    const out = new Float32Array(9).fill(7).subarray(1);
    const sinks = Float32Array.of(-Infinity);
    kernels.attend(layer, q, 2, 2, 1, Int32Array.of(0, 1), 1, Int32Array.of(1, 1), sinks, 1, out);
    expect(Array.from(out)).toEqual([7, 7, 7, 7, 1, 2, 3, 4]);
    kernels.attend(layer, q, 4, 0, 1, new Int32Array(0), 0, new Int32Array(0), sinks, 1, out);
    expect(Array.from(out)).toEqual([7, 7, 7, 7, 1, 2, 3, 4]);
  });
});

describe.each(BACKENDS)('indexSelect on $name', ({ kernels }) => {
  const select = (c: CompressorState, q: number[], weights: number[], p0: number, topk: number): number[] => {
    const n = weights.length;
    const selected = new Int32Array(n * topk + 1).fill(-99);
    kernels.indexSelect(c, Float32Array.from(q), Float32Array.from(weights), 0, n, p0, 1, topk, selected);
    expect(selected[n * topk]).toBe(-99);
    return Array.from(selected.subarray(0, n * topk));
  };

  it('keeps the best, ascending', () => expect(select(indexerOf(1, [1, 5, 2, 9, 3]), [1], [1], 19, 2)).toEqual([1, 3]));
  it('ties go to the lowest index', () => {
    expect(select(indexerOf(1, [1, 5, 5, 5, 5]), [1], [1], 19, 2)).toEqual([1, 2]);
    expect(select(indexerOf(1, [5, 9, 5, 5, 9]), [1], [1], 19, 3)).toEqual([0, 1, 4]);
    expect(select(indexerOf(1, [-1, -2, -3, 4, -5]), [1], [1], 19, 3)).toEqual([0, 1, 3]); // relu: all but one are 0
    expect(select(indexerOf(1, [-1, 2, -3, 4, -5]), [1], [-1], 19, 3)).toEqual([0, 2, 4]); // a negative head weight
    expect(select(indexerOf(1, [-1, 2, 3]), [1], [0], 11, 2)).toEqual([0, 1]); // -0 and 0 are equal
  });
  it('only sees closed windows, and pads with -1', () => {
    const c = indexerOf(1, [1, 2, 3]);
    expect(select(c, [1], [1], 2, 2)).toEqual([-1, -1]);
    expect(select(c, [1, 1, 1], [1, 1, 1], 6, 2)).toEqual([0, -1, 0, 1, 0, 1]);
    expect(select(c, [1, 1], [1, 1], 10, 2)).toEqual([0, 1, 1, 2]);
  });
  it('takes nothing for topk 0 and for no rows', () => {
    expect(select(indexerOf(1, [1, 2]), [1], [1], 7, 0)).toEqual([]);
    expect(select(indexerOf(1, [1, 2]), [], [], 8, 3)).toEqual([]);
  });
  it('NaN scores rank last and stay in range', () => {
    expect(select(indexerOf(1, [NaN, NaN, 1, NaN, NaN]), [1], [1], 19, 2)).toEqual([0, 2]);
  });
  it('sums heads with their weights, relu before the sum', () => {
    // heads 2, dim 1: entry 0 scores relu(2)*1 + relu(-2)*5 = 2, entry 1 scores 0 + 1*5 = 5, entry 2: 3 + 0
    const selected = new Int32Array(1);
    kernels.indexSelect(
      indexerOf(1, [2, -1, 3]),
      Float32Array.of(9, 9, 1, -1),
      Float32Array.of(9, 9, 1, 5),
      1,
      1,
      11,
      2,
      1,
      selected,
    );
    expect(selected[0]).toBe(1);
  });
  it('agrees with a sort on thousands of entries with many ties', () => {
    const random = seeded(5);
    const n = 3000;
    const keys = Array.from({ length: n }, () => random.int(40) - 15);
    const want = keys.map((k, w) => ({ s: Math.max(k, 0), w })).sort((a, b) => b.s - a.s || a.w - b.w);
    for (const topk of [1, 17, 512, 1700, 2999]) {
      const picked = want.slice(0, topk).map(({ w }) => w);
      expect(select(indexerOf(1, keys), [1], [1], 4 * n - 1, topk)).toEqual(picked.sort((a, b) => a - b));
    }
  });
});

describe.each(BACKENDS)('compress and writeWindow on $name', ({ kernels }) => {
  const weights = (ratio: number, width: number, dim: number) => ({
    ape: new Float32Array(ratio * width),
    norm: new Float32Array(dim).fill(1),
  });
  const csaState = (): CompressorState =>
    new SequenceState({ layers: [{ ratio: 4, window: 1, headDim: 2, indexHeadDim: 2 }], maxTokens: 16, maxChunk: 16 })
      .layers[0]!.compressor!;

  it('entry 0 pools its own window only, entry 1 both halves', () => {
    const c = csaState();
    // First halves 1, second halves 100; equal gates. After the RMS norm only ratios of channels are left, so channel 1 is a ruler.
    const kv = new Float32Array(8 * 4).map((_, i) => [1, 1, 100, 50][i % 4]!);
    kernels.compress(
      c,
      kv,
      new Float32Array(8 * 4),
      0,
      8,
      0,
      weights(4, 4, 2),
      0,
      createRope({ ropeDim: 2, theta: 1 }),
    );
    const rms = (a: number, b: number): number[] => [a, b].map((v) => v / Math.sqrt((a * a + b * b) / 2));
    expectClose(c.entries.subarray(0, 2), rms(100, 50), { maxAbs: 2e-7 });
    const [a, b] = rms(50.5, 25.5); // four of 1 and four of 100; four of 1 and four of 50; theta 1: an angle of 4
    expectClose(c.entries.subarray(2, 4), [a! * Math.cos(4) - b! * Math.sin(4), b! * Math.cos(4) + a! * Math.sin(4)], {
      maxAbs: 4e-7,
    });
  });
  it('extreme gates and zero values stay finite', () => {
    const c = csaState();
    const gate = new Float32Array(16 * 4).map((_, i) => (i % 3 === 0 ? 3e38 : -3e38));
    kernels.compress(c, new Float32Array(16 * 4), gate, 0, 16, 0, weights(4, 4, 2), 1e-6, ROPE);
    expectClose(c.entries, new Float32Array(8), { maxAbs: 0 });
  });
  it('takes no tokens', () => {
    const c = csaState();
    kernels.compress(c, new Float32Array(0), new Float32Array(0), 0, 0, 0, weights(4, 4, 2), 1e-6, ROPE);
    expect(c.position).toBe(0);
  });
  it('writes ring rows at position % ringCap from row0 on', () => {
    const layer = new SequenceState({ layers: [{ ratio: 0, window: 2, headDim: 1 }], maxTokens: 9, maxChunk: 2 })
      .layers[0]!;
    const kv = Float32Array.of(10, 11, 12, 13, 14, 15);
    kernels.writeWindow(layer, kv, 1, 2, 0);
    kernels.writeWindow(layer, kv, 4, 2, 2);
    kernels.writeWindow(layer, kv, 0, 0, 4);
    expect(Array.from(layer.ring)).toEqual([15, 12, 14]);
    expect(layer.position).toBe(4);
  });
});
