import type { ModelConfig } from '@megamoe/checkpoint';
import {
  checkInteger,
  checkMultiple,
  checkNumber,
  checkObject,
  checkOneOf,
  checkPositive,
  describe,
  KindError,
  takeList,
} from '@megamoe/core';

/** Whole numbers from 1 on. */
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

/** Whole numbers from 0 on. */
const COUNTS = ['indexNHeads', 'indexHeadDim', 'indexTopk', 'numSharedExperts', 'numHashLayers'] as const;
const POSITIVE = ['routedScalingFactor', 'swigluLimit', 'ropeTheta', 'compressRopeTheta'] as const;
const EPSILONS = ['hcEps', 'rmsNormEps'] as const;
const SWITCHES = ['normTopkProb', 'tieWordEmbeddings'] as const;

const MAX_SIZE = 2 ** 31 - 1;
const MAX_LAYERS = 2 ** 16;
/** As pages take it. */
const MAX_WINDOW = 2 ** 30;
const MAX_ROPE_DIM = 65536;
const MAX_EOS_IDS = 2 ** 16;
/** Kernels keep the residual streams of a token in registers. */
const MAX_STREAMS = 16;

/** A number as kernels see it. */
const float32Of = (x: number): number => (typeof x === 'number' ? Math.fround(x) : x);

/**
 * The configuration that a caller passed as argument `at` of `fn`: each field read once, checked, and copied.
 * @throws KindError, ValueError for one whose numbers cannot be those of a model
 */
export function takeConfig(fn: string, at: string, given: ModelConfig): ModelConfig {
  checkObject(fn, at, given);
  const name = (field: string): string => `${at}.${field}`;
  const fields = <K extends keyof ModelConfig>(keys: readonly K[], check: (arg: string, v: ModelConfig[K]) => void) =>
    Object.fromEntries(
      keys.map((key) => {
        const value = given[key];
        check(name(key), value);
        return [key, value];
      }),
    ) as Pick<ModelConfig, K>;
  const sizes = fields(SIZES, (arg, v) => checkInteger(fn, arg, v, 1, MAX_SIZE));
  const { vocabSize, numHiddenLayers, headDim } = sizes;
  checkInteger(fn, name('numHiddenLayers'), numHiddenLayers, 1, MAX_LAYERS);
  checkInteger(fn, name('numExpertsPerTok'), sizes.numExpertsPerTok, 1, sizes.numExperts);
  checkInteger(fn, name('slidingWindow'), sizes.slidingWindow, 1, MAX_WINDOW);
  checkInteger(fn, name('hcMult'), sizes.hcMult, 1, MAX_STREAMS);
  const { ropeHeadDim, scoringFunc, yarn, bosTokenId } = given;
  checkInteger(fn, name('ropeHeadDim'), ropeHeadDim, 2, Math.min(headDim, MAX_ROPE_DIM));
  checkMultiple(fn, name('ropeHeadDim'), ropeHeadDim, 2);
  checkOneOf(fn, name('scoringFunc'), scoringFunc, ['sqrtsoftplus', 'softmax', 'sigmoid']);
  const checkId = (id: number): number => {
    checkInteger(fn, `${at}: a token id`, id, 0, vocabSize - 1);
    return id;
  };
  const compressRatios = takeList(fn, name('compressRatios'), given.compressRatios, 2 * MAX_LAYERS, (ratio) => {
    checkOneOf(fn, name('compressRatios'), ratio as 0 | 4 | 128, [0, 4, 128] as const);
    return ratio as 0 | 4 | 128;
  });
  checkInteger(fn, name('compressRatios.length'), compressRatios.length, numHiddenLayers);
  const eosTokenIds = takeList(fn, name('eosTokenIds'), given.eosTokenIds, MAX_EOS_IDS, (id) => checkId(id as number));
  return {
    ...sizes,
    ...fields(COUNTS, (arg, v) => checkInteger(fn, arg, v, 0, MAX_SIZE)),
    ...fields(POSITIVE, (arg, v) => checkPositive(fn, arg, float32Of(v))),
    ...fields(EPSILONS, (arg, v) => checkNumber(fn, arg, v, 0)),
    ...fields(SWITCHES, (arg, v) => {
      if (typeof v !== 'boolean') throw new KindError(`${fn}: "${arg}" must be true or false, got ${describe(v)}`);
    }),
    ...{ ropeHeadDim, compressRatios, scoringFunc, eosTokenIds },
    bosTokenId: checkId(bosTokenId),
    yarn: yarn === undefined ? undefined : takeYarn(fn, name('yarn'), yarn),
  };
}

function takeYarn(fn: string, at: string, yarn: NonNullable<ModelConfig['yarn']>): NonNullable<ModelConfig['yarn']> {
  checkObject(fn, at, yarn);
  const { factor, betaFast, betaSlow, originalMaxPositionEmbeddings } = yarn;
  checkNumber(fn, `${at}.factor`, factor, 1);
  for (const [name, x] of Object.entries({ betaFast, betaSlow, originalMaxPositionEmbeddings }))
    checkPositive(fn, `${at}.${name}`, x);
  return { factor, betaFast, betaSlow, originalMaxPositionEmbeddings };
}
