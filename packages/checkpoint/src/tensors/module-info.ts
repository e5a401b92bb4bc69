import { checkInteger, checkObject, checkOneOf, checkString, describe, KindError } from '@megamoe/core';
import type { TensorInfo } from '../safetensors/store';

const FORMATS = ['bf16', 'f32', 'f16', 'fp8', 'mxfp4', 'nvfp4'] as const;
const CONVENTIONS = ['modelopt', 'compressed-tensors'] as const;

/** How a module's matrix is stored. */
export type ModuleFormat = (typeof FORMATS)[number];

/** Whose names and global scales an NVFP4 module has: ModelOpt's multiply on decoding, those of compressed-tensors divide. */
export type ScaleConvention = (typeof CONVENTIONS)[number];

/** Where a matrix lies in a tensor [experts, rows, width] that holds those of all experts. */
export interface FusedPlace {
  readonly experts: number;
  /** Rows of one expert: 2I of gate_up_proj. */
  readonly rows: number;
  readonly index: number;
  /** First row within the expert: I for w3. */
  readonly row: number;
}

/** A matrix of the model: how it is stored and in which tensors. */
export interface ModuleInfo {
  /** Canonical name, as in `layers.0.attn.wq_a`. */
  readonly name: string;
  readonly format: ModuleFormat;
  /** Set for nvfp4. */
  readonly convention?: ScaleConvention;
  readonly n: number;
  readonly k: number;
  /** The matrix itself. Experts that transformers fused share one. */
  readonly weight: TensorInfo;
  /** Byte offset of the matrix in `weight`; above 0 only for fused experts. */
  readonly offset: number;
  /** Set for fused experts; `weight` and `companions` are then those of all of them. */
  readonly fused?: FusedPlace;
  /** The scales beside it, by their last name, as in `weight_scale`; see {@link scaleOf}. */
  readonly companions: ReadonlyMap<string, TensorInfo>;
}

/** The block or tile scales of a quantized matrix, whichever of their names they have; undefined for one that is not. */
export function scaleOf(module: Pick<ModuleInfo, 'companions'>): TensorInfo | undefined {
  checkObject('scaleOf', 'module', module);
  const companions = checkedMap('scaleOf', 'module.companions', module.companions);
  return companions.get('scale') ?? companions.get('weight_scale');
}

/** Throws KindError unless it is a Map. */
export function checkedMap<T>(fn: string, arg: string, map: ReadonlyMap<string, T>): ReadonlyMap<string, T> {
  if (map instanceof Map) return map;
  throw new KindError(`${fn}: "${arg}" must be a Map, got ${describe(map)}`);
}

function takeTensor(fn: string, arg: string, tensor: TensorInfo): TensorInfo {
  checkObject(fn, arg, tensor);
  const { name, dtype, shape, bytes, file } = tensor;
  checkString(fn, `${arg}.name`, name);
  checkInteger(fn, `${arg}.bytes`, bytes, 0);
  return { name, dtype, shape, bytes, file };
}

function takePlace(fn: string, fused: FusedPlace): FusedPlace {
  checkObject(fn, 'module.fused', fused);
  const { experts, rows, index, row } = fused;
  for (const [arg, n, min] of [
    ['experts', experts, 1],
    ['rows', rows, 1],
    ['index', index, 0],
    ['row', row, 0],
  ] as const)
    checkInteger(fn, `module.fused.${arg}`, n, min);
  return { experts, rows, index, row };
}

/** A module whose fields are read once and checked. */
export function takeModule(fn: string, module: ModuleInfo): ModuleInfo {
  checkObject(fn, 'module', module);
  const { name, format, convention, n, k, weight, offset, fused, companions } = module;
  checkString(fn, 'module.name', name);
  checkOneOf(fn, 'module.format', format, FORMATS);
  if (convention !== undefined) checkOneOf(fn, 'module.convention', convention, CONVENTIONS);
  checkInteger(fn, 'module.n', n, 0);
  checkInteger(fn, 'module.k', k, 0);
  checkInteger(fn, 'module.offset', offset, 0);
  const scales = [...checkedMap(fn, 'module.companions', companions)];
  return {
    ...{ name, format, n, k, offset, weight: takeTensor(fn, 'module.weight', weight) },
    ...{ companions: new Map(scales.map(([key, info]) => [key, takeTensor(fn, `module.companions.${key}`, info)])) },
    ...(convention === undefined ? {} : { convention }),
    ...(fused === undefined ? {} : { fused: takePlace(fn, fused) }),
  };
}
