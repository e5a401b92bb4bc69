export { createModel, loadModel, planModel } from './load';
export type { LoadOptions } from './load';
export type { ForwardOptions, Model } from './model';
export type { BatchItem, WantedLogits } from './step-runner';
export { ContextLengthError, EngineClosedError, QueueFullError, StepError, WorkerError } from './errors';
export type { StepFailure } from './errors';
export { DEFAULT_MAX_TOKENS, stopTokenIds } from './request';
export type {
  ChatOptions,
  ChatPrompt,
  Prompt,
  RequestContext,
  RequestOptions,
  TextPrompt,
  TokenPrompt,
} from './request';
export type { FinishReason, GenerateChunk, GenerateExtras, GenerateOptions, GenerateUsage } from './generate';
export { openEngine } from './engine/open';
export type { OpenEngineOptions } from './engine/open';
export type { EngineLimits } from './engine/options';
export type {
  CloseOptions,
  Engine,
  EngineChunk,
  EngineFinishReason,
  EngineHealth,
  EngineRequest,
  EngineRequestOptions,
  EngineStats,
  EngineStream,
  EngineUsage,
  ModelFacts,
  ScoredPrompt,
  StopCause,
} from './engine/types';
export { STEP_SIZES } from './engine/types';
export type { Sequence } from './sequence';
export type { SavedLayer, SavedRows, SavedSequence } from './saved';
export type { DevicePlan } from './device-plan';
export type { MemoryPlan, PlanPart } from './plan';
export { addonInfos, createBackend, ISAS } from './backends/create';
export { cudaReport } from './backends/cuda';
export type { CudaState } from './backends/cuda';
export type { AddonReport, BackendName, BackendOptions } from './backends/create';
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
export type { Backend, KvDtype, Observer, Tensor, W4a4Math } from '@megamoe/ops';
export { MAX_THREADS } from '@megamoe/native-kit';
export { CheckpointError, KindError, ShapeError, UnsupportedError, ValueError } from '@megamoe/core';
export type { Message, Role } from '@megamoe/chat';
export type { GenerationConfig, ModelConfig, Tokenizer, TokenStream } from '@megamoe/checkpoint';
export type { SamplingParams, ScoredToken, TokenLogprob } from '@megamoe/sampler';
