import type { LogitsScan } from '@megamoe/core';
import { chooseKernels } from '@megamoe/native-kit';
import type { KernelOptions } from '@megamoe/native-kit';
import { loadGemmAddon } from './binding';
import { createJsEngine } from './js/engine';
import { createJsScan } from './js/scan';
import { checkedKernels } from './kernels';
import { createNativeEngine } from './native-engine';
import { CheckedScan, nativeScan } from './scan';
import type { GemmKernels } from './types';

/**
 * Kernels of one backend. Each call makes its own (a js engine holds scratch), so make them once per model.
 * Throws UnsupportedError when `native` is asked for and the addon is not there, or for an instruction set that it does not have;
 * `auto` falls back to js.
 */
export function createGemmKernels(options: KernelOptions = {}): GemmKernels {
  const { native, threads } = chooseKernels('createGemmKernels', options, loadGemmAddon);
  return checkedKernels(native === null ? createJsEngine() : createNativeEngine(native, threads));
}

/**
 * Scans of logits of one backend, for a sampler; chosen as {@link createGemmKernels} chooses, `isa` says how. They run on the calling thread:
 * `threads` says nothing here. Throws as that does.
 */
export function createLogitsScan(options: KernelOptions = {}): LogitsScan & { readonly isa: string } {
  const { native } = chooseKernels('createLogitsScan', options, loadGemmAddon);
  if (native === null) return new CheckedScan('js', createJsScan());
  return new CheckedScan(native.isa, nativeScan(native.addon, native.table));
}
