import { expectClose } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { buildGatherPlan, createRope, gatherPlanCapacity, ropeRows, SequenceState, visibleEntries } from '../src/index';
import type { AttentionKernels, CompressorState, LayerSpec } from '../src/index';
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

describe('HCA with YaRN (micro-pro, layer 0)', () => {
  it('sees the entries that transformers sees', () => {
    visibleSets(hca('visible')).forEach((set, position) =>
      expect(set).toEqual(Array.from({ length: visibleEntries(position, 128) }, (_, w) => w)),
    );
  });
  it.each(BACKENDS)('compresses to the same entries on $name', ({ kernels }) => {
    const rope = createRope({
      ropeDim: 8,
      theta: 160000,
      yarn: { factor: 4, betaFast: 32, betaSlow: 1, originalMaxPositionEmbeddings: 128 },
    });
    for (const chunk of [256, 50]) {
      const spec: LayerSpec = { ratio: 128, window: 32, headDim: 32 };
      const c = new SequenceState({ layers: [spec], maxTokens: 256, maxChunk: 256 }).layers[0]!.compressor!;
      const weights = { ape: f32(hca('ape')), norm: f32(hca('norm')) };
      for (let p = 0; p < 256; p += chunk) {
        kernels.compress(c, f32(hca('kv')), f32(hca('gate')), p, Math.min(chunk, 256 - p), p, weights, EPS, rope);
      }
      expectClose(c.entries, f32(hca('entries')), { maxAbs: 3e-6, shape: [2, 32] }); // entries up to 3; float32 on both sides
    }
  });
});

describe('CSA with indexer (micro-wide, layer 0)', () => {
  const spec: LayerSpec = { ratio: 4, window: 128, headDim: 64, indexHeadDim: 32 };
  const [tokens, heads, topk, ropeDim] = [65, 2, 4, 32];
  const rope = createRope({ ropeDim, theta: 160000 });
  const golden = visibleSets(csa('visible'));

  function feed(kernels: AttentionKernels, c: CompressorState, kind: string, p0: number, n: number): void {
    const weights = { ape: f32(csa(`${kind}.ape`)), norm: f32(csa(`${kind}.norm`)) };
    kernels.compress(c, f32(csa(`${kind}.kv`)), f32(csa(`${kind}.gate`)), p0, n, p0, weights, EPS, rope);
  }

  it.each(BACKENDS.flatMap((b) => [65, 1, 7].map((chunk) => ({ ...b, chunk }))))(
    'selects, gathers and attends as transformers does on $name, chunks of $chunk',
    ({ kernels, chunk }) => {
      const state = new SequenceState({ layers: [spec], maxTokens: tokens, maxChunk: chunk });
      const layer = state.layers[0]!;
      const out = new Float32Array(tokens * heads * 64).fill(NaN);
      for (let p0 = 0; p0 < tokens; p0 += chunk) {
        const n = Math.min(chunk, tokens - p0);
        kernels.writeWindow(layer, f32(csa('kv')), p0, n, p0);
        feed(kernels, layer.compressor!, 'compressor', p0, n);
        feed(kernels, layer.indexer!, 'indexer', p0, n);
        const selected = new Int32Array(n * topk);
        kernels.indexSelect(
          layer.indexer!,
          f32(csa('index_q')),
          f32(csa('index_weights')),
          p0,
          n,
          p0,
          1,
          topk,
          selected,
        );
        for (let r = 0; r < n; r++) {
          const row = Array.from(selected.subarray(r * topk, (r + 1) * topk)).filter((w) => w >= 0);
          expect(row, `position ${p0 + r}`).toEqual(golden[p0 + r]);
        }
        const keyCap = gatherPlanCapacity(spec, p0, n, topk);
        const keyIndex = new Int32Array(n * keyCap);
        const keyCount = new Int32Array(n);
        buildGatherPlan(spec, layer.ringCap, p0, n, selected, topk, keyIndex, keyCap, keyCount);
        kernels.attend(
          layer,
          f32(csa('q')),
          p0,
          n,
          heads,
          keyIndex,
          keyCap,
          keyCount,
          f32(csa('sinks')),
          64 ** -0.5,
          out,
        );
      }
      expectClose(layer.compressor!.entries, f32(csa('entries')), { maxAbs: 5e-6, shape: [16, 64] });

      const cos = new Float32Array((tokens * ropeDim) / 2);
      const sin = cos.slice();
      ropeRows(
        rope,
        Int32Array.from({ length: tokens }, (_, p) => p),
        tokens,
        cos,
        sin,
      );
      kernels.rope(out, tokens, heads, 64, ropeDim, cos, sin, true);
      const positions = csa('positions').data;
      expectClose(project(out, positions), f32(csa('attn_out')), { maxAbs: 1e-5, shape: [positions.length, 128] });
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
