import * as z from 'zod';

/**
 * The fields of config.json that matter, as they are spelled. Defaults are those of Hugging Face's `DeepseekV4Config`
 * (`src/transformers/models/deepseek_v4/configuration_deepseek_v4.py`), which are DeepSeek-V4-Flash's; fields it has none for are
 * optional here and judged where they are used. Other fields are ignored.
 */
const count = (fallback: number): z.ZodDefault<z.ZodNumber> =>
  z
    .number()
    .int()
    .positive()
    .max(2 ** 31 - 1)
    .default(fallback);
const positive = (fallback: number): z.ZodDefault<z.ZodNumber> => z.number().positive().default(fallback);
const tokenId = z.number().int().nonnegative();

/** Rotary settings, flat or as one half of the nested spelling. */
export const ropeSchema = z.object({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  partial_rotary_factor: z.number().positive().max(1).optional(),
  factor: z.number().positive().optional(),
  beta_fast: z.number().positive().nullish(),
  beta_slow: z.number().positive().nullish(),
  original_max_position_embeddings: z.number().int().positive().optional(),
  attention_factor: z.number().nullish(),
  truncate: z.boolean().nullish(),
});

/** {@link ropeSchema} once more, or `{main, compress}` of it. */
export const ropeParametersSchema = ropeSchema.extend({ main: ropeSchema.optional(), compress: ropeSchema.optional() });

/** config.json. */
export const configSchema = z.object({
  vocab_size: count(129280),
  hidden_size: count(4096),
  moe_intermediate_size: count(2048),
  num_hidden_layers: z.number().int().positive().max(10000).default(43),
  num_attention_heads: count(64),
  num_key_value_heads: z.literal(1).default(1),
  head_dim: count(512),
  q_lora_rank: count(1024),
  o_lora_rank: count(1024),
  o_groups: count(8),
  sliding_window: count(128),
  index_n_heads: count(64),
  index_head_dim: count(128),
  index_topk: count(512),
  n_routed_experts: z.number().int().positive().max(65536).default(256),
  n_shared_experts: z.literal(1).default(1),
  num_experts_per_tok: count(6),
  num_hash_layers: z.number().int().nonnegative().nullish(),
  mlp_layer_types: z.array(z.enum(['hash_moe', 'moe'])).nullish(),
  compress_ratios: z.array(z.number()).nullish(),
  layer_types: z.array(z.string()).nullish(),
  compress_rates: z.record(z.string(), z.number()).nullish(),
  compress_rate_csa: z.number().nullish(),
  compress_rate_hca: z.number().nullish(),
  scoring_func: z.enum(['sqrtsoftplus', 'softmax', 'sigmoid']).default('sqrtsoftplus'),
  topk_method: z.literal('noaux_tc').default('noaux_tc'),
  norm_topk_prob: z.boolean().default(true),
  routed_scaling_factor: positive(1.5),
  swiglu_limit: positive(10),
  hidden_act: z.literal('silu').default('silu'),
  hc_mult: count(4),
  hc_sinkhorn_iters: count(20),
  hc_eps: z.number().nonnegative().default(1e-6),
  rms_norm_eps: z.number().nonnegative().default(1e-6),
  max_position_embeddings: count(1048576),
  rope_theta: z.number().positive().nullish(),
  compress_rope_theta: z.number().positive().nullish(),
  qk_rope_head_dim: z.number().int().positive().nullish(),
  partial_rotary_factor: z.number().positive().max(1).nullish(),
  rope_scaling: ropeParametersSchema.nullish(),
  rope_parameters: ropeParametersSchema.nullish(),
  bos_token_id: tokenId.default(0),
  eos_token_id: z.union([tokenId, z.array(tokenId)]).default(1),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.literal(false).default(false),
  mlp_bias: z.literal(false).default(false),
  expert_dtype: z.string().nullish(),
  quantization_config: z.record(z.string(), z.unknown()).nullish(),
});

/** config.json after {@link configSchema}. */
export type RawConfig = z.infer<typeof configSchema>;

/** Rotary settings after {@link ropeParametersSchema}. */
export type RawRope = z.infer<typeof ropeParametersSchema>;
