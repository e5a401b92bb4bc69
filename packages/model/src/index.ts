export { createModel, loadModel, planModel } from './load';
export type { LoadOptions } from './load';
export type { ForwardOptions, Model } from './model';
export type { BatchItem } from './step-runner';
export { StepError } from './errors';
export type { StepFailure } from './errors';
export { DEFAULT_MAX_TOKENS, stopTokenIds } from './generate';
export type { FinishReason, GenerateChunk, GenerateOptions, GenerateUsage, Prompt } from './generate';
export type { SavedSequence, Sequence } from './sequence';
export type { SavedLayer } from './saved';
export type { MemoryPlan, PlanPart } from './plan';
export { addonInfos, createBackend, ISAS } from './backends/create';
export type { BackendName, BackendOptions } from './backends/create';
export { ExpertRanges, Trace } from '@megamoe/layers';
export type {
  Activations,
  ExpertAmax,
  FloatInputs,
  Inputs,
  LoadProgress,
  TracedTensor,
  WeightSource,
} from '@megamoe/layers';
export { observed } from '@megamoe/ops';
export type { Backend, Observer, Tensor } from '@megamoe/ops';
export { explainIsa, MAX_THREADS } from '@megamoe/native-kit';
