import { openCheckpoint, writeCheckpoint, type TensorToWrite } from '@megamoe/checkpoint';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectOfflinePage, expectWellFormed } from './html-checks';
import { cli, MICRO, temporaryFolder, TINY } from './support';
import type { InspectReport } from '../src/inspect';

const dir = temporaryFolder();
const at = (name: string): string => join(dir, name);

/** The tiny model with some of its stored bytes changed. */
async function spoilt(name: string, change: (tensor: string, data: Uint8Array) => void): Promise<string> {
  const checkpoint = openCheckpoint(TINY);
  const tensors: TensorToWrite[] = [...checkpoint.tensors].map(([tensor, { dtype, shape }]) => {
    const data = checkpoint.read(tensor);
    change(tensor, data);
    return { name: tensor, dtype, shape, data };
  });
  await writeCheckpoint(at(name), tensors, { files: { 'config.json': readFileSync(join(TINY, 'config.json')) } });
  checkpoint.close();
  return at(name);
}

const f32 = (data: Uint8Array): Float32Array => new Float32Array(data.buffer, data.byteOffset, data.byteLength / 4);

describe('a sound checkpoint', () => {
  let r: InspectReport;
  beforeAll(async () => {
    r = JSON.parse((await cli('inspect', TINY, '--json')).out) as InspectReport;
  });

  it('has a row of scales for each layer and projection', () => {
    expect(r.health.rows).toHaveLength((6 + 1) * 3);
    for (const row of r.health.rows) {
      const counted = Object.values(row.exponents).reduce((a, b) => a + b, 0);
      expect(counted + row.zero + row.nan).toBe(row.scales);
      if (row.module.startsWith('mtp.')) {
        expect(row).toMatchObject({ format: 'mxfp4', scales: 16 * 128 * 8, nan: 0, zero: 0 });
        continue;
      }
      expect(row).toMatchObject({ format: 'nvfp4', scales: 16 * 128 * 16, nan: 0, zero: 0 });
      expect(row.globalScales!.max).toBeLessThan(1 / 16); // multipliers
    }
    expect(r.health.rows.filter((row) => row.module.startsWith('mtp.0.ffn.experts.*.w'))).toHaveLength(3);
    expect(r.health.nonFinite).toEqual([]);
    expect(r.health.problems).toEqual([]);
  });

  it('is drawn', async () => {
    const [html, svg] = [at('a.html'), at('a.svg')];
    const { code, err } = await cli('inspect', TINY, '--html', html, '--svg', svg);
    expect(code).toBe(0);
    expect(err).toContain(`wrote ${svg}`);
    expectOfflinePage(readFileSync(html, 'utf8'));
    const picture = readFileSync(svg, 'utf8');
    expectWellFormed(picture);
    expect(picture).toContain('prefers-color-scheme:dark');
    expect(picture.match(/text-anchor="end">\d\.w[123]</g)).toHaveLength(18);
    expect(picture.match(/text-anchor="end">mtp\.0\.w[123]</g)).toHaveLength(3);
    expect(readFileSync(html, 'utf8')).toMatch(/draft layers \(mtp\.\*\).*1, 125 tensors, skipped when computing/);
  });
});

it('tells inverted, differing and missing scales, and goes on', async () => {
  const odd = await spoilt('odd', (name, data) => {
    if (name === 'layers.0.ffn.experts.1.w2.weight_scale_2') f32(data)[0] = 2688;
    if (name === 'layers.2.ffn.experts.4.w3.weight_scale_2') f32(data)[0]! *= 2;
    if (name === 'layers.3.ffn.experts.0.w2.input_scale') f32(data)[0] = 0;
  });
  const { code, out } = await cli('inspect', odd, '--json');
  expect(code).toBe(0);
  expect((JSON.parse(out) as InspectReport).health.problems).toEqual([
    expect.stringMatching(/^layers\.0\.ffn\.experts\.1\.w2\.weight_scale_2: .*looks like a divisor$/),
    'layers.3.ffn.experts.0.w2.input_scale is 0 and counts as absent',
    'layers.2.ffn.experts: weight_scale_2 of w1 and w3 differ in 1 expert: a fused product needs one for both',
  ]);
});

it('fails on NaN in a plain tensor and in a global scale, and names both', async () => {
  const bad = await spoilt('bad', (name, data) => {
    if (name === 'layers.3.ffn.gate.bias') f32(data)[3] = NaN;
    if (name === 'layers.4.ffn.experts.2.w1.weight_scale_2') f32(data)[0] = NaN;
  });
  const html = at('bad.html');
  const { code, err, out } = await cli('inspect', bad, '--html', html);
  expect(code).toBe(1);
  expect(err).toMatch(/inspect: NaN in layers\.4\.ffn\.experts\.2\.w1\.weight_scale_2, layers\.3\.ffn\.gate\.bias/);
  expect(out).toContain('layers.3.ffn.gate.bias: 1 NaN, 0 infinite');
  expect(readFileSync(html, 'utf8')).toContain('class="verdict bad"');
});

