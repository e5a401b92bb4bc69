import { UnsupportedError } from '@megamoe/core';
import { loadAddon } from '@megamoe/native-kit';
import type { AddonBase, AddonInfo, AddonResult } from '@megamoe/native-kit';
import type { Engine } from './engine';
import type { KernelIsa } from './kernels';

/** Which table of {@link NativeAddon.isas} runs, and on how many threads: first arguments of every native function. */
type Native<F> = F extends (...args: infer A) => void ? (table: number, threads: number, ...args: A) => void : never;

/** What `native/bindings/addon.cc` exports. */
export type NativeAddon = AddonBase & { readonly isas: readonly string[] } & {
  readonly [K in keyof Engine]: Native<Engine[K]>;
};

/** Raised together with kInterfaceVersion in addon.cc. */
const INTERFACE_VERSION = 1;

/** The addon and the report on it. */
export function nativeAddon(): AddonResult<NativeAddon> {
  return loadAddon<NativeAddon>({
    packageUrl: import.meta.url,
    name: 'attention',
    interfaceVersion: INTERFACE_VERSION,
  });
}

/** Instruction sets that the addon can run here, best first; none without the addon. */
export function nativeIsas(): readonly string[] {
  return nativeAddon().addon?.isas ?? [];
}

/** Where the native addon was looked for, whether it loaded, and why not. */
export function attentionAddonInfo(): AddonInfo {
  return nativeAddon().info;
}

/** The instruction set that runs for `isa`; throws UnsupportedError listing what is here. */
export function chooseIsa(fn: string, addon: NativeAddon, isa: KernelIsa): string {
  const chosen = isa === 'auto' ? addon.isa : isa;
  if (addon.isas.includes(chosen)) return chosen;
  throw new UnsupportedError(`${fn}: isa "${chosen}" is not here: this machine has ${addon.isas.join(', ')}`);
}

/** The addon's functions with table and threads filled in. */
export function createNativeEngine(addon: NativeAddon, isa: string, threads: number): Engine {
  const t = addon.isas.indexOf(isa);
  return {
    rope: (x, m, heads, d, ropeDim, cos, sin, inverse) =>
      addon.rope(t, threads, x, m, heads, d, ropeDim, cos, sin, inverse),
    compress: (
      kv,
      gate,
      row0,
      n,
      p0,
      ratio,
      dim,
      width,
      ape,
      norm,
      rmsNormEps,
      ropeDim,
      cos,
      sin,
      entries,
      partialKv,
      partialGate,
      overlapKv,
      overlapGate,
    ) =>
      addon.compress(
        t,
        threads,
        kv,
        gate,
        row0,
        n,
        p0,
        ratio,
        dim,
        width,
        ape,
        norm,
        rmsNormEps,
        ropeDim,
        cos,
        sin,
        entries,
        partialKv,
        partialGate,
        overlapKv,
        overlapGate,
      ),
    indexSelect: (entries, ratio, dim, q, headWeights, row0, n, p0, heads, topk, selected) =>
      addon.indexSelect(t, threads, entries, ratio, dim, q, headWeights, row0, n, p0, heads, topk, selected),
    attend: (ring, ringCap, entries, d, q, row0, n, heads, keyIndex, keyCap, keyCount, sinks, softmaxScale, out) =>
      addon.attend(
        t,
        threads,
        ring,
        ringCap,
        entries,
        d,
        q,
        row0,
        n,
        heads,
        keyIndex,
        keyCap,
        keyCount,
        sinks,
        softmaxScale,
        out,
      ),
  };
}
