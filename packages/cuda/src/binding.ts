import { loadAddon } from '@megamoe/native-kit';
import type { AddonInfo, AddonResult } from '@megamoe/native-kit';
import type { CudaAddon } from './addon';

/** Raised with every change of a native function's arguments; the same number stands in native/bindings/addon.cc. */
export const INTERFACE_VERSION = 2;

/** The addon, or why there is none. Asking again is cheap. */
export function loadCudaAddon(): AddonResult<CudaAddon> {
  return loadAddon<CudaAddon>({
    packageUrl: import.meta.url,
    packageName: '@megamoe/cuda',
    dependents: ['@megamoe/model', '@megamoe/cli'],
    name: 'cuda',
    interfaceVersion: INTERFACE_VERSION,
  });
}

/** What was looked for, found and chosen: for reports such as `megamoe doctor`. */
export function cudaAddonInfo(): AddonInfo {
  return loadCudaAddon().info;
}
