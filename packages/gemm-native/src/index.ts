export { createGemmKernels, createLogitsScan } from './create';
export type { LogitsScan } from './scan';
export { gemmAddonInfo } from './binding';
export { measureCeiling } from './ceilings';
export { adviseHugePages } from './memory';
export { swizzleScales128x4 } from './swizzle';
export type { SwizzleOptions } from './swizzle';
export type { CeilingKind, CeilingOptions } from './ceilings';
export type {
  DenseLinearSource,
  DenseRows,
  ExpertFormat,
  ExpertPool,
  ExpertPoolShape,
  ExpertsSource,
  ExpertsWeight,
  Fp8LinearSource,
  Fp8Rows,
  GemmKernels,
  KernelBackend,
  KernelIsa,
  KernelOptions,
  LinearFormat,
  LinearSource,
  LinearWeight,
  Nvfp4LinearSource,
  Nvfp4Rows,
  WeightRows,
} from './types';
export type { AddonInfo } from '@megamoe/native-kit';
