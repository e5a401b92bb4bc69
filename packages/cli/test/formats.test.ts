/** verify and inspect on checkpoints of every format, written by the reference's quantizers. */
import { createBackend, type Ops } from '@megamoe/model';
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { rewriteModel, type WrittenFormat } from '../../model/test/rewrite';
import type { InspectReport } from '../src/inspect';
import { findingText } from '../src/verify/report';
import { verifyModel, withCheckpoint, type VerifyResult } from '../src/verify/run';
import { cli, MICRO } from './support';

const folders: string[] = [];
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

async function stored(choose: (module: string, k: number) => WrittenFormat): Promise<string> {
  const { quantized } = await rewriteModel(MICRO, choose);
  folders.push(dirname(quantized));
  return quantized;
}

const isExpert = (module: string): boolean => module.includes('.ffn.experts.');
const isProjection = (module: string): boolean =>
  /\.attn\.(?:wq_a|wq_b|wkv|wo_a|wo_b|indexer\.wq_b)$|\.shared_experts\./.test(module);

function verify(model: string, ops: Ops, inputScales: 'static' | 'dynamic' = 'static'): Promise<VerifyResult> {
  return withCheckpoint(model, (source) =>
    verifyModel({
      ...{ source, ops, inputScales, activations: 'nvfp4', decode: 1, maxChunk: 256, keepGoing: true },
      tokenIds: Array.from({ length: 20 }, (_, i) => (11 + i * 37 + ((i * i) % 13)) % source.config.vocabSize),
    }),
  );
}

/** What is wrong in layer 2's first product of an attention: its result doubled. */
function doubled(inner: Ops, which: 'linear' | 'linearW4A4', call: number): Ops {
  let calls = 0;
  return {
    ...inner,
    [which](...args: Parameters<Ops['linear']>) {
      inner[which](...args);
      const [w, , m, out] = args;
      if (++calls !== call) return;
      const y = out.storage as Float32Array;
      for (let i = 0; i < m * w.groups * w.n; i++) y[i]! *= 2;
    },
  };
}

describe.each(['js', 'auto'] as const)('verify on %s', (backend) => {
  it.each([
    ['FP8 with E8M0 scales, MXFP4 experts', 'fp8-e8m0', 'mxfp4'],
    ['FP8 with float32 scales, experts too', 'fp8-f32', 'fp8-f32'],
  ] as const)('%s agrees with the reference, and an error in a product is named', async (_, dense, experts) => {
    const model = await stored((m, k) =>
      isExpert(m) ? (experts === 'mxfp4' && k % 32 ? 'f32' : experts) : isProjection(m) ? dense : 'f32',
    );
    const r = await verify(model, createBackend({ backend }));
    expect(r.findings.map(findingText)).toEqual([]);
    const products = r.ops.filter((o) => o.op === 'attn.wq_a');
    expect(products).toHaveLength(6);
    for (const o of products) {
      expect(o.metric).toBe('roundings'); // float sums in any order: never more than the bound, and not a copy of the reference
      expect(o.error).toBeGreaterThan(0);
    }
    const wrong = await verify(model, doubled(createBackend({ backend }), 'linear', 1));
    expect(wrong.ops.filter((o) => !o.passed).map(({ layer, op }) => [layer, op])[0]).toEqual([0, 'attn.wq_a']);
  });

  it.each(['static', 'dynamic'] as const)(
    'dense W4A4 with %s input scales: bit for bit, and an error is named',
    async (inputScales) => {
      const model = await stored((m, k) => ((isProjection(m) || isExpert(m)) && k % 16 === 0 ? 'modelopt' : 'f32'));
      const r = await verify(model, createBackend({ backend }), inputScales);
      expect(r.findings.map(findingText)).toEqual([]);
      const products = r.ops.filter((o) => o.op === 'attn.wq_a');
      expect(products).toHaveLength(6);
      for (const o of products) {
        expect(o).toMatchObject({ metric: 'ulp', error: 0, bound: 0, maxUlp: 0, calls: 2 });
        expect(o.ulpFromExact).toBeGreaterThan(0);
      }
      const wrong = await verify(model, doubled(createBackend({ backend }), 'linearW4A4', 1), inputScales);
      expect(wrong.ops.filter((o) => !o.passed).map(({ layer, op }) => [layer, op])[0]).toEqual([0, 'attn.wq_a']);
    },
  );
});

describe('inspect', () => {
  const rows = async (
    choose: (module: string, k: number) => WrittenFormat,
  ): Promise<{ r: InspectReport; code: number; text: string }> => {
    const model = await stored(choose);
    const { code, out } = await cli('inspect', model, '--json');
    return { code, r: JSON.parse(out) as InspectReport, text: (await cli('inspect', model)).out };
  };

  it.each([
    ['mxfp4', 'mxfp4', 32],
    ['compressed-tensors', 'nvfp4', 16],
    ['modelopt', 'nvfp4', 16],
    ['fp8-e8m0', 'fp8', 128 * 128],
    ['fp8-f32', 'fp8', 128 * 128],
  ] as const)('has rows of scales for experts in %s', async (written, format, block) => {
    const { r, code, text } = await rows((m, k) =>
      isExpert(m) && (format === 'fp8' || k % 32 === 0) ? written : 'f32',
    );
    expect(code).toBe(0);
    const experts = r.modules.filter((m) => /^layers\.\*\.ffn\.experts\.\*\.w[123]$/.test(m.module));
    const quantized = experts.filter((m) => m.format === format);
    expect(quantized.length).toBeGreaterThan(0);
    expect(r.health.rows.length).toBe(6 * quantized.length);
    for (const row of r.health.rows) {
      const projection = quantized.find((m) => row.module.endsWith(m.module.slice(-3)))!;
      const [n, k] = projection.shape as [number, number];
      const each = block === 128 * 128 ? Math.ceil(n / 128) * Math.ceil(k / 128) : (n * k) / block;
      expect(row).toMatchObject({ format, scales: 8 * each, nan: 0 });
      const counted = Object.values(row.exponents).reduce((a, b) => a + b, 0);
      expect(counted + row.zero + row.nan).toBe(row.scales);
      // Global scales as they are stored: ModelOpt multiplies, compressed-tensors divides.
      if (written === 'modelopt') expect(row.globalScales!.max).toBeLessThan(1 / 16);
      else if (written === 'compressed-tensors') expect(row.globalScales!.min).toBeGreaterThan(16);
      else expect(row.globalScales).toBeUndefined();
    }
    for (const { module } of quantized) {
      const line = text.split('\n').find((l) => l.startsWith(`${module} `) && l.includes(format));
      expect(line?.split(/ {2,}/).slice(1, 3)).toEqual([expect.stringContaining(format), '48']);
    }
    // The writer scales w1 and w3 apart.
    const apart =
      format === 'nvfp4' ? Array.from({ length: 6 }, () => expect.stringMatching(/w1 and w3 differ in 8 experts/)) : [];
    expect(r.health.problems).toEqual(apart);
    expect(r.health.nonFinite).toEqual([]);
  });
});
