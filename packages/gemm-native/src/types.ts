/** Where kernels run: TypeScript, or the C++ addon. */
export type KernelBackend = 'js' | 'native';

/**
 * Instruction sets of the native backend that can be asked for; `avx512` means F, BW, DQ, VL, VNNI, VBMI and BF16 together, `neon` is
 * that of all 64-bit Arm processors, `neon-dotprod` that with dot products of bytes (FEAT_DotProd).
 */
export type KernelIsa = 'auto' | 'generic' | 'avx2' | 'avx512' | 'neon' | 'neon-dotprod';

/** How to choose a backend. */
export interface KernelOptions {
  /** Default `auto`: native when the addon is there, else js. */
  backend?: KernelBackend | 'auto';
  /** Threads of the native backend, 1 to 256; default: the processors that are available. The js backend has one. */
  threads?: number;
  /** Instruction set of the native backend; default `auto`, the best that the processor has. */
  isa?: KernelIsa;
}

/** Number format of expert weights. */
export type ExpertFormat = 'nvfp4' | 'fp8' | 'bf16' | 'f32';

/** Number format of dense weights. */
export type LinearFormat = ExpertFormat;

/** Rows in NVFP4: codes u8 [rows, K/2] (even element in the low nibble), sf E4M3 [rows, K/16], linear. */
export interface Nvfp4Rows {
  readonly codes: Uint8Array;
  readonly sf: Uint8Array;
}

/** Rows in FP8: codes E4M3 [rows, K], none NaN; scales [rows, ceil(K/128)], each row with those of its own tile, finite and at least 0. */
export interface Fp8Rows {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
}

/** Rows in bf16 (Uint16Array of bit patterns) or f32: [rows, K]. */
export interface DenseRows {
  readonly data: Float32Array | Uint16Array;
}

/** Rows of a weight of any format. */
export type WeightRows = DenseRows | Fp8Rows | Nvfp4Rows;

/** Shape of a dense weight as it is read: row-major [groups*N, K]. */
interface LinearSourceShape {
  readonly n: number;
  readonly k: number;
  /** Blocks of a block-diagonal weight; default 1. Group g maps its K inputs to its N outputs. */
  readonly groups?: number;
}

/** A dense weight in float32 or BF16. */
export interface DenseLinearSource extends LinearSourceShape {
  readonly dtype: 'f32' | 'bf16';
  /**
   * Float32Array for f32, Uint16Array (bit patterns) for bf16; not referred to after packing. A function gives rows `[row0, row0 + rows)`
   * of the groups*N instead: it is asked for a few megabytes at a time, so that a large weight never stands twice.
   */
  readonly data: Float32Array | Uint16Array | ((row0: number, rows: number) => Float32Array | Uint16Array);
}

/** A dense weight in FP8: `w = e4m3(code) * scale`. */
export interface Fp8LinearSource extends LinearSourceShape {
  readonly dtype: 'fp8';
  /** All rows, or a function that gives some of them. */
  readonly data: Fp8Rows | ((row0: number, rows: number) => Fp8Rows);
}

/** A dense weight in NVFP4: `w = e2m1(code) * e4m3(sf) * weightGlobalDecodeScale`. */
export interface Nvfp4LinearSource extends LinearSourceShape {
  readonly dtype: 'nvfp4';
  /** 2: the n rows of a group are those of two modules, n/2 each, with a global scale each; default 1. */
  readonly parts?: 1 | 2;
  /** [parts], finite and above 0. */
  readonly weightGlobalDecodeScale: Float32Array;
  /** For `linearW4A4`: the scale that inputs are quantized with, or `row` for each row's own. Without it there is no `linearW4A4`. */
  readonly inputGlobalDecodeScale?: number | 'row';
  /** All rows, or a function that gives some of them. */
  readonly data: Nvfp4Rows | ((row0: number, rows: number) => Nvfp4Rows);
}

/** A dense weight as it is read. */
export type LinearSource = DenseLinearSource | Fp8LinearSource | Nvfp4LinearSource;

/** A dense weight, packed once for one backend; opaque but for its shape. */
export interface LinearWeight {
  readonly n: number;
  readonly k: number;
  readonly groups: number;
  readonly dtype: LinearFormat;
  /** How `linearW4A4` quantizes inputs; null: not at all, the weight is for `linear` alone. */
  readonly inputGlobalDecodeScale: number | 'row' | null;
  /** Bytes that it occupies. */
  readonly bytes: number;
  /** Frees its memory now instead of when it is collected; using it after that is a KindError. */
  dispose(): void;
}

