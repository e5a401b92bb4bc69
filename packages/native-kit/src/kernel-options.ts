import { availableParallelism } from 'node:os';
import { checkFunction, checkInteger, checkObject, checkOneOf, UnsupportedError } from '@megamoe/core';
import type { AddonBase, AddonResult } from './load-addon';

/** Where kernels run: TypeScript, or a C++ addon. */
export type KernelBackend = 'js' | 'native';

/** What can be asked for as `isa`. */
export const KERNEL_ISAS = ['auto', 'generic', 'avx2', 'avx512', 'neon', 'neon-dotprod'] as const;

/**
 * Instruction sets of the native backend that can be asked for; `avx512` means F, BW, DQ, VL, VNNI, VBMI and BF16 together, `neon` is
 * that of all 64-bit Arm processors, `neon-dotprod` that with dot products of bytes (FEAT_DotProd).
 */
export type KernelIsa = (typeof KERNEL_ISAS)[number];

/** Most threads that can be asked for; the pool starts no more. */
export const MAX_THREADS = 256;

/** How to choose kernels. */
export interface KernelOptions {
  /** Default `auto`: native when the addon is there, else js. */
  readonly backend?: KernelBackend | 'auto';
  /** Threads of the native backend, 1 to 256; default: the processors that are available. The js backend has one. */
  readonly threads?: number;
  /** Instruction set of the native backend; default `auto`, the best that the processor has. */
  readonly isa?: KernelIsa;
}

/** An addon with a table of kernels for each instruction set that can be used here. */
export interface KernelAddon extends AddonBase {
  readonly isas: readonly string[];
}

/** What {@link chooseKernels} chose. */
export interface ChosenKernels<A> {
  /** The addon, the name of its instruction set and the place of that in `addon.isas`; null for js. */
  readonly native: { readonly addon: A; readonly isa: string; readonly table: number } | null;
  /** Threads that were asked for, or the processors that are available. */
  readonly threads: number;
}

/**
 * The addon and instruction set that the options ask for, or js.
 * @param fn   who asks, for messages
 * @param load loads the addon; not called for js
 * @throws UnsupportedError when `native` is asked for and the addon is not there, or for an instruction set that it lacks here
 * @throws KindError, ValueError for options that are none
 */
export function chooseKernels<A extends KernelAddon>(
  fn: string,
  options: KernelOptions,
  load: () => AddonResult<A>,
): ChosenKernels<A> {
  checkObject(fn, 'options', options);
  const { backend = 'auto', threads: wanted, isa = 'auto' } = options;
  checkOneOf(fn, 'backend', backend, ['auto', 'js', 'native']);
  checkOneOf(fn, 'isa', isa, KERNEL_ISAS);
  if (wanted !== undefined) checkInteger(fn, 'threads', wanted, 1, MAX_THREADS);
  const threads = wanted ?? Math.min(availableParallelism(), MAX_THREADS);
  if (backend === 'js') return { native: null, threads };
  checkFunction(fn, 'load', load);
  const result = load();
  checkObject(fn, 'load()', result);
  const { addon, info } = result;
  if (addon === undefined) {
    if (backend === 'auto') return { native: null, threads };
    throw new UnsupportedError(
      `${fn}: backend "native" is not available: addon ${info.name} ${info.reason}; available: js`,
    );
  }
  const chosen = isa === 'auto' ? addon.isa : isa;
  const table = addon.isas.indexOf(chosen);
  if (table < 0) {
    const here = addon.isas.join(', ');
    throw new UnsupportedError(`${fn}: instruction set "${chosen}" is not available; available: ${here}`);
  }
  return { native: { addon, isa: chosen, table }, threads };
}
