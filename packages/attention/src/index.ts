export { createAttentionKernels } from './create';
export { attentionAddonInfo } from './native';
export type { AttentionKernels } from './kernels';
