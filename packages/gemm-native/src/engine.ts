import type { ExpertFormat, GemmKernels, LinearSource, Nvfp4Rows, DenseRows } from './types';

/** Shape of expert weights. */
export interface ExpertsShape {
  readonly numExperts: number;
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly format: ExpertFormat;
}

/** Expert weights while they are filled: storage for all, one part written at a time. */
export interface ExpertsBuilder {
  readonly storage: object;
  readonly bytes: number;
  /** Writes rows `part*n/parts ..` of expert `expert`. The rows have been checked. */
  put(expert: number, part: number, rows: Nvfp4Rows | DenseRows): void;
}

/** Shape of a dense weight. */
export interface LinearShape {
  readonly groups: number;
  readonly n: number;
  readonly k: number;
  readonly dtype: LinearSource['dtype'];
}

/** A dense weight while it is filled. */
export interface LinearBuilder {
  readonly storage: object;
  readonly bytes: number;
  /** Writes rows `[row0, row0 + rows)` of group `group`. The data have been checked. */
  put(group: number, row0: number, rows: number, data: Float32Array | Uint16Array): void;
}

/** Methods that an engine has exactly as {@link GemmKernels} has them. */
type SharedMethods = Pick<
  GemmKernels,
  | 'gatherRows'
  | 'stageNvfp4'
  | 'stageNvfp4Dynamic'
  | 'swiglu'
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
  createLinear(shape: LinearShape): LinearBuilder;
  createExperts(shape: ExpertsShape): ExpertsBuilder;
  /** Frees storage now; nothing uses it after that. */
  release(storage: object): void;
  packedBytes(format: ExpertFormat, matrices: number, n: number, k: number): number;
  linear(storage: object, n: number, k: number, groups: number, x: Float32Array, m: number, out: Float32Array): void;
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
    alpha: Float32Array,
    out: Float32Array,
  ): void;
  embed(storage: object, n: number, k: number, ids: Int32Array, t: number, repeat: number, out: Float32Array): void;
}
