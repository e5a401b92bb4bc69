export { createGemmKernels } from './create';
export { gemmAddonInfo } from './binding';
export { measureCeiling } from './ceilings';
export type { CeilingKind, CeilingOptions } from './ceilings';
export type {
  DenseRows,
  ExpertFormat,
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
