import type { CompressorState, LayerState } from './layer-state';
import type { Rope } from './rope';

/** Where the kernels run. */
export type KernelBackend = 'js' | 'native';

/**
 * Native instruction sets: any machine's; AVX2 with FMA; AVX-512 with F, BW, DQ, VL, VNNI, VBMI and BF16; that of all 64-bit Arm
 * processors; that with dot products of bytes (FEAT_DotProd), which these kernels have no use for.
 */
export type KernelIsa = 'auto' | 'generic' | 'avx2' | 'avx512' | 'neon' | 'neon-dotprod';

/** How {@link AttentionKernels} are chosen. */
export interface KernelOptions {
  /** Default `auto`: native when the addon is built, else js. */
  readonly backend?: KernelBackend | 'auto';
  /** Native worker threads; default: what the machine has. Results do not depend on it. */
  readonly threads?: number;
  /** Native instruction set; default `auto`, the best of this machine. Asking for one that is not here throws UnsupportedError. */
  readonly isa?: KernelIsa;
}

/** Weights of one compressor, float32. */
export interface CompressorWeights {
  /** [ratio, width] position bias of the gates. */
  readonly ape: Float32Array;
  /** [dim] RMS norm of an entry. */
  readonly norm: Float32Array;
}

/**
 * The hot operations. Buffers may be larger than needed; row counts say what is used. Each result row depends neither on how many
 * rows are computed together nor on the threads, bit for bit, per backend. Wrong arguments throw ShapeError (lengths, capacities),
 * ValueError (ranges, positions) or KindError before anything is written.
 */
export interface AttentionKernels {
  readonly backend: KernelBackend;
  /** `js`, or the native instruction set in use. */
  readonly isa: string;
  readonly threads: number;
  /**
   * RoPE in place on the last `ropeDim` of each head, interleaved pairs. x [m, heads, d]; cos, sin [m, ropeDim/2]; `inverse`
   * turns back (the attention output, by the query's position).
   */
  rope(
    x: Float32Array,
    m: number,
    heads: number,
    d: number,
    ropeDim: number,
    cos: Float32Array,
    sin: Float32Array,
    inverse: boolean,
  ): void;
  /** Rows `row0..row0+n` of kv [*, headDim] (normed and rotated keys) go to the ring at positions `p0..p0+n`. */
  writeWindow(layer: LayerState, kv: Float32Array, row0: number, n: number, p0: number): void;
  /**
   * Appends the projections of n tokens, rows `row0..` of kv and gate [*, width], at positions `p0..`, and closes every window
   * that becomes full into an entry: per-channel softmax of gate + ape over the candidates, weighted sum, RMS norm, RoPE at the
   * window's first position (docs/formats.md D5, D6).
   */
  compress(
    state: CompressorState,
    kv: Float32Array,
    gate: Float32Array,
    row0: number,
    n: number,
    p0: number,
    weights: CompressorWeights,
    rmsNormEps: number,
    rope: Rope,
  ): void;
  /**
   * Indexer (docs/formats.md D7). Rows `row0..row0+n` of q [*, heads, dim], rotated, and of headWeights [*, heads], the raw projection
   * (heads^-0.5 and dim^-0.5 are applied here), at positions `p0..`. selected [n, topk] i32 out: the entries with the highest
   * scores among the visible ones, ascending, padded with -1; ties go to the lowest index.
   */
  indexSelect(
    state: CompressorState,
    q: Float32Array,
    headWeights: Float32Array,
    row0: number,
    n: number,
    p0: number,
    heads: number,
    topk: number,
    selected: Int32Array,
  ): void;
  /**
   * Attention of rows `row0..row0+n` of q [*, heads, headDim] over the keys that `buildGatherPlan` listed (keyIndex [n, keyCap],
   * keyCount [n]), K = V; sinks [heads] are logits in the denominator only (-Infinity: none; +Infinity: output 0). Writes the
   * same rows of out [*, heads, headDim]; a query without keys gives 0.
   */
  attend(
    layer: LayerState,
    q: Float32Array,
    row0: number,
    n: number,
    heads: number,
    keyIndex: Int32Array,
    keyCap: number,
    keyCount: Int32Array,
    sinks: Float32Array,
    softmaxScale: number,
    out: Float32Array,
  ): void;
}
