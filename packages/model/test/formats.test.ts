import { openCheckpoint } from '@megamoe/checkpoint';
import { nvfp4RowDecodeScales, roundTripNvfp4 } from '@megamoe/reference';
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createBackend, loadModel, observed, type Backend, type LoadOptions } from '../src/index';
import { rewriteModel, type Rewritten, type WrittenFormat } from './rewrite';
import { BACKENDS, cosine, maxAbs, MICRO_FLASH, TINY } from './support';

/** What every format must keep to in float activations. */
const BOUND = 1e-3;
const IDS = Array.from({ length: 150 }, (_, i) => (7 * i * i + 3) % 160);

const isExpert = (module: string): boolean => module.includes('.ffn.experts.');
const isProjection = (module: string): boolean =>
  /\.attn\.(?:wq_a|wq_b|wkv|wo_a|wo_b|indexer\.wq_b)$|\.shared_experts\./.test(module);
const isAnyLinear = (module: string): boolean => !/^embed$|\.gate$/.test(module);

/** Who writes which module how. Blocks must be whole: modules with other widths stay as they are. */
const RELEASES: Record<string, (module: string, k: number) => WrittenFormat> = {
  "DeepSeek's release: FP8, MXFP4 experts": (m, k) =>
    isExpert(m) ? (k % 32 ? 'f32' : 'mxfp4') : isProjection(m) ? 'fp8-e8m0' : 'f32',
  'Base: FP8 with F32 scales, experts too': (m) => (isExpert(m) || isProjection(m) ? 'fp8-f32' : 'f32'),
  'ModelOpt: NVFP4 experts, FP8 attention, BF16-like wo_a': (m) =>
    isExpert(m) ? 'modelopt' : isProjection(m) && !m.endsWith('wo_a') ? 'fp8-e8m0' : 'f32',
  'ModelOpt: NVFP4 on every linear': (m, k) => (isAnyLinear(m) && k % 16 === 0 ? 'modelopt' : 'f32'),
  'compressed-tensors on every linear': (m, k) => (isAnyLinear(m) && k % 16 === 0 ? 'compressed-tensors' : 'f32'),
  'llm-compressor: compressed-tensors NVFP4 experts, FP8_BLOCK attention': (m, k) =>
    isExpert(m) ? (k % 16 ? 'f32' : 'compressed-tensors') : isProjection(m) ? 'fp8-block' : 'f32',
  'MXFP4 as packed by compressed-tensors, FP8_BLOCK attention': (m, k) =>
    isExpert(m) ? (k % 32 ? 'f32' : 'mxfp4-packed') : isProjection(m) ? 'fp8-block' : 'f32',
  "Quark's MXFP4": (m, k) => (isExpert(m) ? (k % 32 ? 'f32' : 'mxfp4-quark') : 'f32'),
  'MXFP4 outside the experts, FP8 router, table and head': (m, k) =>
    /^embed$|^head$|\.gate$/.test(m) ? 'fp8-f32' : isProjection(m) && k % 32 === 0 ? 'mxfp4' : 'f32',
  'NVFP4 table': (m, k) => (m === 'embed' && k % 16 === 0 ? 'modelopt' : 'f32'),
};

const folders: string[] = [];
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));
async function rewritten(...args: Parameters<typeof rewriteModel>): Promise<Rewritten> {
  const made = await rewriteModel(...args);
  folders.push(dirname(made.plain));
  return made;
}

interface Run {
  readonly logits: Float32Array;
  readonly warnings: readonly string[];
}

async function run(dir: string, tokenIds: readonly number[], o: LoadOptions): Promise<Run> {
  const model = await loadModel(dir, o);
  const sequence = model.createSequence({ maxTokens: tokenIds.length });
  const logits = model.forward([{ sequence, tokenIds }], { logits: 'all' });
  model.dispose();
  return { logits, warnings: model.warnings };
}

describe.each(Object.entries(RELEASES))('%s', (name, choose) => {
  it('gives the logits of the dequantized weights, on every backend, and as much in a bounded pool', async () => {
    const { quantized, plain } = await rewritten(MICRO_FLASH, choose);
    const want = await run(plain, IDS, { backend: 'js' });
    const size = Math.max(...want.logits.map(Math.abs));
    expect(size).toBeGreaterThan(1);
    for (const backend of BACKENDS) {
      const got = await run(quantized, IDS, { backend, activations: 'float' });
      expect(maxAbs(got.logits, want.logits), backend).toBeLessThan(BOUND);
      // FP8 and MXFP4 run on float inputs whatever is asked for.
      if (!/ModelOpt|compressed-tensors (?:NVFP4|on)/.test(name)) {
        const nvfp4 = await run(quantized, IDS, { backend, activations: 'nvfp4' });
        expect(maxAbs(nvfp4.logits, got.logits)).toBe(0);
      }
      const pooled = await run(quantized, IDS.slice(0, 9), { backend, activations: 'float', residentExperts: 3 });
      const [v, all] = [pooled.logits.length, got.logits.slice(0, pooled.logits.length)];
      expect(v).toBeGreaterThan(0);
      expect(maxAbs(pooled.logits, all)).toBe(0);
    }
  });
});