/** Expert weights as they are read, one (expert, part) at a time. */
export interface ExpertsSource {
  readonly numExperts: number;
  /** Output features per expert, all parts together. */
  readonly n: number;
  readonly k: number;
  /** 2: the n rows are gate rows (w1) and then up rows (w3), n/2 each, with an alpha each; default 1. */
  readonly parts?: 1 | 2;
  readonly format: ExpertFormat;
  /**
   * Rows [n/parts, K] of one part of one expert. Called once for each, in order, and not kept; with a `pool` it is called when an expert
   * has rows and is not in the pool, as often as that happens, and what it throws comes out of the product that needed it.
   */
  read(expert: number, part: number): WeightRows;
  /** Packs nothing now; experts are packed into this pool when they are needed. */
  readonly pool?: ExpertPool;
}

/** Shape of a pool: of its experts, and how many of them it holds at most. */
export interface ExpertPoolShape {
  readonly n: number;
  readonly k: number;
  readonly parts?: 1 | 2;
  readonly format: ExpertFormat;
  readonly slots: number;
}

/**
 * Room for a bounded number of packed experts, shared by any number of {@link ExpertsWeight}s of one shape. When it is full, the expert
 * that was used longest ago goes out; its memory is written over, never given back and taken again.
 */
export interface ExpertPool {
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly format: ExpertFormat;
  /** Most experts that it holds. */
  readonly slots: number;
  /** Bytes of one of them. */
  readonly slotBytes: number;
  /** Bytes that it occupies now: slots are made when they are first needed. */
  readonly bytes: number;
  /** Experts that were needed and there, and those that had to be read. */
  readonly hits: number;
  readonly misses: number;
  /** Frees its memory now. Weights that use it cannot be used after that. */
  dispose(): void;
}

/** Weights of all experts of one projection, packed once for one backend; opaque but for their shape. */
export interface ExpertsWeight {
  readonly numExperts: number;
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly format: ExpertFormat;
  /** Bytes that they occupy; 0 with a pool, whose bytes they are. */
  readonly bytes: number;
  /** Frees their memory (or their slots of the pool) now; using them after that is a KindError. */
  dispose(): void;
}

/**
 * The kernels of a DeepSeek-V4 layer outside attention. Every method checks its arguments (ShapeError, ValueError, KindError of
 * `@megamoe/core`), writes only to its outputs and allocates nothing. Buffers may be larger than needed; row counts say what is used.
 * Outputs must not overlap inputs unless it says so. A row's result depends neither on how many rows are computed together nor on
 * the number of threads, bit for bit; `groupedGemmW4A4` and both `stage` methods have the same bits on every backend.
 */
export interface GemmKernels {
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
  packedBytes(format: ExpertFormat, matrices: number, n: number, k: number): number;

  /**
   * `out[m, g*N + n] = sum_k x[m, g*K + k] * w[g*N + n, k]` with float32 activations, for weights of any format (for nvfp4 by the rule of
   * `groupedGemm`).
   * @param x   [M, groups*K] f32
   * @param out [M, groups*N] f32
   */
  linear(w: LinearWeight, x: Float32Array, m: number, out: Float32Array): void;

  /**
   * The same with activations rounded to BF16 (nearest even; magnitudes below 2^-100 are 0), for weights of any format. Products with bf16 and
   * fp8 weights are summed in float32, in an order of the instruction set's own, with results below 2^-126 taken as 0 by some;
   * those with nvfp4 weights are by the rule of `groupedGemmBf16`. With AVX-512 BF16 two to three times as fast as `linear` for many rows.
   * @param x   [M, groups*K] f32
   * @param out [M, groups*N] f32
   */
  linearBf16(w: LinearWeight, x: Float32Array, m: number, out: Float32Array): void;

  /**
   * `linear` for nvfp4 weights that have an `inputGlobalDecodeScale`: inputs are quantized as by `stageNvfp4` (`row`: `stageNvfp4Dynamic`) and
   * multiplied as by `groupedGemmW4A4`, bit for bit. NaN or infinity in x is a ValueError that names its index.
   * @param x   [M, groups*K] f32
   * @param out [M, groups*N] f32
   */
  linearW4A4(w: LinearWeight, x: Float32Array, m: number, out: Float32Array): void;

