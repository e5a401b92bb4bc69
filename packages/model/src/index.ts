export { createModel, loadModel, Model, planModel } from './model';
export type { BatchItem, ForwardOptions, LoadOptions } from './model';
export { DEFAULT_MAX_TOKENS, stopTokenIds } from './generate';
export type { FinishReason, GenerateChunk, GenerateOptions, GenerateUsage, Prompt } from './generate';
export { Sequence } from './sequence';
export type { SavedSequence, SequenceMark } from './sequence';
export { ExpertRanges } from './calibrate';
export type { ExpertAmax } from './calibrate';
export type { MemoryPlan, PlanPart } from './plan';
export { Trace } from './trace';
export type { TracedTensor } from './trace';
export { addonInfos, createBackend, ISAS, MAX_THREADS } from './backend/create';
export { explainIsa } from '@megamoe/native-kit';
export type { BackendName, BackendOptions } from './backend/create';
export type {
  CompressorHandle,
  HyperWeights,
  Ops,
  RopeHandle,
  RouterHandle,
  RouteSpec,
  Segment,
  SequenceStateHandle,
  StatePart,
  StreamShape,
} from './backend/ops';
export type { Tensor, TensorDtype } from './tensor';
export type { Activations, FloatInputs, Inputs } from './layers/dense';
export type { LoadProgress, WeightSource } from './weights';
