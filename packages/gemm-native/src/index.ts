export { createGemmKernels, createLogitsScan } from './create';
export type { LogitsScan } from './scan';
export { gemmAddonInfo } from './binding';
export { measureCeiling } from './ceilings';
export { swizzleScales128x4 } from './swizzle';
export type { SwizzleOptions } from './swizzle';
export type { CeilingKind, CeilingOptions } from './ceilings';
export type {
  DenseRows,
  ExpertFormat,
  ExpertPool,
  ExpertPoolShape,
  ExpertsSource,
  ExpertsWeight,
  GemmKernels,
  KernelBackend,
  KernelIsa,
  KernelOptions,
  LinearSource,
  LinearWeight,
  Nvfp4Rows,
} from './types';
export type { AddonInfo } from '@megamoe/native-kit';
