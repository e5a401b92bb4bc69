import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../src/index';
import { matchesPattern } from '../src/config/ignore-list';
import { moduleSpellings } from '../src/tensors/names';
import { parseManifest } from '../src/config/manifest';
import type { SmallFormat } from './helpers';
import { SMALL_CONFIG, smallTensors, writeModel } from './helpers';
import { TO_TRANSFORMERS } from './transformers-names';

const MODELOPT = {
  quant_method: 'modelopt',
  quant_algo: 'MIXED_PRECISION',
  moe_quant_algo: 'NVFP4',
  group_size: 16,
  ignore: ['*.attn.*', '*.ffn.shared_experts.*', 'head', 'embed'],
};

async function warnings(format: SmallFormat, quantization_config?: object, hf?: object): Promise<readonly string[]> {
  const config = quantization_config ? { ...SMALL_CONFIG, quantization_config } : SMALL_CONFIG;
  const dir = await writeModel(smallTensors(SMALL_CONFIG, format).values(), config);
  if (hf) writeFileSync(join(dir, 'hf_quant_config.json'), JSON.stringify(hf));
  const checkpoint = openCheckpoint(dir);
  checkpoint.close();
  return checkpoint.warnings;
}

describe('the manifest against the tensors', () => {
  it('is silent when they agree', async () => {
    expect(await warnings('nvfp4', MODELOPT)).toEqual([]);
    expect(await warnings('BF16')).toEqual([]);
    const layers = Object.fromEntries(
      [0, 1, 2].map((l) => [`layers.${l}.ffn.experts`, { quant_algo: 'NVFP4', group_size: 16 }]),
    );
    expect(await warnings('nvfp4', { quant_algo: 'MIXED_PRECISION', quantized_layers: layers })).toEqual([]);
    const hf = {
      producer: { name: 'modelopt' },
      quantization: { quant_algo: 'MIXED_PRECISION', quantized_layers: layers, exclude_modules: ['*.attn.*'] },
    };
    expect(await warnings('nvfp4', undefined, hf)).toEqual([]);
    // The usual far too broad target says nothing about a module.
    expect(
      await warnings('BF16', {
        quant_method: 'compressed-tensors',
        config_groups: { group_0: { targets: ['Linear'] } },
      }),
    ).toEqual([]);
  });

  it('tells one line per contradiction', async () => {
    expect(await warnings('BF16', MODELOPT)).toEqual([
      'config.json: the quantization manifest says nvfp4, but the tensors are bf16 in 27 modules, as "layers.0.ffn.experts.0.w1"; the tensors decide',
    ]);
    expect(await warnings('nvfp4', { ...MODELOPT, moe_quant_algo: undefined, ignore: ['*.ffn.*'] })).toEqual([
      'config.json: the quantization manifest says unquantized, but the tensors are nvfp4 in 27 modules, as "layers.0.ffn.experts.0.w1"; the tensors decide',
    ]);
    expect(await warnings('nvfp4', { ...MODELOPT, group_size: 32 })).toEqual([
      'config.json: group_size says 32, NVFP4 blocks have 16 elements; the tensors decide',
    ]);
    expect(await warnings('nvfp4')).toEqual([
      'no quantization_config, but 27 modules are quantized, as "layers.0.ffn.experts.0.w1" (nvfp4); the tensors decide',
    ]);
    expect(await warnings('BF16', { quant_method: 'fp8', weight_block_size: [128, 128] })).toEqual([
      'config.json: the quantization manifest says fp8, but the tensors are bf16 in 25 modules, as "layers.0.attn.wq_a"; the tensors decide',
    ]);
    expect(
      await warnings('F32', {
        quant_algo: 'NVFP4',
        ignore: [
          '*.attn.*',
          '*.gate',
          '*.shared_experts.*',
          'head',
          'embed',
          'layers.0.*',
          'layers.1.*',
          '*.experts.0',
        ],
      }),
    ).toEqual([
      'config.json: the quantization manifest says nvfp4, but the tensors are f32 in 6 modules, as "layers.2.ffn.experts.1.w1"; the tensors decide',
    ]);
  });

  it('reads hf_quant_config.json only when config.json says nothing', async () => {
    const hf = { quantization: { moe_quant_algo: 'NVFP4' } };
    expect(await warnings('BF16', undefined, hf)).toEqual([
      'hf_quant_config.json: the quantization manifest says nvfp4, but the tensors are bf16 in 27 modules, as "layers.0.ffn.experts.0.w1"; the tensors decide',
    ]);
    expect(await warnings('BF16', { quant_method: 'none' }, hf)).toEqual([]);
    expect(await warnings('BF16', undefined, { other: 1 })).toEqual([]);
  });
});

it('parseManifest takes what it knows and skips what is of another type', () => {
  expect(
    parseManifest(
      { ...MODELOPT, exclude_modules: ['a', 1], quantized_layers: { x: { quant_algo: 'NVFP4' }, y: 1 } },
      'f',
    ),
  ).toEqual({
    source: 'f',
    method: 'modelopt',
    algorithm: 'MIXED_PRECISION',
    format: undefined,
    expertDtype: undefined,
    moeAlgorithm: 'NVFP4',
    groupSize: 16,
    ignore: [...MODELOPT.ignore, 'a'],
    layers: new Map([['x', 'NVFP4']]),
  });
  expect(parseManifest({ quant_method: 1, group_size: 'x', ignore: 'y', quantized_layers: [] }, 'f')).toEqual({
    source: 'f',
    method: undefined,
    algorithm: undefined,
    format: undefined,
    expertDtype: undefined,
    moeAlgorithm: undefined,
    groupSize: undefined,
    ignore: [],
    layers: new Map(),
  });
});

