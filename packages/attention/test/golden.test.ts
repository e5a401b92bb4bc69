import { PagePool, pageKindsOf, SequencePages, StepRows, visibleEntries, type LayerSpec } from '@megamoe/ops';
import { expectClose } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import type { AttentionKernels } from '../src/index';
import { BACKENDS } from './backends';
import { f32, readGolden } from './safetensors';

// Layer 0 of two micro models as Hugging Face transformers 5.17 ran it; where the inputs come from: goldens/cut.py.
const EPS = 1e-6;
const hca = readGolden('hca.safetensors');
const csa = readGolden('csa.safetensors');

/** Which entries each query sees, from a golden [S, T] of 0 and 1. */
function visibleSets(golden: ReturnType<typeof hca>): number[][] {
  const [s, t] = golden.shape as [number, number];
  return Array.from({ length: s }, (_, r) =>
    Array.from({ length: t }, (_, w) => w).filter((w) => golden.data[r * t + w] === 1),
  );
}

/** A cache of one layer, and one sequence in it. */
function home(kernels: AttentionKernels, spec: LayerSpec, maxRows: number) {
  const cache = kernels.createCache([spec]);
  const kinds = pageKindsOf([spec]);
  const pages = new SequencePages(new PagePool(kinds, spec.window, cache));
  const rows = new StepRows(maxRows, kinds);
  const step = kernels.createStep(maxRows);
  return { cache, pages, rows, step, layer: 0 };
}

/** Reserves and plans n tokens. */
function plan(
  kernels: AttentionKernels,
  h: ReturnType<typeof home>,
  n: number,
  rope: ReturnType<AttentionKernels['createRope']>,
) {
  // prettier-ignore
  h.pages.reserve(h.pages.length + n);
  h.rows.clear();
  h.rows.add(h.pages, new Int32Array(n), 0, n);
  kernels.planStep(h.step, h.rows, h.cache, rope);
}

/** Rows [from, from + n) of a golden. */
const rowsOf = (t: ReturnType<typeof csa>, from: number, n: number): Float32Array => {
  const width = f32(t).length / t.shape[0]!;
  return f32(t).subarray(from * width, (from + n) * width);
};

/** All entries of the sequence, from its pages. */
function entriesOf(h: ReturnType<typeof home>, kind: 'entries4' | 'entries128', count: number): Float32Array {
  const { data, shape } = h.cache.part(0, 'entries') as unknown as { data: Float32Array; shape: number[] };
  const dim = shape[1]!;
  const all = new Float32Array(count * dim);
  for (let w = 0; w < count; w++) {
    const row = h.rows.memoryRow(kind, 0, w);
    all.set(data.subarray(row * dim, (row + 1) * dim), w * dim);
  }
  return all;
}

describe('HCA with YaRN (micro-pro, layer 0)', () => {
  it('sees the entries that transformers sees', () => {
    visibleSets(hca('visible')).forEach((set, position) =>
      expect(set).toEqual(Array.from({ length: visibleEntries(position, 128) }, (_, w) => w)),
    );
  });
  it.each(BACKENDS)('compresses to the same entries on $name', ({ kernels }) => {
    const rope = kernels.createRope({
      ropeDim: 8,
      theta: 160000,
      yarn: { factor: 4, betaFast: 32, betaSlow: 1, originalMaxPositionEmbeddings: 128 },
    });
    const weights = kernels.packCompressor(f32(hca('ape')), f32(hca('norm')));
    for (const chunk of [256, 50]) {
      const h = home(kernels, { ratio: 128, window: 32, headDim: 32 }, 256);
      for (let p = 0; p < 256; p += chunk) {
        const n = Math.min(chunk, 256 - p);
        plan(kernels, h, n, rope);
        const [kv, gate] = [rowsOf(hca('kv'), p, n), rowsOf(hca('gate'), p, n)];
        kernels.compress({ ...h, indexer: false, width: 32, kv, gate, weights, eps: EPS });
        h.pages.commit(p + n);
      }
      expectClose(entriesOf(h, 'entries128', 2), f32(hca('entries')), { maxAbs: 3e-6, shape: [2, 32] }); // entries up to 3; float32 on both sides
    }
  });
});

