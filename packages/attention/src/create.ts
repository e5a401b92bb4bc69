import { checkInteger, checkOneOf, UnsupportedError } from '@megamoe/core';
import { CheckedKernels } from './checked';
import { createJsEngine } from './js/index';
import type { AttentionKernels, KernelOptions } from './kernels';

/** What is known of the native addon (for `megamoe doctor`). */
export interface AddonInfo {
  readonly name: string;
  readonly path?: string;
  readonly loaded: boolean;
  readonly reason: string;
  readonly isa?: string;
  readonly cpuFeatures?: string[];
}

/** Where the native addon was looked for, whether it loaded, and why not. */
export function attentionAddonInfo(): AddonInfo {
  return { name: 'attention', loaded: false, reason: 'not built' };
}

/**
 * The attention operations on one backend. `auto` (the default) takes the addon when it is built and js otherwise; `native`
 * without the addon throws UnsupportedError saying what was looked for.
 */
export function createAttentionKernels(options: KernelOptions = {}): AttentionKernels {
  const fn = 'createAttentionKernels';
  const { backend = 'auto', threads, isa = 'auto' } = options;
  checkOneOf(fn, 'backend', backend, ['js', 'native', 'auto'] as const);
  checkOneOf(fn, 'isa', isa, ['auto', 'generic'] as const);
  if (threads !== undefined) checkInteger(fn, 'threads', threads, 1, 1024);
  const info = attentionAddonInfo();
  if (backend === 'native') throw new UnsupportedError(`${fn}: backend "native" is not here: ${info.reason}`);
  return new CheckedKernels(createJsEngine(), 'js', 'js', 1);
}
