import type { ModelConfig } from '@megamoe/checkpoint';
import {
  checkFunction,
  checkInteger,
  checkMultiple,
  checkNumber,
  checkObject,
  checkOneOf,
  checkPositive,
  describe,
  KindError,
} from '@megamoe/core';
import type { WeightSource } from '@megamoe/layers';

const SIZES = [
  'vocabSize',
  'hiddenSize',
  'numHiddenLayers',
  'numAttentionHeads',
  'headDim',
  'qLoraRank',
  'oLoraRank',
  'oGroups',
  'slidingWindow',
  'numExperts',
  'numExpertsPerTok',
  'moeIntermediateSize',
  'hcMult',
  'hcSinkhornIters',
  'maxPositionEmbeddings',
] as const satisfies readonly (keyof ModelConfig)[];

const MAX_SIZE = 2 ** 31 - 1;
const MAX_LAYERS = 2 ** 16;
const MAX_ROPE_DIM = 65536;

/** A number as kernels see it. */
const float32Of = (x: number): number => (typeof x === 'number' ? Math.fround(x) : x);

/** @throws KindError, ValueError for a configuration whose numbers cannot be those of a model */
function checkConfig(fn: string, config: ModelConfig): void {
  checkObject(fn, 'source.config', config);
  for (const name of SIZES) checkInteger(fn, `source.config.${name}`, config[name], 1, MAX_SIZE);
  checkInteger(fn, 'source.config.ropeHeadDim', config.ropeHeadDim, 2, Math.min(config.headDim, MAX_ROPE_DIM));
  checkMultiple(fn, 'source.config.ropeHeadDim', config.ropeHeadDim, 2);
  for (const name of ['indexNHeads', 'indexHeadDim', 'indexTopk', 'numSharedExperts', 'numHashLayers'] as const)
    checkInteger(fn, `source.config.${name}`, config[name], 0, MAX_SIZE);
  const { compressRatios, eosTokenIds, numHiddenLayers, numExperts, vocabSize } = config;
  checkInteger(fn, 'source.config.numHiddenLayers', numHiddenLayers, 1, MAX_LAYERS);
  checkInteger(fn, 'source.config.numExpertsPerTok', config.numExpertsPerTok, 1, numExperts);
  for (const [name, list] of Object.entries({ compressRatios, eosTokenIds }))
    if (!Array.isArray(list))
      throw new KindError(`${fn}: "source.config.${name}" must be a list, got ${describe(list)}`);
  checkInteger(fn, 'source.config.compressRatios.length', compressRatios.length, numHiddenLayers);
  for (const ratio of compressRatios) checkOneOf(fn, 'source.config.compressRatios', ratio, [0, 4, 128]);
  for (const id of [config.bosTokenId, ...eosTokenIds])
    checkInteger(fn, 'source.config: a token id', id, 0, vocabSize - 1);
  checkOneOf(fn, 'source.config.scoringFunc', config.scoringFunc, ['sqrtsoftplus', 'softmax', 'sigmoid']);
  for (const name of ['routedScalingFactor', 'swigluLimit', 'ropeTheta', 'compressRopeTheta'] as const)
    checkPositive(fn, `source.config.${name}`, float32Of(config[name]));
  for (const name of ['normTopkProb', 'tieWordEmbeddings'] as const)
    if (typeof config[name] !== 'boolean')
      throw new KindError(`${fn}: "source.config.${name}" must be true or false, got ${describe(config[name])}`);
  if (config.yarn !== undefined) {
    checkObject(fn, 'source.config.yarn', config.yarn);
    const { factor, betaFast, betaSlow, originalMaxPositionEmbeddings } = config.yarn;
    checkNumber(fn, 'source.config.yarn.factor', factor, 1);
    for (const [name, x] of Object.entries({ betaFast, betaSlow, originalMaxPositionEmbeddings }))
      checkPositive(fn, `source.config.yarn.${name}`, x);
  }
  for (const name of ['hcEps', 'rmsNormEps'] as const) checkNumber(fn, `source.config.${name}`, config[name], 0);
}

/** @throws KindError, ValueError for what is no source of weights, naming what it lacks */
export function checkSource(fn: string, source: WeightSource): void {
  checkObject(fn, 'source', source);
  for (const name of ['linear', 'expert', 'vector', 'ints'] as const) checkFunction(fn, `source.${name}`, source[name]);
  for (const name of ['linearRows', 'expertScales', 'expertE8m0'] as const)
    if (source[name] !== undefined) checkFunction(fn, `source.${name}`, source[name]);
  checkConfig(fn, source.config);
}
