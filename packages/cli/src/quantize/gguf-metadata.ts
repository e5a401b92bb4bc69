import type { ModelConfig, ScoringFunc, YarnParameters } from '@megamoe/checkpoint';
import { GGUF_ALIGNMENT, GGUF_FILE_TYPE_NVFP4, type GgufValue } from './gguf-format';

type Entries = readonly (readonly [key: string, value: GgufValue])[];

const f32 = (x: number): GgufValue => ({ f32: x });

/** `expert_gating_func` of llama.cpp. */
const GATING: Readonly<Record<ScoringFunc, number>> = { softmax: 1, sigmoid: 2, sqrtsoftplus: 4 };

/** Keys of each YaRN parameter. */
const YARN: { readonly [K in keyof YarnParameters]: (value: YarnParameters[K]) => Entries } = {
  factor: (x) => [['rope.scaling.factor', f32(x)]],
  betaFast: (x) => [['rope.scaling.yarn_beta_fast', f32(x)]],
  betaSlow: (x) => [['rope.scaling.yarn_beta_slow', f32(x)]],
  originalMaxPositionEmbeddings: (n) => [['rope.scaling.original_context_length', n]],
};

function yarnEntries(yarn: YarnParameters | undefined): Entries {
  // A reader that finds nothing takes V4's own numbers: that there is no scaling has to be said.
  if (!yarn) return [['rope.scaling.type', 'none'], ...YARN.factor(1)];
  return [
    ['rope.scaling.type', 'yarn'],
    ...YARN.factor(yarn.factor),
    ...YARN.originalMaxPositionEmbeddings(yarn.originalMaxPositionEmbeddings),
    ...YARN.betaFast(yarn.betaFast),
    ...YARN.betaSlow(yarn.betaSlow),
  ];
}

/**
 * Keys of each field of a config, without `deepseek4.`: all that changes the logits is in the file, or a reader runs another model
 * (ggml-org/llama.cpp#26673). A field that is added to the config does not compile until it has an answer here. Source of the names: llama.cpp
 * `src/llama-arch.cpp`, and antirez/ds4.
 */
const KEYS: { readonly [K in keyof ModelConfig]: (value: ModelConfig[K], c: ModelConfig) => Entries } = {
  vocabSize: (n) => [['vocab_size', n]],
  hiddenSize: (n) => [['embedding_length', n]],
  numHiddenLayers: (n) => [['block_count', n]],
  numAttentionHeads: (n) => [
    ['attention.head_count', n],
    ['attention.head_count_kv', 1],
  ],
  headDim: (n) => [
    ['attention.key_length', n],
    ['attention.value_length', n],
  ],
  ropeHeadDim: (n) => [['rope.dimension_count', n]],
  qLoraRank: (n) => [['attention.q_lora_rank', n]],
  oLoraRank: (n) => [['attention.output_lora_rank', n]],
  oGroups: (n) => [['attention.output_group_count', n]],
  slidingWindow: (n) => [['attention.sliding_window', n]],
  compressRatios: (ratios) => [['attention.compress_ratios', [...ratios]]],
  indexNHeads: (n) => [['attention.indexer.head_count', n]],
  indexHeadDim: (n) => [['attention.indexer.key_length', n]],
  indexTopk: (n) => [['attention.indexer.top_k', n]],
  numExperts: (n) => [['expert_count', n]],
  numSharedExperts: (n) => [['expert_shared_count', n]],
  numExpertsPerTok: (n) => [['expert_used_count', n]],
  moeIntermediateSize: (n) => [['expert_feed_forward_length', n]],
  numHashLayers: (n) => [['hash_layer_count', n]],
  scoringFunc: (name) => [['expert_gating_func', GATING[name]]],
  normTopkProb: (bool) => [['expert_weights_norm', { bool }]],
  routedScalingFactor: (x) => [['expert_weights_scale', f32(x)]],
  // One for each layer, of routed and of shared experts.
  swigluLimit: (x, { numHiddenLayers }) => {
    const f32s = new Array<number>(numHiddenLayers).fill(x);
    return [
      ['swiglu_clamp_exp', { f32s }],
      ['swiglu_clamp_shexp', { f32s }],
    ];
  },
  hcMult: (n) => [['hyper_connection.count', n]],
  hcSinkhornIters: (n) => [['hyper_connection.sinkhorn_iterations', n]],
  hcEps: (x) => [['hyper_connection.epsilon', f32(x)]],
  rmsNormEps: (x) => [['attention.layer_norm_rms_epsilon', f32(x)]],
  ropeTheta: (x) => [['rope.freq_base', f32(x)]],
  compressRopeTheta: (x) => [['attention.compress_rope_freq_base', f32(x)]],
  yarn: yarnEntries,
  maxPositionEmbeddings: (n) => [['context_length', n]],
  bosTokenId: () => [], // the tokenizer's, which is not in the file
  eosTokenIds: () => [],
  tieWordEmbeddings: () => [], // a tied model has no output.weight
};

/** Metadata of a file: what it is, and every number of the config that the model computes with. */
export function ggufMetadata(c: ModelConfig, name: string): [string, GgufValue][] {
  const keys = Object.keys(KEYS) as (keyof ModelConfig)[];
  const own = keys.flatMap(<K extends keyof ModelConfig>(key: K) => KEYS[key](c[key], c));
  return [
    ['general.architecture', 'deepseek4'],
    ['general.name', name],
    ['general.alignment', GGUF_ALIGNMENT],
    ['general.file_type', GGUF_FILE_TYPE_NVFP4],
    ...own.map(([key, value]): [string, GgufValue] => [`deepseek4.${key}`, value]),
  ];
}
