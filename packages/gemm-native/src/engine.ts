import type { ExpertFormat, GemmKernels, WeightRows } from './types';

/** Shape of expert weights. */
export interface ExpertsShape {
  readonly numExperts: number;
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly format: ExpertFormat;
}

/** Weights [matrices, n, k] while they are filled: experts, or the groups of a linear. */
export interface WeightBuilder {
  readonly storage: object;
  readonly bytes: number;
  /** Writes rows `[row0, row0 + rows)` of a matrix. They have been checked. */
  put(matrix: number, row0: number, rows: number, data: WeightRows): void;
}

/** What a product with a linear needs besides its storage. */
export interface LinearShape {
  readonly groups: number;
  readonly n: number;
  readonly k: number;
  readonly parts: number;
}

/** Methods that an engine has exactly as {@link GemmKernels} has them. */
type SharedMethods = Pick<
  GemmKernels,
  | 'gatherRows'
  | 'stageNvfp4'
  | 'stageNvfp4Dynamic'
  | 'nvfp4Loss'
  | 'swiglu'
  | 'swigluStageNvfp4'
  | 'swigluStageNvfp4Dynamic'
  | 'scatterExperts'
  | 'addInPlace'
  | 'rmsNorm'
  | 'hcPre'
  | 'hcPost'
  | 'hcHead'
>;

/**
 * One implementation of the kernels behind the checks: arguments are known to be good, but for values that only a pass over the data
 * can find (NaN in an input of `stage*`, a bad scale in `aSf`), which the engine itself reports as ValueError.
 */
export interface Engine extends SharedMethods {
  readonly backend: GemmKernels['backend'];
  readonly isa: string;
  readonly threads: number;
  /** Name of the packed layout: weights can be used by every engine with the same one. */
  readonly layout: string;
  createWeight(format: ExpertFormat, matrices: number, n: number, k: number): WeightBuilder;
  /** Frees storage now; nothing uses it after that. */
  release(storage: object): void;
  packedBytes(format: ExpertFormat, matrices: number, n: number, k: number): number;
  linear(storage: object, n: number, k: number, groups: number, x: Float32Array, m: number, out: Float32Array): void;
  /** BF16 activations against any format; alpha [groups*parts] for nvfp4, null for the others. */
  linearBf16(
    storage: object,
    shape: LinearShape,
    alpha: Float32Array | null,
    x: Float32Array,
    m: number,
    out: Float32Array,
  ): void;
  /** Float32 activations, nvfp4 weights; alpha [groups*parts]. */
  linearNvfp4(
    storage: object,
    shape: LinearShape,
    alpha: Float32Array,
    x: Float32Array,
    m: number,
    out: Float32Array,
  ): void;
  /** NVFP4 activations; inputScale 0: each row's own. */
  linearW4A4(
    storage: object,
    shape: LinearShape,
    alpha: Float32Array,
    inputScale: number,
    x: Float32Array,
    m: number,
    out: Float32Array,
  ): void;
  groupedGemmW4A4(
    storage: object,
    shape: ExpertsShape,
    aCodes: Uint8Array,
    aSf: Uint8Array,
    expertOffsets: Int32Array,
    alpha: Float32Array,
    rowScale: Float32Array | null,
    out: Float32Array,
  ): void;
  groupedGemm(
    storage: object,
    shape: ExpertsShape,
    a: Float32Array,
    expertOffsets: Int32Array,
    alpha: Float32Array | null,
    out: Float32Array,
  ): void;
  groupedGemmBf16(
    storage: object,
    shape: ExpertsShape,
    a: Float32Array,
    expertOffsets: Int32Array,
    alpha: Float32Array | null,
    out: Float32Array,
  ): void;
  embed(storage: object, n: number, k: number, ids: Int32Array, t: number, repeat: number, out: Float32Array): void;
}
