import type { KernelBackend } from '@megamoe/native-kit';
import type {
  ExpertsShape,
  HostArrayOf,
  InputPrecision,
  LinearScales,
  OpArgs,
  Operations,
  WeightFormat,
  WeightRows,
} from '@megamoe/ops';
import type { GemmOp, Nvfp4LossArgs } from './types';

/** Weights [matrices, n, k] while they are filled: experts, or the groups of a linear. */
export interface WeightBuilder {
  readonly storage: object;
  readonly bytes: number;
  /** Writes rows `[row0, row0 + rows)` of a matrix. They have been checked. */
  put(matrix: number, row0: number, rows: number, data: WeightRows): void;
}

/** Shape of a linear. */
export interface LinearShape {
  readonly groups: number;
  readonly n: number;
  readonly k: number;
  readonly parts: number;
}

/** A linear as an engine takes it. */
export interface EngineLinear {
  readonly storage: object;
  readonly shape: LinearShape;
  /** Set for nvfp4. */
  readonly nvfp4: LinearScales | null;
}

/** Experts as an engine takes them. */
export interface EngineExperts extends ExpertsShape {
  readonly storage: object;
}

/** Where rows are staged; what was not asked for is empty. */
export interface StagedMemory {
  /** All of it lies in here. */
  readonly buffer: ArrayBufferLike;
  /** What lies there. */
  readonly inputs: InputPrecision;
  /** nvfp4: [slots, K/2], and [slots, K/16] in E4M3, row-major. */
  readonly codes: Uint8Array;
  readonly sf: Uint8Array;
  /** nvfp4: [slots] global decode scales of the rows, if they have their own. */
  readonly rowScale: Float32Array;
  readonly ownScales: boolean;
  /** f32 and bf16: [slots, K], not rounded: products do that. */
  readonly rows: Float32Array;
}

/** What stands for the arguments of an engine: handles are what they were made as. */
export interface EngineArrays extends HostArrayOf {
  readonly linear: EngineLinear;
  readonly experts: EngineExperts;
  readonly staged: StagedMemory;
  readonly router: never;
  readonly rope: never;
  readonly compressor: never;
  readonly cache: never;
  readonly step: never;
}

/** Arguments of an operation of an engine. */
export type EngineArgs<N extends GemmOp> = OpArgs<N, EngineArrays>;

/**
 * One implementation of the kernels behind the checks: arguments are known to be good, rows and `slots` above 0, but for values that only a
 * pass over the data can find (NaN in an input of `stage`, a bad scale in what is staged), which the engine itself reports as ValueError.
 */
export interface Engine extends Operations<EngineArrays, GemmOp> {
  readonly backend: KernelBackend;
  readonly isa: string;
  readonly threads: number;
  /** Name of the packed layout: weights can be used by every engine with the same one. */
  readonly layout: string;
  createWeight(format: WeightFormat, matrices: number, n: number, k: number): WeightBuilder;
  /** Frees storage now; nothing uses it after that. */
  release(storage: object): void;
  packedBytes(format: WeightFormat, matrices: number, n: number, k: number): number;
  nvfp4Loss(args: Nvfp4LossArgs): void;
}

/** R: the rows that experts have, which is the last of their cumulative ends. */
export function rowsOf(expertOffsets: Int32Array): number {
  return expertOffsets.length === 0 ? 0 : expertOffsets[expertOffsets.length - 1]!;
}
