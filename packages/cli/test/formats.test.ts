/** inspect on checkpoints of every format, written by the reference's quantizers. */
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { rewriteModel, type WrittenFormat } from '../../model/test/rewrite';
import type { InspectReport } from '../src/inspect';
import { cli, MICRO } from './support';

const folders: string[] = [];
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

async function stored(choose: (module: string, k: number) => WrittenFormat): Promise<string> {
  const { quantized } = await rewriteModel(MICRO, choose);
  folders.push(dirname(quantized));
  return quantized;
}

const isExpert = (module: string): boolean => module.includes('.ffn.experts.');

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
