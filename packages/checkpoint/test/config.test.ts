import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointError } from '@megamoe/core';
import fc from 'fast-check';
import { repositoryFile } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { parseConfig, readConfig, readGenerationConfig } from '../src/index';
import { configSchema } from '../src/config/schema';
import { SMALL_CONFIG, temporaryFolder, thrown } from './helpers';

const FILE = 'c.json';
const change = (changes: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries({ ...SMALL_CONFIG, ...changes }).filter(([, value]) => value !== undefined));
const parse = (changes: Record<string, unknown>) => parseConfig(change(changes), FILE);
const failure = (changes: Record<string, unknown>): string =>
  thrown(() => parse(changes)).replace(`ERR_CHECKPOINT: ${FILE}: `, '');
const YARN = SMALL_CONFIG.rope_scaling;
const PARSED_YARN = { factor: 4, betaFast: 32, betaSlow: 1, originalMaxPositionEmbeddings: 128 };

describe('parseConfig', () => {
  it.each([
    'bos_token_id',
    'eos_token_id',
    'tie_word_embeddings',
    'attention_bias',
    'mlp_bias',
    'hidden_act',
    'topk_method',
    'num_hash_layers',
    'layer_types',
    'mlp_layer_types',
    'compress_rates',
    'rope_theta',
    'compress_rope_theta',
    'rope_parameters',
    'partial_rotary_factor',
    'expert_dtype',
    'quantization_config',
  ])('reads a null of %s as absent', (field) => {
    expect(parse({ [field]: null })).toEqual(parse({ [field]: undefined }));
  });

  it('reads nulls within the rotary settings as absent', () => {
    const nulls = {
      rope_theta: null,
      beta_fast: null,
      attention_factor: null,
      main: null,
      compress: null,
      rope_type: null,
    };
    expect(parse({ rope_scaling: { ...YARN, ...nulls } })).toEqual(parse({}));
    expect(failure({ rope_scaling: { ...YARN, factor: null } })).toMatch(/^rope_scaling.factor: expected a number/);
    expect(failure({ rope_scaling: { ...YARN, original_max_position_embeddings: null } })).toMatch(/found nothing$/);
  });

  it('refuses the null of a number that the layers compute with', () => {
    for (const field of ['swiglu_limit', 'sliding_window', 'hidden_size', 'rms_norm_eps', 'routed_scaling_factor'])
      expect(failure({ [field]: null })).toMatch(new RegExp(`^${field}: .*null`));
  });

  it('says which ids the file leaves open', () => {
    expect(parse({}).openIds).toEqual([]);
    expect(parse({ bos_token_id: null, eos_token_id: undefined }).openIds).toEqual(['bosTokenId', 'eosTokenIds']);
    expect(failure({ eos_token_id: 'x' })).toBe('eos_token_id: expected a token id or a list of token ids');
  });

  it('reads the shipped spelling', () => {
    const { config, warnings, quantizationConfig } = parse({});
    expect(config).toEqual({
      vocabSize: 24,
      hiddenSize: 32,
      numHiddenLayers: 3,
      numAttentionHeads: 4,
      headDim: 16,
      ropeHeadDim: 4,
      qLoraRank: 16,
      oLoraRank: 8,
      oGroups: 2,
      slidingWindow: 8,
      compressRatios: [0, 4, 128],
      indexNHeads: 2,
      indexHeadDim: 8,
      indexTopk: 4,
      numExperts: 3,
      numSharedExperts: 1,
      numExpertsPerTok: 2,
      moeIntermediateSize: 16,
      numHashLayers: 1,
      scoringFunc: 'sqrtsoftplus',
      normTopkProb: true,
      routedScalingFactor: 1.5,
      swigluLimit: 10,
      hcMult: 4,
      hcSinkhornIters: 20,
      hcEps: 1e-6,
      rmsNormEps: 1e-6,
      ropeTheta: 10000,
      compressRopeTheta: 160000,
      yarn: PARSED_YARN,
      maxPositionEmbeddings: 512,
      bosTokenId: 0,
      eosTokenIds: [1],
      tieWordEmbeddings: false,
    });
    expect([warnings, quantizationConfig]).toEqual([[], undefined]);
  });

  it("reads transformers' spelling to the same config", () => {
    const { config } = parse({
      compress_ratios: undefined,
      layer_types: ['sliding_attention', 'compressed_sparse_attention', 'heavily_compressed_attention'],
      compress_rates: { compressed_sparse_attention: 4, heavily_compressed_attention: 128 },
      num_hash_layers: undefined,
      mlp_layer_types: ['hash_moe', 'moe', 'moe'],
      qk_rope_head_dim: undefined,
      partial_rotary_factor: 0.25,
      rope_scaling: undefined,
      rope_parameters: {
        main: { rope_type: 'default', rope_theta: 10000, partial_rotary_factor: 0.25 },
        compress: {
          ...YARN,
          type: undefined,
          rope_type: 'yarn',
          rope_theta: 160000,
          partial_rotary_factor: 0.25,
          attention_factor: 1,
        },
      },
    });
    expect(config).toEqual(parse({}).config);
  });

  it("takes Hugging Face's defaults, which are Flash's, and warns where they are a guess", () => {
    const { config, warnings } = parseConfig({ model_type: 'deepseek_v4' });
    expect(config).toMatchObject({
      vocabSize: 129280,
      hiddenSize: 4096,
      numHiddenLayers: 43,
      numAttentionHeads: 64,
      headDim: 512,
      ropeHeadDim: 64,
      numExperts: 256,
      numExpertsPerTok: 6,
      numHashLayers: 3,
      indexTopk: 512,
      slidingWindow: 128,
      yarn: undefined,
      maxPositionEmbeddings: 1048576,
    });
    expect(config.compressRatios.slice(0, 6)).toEqual([128, 128, 128, 4, 128, 4]);
    expect(warnings).toEqual([
      "config.json has neither compress_ratios nor layer_types: assuming Hugging Face's default, 128, 128, 128, 4, 128, 4, ...",
    ]);
  });

  it('cuts the tail that belongs to draft layers', () => {
    expect(parse({ compress_ratios: [0, 4, 128, 4, 0, 7] }).config.compressRatios).toEqual([0, 4, 128]);
    expect(parse({ num_hash_layers: 9 }).config.numHashLayers).toBe(3);
  });

  it('finds YaRN in every spelling', () => {
    const nested = { main: { rope_theta: 500 }, compress: { ...YARN, rope_theta: 600 } };
    for (const [changes, yarn] of [
      [{ rope_scaling: undefined }, undefined],
      [{ rope_scaling: null }, undefined],
      [{ rope_scaling: { type: 'default' } }, undefined],
      [{ rope_scaling: { ...YARN, type: undefined, rope_type: 'yarn' } }, PARSED_YARN],
      [{ rope_scaling: undefined, rope_parameters: YARN }, PARSED_YARN],
      [{ rope_parameters: { main: {}, compress: YARN } }, PARSED_YARN], // both spellings, the same
      [{ rope_scaling: undefined, rope_parameters: nested }, PARSED_YARN],
      [{ rope_scaling: { ...YARN, beta_fast: undefined, beta_slow: undefined } }, PARSED_YARN],
    ] as const) {
      expect(parse(changes).config.yarn).toEqual(yarn);
    }
    const { ropeTheta, compressRopeTheta } = parse({ rope_scaling: undefined, rope_parameters: nested }).config;
    expect([ropeTheta, compressRopeTheta]).toEqual([500, 600]);
    expect(parse({ rope_theta: 7, compress_rope_theta: 8 }).config).toMatchObject({
      ropeTheta: 7,
      compressRopeTheta: 8,
    });
  });

  it('finds the rotary width in every spelling', () => {
    expect(parse({ qk_rope_head_dim: undefined }).config.ropeHeadDim).toBe(2); // head_dim / 8
    expect(parse({ partial_rotary_factor: 0.25 }).config.ropeHeadDim).toBe(4);
    expect(
      parse({ head_dim: 48, index_head_dim: 48, qk_rope_head_dim: undefined, partial_rotary_factor: 2 / 3 }).config
        .ropeHeadDim,
    ).toBe(32);
  });

  it('reads lists of end ids and keeps the quantization config', () => {
    const quantization_config = { quant_method: 'modelopt' };
    const { config, quantizationConfig } = parse({ eos_token_id: [1, 3], quantization_config });
    expect([config.eosTokenIds, quantizationConfig]).toEqual([[1, 3], quantization_config]);
  });

  it.each<[Record<string, unknown>, string]>([
    [
      { model_type: 'deepseek_v41' },
      'model_type "deepseek_v41" is another architecture (DeepSeek-V4.1), which is not supported; expected "deepseek_v4"',
    ],
    [{ model_type: 'llama' }, 'model_type: expected "deepseek_v4", found "llama"'],
    [{ model_type: undefined }, 'model_type: expected "deepseek_v4", found nothing'],
    [{ compress_ratios: [0, 4, 64] }, 'compress_ratios[2]: expected 0, 4 or 128, found 64'],
    [{ compress_ratios: [0, 4] }, 'compress_ratios: expected num_hidden_layers = 3 entries, found 2'],
    [
      { layer_types: ['sliding_attention', 'x', 'x'], compress_ratios: undefined },
      'layer_types[1]: expected one of sliding_attention, compressed_sparse_attention, heavily_compressed_attention, found "x"',
    ],
    [
      { layer_types: ['sliding_attention', 'constructor', 'x'], compress_ratios: undefined },
      'layer_types[1]: expected one of sliding_attention, compressed_sparse_attention, heavily_compressed_attention, found "constructor"',
    ],
    [
      { layer_types: ['sliding_attention', 'sliding_attention', 'sliding_attention'] },
      'compress_ratios[1] = 4 contradicts layer_types[1] = sliding_attention',
    ],
    [{ layer_types: ['sliding_attention'] }, 'layer_types: expected num_hidden_layers = 3 entries, found 1'],
    [
      { compress_rates: { compressed_sparse_attention: 8 } },
      'compress_rates.compressed_sparse_attention: expected 4, found 8',
    ],
    [{ compress_rate_hca: 64 }, 'compress_rates.heavily_compressed_attention: expected 128, found 64'],
    [{ mlp_layer_types: ['moe', 'hash_moe', 'moe'] }, 'mlp_layer_types: expected the "hash_moe" layers to come first'],
    [
      { mlp_layer_types: ['hash_moe', 'hash_moe', 'moe'] },
      'num_hash_layers = 1 contradicts mlp_layer_types, which has 2 "hash_moe" layers',
    ],
    [{ mlp_layer_types: ['moe'] }, 'mlp_layer_types: expected num_hidden_layers = 3 entries, found 1'],
    [{ num_experts_per_tok: 4 }, 'num_experts_per_tok: expected at most n_routed_experts = 3, found 4'],
    [{ o_groups: 3 }, 'o_groups: expected a divisor of num_attention_heads = 4, found 3'],
    [{ qk_rope_head_dim: 18 }, 'qk_rope_head_dim: expected an even number in [2, head_dim = 16], found 18'],
    [{ qk_rope_head_dim: 3 }, 'qk_rope_head_dim: expected an even number in [2, head_dim = 16], found 3'],
    [{ qk_rope_head_dim: 10 }, 'index_head_dim: expected at least qk_rope_head_dim = 10, found 8'],
    [{ partial_rotary_factor: 0.5 }, 'qk_rope_head_dim: two spellings contradict each other, 4 and 8'],
    [{ bos_token_id: 24 }, 'bos_token_id and eos_token_id: expected below vocab_size = 24, found 24'],
    [{ eos_token_id: [1, 99] }, 'bos_token_id and eos_token_id: expected below vocab_size = 24, found 99'],
    [{ eos_token_id: [] }, 'eos_token_id: expected at least one id, found an empty list'],
    [
      { rope_scaling: { type: 'linear', factor: 2 } },
      'rope_scaling.rope_type: expected "yarn" or "default", found "linear"',
    ],
    [
      { rope_scaling: { type: 'yarn', rope_type: 'default' } },
      'rope_scaling.rope_type: two spellings contradict each other, default and yarn',
    ],
    [{ rope_scaling: { ...YARN, factor: undefined } }, 'rope_scaling.factor: expected a number above 0, found nothing'],
    [
      { rope_scaling: { ...YARN, original_max_position_embeddings: undefined } },
      'rope_scaling.original_max_position_embeddings: expected a positive integer, found nothing',
    ],
    [
      { rope_scaling: { ...YARN, attention_factor: 1.2 } },
      'rope_scaling.attention_factor: DeepSeek-V4 uses 1, found 1.2',
    ],
    [{ rope_scaling: { ...YARN, truncate: false } }, 'rope_scaling.truncate: only true is supported, found false'],
    [{ rope_parameters: { ...YARN, factor: 8 } }, 'rope_scaling and rope_parameters contradict each other about YaRN'],
    [{ rope_parameters: { main: {} } }, 'rope_parameters: expected both "main" and "compress", found only one'],
    [
      { rope_parameters: { main: YARN, compress: YARN } },
      'rope_parameters.main.rope_type: expected "default" (sliding layers are not scaled), found "yarn"',
    ],
    [
      { rope_theta: 1, rope_parameters: { main: { rope_theta: 2 }, compress: YARN } },
      'rope_theta: two spellings contradict each other, 1 and 2',
    ],
  ])('refuses %j', (changes, message) => {
    expect(failure(changes)).toBe(message);
  });

  it.each<[Record<string, unknown>, RegExp]>([
    [{ hidden_size: 0 }, /^hidden_size: /],
    [{ hidden_size: -4 }, /^hidden_size: /],
    [{ hidden_size: 1.5 }, /^hidden_size: /],
    [{ hidden_size: NaN }, /^hidden_size: /],
    [{ hidden_size: '32' }, /^hidden_size: /],
    [{ hidden_size: 2 ** 40 }, /^hidden_size: /],
    [{ num_hidden_layers: 1e9 }, /^num_hidden_layers: /],
    [{ n_routed_experts: 1e9 }, /^n_routed_experts: /],
    [{ num_key_value_heads: 2 }, /^num_key_value_heads: /],
    [{ n_shared_experts: 2 }, /^n_shared_experts: /],
    [{ hidden_act: 'gelu' }, /^hidden_act: /],
    [{ scoring_func: 'x' }, /^scoring_func: /],
    [{ topk_method: 'greedy' }, /^topk_method: /],
    [{ attention_bias: true }, /^attention_bias: /],
    [{ swiglu_limit: -1 }, /^swiglu_limit: /],
    [{ rms_norm_eps: -1 }, /^rms_norm_eps: /],
    [{ rope_scaling: { ...YARN, factor: 0 } }, /^rope_scaling\.factor: /],
    [{ rope_theta: Infinity }, /^rope_theta: /],
    ...['routed_scaling_factor', 'swiglu_limit', 'rms_norm_eps', 'hc_eps', 'rope_theta', 'compress_rope_theta'].flatMap(
      (field): [Record<string, unknown>, RegExp][] => [
        [{ [field]: 1e300 }, new RegExp(`^${field}: too large for float32$`)],
        [{ [field]: 1e-300 }, new RegExp(`^${field}: too small for float32: it would be 0$`)],
      ],
    ),
    [{ rope_scaling: { ...YARN, factor: 1e39 } }, /^rope_scaling\.factor: too large for float32$/],
    [{ eos_token_id: -1 }, /^eos_token_id: /],
    [{ hidden_size: 0, vocab_size: 0, head_dim: 0, o_groups: 0, hc_mult: 0, index_topk: 0 }, /; and 1 more$/],
  ])('refuses %j by field', (changes, message) => {
    expect(failure(changes)).toMatch(message);
  });
});

