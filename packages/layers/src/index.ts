export { Forward } from './forward';
export type { ForwardOptions } from './forward';
export { takeConfig } from './config';
export { createWorkspace } from './workspace';
export type { Allocator, RopeTables, Workspace } from './workspace';
export type { Activations, FloatInputs, Inputs } from './dense';
export type { Place, Probe } from './probe';
export { Trace } from './trace';
export type { TracedTensor } from './trace';
export { FirstNonFinite } from './non-finite';
export type { NonFiniteValue } from './non-finite';
export { ExpertRanges } from './calibrate';
export type { ExpertAmax } from './calibrate';
export { ExpertFormats } from './expert-formats';
export type { ExpertPacking } from './expert-formats';
export { layerSpec, loadWeights, WeightLoader } from './weights';
export { weightNames } from './weight-names';
export type {
  AttentionWeights,
  CompressorBlock,
  ExpertGemm,
  ExpertInputs,
  HyperWeights,
  IndexerBlock,
  LayerWeights,
  LoadProgress,
  LoadWeightsOptions,
  ModelWeights,
  MoeWeights,
  Packer,
} from './weights';
export type { ExpertMatrix, WeightSource } from './weight-source';
