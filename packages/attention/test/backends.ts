import { attentionAddonInfo, createAttentionKernels } from '../src/index';
import type { AttentionKernels } from '../src/index';

/** One way to run the kernels. */
export interface BackendCase {
  readonly name: string;
  readonly kernels: AttentionKernels;
}

const native = attentionAddonInfo().loaded;

/** Every backend of this machine: js, and native with one thread and with three when the addon is built. */
export const BACKENDS: readonly BackendCase[] = [
  { name: 'js', kernels: createAttentionKernels({ backend: 'js' }) },
  ...(native
    ? [1, 3].map((threads) => ({
        name: `native, ${threads} thread${threads > 1 ? 's' : ''}`,
        kernels: createAttentionKernels({ backend: 'native', threads }),
      }))
    : []),
];
