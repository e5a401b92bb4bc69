import { availableParallelism } from 'node:os';
import { checkInteger, checkOneOf, KindError, UnsupportedError } from '@megamoe/core';
import { loadGemmAddon } from './binding';
import { createJsEngine } from './js/engine';
import { CheckedKernels } from './kernels';
import { MAX_THREADS } from './limits';
import { createNativeEngine } from './native-engine';
import type { GemmKernels, KernelOptions } from './types';

/**
 * Kernels of one backend. Each call makes its own (a js engine holds scratch), so make them once per model.
 * Throws UnsupportedError when `native` is asked for and the addon is not there, or for an instruction set that it does not have;
 * `auto` falls back to js.
 */
export function createGemmKernels(options: KernelOptions = {}): GemmKernels {
  const fn = 'createGemmKernels';
  if (typeof options !== 'object' || options === null) throw new KindError(`${fn}: "options" must be an object`);
  const { backend = 'auto', threads, isa = 'auto' } = options;
  checkOneOf(fn, 'backend', backend, ['auto', 'js', 'native']);
  checkOneOf(fn, 'isa', isa, ['auto', 'generic', 'avx2', 'avx512']);
  if (threads !== undefined) checkInteger(fn, 'threads', threads, 1, MAX_THREADS);
  if (backend === 'js') return new CheckedKernels(createJsEngine());
  const { addon, info } = loadGemmAddon();
  if (addon !== undefined) {
    const count = Math.min(threads ?? availableParallelism(), MAX_THREADS);
    return new CheckedKernels(createNativeEngine(addon, isa === 'auto' ? addon.isa : isa, count));
  }
  if (backend === 'auto') return new CheckedKernels(createJsEngine());
  throw new UnsupportedError(
    `${fn}: backend "native" is not available: addon ${info.name} ${info.reason}; available: js`,
  );
}
