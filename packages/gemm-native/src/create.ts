import { availableParallelism } from 'node:os';
import { checkInteger, checkOneOf, KindError, UnsupportedError } from '@megamoe/core';
import { loadGemmAddon } from './binding';
import { createJsEngine } from './js/engine';
import { createJsScan } from './js/scan';
import { CheckedKernels } from './kernels';
import { MAX_THREADS } from './limits';
import { createNativeEngine, isaIndex } from './native-engine';
import type { GemmAddon } from './native-engine';
import { CheckedScan, nativeScan } from './scan';
import type { LogitsScan } from './scan';
import type { GemmKernels, KernelOptions } from './types';

/**
 * Kernels of one backend. Each call makes its own (a js engine holds scratch), so make them once per model.
 * Throws UnsupportedError when `native` is asked for and the addon is not there, or for an instruction set that it does not have;
 * `auto` falls back to js.
 */
export function createGemmKernels(options: KernelOptions = {}): GemmKernels {
  const { native, threads } = chooseBackend('createGemmKernels', options);
  if (native === undefined) return new CheckedKernels(createJsEngine());
  return new CheckedKernels(createNativeEngine(native.addon, native.isa, threads));
}

/**
 * Scans of logits of one backend, for a sampler; chosen as {@link createGemmKernels} chooses. They run on the calling thread: `threads`
 * says nothing here. Throws as that does.
 */
export function createLogitsScan(options: KernelOptions = {}): LogitsScan {
  const fn = 'createLogitsScan';
  const { native } = chooseBackend(fn, options);
  if (native === undefined) return new CheckedScan('js', createJsScan());
  return new CheckedScan(native.isa, nativeScan(native.addon, isaIndex(fn, native.addon, native.isa)));
}

/** The addon and instruction set that the options ask for, or undefined for js. */
function chooseBackend(
  fn: string,
  options: KernelOptions,
): { native?: { addon: GemmAddon; isa: string }; threads: number } {
  if (typeof options !== 'object' || options === null) throw new KindError(`${fn}: "options" must be an object`);
  const { backend = 'auto', threads, isa = 'auto' } = options;
  checkOneOf(fn, 'backend', backend, ['auto', 'js', 'native']);
  checkOneOf(fn, 'isa', isa, ['auto', 'generic', 'avx2', 'avx512', 'neon', 'neon-dotprod']);
  if (threads !== undefined) checkInteger(fn, 'threads', threads, 1, MAX_THREADS);
  const count = Math.min(threads ?? availableParallelism(), MAX_THREADS);
  if (backend === 'js') return { threads: count };
  const { addon, info } = loadGemmAddon();
  if (addon !== undefined) return { native: { addon, isa: isa === 'auto' ? addon.isa : isa }, threads: count };
  if (backend === 'auto') return { threads: count };
  throw new UnsupportedError(
    `${fn}: backend "native" is not available: addon ${info.name} ${info.reason}; available: js`,
  );
}
