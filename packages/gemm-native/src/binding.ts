import { loadAddon } from '@megamoe/native-kit';
import type { AddonInfo, AddonResult } from '@megamoe/native-kit';
import type { GemmAddon } from './addon';

/** Raised with every change of a native function's arguments; the same number stands in native/bindings/addon.cc. */
export const INTERFACE_VERSION = 11;

/** The addon, or why there is none. Asking again is cheap. */
export function loadGemmAddon(): AddonResult<GemmAddon> {
  return loadAddon<GemmAddon>({
    packageUrl: import.meta.url,
    packageName: '@megamoe/gemm-native',
    dependents: ['@megamoe/model', '@megamoe/cli'],
    name: 'gemm-native',
    interfaceVersion: INTERFACE_VERSION,
  });
}

/** What was looked for, found and chosen: for reports such as `megamoe doctor`. */
export function gemmAddonInfo(): AddonInfo {
  return loadGemmAddon().info;
}