it('fails on infinity in a vector as a load does, but not where it means something', async () => {
  const bad = await spoilt('infinite', (name, data) => {
    if (name === 'hc_head_base') f32(data)[1] = Infinity;
    if (name === 'layers.3.ffn.gate.bias') f32(data)[3] = -Infinity;
    if (name === 'layers.0.attn.attn_sink') f32(data)[0] = -Infinity;
  });
  const { code, err } = await cli('inspect', bad);
  expect(code).toBe(1);
  const why = /tensor "hc_head_base": expected finite values, found Infinity at index 1\n$/;
  expect(err).toMatch(why);
  expect(err).not.toMatch(/bias|sink/);
  const loaded = await cli('logits', '--model', bad, '--token-ids', '1,2', '--out', at('infinite.safetensors'));
  expect([loaded.code, loaded.err]).toEqual([1, expect.stringMatching(why)]);
  expect(existsSync(at('infinite.safetensors'))).toBe(false);
});

it('logits and generate end in one line when what they compute is not finite, naming where it began', async () => {
  // Finite weights, so large that products with them are not: 3.4e38 in BF16.
  const large = await spoilt('large', (name, data) => void (name === 'norm.weight' && data.fill(0x7f)));
  copyFileSync(join(TINY, 'tokenizer.json'), join(large, 'tokenizer.json'));
  const out = at('large.safetensors');
  const model = ['--model', large, '--backend', 'js'];
  for (const args of [
    ['logits', ...model, '--token-ids', '1,2', '--out', out],
    ['generate', ...model, 'a'],
  ]) {
    const { code, err } = await cli(...args);
    expect([code, err]).toEqual([1, expect.anything()]);
    expect(err).toMatch(
      / of batch item 0 are not finite \(-?\S+ at token \d\): the first operation that made one is final_norm\n$/,
    );
  }
  expect(existsSync(out)).toBe(false);
});

it('fails when the global scales are inverted, in one line, as text and as a page', async () => {
  const dir = await spoilt('inverted', (name, data) => {
    if (name.endsWith('.weight_scale_2')) f32(data)[0] = 1 / f32(data)[0]!;
  });
  const { code, err, out } = await cli('inspect', dir, '--html', at('inverted.html'));
  expect([code, err]).toEqual([
    1,
    expect.stringContaining('global scales inverted in 288 of 288 (weight_scale_2), as '),
  ]);
  expect(out.match(/looks like a divisor/g)).toHaveLength(1); // one line
  expect(readFileSync(at('inverted.html'), 'utf8')).toContain('class="verdict bad"');
});

it.each<[string, string, (data: Uint8Array) => void, RegExp]>([
  [
    'NaN block scales',
    'layers.1.ffn.experts.3.w2.weight_scale',
    (d) => (d[8 * 5 + 2] = 0x7f),
    /w2.weight_scale": block scale at row 5, block 2 is NaN \(0x7f\)/,
  ],
  [
    'negative block scales',
    'layers.1.ffn.experts.3.w2.weight_scale',
    (d) => (d[9] = 0xb8),
    /block scale at row 1, block 1: expected above 0, found -1/,
  ],
  [
    'a global scale of 0',
    'layers.4.ffn.experts.2.w1.weight_scale_2',
    (d) => (f32(d)[0] = 0),
    /weight_scale_2": expected a finite number above 0, found 0/,
  ],
  [
    'a negative input scale',
    'layers.4.ffn.experts.2.w1.input_scale',
    (d) => (f32(d)[0] = -1),
    /input_scale": expected a finite number above 0, found -1/,
  ],
  [
    'weights that are NaN',
    'layers.2.attn.wq_a.weight',
    (d) => (d[5] = d[4] = 0xff),
    /wq_a.weight": expected finite weights, found NaN or infinity at row 0, column 2/,
  ],
  [
    'expert ids out of range',
    'layers.0.ffn.gate.tid2eid',
    (d) => (d[0] = 99),
    /tid2eid": expected expert ids in \[0, 16\), found 99 at index 0/,
  ],
])('flags what a load refuses: %s', async (what, tensor, change, words) => {
  const dir = await spoilt(what.replaceAll(' ', '-'), (name, data) => {
    if (name === tensor) change(data);
  });
  const inspected = await cli('inspect', dir);
  expect([inspected.code, inspected.err]).toEqual([1, expect.stringMatching(words)]);
  expect(inspected.err).toContain(tensor);
  const loaded = await cli('logits', '--model', dir, '--token-ids', '1', '--out', at('x.safetensors'));
  expect([loaded.code, loaded.err]).toEqual([1, expect.stringMatching(words)]);
});

it('counts dead experts and erased blocks in one line each', async () => {
  const dir = await spoilt('dead', (name, data) => {
    if (/^layers\.2\..*\.w2\.input_scale$/.test(name)) f32(data)[0] = 1e-40;
    if (/^layers\.[01]\.ffn\.experts\.0\.w1\.weight_scale$/.test(name)) data[77] = 0;
  });
  const { code, out } = await cli('inspect', dir);
  expect(code).toBe(0);
  expect(out.match(/^warning: .*$/gm)).toEqual([
    'warning: 2 block scales in 2 tensors are 0 over codes that are not, as in layers.0.ffn.experts.0.w1.weight_scale: such blocks decode as zeros',
    'warning: 16 of 288 input_scale are 0, infinite or too small and count as absent, as layers.2.ffn.experts.0.w2.input_scale',
  ]);
});

it('finds nothing odd in what quantize has just written', async () => {
  expect((await cli('quantize', '--in', MICRO, '--out', at('fresh'))).code).toBe(0);
  const { code, out } = await cli('inspect', at('fresh'), '--html', at('fresh.html'));
  expect([code, out.match(/^(?:warning|error): .*$/gm)]).toEqual([0, null]);
  const page = readFileSync(at('fresh.html'), 'utf8');
  expect(page).toContain('class="verdict good"');
});
