export { OP_NAMES, OPS } from './table';
export type { OpName, OpRow } from './table';
export type {
  Access,
  ChoiceKind,
  CountKind,
  Dtype,
  FlagKind,
  HandleKind,
  HandleName,
  Kind,
  RealKind,
  TensorKind,
} from './kinds';
export type { ArgOf, Carrier, FamilyOp, InputPrecision, OpArgs, Operations } from './types';
export type {
  Backend,
  CachePart,
  DeviceMemory,
  KvCache,
  ReadMemory,
  StagedRows,
  Step,
  Tensors,
  W4a4Math,
} from './backend';
export type { HostArrays } from './host';
export { arrayChecks } from './kind-checks';
export type { KindChecks } from './kind-checks';
export type { Memory, Place } from '@megamoe/core';
export { makeChecks, makeMemoryChecks } from './generated/memory-checks';
export { makeValueChecks } from './generated/value-checks';
export type { OpChecks } from './generated/value-checks';
export { POSITIONAL } from './generated/positional';
export { RECHECKED } from './generated/rechecked';
export type { Rechecked } from './generated/rechecked';
export type { NativeFunction } from './generated/positional';
export { onHost } from './generated/on-host';
export { makeTakers } from './generated/takers';
export type { Takers } from './generated/takers';
export { adoptTensor, bytesOf, hostArray, HostTensor, hostTensor } from './tensor';
export type { HostArray, HostArrayOf, Tensor } from './tensor';
export {
  checkLayerSpec,
  filledRows,
  firstLiveRow,
  PAGE_KINDS,
  pageBytes,
  pageKindsOf,
  PagePool,
  PAGES,
  REWIND_TOKENS,
  sequenceBytes,
  takeLayerSpecs,
  SequencePages,
  visibleEntries,
} from './pages';
export type { KvDtype, LayerSpec, PageCounts, PageKind, PageMemory, PageShape } from './pages';
export { PageChecks } from './page-checks';
export type { PagedMemory } from './page-checks';
export { PagedCache } from './paged-cache';
export type { CompressorMemory, LayerMemory, PartPages } from './paged-cache';
export { inverseFrequencies } from './rope';
export { checkStagedRoom, takeStagedSpec } from './staged-spec';
export type { StagedSizes } from './staged-spec';
export { StepRows } from './step';
export type { PageLists } from './step';
export { missingOperations, observed, overlaid } from './observe';
export type { Observer } from './observe';
export type { CompressorHandle, RopeHandle, RopeSpec, RouterHandle, RouteSpec, Staged, StagedSpec } from './handles';
export type { YarnParameters } from '@megamoe/core';
export type {
  DenseLinearSource,
  DenseRows,
  ExpertPool,
  ExpertPoolShape,
  ExpertsSource,
  ExpertsWeight,
  Fp8LinearSource,
  Fp8Rows,
  LinearSource,
  LinearWeight,
  Nvfp4LinearSource,
  Nvfp4Rows,
  WeightFormat,
  WeightRows,
} from './weights';
export {
  badScale,
  checkExpertsShape,
  checkMatrices,
  findBadScale,
  MIN_GLOBAL_DECODE_SCALE,
  takeExperts,
  takeLinear,
} from './weight-sources';
export type { ExpertsShape, LinearScales, TakenExperts, TakenLinear } from './weight-sources';
