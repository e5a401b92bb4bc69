import {
  buildGatherPlan,
  gatherPlanCapacity,
  SequenceState,
  type LayerSpec,
  type LayerState,
} from '@megamoe/attention';
import { checkClose, Random } from './data';
import { compare } from './measure';
import type { BenchCase, BenchContext } from './types';

/** Attention over window and chosen compressed keys, as in a CSA layer of DeepSeek-V4-Flash at position 4095. */
export function attentionCases(c: BenchContext): BenchCase[] {
  const [heads, d, window, topk, context] = c.quick ? [4, 64, 16, 32, 256] : [64, 512, 128, 512, 4096];
  const keys = window + topk;
  const spec: LayerSpec = { ratio: 4, window, headDim: d, indexHeadDim: 16 };

  const attend = (queries: number, copies: number, target?: number): BenchCase => ({
    name: queries === 1 ? 'attend-decode' : 'attend-prefill',
    shape: `queries=${queries} keys=${keys} heads=${heads} d=${d}`,
    ...(target === undefined ? {} : { target }),
    run(threads) {
      const random = new Random(queries);
      const kernels = c.attention(threads);
      // Several states in turn: the keys of a layer are cold when a step comes to it.
      const layers = Array.from({ length: copies }, () => filledLayer(spec, context, queries, random));
      const p0 = context - queries;
      const q = random.floats(queries * heads * d);
      const sinks = random.floats(heads);
      const out = new Float32Array(queries * heads * d);
      const keyCap = gatherPlanCapacity(spec, p0, queries, topk);
      const keyIndex = new Int32Array(queries * keyCap);
      const keyCount = new Int32Array(queries);
      const selected = chosenEntries(random, p0, queries, topk);
      buildGatherPlan(spec, layers[0]!.ringCap, p0, queries, selected, topk, keyIndex, keyCap, keyCount);
      let at = 0;
      const run = (): void => {
        kernels.attend(layers[at]!, q, 0, queries, heads, keyIndex, keyCap, keyCount, sinks, d ** -0.5, out);
        at = (at + 1) % copies;
      };
      run();
      for (const [query, head] of [
        [0, 0],
        [queries - 1, heads - 1],
      ] as const) {
        checkAttention(
          layers[0]!,
          q,
          query,
          head,
          heads,
          d,
          keyIndex.subarray(query * keyCap),
          keyCount[query]!,
          sinks,
          out,
        );
      }
      const pairs = keyCount.reduce((sum, n) => sum + n, 0) * heads;
      return compare(c, threads, run, [
        { kind: 'fma', amount: 4 * pairs * d }, // a dot product and a weighted sum
        { kind: 'read', amount: 4 * d * (keyCount[0]! + 2 * queries * heads) },
      ]);
    },
  });
  return [attend(1, c.quick ? 2 : 32, 0.7), attend(c.quick ? 8 : 64, 2)];
}

/** A layer with random keys up to `context`. */
function filledLayer(spec: LayerSpec, context: number, maxChunk: number, random: Random): LayerState {
  const layer = new SequenceState({ layers: [spec], maxTokens: context, maxChunk }).layers[0]!;
  layer.ring.set(random.floats(layer.ring.length));
  const { compressor } = layer;
  compressor!.entries.set(random.floats(compressor!.entries.length));
  layer.position = context;
  compressor!.position = context;
  return layer;
}

/** For each query `topk` of the entries that it can see, ascending. */
function chosenEntries(random: Random, p0: number, n: number, topk: number): Int32Array {
  const selected = new Int32Array(n * topk).fill(-1);
  for (let r = 0; r < n; r++) {
    const visible = Math.floor((p0 + r + 1) / 4);
    const ids = new Set<number>();
    while (ids.size < Math.min(topk, visible)) ids.add(random.below(visible));
    selected.set(
      [...ids].sort((a, b) => a - b),
      r * topk,
    );
  }
  return selected;
}

/** One head of one query, in double. */
function checkAttention(
  layer: LayerState,
  q: Float32Array,
  query: number,
  head: number,
  heads: number,
  d: number,
  keyIndex: Int32Array,
  count: number,
  sinks: Float32Array,
  out: Float32Array,
): void {
  const at = (query * heads + head) * d;
  const keyOf = (i: number): { from: Float32Array; start: number } => {
    const row = keyIndex[i]!;
    return row < layer.ringCap
      ? { from: layer.ring, start: row * d }
      : { from: layer.compressor!.entries, start: (row - layer.ringCap) * d };
  };
  const logits = Array.from({ length: count }, (_, i) => {
    const { from, start } = keyOf(i);
    let dot = 0;
    for (let j = 0; j < d; j++) dot += q[at + j]! * from[start + j]!;
    return dot * d ** -0.5;
  });
  const max = Math.max(sinks[head]!, ...logits);
  const weights = logits.map((x) => Math.exp(x - max));
  const total = weights.reduce((a, b) => a + b, Math.exp(sinks[head]! - max));
  for (const j of [0, d - 1]) {
    let want = 0;
    for (let i = 0; i < count; i++) {
      const { from, start } = keyOf(i);
      want += (weights[i]! / total) * from[start + j]!;
    }
    checkClose('attend', out[at + j]!, want, 1e-4);
  }
}
