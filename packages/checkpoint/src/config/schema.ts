import * as z from 'zod/mini';
import en from 'zod/v4/locales/en.js';

/** Options of `safeParse`: zod's small form has no words of its own. */
export const inWords = { error: en().localeError };

const positiveInt = z.int().check(z.positive());
const count = (fallback: number) => z._default(positiveInt.check(z.maximum(2 ** 31 - 1)), fallback);
/** A number that layers compute with: in float32 it is finite, and not 0 unless it says 0. */
const float32 = z.number().check(
  z.refine((x) => Math.abs(Math.fround(x)) < Infinity, 'too large for float32'),
  z.refine((x) => x === 0 || Math.fround(x) !== 0, 'too small for float32: it would be 0'),
);
const positive = float32.check(z.positive());
const fraction = positive.check(z.maximum(1));
const nonnegative = float32.check(z.nonnegative());
/** A token id. */
export const tokenId = z.int().check(z.nonnegative());
/** One token id or a list of them. */
export const tokenIds = z.union([tokenId, z.array(tokenId)], { error: 'expected a token id or a list of token ids' });

/** Rotary settings, flat or as one half of the nested spelling. */
export const ropeSchema = z.object({
  rope_type: z.nullish(z.string()),
  type: z.nullish(z.string()),
  rope_theta: z.nullish(positive),
  partial_rotary_factor: z.nullish(fraction),
  factor: z.nullish(positive),
  beta_fast: z.nullish(positive),
  beta_slow: z.nullish(positive),
  original_max_position_embeddings: z.nullish(positiveInt),
  attention_factor: z.nullish(float32),
  truncate: z.nullish(z.boolean()),
});

/** {@link ropeSchema} once more, or `{main, compress}` of it. */
export const ropeParametersSchema = z.extend(ropeSchema, {
  main: z.nullish(ropeSchema),
  compress: z.nullish(ropeSchema),
});

/**
 * The fields of config.json that matter, as they are spelled. Defaults are those of Hugging Face's `DeepseekV4Config`
 * (`src/transformers/models/deepseek_v4/configuration_deepseek_v4.py`), which are DeepSeek-V4-Flash's; fields it has none for are
 * optional here and judged where they are used. Other fields are ignored. Python's None is saved as null: it counts as absent wherever it
 * can mean one thing only. The null of a size or of a number that the layers compute with is an error, since elsewhere it means "none".
 */
export const configSchema = z.object({
  vocab_size: count(129280),
  hidden_size: count(4096),
  moe_intermediate_size: count(2048),
  num_hidden_layers: z._default(positiveInt.check(z.maximum(10000)), 43),
  num_attention_heads: count(64),
  num_key_value_heads: z._default(z.literal(1), 1),
  head_dim: count(512),
  q_lora_rank: count(1024),
  o_lora_rank: count(1024),
  o_groups: count(8),
  sliding_window: count(128),
  index_n_heads: count(64),
  index_head_dim: count(128),
  index_topk: count(512),
  n_routed_experts: z._default(positiveInt.check(z.maximum(65536)), 256),
  n_shared_experts: z._default(z.literal(1), 1),
  num_experts_per_tok: count(6),
  num_hash_layers: z.nullish(tokenId),
  mlp_layer_types: z.nullish(z.array(z.enum(['hash_moe', 'moe']))),
  compress_ratios: z.nullish(z.array(z.number())),
  layer_types: z.nullish(z.array(z.string())),
  compress_rates: z.nullish(z.record(z.string(), z.number())),
  compress_rate_csa: z.nullish(z.number()),
  compress_rate_hca: z.nullish(z.number()),
  scoring_func: z._default(z.enum(['sqrtsoftplus', 'softmax', 'sigmoid']), 'sqrtsoftplus'),
  topk_method: z.nullish(z.literal('noaux_tc')),
  norm_topk_prob: z._default(z.boolean(), true),
  routed_scaling_factor: z._default(positive, 1.5),
  swiglu_limit: z._default(positive, 10),
  hidden_act: z.nullish(z.literal('silu')),
  hc_mult: count(4),
  hc_sinkhorn_iters: count(20),
  hc_eps: z._default(nonnegative, 1e-6),
  rms_norm_eps: z._default(nonnegative, 1e-6),
  max_position_embeddings: count(1048576),
  rope_theta: z.nullish(positive),
  compress_rope_theta: z.nullish(positive),
  qk_rope_head_dim: z.nullish(positiveInt),
  partial_rotary_factor: z.nullish(fraction),
  rope_scaling: z.nullish(ropeParametersSchema),
  rope_parameters: z.nullish(ropeParametersSchema),
  bos_token_id: z.nullish(tokenId),
  eos_token_id: z.nullish(tokenIds),
  tie_word_embeddings: z.nullish(z.boolean()),
  attention_bias: z.nullish(z.literal(false)),
  mlp_bias: z.nullish(z.literal(false)),
  expert_dtype: z.nullish(z.string()),
  quantization_config: z.nullish(z.record(z.string(), z.unknown())),
});

/** config.json after {@link configSchema}. */
export type RawConfig = z.infer<typeof configSchema>;

/** Rotary settings after {@link ropeParametersSchema}. */
export type RawRope = z.infer<typeof ropeParametersSchema>;
