import {
  checkFunction,
  checkInteger,
  checkLength,
  checkMultiple,
  checkNumber,
  checkOneOf,
  checkPositive,
  takeIds,
  ValueError,
  type YarnParameters,
} from '@megamoe/core';
import { takeNumbers, takeShape, takeSizes } from './arguments';
import { MAX_ITERS } from './hyper-connections';
import { MAX_TOPK } from './indexer';
import { takeYarn } from './rope';
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

const MAX_STREAMS = 1024; // far beyond any model

const SIZES = [
  'vocabSize',
  'hiddenSize',
  'numHiddenLayers',
  'numAttentionHeads',
  'headDim',
  'ropeHeadDim',
  'qLoraRank',
  'oLoraRank',
  'oGroups',
  'slidingWindow',
  'indexNHeads',
  'indexHeadDim',
  'indexTopk',
  'numExperts',
  'numSharedExperts',
  'numExpertsPerTok',
  'moeIntermediateSize',
  'numHashLayers',
  'hcMult',
  'hcSinkhornIters',
] as const;

/** The numbers, each read once. Throws unless the sizes fit together. */
export function takeConfig(fn: string, config: ReferenceConfig): ReferenceConfig {
  const sizes = takeSizes(fn, 'config', config, ...SIZES);
  const compressRatios = takeShape(fn, 'compressRatios', config.compressRatios);
  const { scoringFunc, normTopkProb, routedScalingFactor, swigluLimit, hcEps, rmsNormEps } = config;
  const { ropeTheta, compressRopeTheta, yarn, tieWordEmbeddings } = config;
  for (const name of ['hiddenSize', 'headDim', 'oGroups', 'slidingWindow'] as const)
    checkInteger(fn, name, sizes[name], 1);
  checkInteger(fn, 'hcMult', sizes.hcMult, 1, MAX_STREAMS);
  checkLength(fn, 'compressRatios', compressRatios, 'numHiddenLayers', sizes.numHiddenLayers);
  for (const ratio of compressRatios) checkOneOf(fn, 'compressRatios', ratio, [0, 4, 128]);
  checkInteger(fn, 'numExpertsPerTok', sizes.numExpertsPerTok, 1, sizes.numExperts);
  checkInteger(fn, 'ropeHeadDim', sizes.ropeHeadDim, 0, sizes.headDim);
  checkMultiple(fn, 'ropeHeadDim', sizes.ropeHeadDim, 2);
  if (compressRatios.includes(4)) {
    checkInteger(fn, 'indexHeadDim', sizes.indexHeadDim, Math.max(1, sizes.ropeHeadDim));
    checkInteger(fn, 'indexNHeads', sizes.indexNHeads, 1);
  }
  checkInteger(fn, 'hcSinkhornIters', sizes.hcSinkhornIters, 1, MAX_ITERS);
  checkInteger(fn, 'indexTopk', sizes.indexTopk, 0, MAX_TOPK);
  checkOneOf(fn, 'scoringFunc', scoringFunc, ['sqrtsoftplus', 'softmax', 'sigmoid']);
  checkNumber(fn, 'routedScalingFactor', routedScalingFactor);
  for (const [name, x] of Object.entries({ swigluLimit, ropeTheta, compressRopeTheta })) checkPositive(fn, name, x);
  for (const [name, x] of Object.entries({ hcEps, rmsNormEps })) checkNumber(fn, name, x, 0);
  const width = sizes.numAttentionHeads * sizes.headDim;
  if (width % sizes.oGroups !== 0)
    throw new ValueError(`${fn}: "oGroups" ${sizes.oGroups} must divide heads * headDim = ${width}`);
  return {
    ...{ ...sizes, compressRatios, scoringFunc, normTopkProb, routedScalingFactor, swigluLimit },
    ...{ hcEps, rmsNormEps, ropeTheta, compressRopeTheta, tieWordEmbeddings },
    yarn: yarn === undefined ? undefined : takeYarn(fn, yarn),
  };
}

/** Token ids of a vocabulary, read once. */
export const takeTokens = (fn: string, tokenIds: ArrayLike<number>, vocabSize: number): Int32Array =>
  takeIds(fn, 'tokenIds', tokenIds, vocabSize);

/** Reads a tensor by the name that DeepSeek ships it under, as numbers (row-major; an NVFP4 weight dequantized). */
export type WeightReader = (name: string, shape: readonly number[]) => ArrayLike<number>;

/** A {@link WeightReader} that refuses what is no array of numbers, and a wrong length. */
export function checkedReader(fn: string, weights: WeightReader): WeightReader {
  checkFunction(fn, 'weights', weights);
  return (name, shape) => {
    const volume = shape.reduce((a, b) => a * b, 1);
    return takeNumbers(fn, name, weights(name, shape), [`[${shape.join(', ')}]`, volume]);
  };
}

/** A {@link WeightReader} that adds a prefix. */
export const under =
  (weights: WeightReader, prefix: string): WeightReader =>
  (name, shape) =>
    weights(prefix + name, shape);