/** What llm-compressor's recipes have, in DeepSeek's names and in transformers'. */
const DENSE: readonly (readonly [string, readonly string[]])[] = [
  [
    'alternation and classes',
    [
      'lm_head',
      're:.*attn\\.(wq_a|wq_b|wkv|wo_a|wo_b)$',
      're:.*shared_experts\\.w\\d$',
      're:layers\\.[0-9]+\\.attn\\..*',
    ],
  ],
  [
    'groups, counts, lazy and named parts',
    ['re:(?:model\\.)?layers\\.\\d{1,3}\\.(?P<part>attn|ffn\\.shared_experts)\\..+?'],
  ],
  ['a look ahead', ['re:layers\\.\\d+\\.(?!ffn\\.(experts|gate))']],
  ["transformers' names", ['re:.*self_attn.*', 're:.*mlp.shared_experts.(gate|up|down)_proj$']],
  [
    "transformers' names in full",
    [0, 1, 2].flatMap((l) => [`model.layers.${l}.self_attn`, `model.layers.${l}.mlp.shared_experts`]),
  ],
  ["Python's anchors and flags", ['re:(?i)\\ALAYERS\\.\\d+\\.(attn.*|ffn\\.shared_experts\\.w[123])\\Z']],
];

describe('the ignore list of compressed-tensors', () => {
  const manifest = (ignore: readonly string[], more: object = {}) => ({
    quant_method: 'compressed-tensors',
    format: 'nvfp4-pack-quantized',
    ignore,
    ...more,
  });

  it.each(DENSE)('covers what its patterns mean: %s', async (_, ignore) => {
    expect(await warnings('nvfp4', manifest(ignore))).toEqual([]);
  });

  it('is held against tensors that it does not cover', async () => {
    expect(await warnings('nvfp4', manifest(['re:.*attn\\.(wq_a|wq_b)$']))).toEqual([
      expect.stringContaining('says nvfp4, but the tensors are bf16 in 19 modules'),
    ]);
    expect(await warnings('nvfp4', manifest(['re:.*experts\\.\\d+\\.w[1-3]', ...DENSE[0]![1]]))).toEqual([
      expect.stringContaining('says unquantized, but the tensors are nvfp4 in 27 modules'),
    ]);
  });

  it.each(['re:(attn', 're:(?>attn)', 're:((a|[a-z.0-9])+)+\\Z!'])(
    'holds nothing against tensors that %s may cover',
    async (pattern) => {
      expect(await warnings('nvfp4', manifest([pattern]))).toEqual([
        `config.json: ${JSON.stringify(pattern)} of the quantization manifest cannot be read; what it covers is not compared with the tensors`,
      ]);
    },
  );

  it('expects nothing of modules that no target names', async () => {
    const groups = (...targets: string[]) => ({ config_groups: { group_0: { targets } } });
    expect(await warnings('nvfp4', manifest([], groups('re:.*mlp\\.experts\\.\\d+\\..*_proj$')))).toEqual([]);
    expect(await warnings('nvfp4', manifest([], groups('re:.*wq_a$')))).toEqual([
      expect.stringContaining('bf16 in 3 modules'),
    ]);
    expect(await warnings('nvfp4', manifest([], groups('Linear', 're:x')))).toEqual([
      expect.stringContaining('bf16 in 25 modules'),
    ]);
  });
});

it('a module has the names that transformers gives it', () => {
  for (const [canonical, transformers] of TO_TRANSFORMERS) {
    if (!canonical.endsWith('.weight') || canonical.includes('norm')) continue;
    const [name, other] = [canonical, transformers].map((n) => n.replace('.N.', '.12.').replace(/\.weight$/, ''));
    expect(moduleSpellings(name!, canonical)).toContain(other);
  }
});

describe('matchesPattern', () => {
  it.each([
    ['head', 'head', true],
    ['head', 'header', false],
    ['layers.1', 'layers.1.attn.wq_a', true],
    ['layers.1', 'layers.10.attn.wq_a', false],
    ['*.attn.*', 'layers.0.attn.wq_a', true],
    ['*.attn.*', 'layers.0.attn_norm', false],
    ['*.ffn.shared_experts.*', 'layers.0.ffn.shared_experts.w1', true],
    ['layers.*.attn*', 'layers.3.attn.indexer.wq_b', true],
    ['*', 'anything', true],
    ['**', 'anything', true],
    ['a.c', 'abc', false],
    ['', 'a', false],
  ])('%j covers %j: %s', (pattern, module, want) => {
    expect(matchesPattern(pattern, module)).toBe(want);
  });

  it('takes no time over a hostile pattern', () => {
    const start = process.cpuUsage(); // not the clock: others may be at work
    expect(matchesPattern('*a'.repeat(40) + 'b', 'a'.repeat(2000))).toBe(false);
    const { user, system } = process.cpuUsage(start);
    expect(user + system).toBeLessThan(1e6); // microseconds; trying every split takes years
  });
});
