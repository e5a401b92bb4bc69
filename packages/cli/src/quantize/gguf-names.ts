/** Names outside the layers, without `.weight`. */
const ENDS: Readonly<Record<string, string>> = {
  embed: 'token_embd',
  head: 'output',
  'norm.weight': 'output_norm.weight',
  hc_head_fn: 'output_hc_fn.weight',
  hc_head_base: 'output_hc_base.weight',
  hc_head_scale: 'output_hc_scale.weight',
};

/** Names within a layer, as the files of ds4 and llama.cpp have them (architecture `deepseek4`). */
const IN_LAYER: Readonly<Record<string, string>> = {
  'attn_norm.weight': 'attn_norm.weight',
  'ffn_norm.weight': 'ffn_norm.weight',
  'attn.wq_a': 'attn_q_a',
  'attn.q_norm.weight': 'attn_q_a_norm.weight',
  'attn.wq_b': 'attn_q_b',
  'attn.wkv': 'attn_kv',
  'attn.kv_norm.weight': 'attn_kv_a_norm.weight',
  'attn.wo_a': 'attn_output_a',
  'attn.wo_b': 'attn_output_b',
  'attn.attn_sink': 'attn_sinks.weight',
  'attn.compressor.wkv': 'attn_compressor_kv',
  'attn.compressor.wgate': 'attn_compressor_gate',
  'attn.compressor.ape': 'attn_compressor_ape.weight',
  'attn.compressor.norm.weight': 'attn_compressor_norm.weight',
  'attn.indexer.wq_b': 'indexer.attn_q_b',
  'attn.indexer.weights_proj': 'indexer.proj',
  'attn.indexer.compressor.wkv': 'indexer_compressor_kv',
  'attn.indexer.compressor.wgate': 'indexer_compressor_gate',
  'attn.indexer.compressor.ape': 'indexer_compressor_ape.weight',
  'attn.indexer.compressor.norm.weight': 'indexer_compressor_norm.weight',
  'ffn.gate': 'ffn_gate_inp',
  'ffn.gate.bias': 'exp_probs_b.bias',
  'ffn.gate.tid2eid': 'ffn_gate_tid2eid.weight',
  'ffn.shared_experts.w1': 'ffn_gate_shexp',
  'ffn.shared_experts.w2': 'ffn_down_shexp',
  'ffn.shared_experts.w3': 'ffn_up_shexp',
};

/** Names of the stacks of routed experts. */
export const EXPERT_STACKS = { w1: 'ffn_gate_exps', w2: 'ffn_down_exps', w3: 'ffn_up_exps' } as const;

/** GGUF's name for a module (without `.weight`) or for a tensor by its canonical name; undefined when it has none. */
export function ggufName(canonical: string): string | undefined {
  const [, layer, rest] = /^layers\.(\d+)\.(.*)$/.exec(canonical) ?? [];
  if (layer === undefined) return ENDS[canonical];
  const hyper = /^hc_(?:attn|ffn)_(?:fn|base|scale)$/.test(rest!) ? `${rest}.weight` : undefined;
  const name = hyper ?? IN_LAYER[rest!];
  return name === undefined ? undefined : `blk.${layer}.${name}`;
}