/** A backend whose W4A4 linears are what they stand for: inputs through the reference's quantizer and back, then a product with floats. */
function byReference(inner: Backend, seen: Set<string>): Backend {
  return observed(inner, {
    linear(a, run) {
      if (a.inputs !== 'nvfp4') return run();
      const { w, x, rows } = a;
      const shape = { m: rows * w.groups, k: w.k };
      const values = new Float32Array(shape.m * shape.k);
      inner.download(x, 0, values.length, values, 0);
      const how = w.inputGlobalDecodeScale!;
      seen.add(typeof how === 'string' ? how : `${how.toFixed(6)}`);
      const globalDecodeScale = how === 'row' ? nvfp4RowDecodeScales(values, shape) : how;
      const rounded = Float32Array.from(roundTripNvfp4(values, { ...shape, globalDecodeScale }));
      inner.linear({ ...a, x: inner.tensor(rounded), inputs: 'f32' });
    },
  });
}

describe('NVFP4 inputs of dense modules', () => {
  it.each(['static', 'dynamic'] as const)(
    '%s: the logits of weights and inputs that the reference quantized',
    async (inputScales) => {
      const { quantized } = await rewritten(MICRO_FLASH, (m, k) =>
        isProjection(m) && k % 16 === 0 ? 'modelopt' : 'f32',
      );
      const ids = IDS.slice(0, 20);
      const seen = new Set<string>();
      const want = await run(quantized, ids, {
        inputScales,
        backend: byReference(createBackend({ backend: 'js' }), seen),
      });
      expect([...seen]).toEqual([inputScales === 'static' ? (24 / 2688).toFixed(6) : 'row']);
      const float = await run(quantized, ids, { backend: 'js', activations: 'float' });
      expect(cosine(float.logits, want.logits)).toBeLessThan(0.9); // four bits for inputs do show
      for (const backend of BACKENDS) {
        const { logits } = await run(quantized, ids, { backend, inputScales });
        // As near as in float activations: no input of these lies so near a rounding boundary that the order of a sum moves its code.
        expect(maxAbs(logits, want.logits), backend).toBeLessThan(BOUND);
      }
    },
  );
});

describe('MXFP4 that NVFP4 cannot hold', () => {
  it('is packed as BF16, told with its count, and has the same logits', async () => {
    // One block of 32 far below the rest in each of two experts; a block of zeros does not count.
    const tiny = (module: string, x: Float32Array): void => {
      if (module === 'layers.2.ffn.experts.1.w1' || module === 'layers.2.ffn.experts.5.w3')
        for (let i = 32; i < 64; i++) x[i] = 2 ** -40 * ((i % 5) - 2);
      if (module === 'layers.3.ffn.experts.0.w1') x.fill(0, 32, 64);
    };
    const { quantized, plain } = await rewritten(
      MICRO_FLASH,
      (m, k) => (isExpert(m) && k % 32 === 0 ? 'mxfp4' : 'f32'),
      tiny,
    );
    const want = await run(plain, IDS.slice(0, 40), { backend: 'js' });
    for (const backend of BACKENDS) {
      const got = await run(quantized, IDS.slice(0, 40), { backend });
      expect(maxAbs(got.logits, want.logits)).toBeLessThan(BOUND);
      expect(got.warnings.filter((w) => w.includes('MXFP4'))).toEqual([
        expect.stringMatching(
          /^layers\.2\.ffn\.experts w1\/w3: 2 of \d+ MXFP4 blocks do not fit NVFP4 \(more than 17 powers of two below the largest of their matrix\); the layer is packed as BF16/,
        ),
      ]);
    }
  });
});

describe("the trained model as DeepSeek's release", () => {
  it.each(BACKENDS.slice(-1))('on %s', async (backend) => {
    const { quantized, plain } = await rewritten(TINY, RELEASES["DeepSeek's release: FP8, MXFP4 experts"]!);
    const checkpoint = openCheckpoint(quantized);
    expect(new Set([...checkpoint.modules.values()].map((m) => m.format))).toEqual(new Set(['f32', 'fp8', 'mxfp4']));
    checkpoint.close();
    const ids = [0, 3, 570, 323, 235, 37, 601, 235, 35, 45, 4, 6]; // What is 7 plus 5?
    const want = await run(plain, ids, { backend });
    expect(maxAbs((await run(quantized, ids, { backend })).logits, want.logits)).toBeLessThan(BOUND);
  });
});
