import type { YarnParameters } from '@megamoe/core';

/** How a layer's attention compresses: 0 sliding window only, 4 compressed sparse (CSA), 128 heavily compressed (HCA). */
export type CompressRatio = 0 | 4 | 128;

/** How the router turns logits into scores. */
export type ScoringFunc = 'sqrtsoftplus' | 'softmax' | 'sigmoid';

/** A DeepSeek-V4 model's shape and constants, normalized from config.json. All counts are in elements. */
export interface ModelConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly headDim: number;
  /** Rotary dimensions: the last ones of each head (`qk_rope_head_dim`). */
  readonly ropeHeadDim: number;
  readonly qLoraRank: number;
  readonly oLoraRank: number;
  readonly oGroups: number;
  readonly slidingWindow: number;
  /** One per layer. */
  readonly compressRatios: readonly CompressRatio[];
  readonly indexNHeads: number;
  readonly indexHeadDim: number;
  readonly indexTopk: number;
  /** Routed experts per layer (`n_routed_experts`). */
  readonly numExperts: number;
  readonly numSharedExperts: number;
  readonly numExpertsPerTok: number;
  readonly moeIntermediateSize: number;
  /** Leading layers that choose experts by token id. */
  readonly numHashLayers: number;
  readonly scoringFunc: ScoringFunc;
  readonly normTopkProb: boolean;
  readonly routedScalingFactor: number;
  readonly swigluLimit: number;
  /** Residual streams of the hyper-connections. */
  readonly hcMult: number;
  readonly hcSinkhornIters: number;
  readonly hcEps: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly compressRopeTheta: number;
  /** Absent: plain rotary embedding everywhere. */
  readonly yarn: YarnParameters | undefined;
  readonly maxPositionEmbeddings: number;
  readonly bosTokenId: number;
  readonly eosTokenIds: readonly number[];
  readonly tieWordEmbeddings: boolean;
}
