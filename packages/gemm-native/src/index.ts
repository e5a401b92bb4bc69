export { createGemmKernels, createLogitsScan } from './create';
export { stagedArrays, stageFrom } from './staged';
export type { StagedArrays, StageFromArgs } from './staged';
export { gemmAddonInfo } from './binding';
export { measureCeiling } from './ceilings';
export { adviseHugePages } from './memory';
export { swizzleScales128x4 } from './swizzle';
export type { SwizzleOptions } from './swizzle';
export type { CeilingKind, CeilingOptions } from './ceilings';
export type { GemmKernels, GemmOp, Nvfp4LossArgs } from './types';
export type {
  DenseLinearSource,
  DenseRows,
  ExpertPool,
  ExpertPoolShape,
  ExpertsSource,
  ExpertsWeight,
  Fp8LinearSource,
  Fp8Rows,
  InputPrecision,
  LinearSource,
  LinearWeight,
  Nvfp4LinearSource,
  Nvfp4Rows,
  Staged,
  StagedSpec,
  WeightFormat,
  WeightRows,
} from '@megamoe/ops';
export type { LogitsScan } from '@megamoe/core';
export type { AddonInfo, KernelBackend, KernelIsa, KernelOptions } from '@megamoe/native-kit';