  /**
   * W4A4: `acc = acc + f32(dot * sa * sb)` over 16-element blocks in ascending k, `out = f32(alpha * acc)`, then, when `rowScale` is
   * given, `out = f32(out * rowScale[r])`. The block dot is an integer and its product with the two scales exact.
   * @param aCodes        [R, K/2] u8; rows are grouped by expert
   * @param aSf           [R, K/16] E4M3; NaN or negative is a ValueError
   * @param expertOffsets [E] i32 cumulative ends; R is the last
   * @param alpha         [E*parts] f32, `alpha[e*parts + part]`; must be finite for experts that have rows
   * @param rowScale      [R] f32 or null: global decode scale of each row (dynamic activations)
   * @param out           [R, N] f32
   */
  groupedGemmW4A4(
    w: ExpertsWeight,
    aCodes: Uint8Array,
    aSf: Uint8Array,
    expertOffsets: Int32Array,
    alpha: Float32Array,
    rowScale: Float32Array | null,
    out: Float32Array,
  ): void;

  /**
   * Float32 activations against any format (W4A16 for nvfp4): `out = alpha * (a . w)`. For nvfp4 the native result has the same bits on
   * every instruction set (README, "Numeric rules"), and a NaN or infinity in a row makes all of that row's results NaN there.
   * @param a     [R, K] f32; rows are grouped by expert
   * @param alpha [E*parts] f32 for nvfp4, null for the others
   * @param out   [R, N] f32
   */
  groupedGemm(
    w: ExpertsWeight,
    a: Float32Array,
    expertOffsets: Int32Array,
    alpha: Float32Array | null,
    out: Float32Array,
  ): void;

  /**
   * BF16 activations against any format: `a` is rounded to BF16 (nearest even; magnitudes below 2^-100 are 0). With nvfp4 weights products are
   * added in float32 in a fixed order, each with a single rounding: the same bits on every backend (README, "Numeric rules"). Others are
   * as in `linearBf16`.
   * @param a     [R, K] f32; rows are grouped by expert
   * @param alpha [E*parts] f32 for nvfp4, null for the others
   * @param out   [R, N] f32
   */
  groupedGemmBf16(
    w: ExpertsWeight,
    a: Float32Array,
    expertOffsets: Int32Array,
    alpha: Float32Array | null,
    out: Float32Array,
  ): void;

  /**
   * `out[r] = x[slotToken[r]]` for r < rows.
   * @param x   [T, D] f32
   * @param out [rows, D] f32
   */
  gatherRows(x: Float32Array, d: number, slotToken: Int32Array, rows: number, out: Float32Array): void;

  /**
   * What quantizing rows lost, in float64, the same bits on every backend: for each row the sums of `(y-x)^2`, `x^2` and `y^2`, where
   * `y = e2m1 * f32(e4m3 * globalDecodeScale)`. `x . y` is half of the second plus the third minus the first. NaN stays NaN.
   * @param x     [M, K] f32
   * @param codes [M, K/2] u8
   * @param sf    [M, K/16] E4M3
   * @param sums  [M, 3] f64, written
   */
  nvfp4Loss(
    x: Float32Array,
    m: number,
    k: number,
    globalDecodeScale: number,
    codes: Uint8Array,
    sf: Uint8Array,
    sums: Float64Array,
  ): void;

  /**
   * Gathers rows (`slotToken` null: row r is token r) and quantizes them by ModelOpt's rule with the global scale of the row's
   * expert: block scale `amax / (6*g)`, 0 -> 1, clamped to [2^-9, 448], E4M3 nearest even; code E2M1 nearest even of `x / (scale*g)`;
   * true divisions, float32 at every step. NaN or infinity in x is a ValueError that names its index in x; the outputs are then
   * unspecified.
   * @param x                 [T, K] f32
   * @param expertOffsets     [E] i32 cumulative ends; R is the last
   * @param globalDecodeScale [E] f32, `amax/(6*448)` of the calibrated inputs, at least 2^-117 for experts that have rows
   * @param codes             [R, K/2] u8
   * @param sf                [R, K/16] E4M3
   */
  stageNvfp4(
    x: Float32Array,
    k: number,
    slotToken: Int32Array | null,
    expertOffsets: Int32Array,
    globalDecodeScale: Float32Array,
    codes: Uint8Array,
    sf: Uint8Array,
  ): void;

  /**
   * The same with each row's own global scale `amax/(6*448)`, written to `rowScale` [R] f32. A row whose scale would be below
   * 2^-117 (all zeros among them) gets 1.
   */
  stageNvfp4Dynamic(
    x: Float32Array,
    k: number,
    slotToken: Int32Array | null,
    rows: number,
    codes: Uint8Array,
    sf: Uint8Array,
    rowScale: Float32Array,
  ): void;