it('no value of any field gives anything but a config or a CheckpointError', () => {
  const fields = [...Object.keys(configSchema.shape), 'constructor', '__proto__'];
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.integer(),
    fc.double(),
    fc.constantFrom(0, -1, 2 ** 31, null, [], {}, { main: {} }),
  );
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...fields), value, { maxKeys: 3 }), (changes) => {
      try {
        const { config } = parseConfig({ ...SMALL_CONFIG, ...changes }, FILE);
        expect(config.compressRatios.length).toBe(config.numHiddenLayers);
        const numbers = Object.values(config).filter((v): v is number => typeof v === 'number');
        expect(numbers.every((v) => Number.isFinite(v) && v >= 0)).toBe(true);
      } catch (error) {
        if (!(error instanceof CheckpointError)) throw error;
      }
    }),
    { numRuns: 3000 },
  );
});

describe('readConfig', () => {
  it('reads the models of this repository', () => {
    expect(readConfig(repositoryFile('models/tiny')).config).toMatchObject({
      numHiddenLayers: 6,
      numExperts: 16,
      compressRatios: [0, 128, 4, 128, 4, 128],
    });
    expect(readConfig(repositoryFile('models/micro-flash')).config).toMatchObject({ vocabSize: 160, numHashLayers: 2 });
  });

  it.each([
    ['{', /^ERR_CHECKPOINT: DIR\/config.json: cannot be read as JSON: /],
    ['[]', /^ERR_CHECKPOINT: DIR\/config.json: expected a JSON object$/],
    ['null', /^ERR_CHECKPOINT: DIR\/config.json: expected a JSON object$/],
    ['{"model_type": "gpt"}', /^ERR_CHECKPOINT: DIR\/config.json: model_type: expected "deepseek_v4", found "gpt"$/],
  ])('refuses the file %s', (text, message) => {
    const dir = temporaryFolder();
    writeFileSync(join(dir, 'config.json'), text);
    expect(thrown(() => readConfig(dir), dir)).toMatch(message);
  });

  it('says when there is none', () => {
    const dir = temporaryFolder();
    expect(thrown(() => readConfig(dir), dir)).toMatch(
      /^ERR_CHECKPOINT: DIR\/config.json: there is no such file \(ENOENT/,
    );
  });
});

describe('readGenerationConfig', () => {
  const read = (json: unknown, vocabSize?: number) => {
    const dir = temporaryFolder();
    if (json !== undefined) writeFileSync(join(dir, 'generation_config.json'), JSON.stringify(json));
    return { dir, get: () => readGenerationConfig(dir, vocabSize) };
  };

  it('keeps what is given and nothing else', () => {
    expect(read(undefined).get()).toBeUndefined();
    expect(read({ transformers_version: '5', top_k: null }).get()).toEqual({});
    expect(
      read({ bos_token_id: 0, eos_token_id: [1, 2], do_sample: true, temperature: 0.6, top_p: 0.95, top_k: 0 }).get(),
    ).toEqual({ bosTokenId: 0, eosTokenIds: [1, 2], doSample: true, temperature: 0.6, topP: 0.95, topK: 0 });
    expect(readGenerationConfig(repositoryFile('models/tiny'))).toEqual({
      bosTokenId: 0,
      eosTokenIds: [1],
      doSample: true,
      temperature: 1,
      topP: 1,
    });
  });

  it('reads -1, 0 and null of top_k as off', () => {
    expect(read({ top_k: -1 }).get()).toEqual({ topK: 0 });
    expect(read({ top_k: 0 }).get()).toEqual({ topK: 0 });
    expect(read({ top_k: null }).get()).toEqual({});
  });

  it('may be told of recommendations that are bad, which then count as absent', () => {
    const odd: string[] = [];
    const { dir } = read({ eos_token_id: 3, temperature: -1, top_p: 2, top_k: -2, do_sample: 'x' });
    expect(readGenerationConfig(dir, 24, (w) => odd.push(w))).toEqual({ eosTokenIds: [3] });
    expect(odd.map((w) => w.replace(/: [^:]*$/, ''))).toEqual(
      ['do_sample', 'temperature', 'top_p', 'top_k'].map((field) => expect.stringContaining(field) as string),
    );
    const { dir: ids } = read({ eos_token_id: -3, temperature: -1 });
    expect(thrown(() => readGenerationConfig(ids, 24, () => undefined))).toMatch(/eos_token_id/);
  });

  it.each([
    [{ temperature: -1 }, /: temperature: /],
    [{ top_p: 0 }, /: top_p: /],
    [{ top_p: 1.5 }, /: top_p: /],
    [{ top_k: 0.5 }, /: top_k: /],
    [{ top_k: -2 }, /: top_k: /],
    [{ eos_token_id: [] }, /: eos_token_id: /],
    [{ eos_token_id: 24 }, /: token id: expected below vocab_size = 24, found 24$/],
    [{ do_sample: 'yes' }, /: do_sample: /],
  ])('refuses %j', (json, message) => {
    const { dir, get } = read(json, 24);
    const text = thrown(get, dir);
    expect(text).toMatch(/^ERR_CHECKPOINT: DIR\/generation_config.json: /);
    expect(text).toMatch(message);
  });
});