describe('CSA with indexer (micro-wide, layer 0)', () => {
  const spec: LayerSpec = { ratio: 4, window: 128, headDim: 64, indexHeadDim: 32 };
  const [tokens, heads, topk, ropeDim] = [65, 2, 4, 32];
  const golden = visibleSets(csa('visible'));

  it.each(BACKENDS.flatMap((b) => [65, 1, 7].map((chunk) => ({ ...b, chunk }))))(
    'selects, gathers and attends as transformers does on $name, chunks of $chunk',
    ({ kernels, chunk }) => {
      const rope = kernels.createRope({ ropeDim, theta: 160000 });
      const h = home(kernels, spec, chunk);
      const pack = (kind: string) => kernels.packCompressor(f32(csa(`${kind}.ape`)), f32(csa(`${kind}.norm`)));
      const [own, indexer] = [pack('compressor'), pack('indexer')];
      const out = new Float32Array(tokens * heads * 64).fill(NaN);
      for (let p0 = 0; p0 < tokens; p0 += chunk) {
        const n = Math.min(chunk, tokens - p0);
        plan(kernels, h, n, rope);
        const part = (name: string): Float32Array => rowsOf(csa(name), p0, n);
        const projections = (kind: string) => ({ kv: part(`${kind}.kv`), gate: part(`${kind}.gate`), eps: EPS });
        kernels.writeWindow({ ...h, d: 64, kv: part('kv') });
        kernels.compress({ ...h, indexer: false, width: 128, ...projections('compressor'), weights: own });
        kernels.compress({ ...h, indexer: true, width: 64, ...projections('indexer'), weights: indexer });
        const selected = new Int32Array(n * topk);
        const [indexQ, headWeights] = [part('index_q'), part('index_weights')];
        kernels.indexSelect({ ...h, q: indexQ, headWeights, heads: 1, dim: 32, topk, selected });
        for (let r = 0; r < n; r++) {
          const row = Array.from(selected.subarray(r * topk, (r + 1) * topk)).filter((w) => w >= 0);
          expect(row, `position ${p0 + r}`).toEqual(golden[p0 + r]);
        }
        const chunkOut = out.subarray(p0 * heads * 64, (p0 + n) * heads * 64);
        const keys = { q: part('q'), heads, d: 64, selected, topk };
        kernels.attend({ ...h, ...keys, sinks: f32(csa('sinks')), softmaxScale: 64 ** -0.5, out: chunkOut });
        h.pages.commit(p0 + n);
      }
      expectClose(entriesOf(h, 'entries4', 16), f32(csa('entries')), { maxAbs: 5e-6, shape: [16, 64] });

      const cos = new Float32Array((tokens * ropeDim) / 2);
      const sin = cos.slice();
      const positions = Int32Array.from({ length: tokens }, (_, p) => p);
      kernels.ropeTables({ rope, positions, rows: tokens, cos, sin });
      kernels.rope({ x: out, rows: tokens, heads, d: 64, ropeDim, cos, sin, inverse: true });
      const judged = csa('positions').data;
      expectClose(project(out, judged), f32(csa('attn_out')), { maxAbs: 1e-5, shape: [judged.length, 128] });
    },
  );
});

/** wo_b (wo_a out[position]) for some positions, in double (one output group). */
function project(out: Float32Array, positions: ArrayLike<number>): number[] {
  const apply = (t: ReturnType<typeof csa>, x: number[]): number[] => {
    const [n, k] = t.shape as [number, number];
    return Array.from({ length: n }, (_, r) => x.reduce((s, v, i) => s + v * t.data[r * k + i]!, 0));
  };
  return Array.from(positions).flatMap((p) =>
    apply(csa('wo_b'), apply(csa('wo_a'), Array.from(out.subarray(p * 128, (p + 1) * 128)))),
  );
}
