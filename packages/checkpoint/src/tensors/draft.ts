import { CheckpointError } from '@megamoe/core';
import type { TensorInfo } from '../safetensors/store';
import { classify, COMPANIONS } from './classify';
import type { ModuleInfo } from './module-info';

/** Layers that guess tokens ahead (`mtp.*`: multi-token prediction, DSpark's draft head). They are not computed; who copies a checkpoint keeps them. */
export interface DraftLayers {
  /** How many: `mtp.0`, `mtp.1`, ... */
  readonly layers: number;
  /** All their tensors under canonical names. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The matrices among them whose format is known. Nothing says which there must be, so none is missing or misshapen. */
  readonly modules: ReadonlyMap<string, ModuleInfo>;
}

/** Elements of a row of a stored matrix: two to a byte in the 4-bit formats. */
function widthOf({ dtype, shape }: TensorInfo): number {
  return dtype === 'U8' || dtype === 'I8' ? 2 * shape[1]! : shape[1]!;
}

/** Sorts the tensors of draft layers. @param tensors by canonical name */
export function draftLayers(tensors: ReadonlyMap<string, TensorInfo>): DraftLayers {
  const layers = new Set<string>();
  const modules = new Map<string, ModuleInfo>();
  for (const [canonical, weight] of tensors) {
    layers.add(canonical.split('.')[1]!);
    const [, name] = /^(.+)\.weight(?:_packed)?$/.exec(canonical) ?? [];
    if (name === undefined || weight.shape.length !== 2) continue;
    const companions = new Map<string, TensorInfo>();
    for (const key of COMPANIONS) {
      const info = tensors.get(`${name}.${key}`);
      if (info && info !== weight) companions.set(key, info);
    }
    try {
      modules.set(
        name,
        classify({ kind: 'linear', name, n: weight.shape[0]!, k: widthOf(weight) }, weight, companions),
      );
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error; // in no format that is known: they stay plain tensors
    }
  }
  return { layers: layers.size, tensors, modules };
}
