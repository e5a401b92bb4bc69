import { loadAddon } from '@megamoe/native-kit';
import type { AddonInfo, AddonResult, KernelAddon } from '@megamoe/native-kit';
import { POSITIONAL } from '@megamoe/ops';
import type { NativeFunction } from '@megamoe/ops';
import { entryKeys } from './entry-keys';
import type { AttentionOp, OwnOperations } from './own';
import { ropeTables } from './js/rope-tables';

/** What `native/bindings/addon.cc` exports: which table of `isas` runs and on how many threads, then the arguments, positional. */
export type NativeAddon = KernelAddon & Readonly<Record<Exclude<AttentionOp, 'ropeTables'>, NativeFunction>>;

/** Raised together with kInterfaceVersion in addon.cc. */
const INTERFACE_VERSION = 2;

/** The addon and the report on it. */
export function nativeAddon(): AddonResult<NativeAddon> {
  return loadAddon<NativeAddon>({
    packageUrl: import.meta.url,
    packageName: '@megamoe/attention',
    dependents: ['@megamoe/model', '@megamoe/cli'],
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

const NO_ENTRIES = new Float32Array(0);

/** The operations through the addon, with table `t` of its instruction sets. Angles are worked out in TypeScript: cos and sin differ between C libraries. */
export function createNativeOperations(addon: NativeAddon, t: number, threads: number): OwnOperations {
  return {
    ropeTables,
    rope: (a) => POSITIONAL.rope(addon.rope, t, threads, a),
    writeWindow: ({ cache, step, layer, d, kv }) =>
      addon.writeWindow(t, threads, kv, step.rows, d, step.windowRow, cache.memory[layer]!.window.data),
    compress({ cache, step, layer, indexer, width, kv, gate, weights, eps }) {
      const { dim, openKv, openGate, entries } = cache.compressor('compress', layer, indexer);
      const p = step.compression(cache.specs[layer]!.ratio as 4 | 128);
      // prettier-ignore
      addon.compress(t, threads, kv, gate, step.rows, width, weights.ape, p.apeRow, p.openRow, openKv.data, openGate.data,
        p.closed, p.candidatesPerEntry, p.candidates, dim, weights.norm, eps, p.ropeDim, p.cos, p.sin, p.entryRow, entries.data);
    },
    indexSelect({ cache, step, layer, q, headWeights, heads, dim, topk, selected }) {
      const { entries } = cache.compressor('indexSelect', layer, true);
      const p = step.compression(4);
      // prettier-ignore
      addon.indexSelect(t, threads, q, headWeights, step.rows, heads, dim, topk, p.visible, p.entryBase, p.entries.ids,
        p.entries.rowsPerPage, entries.data, selected);
    },
    attend(a) {
      const { cache, step, layer, q, heads, d, sinks, softmaxScale, out } = a;
      const { window, compressor } = cache.memory[layer]!;
      const { near } = step;
      const far = entryKeys(a);
      // prettier-ignore
      addon.attend(t, threads, q, step.rows, heads, d, window.data, near.index, near.start, near.count,
        compressor?.entries.data ?? NO_ENTRIES, far.index, far.start, far.count, sinks, softmaxScale, out);
    },
  };
}
