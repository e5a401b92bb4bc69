import { chooseKernels, type KernelBackend, type KernelOptions } from '@megamoe/native-kit';
import { HostCache } from './cache';
import { checkedOperations, checkHandle } from './checked';
import { packCompressor } from './compressor';
import { createJsOperations } from './js/index';
import type { AttentionKernels } from './kernels';
import { createNativeOperations, nativeAddon } from './native';
import type { OwnOperations } from './own';
import { createRope, type Rope } from './rope';
import { HostStep } from './step';

function kernelsOf(ops: OwnOperations, backend: KernelBackend, isa: string, threads: number): AttentionKernels {
  return {
    ...checkedOperations(ops, backend === 'native'),
    backend,
    isa,
    threads,
    createRope,
    packCompressor,
    createCache: (layers) => new HostCache(layers),
    createStep: (maxRows) => new HostStep(maxRows),
    planStep(step, rows, cache, rope) {
      const fn = 'planStep';
      checkHandle(fn, 'step', step, 'step');
      checkHandle(fn, 'cache', cache, 'cache');
      checkHandle(fn, 'rope', rope, 'rope');
      (step as HostStep).plan(fn, rows, cache as HostCache, rope as Rope);
    },
  };
}

/**
 * The attention operations on one backend. `auto` (the default) takes the addon when it is built and js otherwise. The js backend runs on
 * the calling thread and ignores `threads` and `isa`.
 * @throws UnsupportedError when `native` is asked for and the addon is not there, or for an instruction set that it lacks here
 */
export function createAttentionKernels(options: KernelOptions = {}): AttentionKernels {
  const { native, threads } = chooseKernels('createAttentionKernels', options, nativeAddon);
  if (native === null) return kernelsOf(createJsOperations(), 'js', 'js', 1);
  const { addon, isa, table } = native;
  return kernelsOf(createNativeOperations(addon, table, threads), 'native', isa, threads);
}
