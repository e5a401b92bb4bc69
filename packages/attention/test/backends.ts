import type { KernelIsa } from '@megamoe/native-kit';
import { createAttentionKernels } from '../src/index';
import type { AttentionKernels } from '../src/index';
import { nativeIsas } from '../src/native';

/** One way to run the kernels. */
export interface BackendCase {
  readonly name: string;
  readonly kernels: AttentionKernels;
}

/** Instruction sets of the addon on this machine, best first; none when it is not built. */
export const ISAS = nativeIsas() as readonly KernelIsa[];

/** Every backend of this machine: js, and each native instruction set with one thread and with three. */
export const BACKENDS: readonly BackendCase[] = [
  { name: 'js', kernels: createAttentionKernels({ backend: 'js' }) },
  ...ISAS.flatMap((isa) =>
    [1, 3].map((threads) => ({
      name: `${isa}, ${threads} thread${threads > 1 ? 's' : ''}`,
      kernels: createAttentionKernels({ backend: 'native', threads, isa }),
    })),
  ),
];
