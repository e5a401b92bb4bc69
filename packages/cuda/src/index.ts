export { createCudaBackend } from './create';
export type { CudaBackend, CudaOptions } from './create';
export type { CudaBench } from './bench';
export { cudaReport } from './machine';
export type { CudaReport, GpuInfo } from './machine';
export { cudaAddonInfo } from './binding';
export { DeviceError } from './errors';
