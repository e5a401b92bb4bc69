import { pageKindsOf, PagePool, SequencePages, StepRows, type HostTensor, type LayerSpec } from '@megamoe/ops';
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
      // Several layers in turn: the keys of a layer are cold when a step comes to it.
      const cache = kernels.createCache(Array.from({ length: copies }, () => spec));
      const p0 = context - queries;
      const pool = new PagePool(pageKindsOf([spec]), window, cache);
      const pages = new SequencePages(pool);
      pages.reserve(p0);
      pages.commit(p0);
      pages.reserve(context);
      const rows = new StepRows(queries, pool.kinds);
      rows.add(pages, new Int32Array(queries), 0, queries);
      const step = kernels.createStep(queries);
      kernels.planStep(step, rows, cache, kernels.createRope({ ropeDim: 2, theta: 10_000 }));
      for (let layer = 0; layer < copies; layer++) {
        for (const part of ['window', 'entries'] as const) {
          const { data } = cache.part(layer, part) as HostTensor<'f32'>;
          data.set(random.floats(data.length));
        }
      }
      const q = random.floats(queries * heads * d);
      const sinks = random.floats(heads);
      const out = new Float32Array(queries * heads * d);
      const selected = chosenEntries(random, p0, queries, topk);
      const query = { cache, step, q, heads, d, selected, topk, sinks, softmaxScale: d ** -0.5, out };
      let at = 0;
      const run = (): void => {
        kernels.attend({ ...query, layer: at });
        at = (at + 1) % copies;
      };
      run();
      const memory = { window: cache.part(0, 'window'), entries: cache.part(0, 'entries') };
      /** Rows of the keys that a query sees. */
      const keysOf = (r: number): Float32Array[] => {
        const position = p0 + r;
        const near = Math.min(window, position + 1);
        const row = (part: 'window' | 'entries', kind: 'window' | 'entries4', w: number): Float32Array => {
          const at = rows.memoryRow(kind, 0, w) * d;
          return (memory[part] as HostTensor<'f32'>).data.subarray(at, at + d);
        };
        return [
          ...Array.from({ length: near }, (_, i) => row('window', 'window', position - near + 1 + i)),
          ...[...selected.subarray(r * topk, (r + 1) * topk)]
            .filter((w) => w >= 0)
            .map((w) => row('entries', 'entries4', w)),
        ];
      };
      for (const [r, h] of [
        [0, 0],
        [queries - 1, heads - 1],
      ] as const) {
        const from = (r * heads + h) * d;
        checkAttention(q.subarray(from, from + d), keysOf(r), sinks[h]!, out.subarray(from, from + d));
      }
      const counts = Array.from({ length: queries }, (_, r) => keysOf(r).length);
      const pairs = counts.reduce((sum, n) => sum + n, 0) * heads;
      return compare(c, threads, run, [
        { kind: 'fma', amount: 4 * pairs * d }, // a dot product and a weighted sum
        { kind: 'read', amount: 4 * d * (counts[0]! + 2 * queries * heads) },
      ]);
    },
  });
  return [attend(1, c.quick ? 2 : 32, 0.7), attend(c.quick ? 8 : 64, 2)];
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
function checkAttention(q: Float32Array, keys: readonly Float32Array[], sink: number, out: Float32Array): void {
  const d = q.length;
  const logits = keys.map((key) => key.reduce((sum, x, j) => sum + q[j]! * x, 0) * d ** -0.5);
  const max = Math.max(sink, ...logits);
  const weights = logits.map((x) => Math.exp(x - max));
  const total = weights.reduce((a, b) => a + b, Math.exp(sink - max));
  for (const j of [0, d - 1]) {
    const want = keys.reduce((sum, key, i) => sum + (weights[i]! / total) * key[j]!, 0);
    checkClose('attend', out[j]!, want, 1e-4);
  }
}
