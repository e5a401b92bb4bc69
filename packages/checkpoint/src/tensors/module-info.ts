import type { TensorInfo } from '../safetensors/store';

/** How a module's matrix is stored. */
export type ModuleFormat = 'bf16' | 'f32' | 'f16' | 'fp8' | 'mxfp4' | 'nvfp4';

/** Whose names and global scales an NVFP4 module has: ModelOpt's multiply on decoding, those of compressed-tensors divide. */
export type ScaleConvention = 'modelopt' | 'compressed-tensors';

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
export function scaleOf({ companions }: Pick<ModuleInfo, 'companions'>): TensorInfo | undefined {
  return companions.get('scale') ?? companions.get('weight_scale');
}
