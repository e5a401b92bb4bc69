import { checkString } from '@megamoe/core';

/**
 * Tensor names. DeepSeek's shipped names are the canonical ones; transformers' module names are brought back to them.
 * Source: huggingface/transformers 5.17 `src/transformers/conversion_mapping.py`, entry `deepseek_v4`, read backwards.
 */

/** Transformers' spelling and the canonical one; applied in order, so `indexer` comes before the compressor that contains it. */
const RULES: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens\./, 'embed.'],
  [/^lm_head\./, 'head.'],
  [/^model\.norm\./, 'norm.'],
  [/^model\.hc_head\.hc_/, 'hc_head_'],
  [/^model\./, ''],
  [/\.input_layernorm\./, '.attn_norm.'],
  [/\.post_attention_layernorm\./, '.ffn_norm.'],
  [/\.attn_hc\.(fn|base|scale)$/, '.hc_attn_$1'],
  [/\.ffn_hc\.(fn|base|scale)$/, '.hc_ffn_$1'],
  [/\.self_attn\.sinks$/, '.attn.attn_sink'],
  [/\.self_attn\.compressor\.indexer\.scorer\.weights_proj\./, '.attn.indexer.weights_proj.'],
  [/\.self_attn\.compressor\.indexer\.weights_proj\./, '.attn.indexer.weights_proj.'],
  [/\.self_attn\.compressor\.indexer\.q_b_proj\./, '.attn.indexer.wq_b.'],
  [/\.self_attn\.compressor\.indexer\.kv_proj\./, '.attn.indexer.compressor.wkv.'],
  [/\.self_attn\.compressor\.indexer\.gate_proj\./, '.attn.indexer.compressor.wgate.'],
  [/\.self_attn\.compressor\.indexer\.position_bias$/, '.attn.indexer.compressor.ape'],
  [/\.self_attn\.compressor\.indexer\.kv_norm\./, '.attn.indexer.compressor.norm.'],
  [/\.self_attn\.compressor\.kv_proj\./, '.attn.compressor.wkv.'],
  [/\.self_attn\.compressor\.gate_proj\./, '.attn.compressor.wgate.'],
  [/\.self_attn\.compressor\.position_bias$/, '.attn.compressor.ape'],
  [/\.self_attn\.compressor\.kv_norm\./, '.attn.compressor.norm.'],
  [/\.self_attn\.q_a_proj\./, '.attn.wq_a.'],
  [/\.self_attn\.q_b_proj\./, '.attn.wq_b.'],
  [/\.self_attn\.kv_proj\./, '.attn.wkv.'],
  [/\.self_attn\.o_a_proj\./, '.attn.wo_a.'],
  [/\.self_attn\.o_b_proj\./, '.attn.wo_b.'],
  [/\.self_attn\.q_a_norm\./, '.attn.q_norm.'],
  [/\.self_attn\.kv_norm\./, '.attn.kv_norm.'],
  [/\.mlp\.gate\.e_score_correction_bias$/, '.ffn.gate.bias'],
  [/\.mlp\.shared_experts\.gate_proj\./, '.ffn.shared_experts.w1.'],
  [/\.mlp\.shared_experts\.up_proj\./, '.ffn.shared_experts.w3.'],
  [/\.mlp\.shared_experts\.down_proj\./, '.ffn.shared_experts.w2.'],
  [/\.mlp\.experts\.(\d+)\.gate_proj\./, '.ffn.experts.$1.w1.'],
  [/\.mlp\.experts\.(\d+)\.up_proj\./, '.ffn.experts.$1.w3.'],
  [/\.mlp\.experts\.(\d+)\.down_proj\./, '.ffn.experts.$1.w2.'],
  [/\.mlp\./, '.ffn.'],
];

/** Transformers' spelling of modules, for {@link moduleSpellings}: {@link RULES} the other way, in order. */
const MODULES: readonly (readonly [RegExp, string])[] = [
  [/^embed$/, 'model.embed_tokens'],
  [/^head$/, 'lm_head'],
  [/^layers\./, 'model.layers.'],
  [/\.attn\.indexer\.compressor\.wkv$/, '.self_attn.compressor.indexer.kv_proj'],
  [/\.attn\.indexer\.compressor\.wgate$/, '.self_attn.compressor.indexer.gate_proj'],
  [/\.attn\.indexer\.wq_b$/, '.self_attn.compressor.indexer.q_b_proj'],
  [/\.attn\.indexer\.weights_proj$/, '.self_attn.compressor.indexer.scorer.weights_proj'],
  [/\.attn\.compressor\.wkv$/, '.self_attn.compressor.kv_proj'],
  [/\.attn\.compressor\.wgate$/, '.self_attn.compressor.gate_proj'],
  [/\.attn\.wkv$/, '.self_attn.kv_proj'],
  [/\.attn\.w([qo])_([ab])$/, '.self_attn.$1_$2_proj'],
  [/\.ffn\./, '.mlp.'],
  [/\.w1$/, '.gate_proj'],
  [/\.w3$/, '.up_proj'],
  [/\.w2$/, '.down_proj'],
];

/**
 * All names by which a manifest may mean a module: the canonical one, with `model.` before it, transformers' and that of the file.
 * @param stored the name in the file, of the module or of its weight
 */
export function moduleSpellings(canonical: string, stored: string): ReadonlySet<string> {
  let transformers = canonical;
  for (const [pattern, to] of MODULES) transformers = transformers.replace(pattern, to);
  return new Set([canonical, `model.${canonical}`, transformers, stored.replace(/\.weight(?:_packed)?$/, '')]);
}

/** A name that only transformers uses. */
const TRANSFORMERS =
  /^(?:model\.|lm_head\.)|\.self_attn\.|\.mlp\.|\.(?:input|post_attention)_layernorm\.|\.(?:attn|ffn)_hc\./;

/**
 * The canonical (DeepSeek's) name of a stored tensor; canonical names come back unchanged. Experts fused by transformers keep one
 * name for all: `layers.N.ffn.experts.gate_up_proj` and `layers.N.ffn.experts.down_proj`.
 */
export function canonicalName(name: string): string {
  checkString('canonicalName', 'name', name);
  let out = name;
  if (TRANSFORMERS.test(name)) for (const [pattern, to] of RULES) out = out.replace(pattern, to);
  return out.replace(/\.weight_scale_inv$/, '.scale'); // also beside DeepSeek's names
}

/** A tensor of a draft layer (multi-token prediction, DSpark). */
export function isDraftTensor(canonical: string): boolean {
  return canonical.startsWith('mtp.');
}

/** Buffers that follow from config.json and need not be stored. */
export function isDerivedTensor(canonical: string): boolean {
  return canonical.endsWith('inv_freq');
}
