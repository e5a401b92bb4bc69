import type { Checkpoint, ModuleInfo } from '@megamoe/checkpoint';
import { UnsupportedError } from '@megamoe/core';

/** `experts`: the routed ones. `all`: every matrix of a layer but the router's. */
export type QuantizedLayers = 'experts' | 'all';

/** Matrices that share one `weight_scale_2` and one `input_scale`: w1 and w3 of an expert, or one matrix alone. */
export type Unit = readonly ModuleInfo[];

/** Layer, and what the matrix is called in the report: `w1` of all experts, `attn.wq_a`, `ffn.shared_experts.w1`. */
export function placeOf(name: string): { layer: number; projection: string } {
  const [, layer, rest] = /^layers\.(\d+)\.(.*)$/.exec(name)!;
  return { layer: Number(layer), projection: rest!.replace(/^ffn\.experts\.\d+\./, '') };
}

/** Whether a matrix is quantized: norms are no matrices; router, embedding and head stay as they are. */
export function isSelected(name: string, layers: QuantizedLayers): boolean {
  if (/^layers\.\d+\.ffn\.experts\./.test(name)) return true;
  return layers === 'all' && name.startsWith('layers.') && !/\.ffn\.gate$/.test(name);
}

/**
 * The matrices to quantize, in the checkpoint's order, w1 and w3 side by side. Matrices whose width is no multiple of 16 cannot be NVFP4 and
 * stay as they are; `left` names them.
 * @param o `repack`: NVFP4 of ModelOpt is work, too, since it is written in another layout
 * @throws UnsupportedError when there is nothing to do: all of them are ModelOpt NVFP4 already
 */
export function selectUnits(
  checkpoint: Checkpoint,
  layers: QuantizedLayers,
  { repack }: { readonly repack: boolean },
): { units: Unit[]; left: string[] } {
  const units: Unit[] = [];
  const left: string[] = [];
  let work = false;
  for (const info of checkpoint.modules.values()) {
    const { name, k } = info;
    if (!isSelected(name, layers) || /experts\.(?:\d+\.)?w3$/.test(name)) continue;
    if (k % 16 !== 0) {
      left.push(name);
      continue;
    }
    const up = /experts\.(?:\d+\.)?w1$/.test(name) ? checkpoint.modules.get(name.replace(/w1$/, 'w3')) : undefined;
    const unit = up ? [info, up] : [info];
    work ||= unit.some((m) => m.format !== 'nvfp4' || m.convention !== 'modelopt');
    units.push(unit);
  }
  if (units.length > 0 && !work && !repack)
    throw new UnsupportedError(
      `quantize: ${units[0]![0]!.name} and all other ${layers === 'all' ? 'matrices' : 'experts'} are NVFP4 already, in the layout of ModelOpt`,
    );
  if (units.length === 0)
    throw new UnsupportedError(
      `quantize: no matrix has a width that is a multiple of 16, as ${left[0]!} has ${checkpoint.modules.get(left[0]!)!.k}`,
    );
  return { units, left };
}
