import { checkInteger, checkLength, checkOneOf, ValueError, type YarnParameters } from '@megamoe/core';
import type { ScoringFunction } from './router';

/** The numbers of config.json that the forward pass needs. A ModelConfig of the checkpoint package fits; nothing is imported. */
export interface ReferenceConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly headDim: number;
  /** `qk_rope_head_dim`: rotated dims at the end of each head. */
  readonly ropeHeadDim: number;
  readonly qLoraRank: number;
  readonly oLoraRank: number;
  readonly oGroups: number;
  readonly slidingWindow: number;
  /** One per layer: 0 window only, 4 CSA (overlapping, indexed), 128 HCA. */
  readonly compressRatios: readonly number[];
  readonly indexNHeads: number;
  readonly indexHeadDim: number;
  readonly indexTopk: number;
  readonly numExperts: number;
  readonly numSharedExperts: number;
  readonly numExpertsPerTok: number;
  readonly moeIntermediateSize: number;
  /** The first layers choose experts by token id. */
  readonly numHashLayers: number;
  readonly scoringFunc: ScoringFunction;
  readonly normTopkProb: boolean;
  readonly routedScalingFactor: number;
  readonly swigluLimit: number;
  readonly hcMult: number;
  readonly hcSinkhornIters: number;
  readonly hcEps: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly compressRopeTheta: number;
  /** Applies to compressed layers only. */
  readonly yarn: YarnParameters | undefined;
  readonly tieWordEmbeddings: boolean;
}

/** Throws unless the sizes fit together. */
export function checkConfig(fn: string, c: ReferenceConfig): void {
  checkInteger(fn, 'numHiddenLayers', c.numHiddenLayers, 0);
  checkLength(fn, 'compressRatios', c.compressRatios, 'numHiddenLayers', c.numHiddenLayers);
  for (const ratio of c.compressRatios) checkOneOf(fn, 'compressRatios', ratio, [0, 4, 128]);
  checkInteger(fn, 'numExpertsPerTok', c.numExpertsPerTok, 1, c.numExperts);
  if ((c.numAttentionHeads * c.headDim) % c.oGroups !== 0)
    throw new ValueError(
      `${fn}: "oGroups" ${c.oGroups} must divide heads * headDim = ${c.numAttentionHeads * c.headDim}`,
    );
}

/** Reads a tensor by the name that DeepSeek ships it under, as numbers (row-major; an NVFP4 weight dequantized). */
export type WeightReader = (name: string, shape: readonly number[]) => ArrayLike<number>;

/** A {@link WeightReader} that adds a prefix and refuses a wrong length. */
export function checkedReader(weights: WeightReader, prefix: string): WeightReader {
  return (name, shape) => {
    const values = weights(prefix + name, shape);
    const volume = shape.reduce((a, b) => a * b, 1);
    checkLength('referenceForward', prefix + name, values, `[${shape.join(', ')}]`, volume);
    return values;
  };
}
