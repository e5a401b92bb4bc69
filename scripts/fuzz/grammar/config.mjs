/** config.json: fields with values that fit together, and now and then one that does not. */
import { changeJson, written } from './json.mjs';

/** Values of fields that are right alone or with others. */
const FIELDS = {
  vocab_size: [2, 129280, 160],
  hidden_size: [4096, 64, 1],
  moe_intermediate_size: [16, 2048],
  num_hidden_layers: [1, 2, 3, 6, 43],
  num_attention_heads: [4, 8, 64],
  head_dim: [32, 512, 128],
  qk_rope_head_dim: [8, 16, 64, null],
  partial_rotary_factor: [0.125, 0.25, 1, null],
  q_lora_rank: [32, 1024],
  o_lora_rank: [16, 1024],
  o_groups: [1, 2, 4],
  sliding_window: [1, 16, 128],
  index_n_heads: [1, 64],
  index_head_dim: [16, 128],
  index_topk: [1, 512],
  n_routed_experts: [1, 8, 256, 65536],
  num_experts_per_tok: [1, 2, 6],
  num_hash_layers: [0, 1, 3, 100, null],
  scoring_func: ['sqrtsoftplus', 'softmax', 'sigmoid'],
  topk_method: ['noaux_tc', null],
  norm_topk_prob: [true, false],
  routed_scaling_factor: [1, 1.5, 2.5],
  swiglu_limit: [10, 7.5],
  hidden_act: ['silu', null],
  hc_mult: [1, 2, 4],
  hc_sinkhorn_iters: [1, 20],
  hc_eps: [0, 1e-6],
  rms_norm_eps: [0, 1e-6, 1e-5],
  max_position_embeddings: [1, 4096, 1048576],
  rope_theta: [10000, 1, null],
  compress_rope_theta: [160000, null],
  bos_token_id: [0, 1, null],
  eos_token_id: [1, [1], [0, 1], null],
  tie_word_embeddings: [true, false, null],
  attention_bias: [false, null],
  expert_dtype: ['fp4', 'fp8', null, 'bf16'],
  compress_rates: [{ compressed_sparse_attention: 4, heavily_compressed_attention: 128 }, {}, null],
  compress_rate_csa: [4, null],
  compress_rate_hca: [128, null],
};
const YARN = { type: 'yarn', factor: 16, beta_fast: 32, beta_slow: 1, original_max_position_embeddings: 256 };
const ROPE = [
  YARN,
  { ...YARN, rope_type: 'yarn' },
  { type: 'default' },
  { rope_type: 'default', rope_theta: 10000 },
  { ...YARN, attention_factor: 1, truncate: false },
  { main: { rope_type: 'default', rope_theta: 10000 }, compress: { ...YARN, rope_theta: 160000 } },
  null,
];
const QUANTIZATION = [
  { quant_method: 'fp8', fmt: 'e4m3', weight_block_size: [128, 128], scale_fmt: 'ue8m0' },
  { quant_method: 'modelopt', quant_algo: 'NVFP4', group_size: 16, ignore: ['lm_head', '*.attn.*', 're:.*gate$'] },
  {
    quant_method: 'modelopt',
    quant_algo: 'MIXED_PRECISION',
    quantized_layers: { 'layers.0.ffn': { quant_algo: 'NVFP4' } },
  },
  {
    quant_method: 'compressed-tensors',
    format: 'nvfp4-pack-quantized',
    config_groups: { group_0: { targets: ['Linear'], weights: { num_bits: 4, group_size: 16 } } },
    ignore: ['re:.*(a+)+$', 're:['],
  },
  { quant_method: 'fp8', moe_quant_algo: 'NVFP4', modules_to_not_convert: ['head'] },
  null,
];
const KINDS = { 0: 'sliding_attention', 4: 'compressed_sparse_attention', 128: 'heavily_compressed_attention' };

/** Names of fields, for changes that give one the value of another. */
export const CONFIG_WORDS = [
  ...Object.keys(FIELDS),
  'rope_scaling',
  'rope_parameters',
  'layer_types',
  'compress_ratios',
];

/** Changes fields of a config; `wild` of ten changes are of any kind. */
export function changeConfig(config, r, changes, wild) {
  for (let i = 0; i < changes; i++) {
    if (r.below(10) < wild) changeJson(config, r, CONFIG_WORDS);
    else {
      const way = r.below(12);
      if (way === 0) config[r.pick(['rope_scaling', 'rope_parameters'])] = r.pick(ROPE);
      else if (way === 1) config.quantization_config = r.pick(QUANTIZATION);
      else if (way === 2) setLayers(config, 1 + r.below(6), r);
      else {
        const field = r.pick(Object.keys(FIELDS));
        config[field] = r.pick(FIELDS[field]);
      }
    }
  }
  return config;
}

/** Another number of layers, and lists of that length, in one spelling or in two. */
function setLayers(config, n, r) {
  const ratios = Array.from({ length: n }, () => r.pick([0, 4, 128]));
  config.num_hidden_layers = n;
  config.compress_ratios = r.below(3) > 0 ? ratios : undefined;
  if (config.compress_ratios === undefined || r.below(2) === 0) config.layer_types = ratios.map((x) => KINDS[x]);
  const hash = r.below(n + 1);
  config.num_hash_layers = hash;
  if (r.below(2) === 0) config.mlp_layer_types = ratios.map((_, i) => (i < hash ? 'hash_moe' : 'moe'));
  if (config.index_head_dim < config.qk_rope_head_dim) config.index_head_dim = config.qk_rope_head_dim;
}

/** A config.json, and in one of two something that may not be right. */
export function makeConfig(r, seeds) {
  const config = JSON.parse(r.pick(seeds).toString('utf8'));
  return Buffer.from(written(changeConfig(config, r, r.below(4), r.pick([0, 0, 3, 6])), r));
}

/** A generation_config.json. */
export function makeGeneration(r) {
  const json = {
    bos_token_id: 0,
    eos_token_id: r.pick([1, [1], [0, 1]]),
    do_sample: true,
    temperature: 0.7,
    top_p: 0.9,
    top_k: 40,
  };
  if (r.below(3) === 0) changeJson(json, r);
  return Buffer.from(written(json, r));
}

export { QUANTIZATION };
