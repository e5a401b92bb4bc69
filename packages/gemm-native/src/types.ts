import type { KernelBackend } from '@megamoe/native-kit';
import type {
  ExpertPool,
  ExpertPoolShape,
  ExpertsSource,
  ExpertsWeight,
  FamilyOp,
  HostArrays,
  LinearSource,
  LinearWeight,
  Operations,
  Staged,
  StagedSpec,
  WeightFormat,
} from '@megamoe/ops';

/** Operations of the list that these kernels have. */
export type GemmOp = FamilyOp<'rows'> | 'stage' | 'swigluStage' | 'groupedGemm' | 'scatterExperts';

/** What {@link GemmKernels.nvfp4Loss} takes. */
export interface Nvfp4LossArgs {
  /** [rows, K] f32 */
  readonly x: Float32Array;
  readonly rows: number;
  /** A multiple of 16. */
  readonly k: number;
  readonly globalDecodeScale: number;
  /** [rows, K/2] u8 */
  readonly codes: Uint8Array;
  /** [rows, K/16] E4M3 */
  readonly sf: Uint8Array;
  /** [rows, 3] f64, written */
  readonly sums: Float64Array;
}

/**
 * The kernels of a DeepSeek-V4 layer outside attention: operations of the list of `@megamoe/ops` on typed arrays, with their arguments by
 * name. Every operation checks its arguments (ShapeError, ValueError, KindError of `@megamoe/core`), writes only to its outputs and allocates
 * nothing. Buffers may be larger than needed; row counts say what is used. Outputs must not overlap other arguments unless the list says so.
 * A row's result depends neither on how many rows are computed together nor on the number of threads, bit for bit (README, "Numeric
 * rules").
 */
export interface GemmKernels extends Operations<HostArrays, GemmOp> {
  readonly backend: KernelBackend;
  /** Instruction set in use: `js`, or that of the native kernels. */
  readonly isa: string;
  readonly threads: number;

  /** Packs a dense weight. `data` has `groups*n` rows and may be dropped afterwards. */
  packLinear(source: LinearSource): LinearWeight;

  /** Packs expert weights part by part, so that no second full copy exists. NaN or negative block scales are a ValueError. */
  packExperts(source: ExpertsSource): ExpertsWeight;

  /** Room for a bounded number of experts, to be given to packExperts. */
  createExpertPool(shape: ExpertPoolShape): ExpertPool;

  /** Bytes that `matrices` weights [N, K] of a format occupy when they are packed, padding included. */
  packedBytes(format: WeightFormat, matrices: number, n: number, k: number): number;

  /** Room for what `stage` and `swigluStage` write and `groupedGemm` reads. `stagedArrays` looks inside. */
  createStaged(spec: StagedSpec): Staged;

  /**
   * What quantizing rows lost, in float64, the same bits on every backend: for each row the sums of `(y-x)^2`, `x^2` and `y^2`, where
   * `y = e2m1 * f32(e4m3 * globalDecodeScale)`. `x . y` is half of the second plus the third minus the first. NaN stays NaN.
   */
  nvfp4Loss(args: Nvfp4LossArgs): void;
}
