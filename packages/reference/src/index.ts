export type { Numbers } from './numbers';
export { compareTensors, coordinatesOf, cosine, firstMismatch, maxAbs, maxUlp, nmse, ulpDistance } from './metrics';
export type { Comparison, Mismatch, MismatchOptions } from './metrics';
export { dequantizeNvfp4, nvfp4GlobalDecodeScale, nvfp4RowDecodeScales, quantizeNvfp4, roundTripNvfp4 } from './nvfp4';
export type { Nvfp4Matrix, Nvfp4Shape, RowScales } from './nvfp4';
export { groupedGemmByBlocks } from './block-gemm';
export type { BlockGemmResult } from './block-gemm';
export {
  dequantizeCompressedTensors,
  dequantizeFp8,
  dequantizeMxfp4,
  quantizeCompressedTensors,
  quantizeFp8,
  quantizeMxfp4,
} from './formats';
export type { CompressedTensorsMatrix, Fp8Matrix, MatrixShape, Mxfp4Matrix } from './formats';
export { groupedGemmExact, roundToFloat32 } from './exact-gemm';
export type { ExactGemm } from './exact-gemm';
export { gatherRows, groupedGemm, linear } from './linear';
export type { GroupedGemm, LinearShape } from './linear';
export { assignSlots, expertOfRow, paddedOffsets } from './slots';
export type { Slots } from './slots';
export { rmsNorm } from './norm';
export type { NormShape } from './norm';
export { swiglu } from './swiglu';
export { hcHead, hcPost, hcPre } from './hyper-connections';
export type { HyperMix, HyperShape, HyperWeights } from './hyper-connections';
export { applyRope, ropeFrequencies } from './rope';
export type { RopeOptions, RopeShape } from './rope';
export type { YarnParameters } from '@megamoe/core';
export { compress } from './compress';
export type { Compression } from './compress';
export { indexScores, indexSelect } from './indexer';
export type { IndexSelection, IndexShape } from './indexer';
export { topK } from './topk';
export { visibleEntries, visibleSet } from './visibility';
export type { Visibility } from './visibility';
export { attend } from './attention';
export type { Attention } from './attention';
export { hashIds, route, routerScores } from './router';
export type { Routed, Routing, ScoringFunction } from './router';
export { expertForward, mixtureOfExperts } from './moe';
export type { Activations, Expert, ExpertShape, Mixture } from './moe';
export { assembleSf128x4, sfBytes128x4, sfOffset128x4, swizzleSf128x4 } from './layout';
export { isGreedy, logSoftmax, processLogits } from './sampling';
export type { SamplingHistory, SamplingKnobs } from './sampling';
export type { ReferenceConfig, WeightReader } from './config';
export type { KvPrecision } from './attention-layer';
export { referenceForward, referenceLayer } from './forward';
export type { ForwardOptions, ForwardResult, TraceTensor } from './forward';
export { explainDump, explainSteps } from './mistakes/explain';
export type { ExplainProgress } from './mistakes/explain';
export { MISTAKES } from './mistakes/catalogue';
export type { MistakeInfo } from './mistakes/catalogue';
export type { Dump, DumpTensor, Explanation, FoundMistake, NearMistake, RightFit } from './mistakes/types';