  /**
   * {@link GemmKernels.swiglu} and then {@link GemmKernels.stageNvfp4} of its rows, in one pass and with the same bits: the float32 values
   * between them stay in cache.
   * @param gateUp        [R, 2I] f32, gate first
   * @param i             a multiple of 16
   * @param expertOffsets [E] i32 cumulative ends; R is the last
   * @param codes         [R, I/2] u8
   * @param sf            [R, I/16] E4M3
   * @throws ValueError for a result that is not finite, naming its row and column; the outputs are then unspecified
   */
  swigluStageNvfp4(
    gateUp: Float32Array,
    i: number,
    limit: number,
    expertOffsets: Int32Array,
    globalDecodeScale: Float32Array,
    codes: Uint8Array,
    sf: Uint8Array,
  ): void;

  /** The same with each row's own global scale, as {@link GemmKernels.stageNvfp4Dynamic}. */
  swigluStageNvfp4Dynamic(
    gateUp: Float32Array,
    rows: number,
    i: number,
    limit: number,
    codes: Uint8Array,
    sf: Uint8Array,
    rowScale: Float32Array,
  ): void;

  /**
   * `out = silu(min(g, limit)) * clamp(u, -limit, limit)`.
   * @param gateUp [M, 2I] f32, gate first
   * @param limit  above 0; Infinity for none
   * @param out    [M, I] f32
   */
  swiglu(gateUp: Float32Array, m: number, i: number, limit: number, out: Float32Array): void;

  /**
   * `out[t] = sum_j topkWeights[t, j] * y[tokenSlots[t, j]]`, j ascending, float32 at every step; slot -1 contributes nothing.
   * @param y           [R, D] f32
   * @param tokenSlots  [T, topk] i32
   * @param topkWeights [T, topk] f32
   * @param out         [T, D] f32
   */
  scatterExperts(
    y: Float32Array,
    d: number,
    tokenSlots: Int32Array,
    topkWeights: Float32Array,
    t: number,
    topk: number,
    out: Float32Array,
  ): void;

  /** `out += x`, n elements. */
  addInPlace(out: Float32Array, x: Float32Array, n: number): void;

  /**
   * `x * (1/sqrt(mean(x^2) + eps)) * weight`; mean in float64.
   * @param x      [M, D] f32
   * @param weight [D] f32, or null for none
   * @param out    [M, D] f32; may be x
   */
  rmsNorm(x: Float32Array, m: number, d: number, weight: Float32Array | null, eps: number, out: Float32Array): void;

  /**
   * Rows of an embedding table, each written `repeat` times.
   * @param table one group, [V, D], not nvfp4
   * @param ids   [T] i32 in [0, V)
   * @param out   [T, repeat, D] f32
   */
  embed(table: LinearWeight, ids: Int32Array, t: number, repeat: number, out: Float32Array): void;

  /**
   * Hyper-connection before a block (docs/formats.md D10). With `mix = fn . rms(streams)`: `pre = sigmoid(mix*scale[0]+base)+hcEps`,
   * `post = 2*sigmoid(mix*scale[1]+base)`, comb = Sinkhorn of `mix*scale[2]+base`, `collapsed = sum_j pre[j]*streams[j]`.
   * @param streams   [T, hc, D] f32
   * @param fn        [(2+hc)*hc, hc*D] f32: rows of pre, post, comb
   * @param base      [(2+hc)*hc] f32
   * @param scale     [3] f32
   * @param iters     Sinkhorn iterations, at least 1; the first normalises columns only
   * @param post      [T, hc] f32
   * @param comb      [T, hc, hc] f32, indexed [j, k]
   * @param collapsed [T, D] f32
   */
  hcPre(
    streams: Float32Array,
    t: number,
    hc: number,
    d: number,
    fn: Float32Array,
    base: Float32Array,
    scale: Float32Array,
    rmsNormEps: number,
    hcEps: number,
    iters: number,
    post: Float32Array,
    comb: Float32Array,
    collapsed: Float32Array,
  ): void;

  /**
   * After a block, in place: `streams[t, k] = post[t, k]*blockOut[t] + sum_j comb[t, j, k]*streams[t, j]`, float64, rounded once.
   * @param streams  [T, hc, D] f32
   * @param blockOut [T, D] f32
   */
  hcPost(
    streams: Float32Array,
    blockOut: Float32Array,
    t: number,
    hc: number,
    d: number,
    post: Float32Array,
    comb: Float32Array,
  ): void;

  /**
   * Before the head: `out = sum_j pre[j]*streams[j]` with `pre` as in hcPre.
   * @param fn    [hc, hc*D] f32
   * @param base  [hc] f32
   * @param scale [1] f32
   * @param out   [T, D] f32
   */
  hcHead(
    streams: Float32Array,
    t: number,
    hc: number,
    d: number,
    fn: Float32Array,
    base: Float32Array,
    scale: Float32Array,
    rmsNormEps: number,
    hcEps: number,
    out: Float32Array,
  ): void;
}
