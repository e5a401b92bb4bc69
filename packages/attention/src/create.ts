import { availableParallelism } from 'node:os';
import { checkInteger, checkOneOf, UnsupportedError } from '@megamoe/core';
import { CheckedKernels } from './checked';
import { createJsEngine } from './js/index';
import type { AttentionKernels, KernelOptions } from './kernels';
import { chooseIsa, createNativeEngine, nativeAddon } from './native';

/** native-kit's pool takes no more. */
const MAX_THREADS = 256;

/**
 * The attention operations on one backend. `auto` (the default) takes the addon when it is built and js otherwise; `native`
 * without the addon throws UnsupportedError saying what was looked for. The js backend runs on the calling thread and ignores
 * `threads` and `isa`.
 */
export function createAttentionKernels(options: KernelOptions = {}): AttentionKernels {
  const fn = 'createAttentionKernels';
  const { backend = 'auto', threads = Math.min(availableParallelism(), MAX_THREADS), isa = 'auto' } = options;
  checkOneOf(fn, 'backend', backend, ['js', 'native', 'auto'] as const);
  checkOneOf(fn, 'isa', isa, ['auto', 'generic', 'avx2', 'avx512', 'neon', 'neon-dotprod'] as const);
  checkInteger(fn, 'threads', threads, 1, MAX_THREADS);
  const { addon, info } = backend === 'js' ? {} : nativeAddon();
  if (addon) {
    const chosen = chooseIsa(fn, addon, isa);
    return new CheckedKernels(createNativeEngine(addon, chosen, threads), 'native', chosen, threads);
  }
  if (backend === 'native') throw new UnsupportedError(`${fn}: backend "native" is not here: ${info?.reason}`);
  return new CheckedKernels(createJsEngine(), 'js', 'js', 1);
}
