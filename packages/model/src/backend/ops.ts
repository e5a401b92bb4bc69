import type { LayerSpec, StateSpec, YarnParameters } from '@megamoe/attention';
import type {
  ExpertFormat,
  ExpertPool,
  ExpertPoolShape,
  ExpertsSource,
  ExpertsWeight,
  LinearSource,
  LinearWeight,
} from '@megamoe/gemm-native';
import type { LogitsScan } from '@megamoe/sampler';
import type { Tensor, TensorDtype } from '../tensor';

/** Rows `row0 .. row0 + n` of a batch: the tokens at positions `p0 .. p0 + n` of one sequence. */
export interface Segment {
  readonly state: SequenceStateHandle;
  readonly row0: number;
  readonly n: number;
  readonly p0: number;
}

/** What a backend remembers of one sequence: window ring, compressed and indexer entries, partial windows. */
export interface SequenceStateHandle {
  /** Tokens seen. */
  position: number;
  readonly bytes: number;
  clone(): SequenceStateHandle;
  /** A self-contained copy of what the state holds; survives the state and can be structured-cloned. */
  save(): unknown;
  restore(saved: unknown): void;
  /** A cheap point to cut back to, valid for this state only. */
  mark(): unknown;
  rewind(mark: unknown): void;
}

/** What a layer remembers of a sequence: recent keys, compressed keys, keys of the indexer. */
export type StatePart = 'window' | 'compressor' | 'indexer';

/** How the experts of a layer are chosen; see `@megamoe/moe-router`. */
export interface RouteSpec {
  readonly maxTokens: number;
  readonly numExperts: number;
  readonly topk: number;
  readonly scoring: 'sqrtsoftplus' | 'softmax' | 'sigmoid';
  readonly normTopkProb: boolean;
  readonly routedScalingFactor: number;
}

/** Scratch of the router, made once. */
export interface RouterHandle {
  readonly spec: RouteSpec;
}

/** Rotary frequencies of a layer type, as the backend keeps them. */
export interface RopeHandle {
  readonly ropeDim: number;
}

/** A compressor's `ape` [ratio, width] and `norm` [dim], as the backend keeps them. */
export interface CompressorHandle {
  readonly kind: 'compressor';
}

/** Shape of mHC streams. */
export interface StreamShape {
  readonly hc: number;
  readonly d: number;
  readonly rmsNormEps: number;
  readonly hcEps: number;
  readonly iters: number;
}

/** Weights of one hyper-connection: `fn` [(2+hc)*hc, hc*D], `base` [(2+hc)*hc], `gain` [3] (pre, post, comb). */
export interface HyperWeights {
  readonly fn: Tensor;
  readonly base: Tensor;
  readonly gain: Tensor;
}

/**
 * The operations that the model is written against. Every operation writes to caller's tensors, allocates nothing, and returns
 * nothing that the host would have to read to know a later shape; routing results are tensors of fixed capacity. Row counts
 * (`m`, `t`, `rows`) are known to the host. Shapes are those of the kernel interfaces of `@megamoe/gemm-native` and
 * `@megamoe/attention`; the result of a row never depends on its neighbours.
 */
export interface Ops {
  /** `js`, `cpu` or `cuda`. */
  readonly name: string;
  /** One line for people: instruction set, threads, and why. */
  readonly description: string;
  readonly threads: number;
  /** Passes over logits on the host, for the sampler; null where the backend has none. */
  readonly logitsScan: LogitsScan | null;

  alloc(dtype: TensorDtype, length: number): Tensor;
  /** A tensor that holds a copy of (or adopts) host data. */
  tensor(data: Float32Array | Int32Array | Uint8Array): Tensor;
  /** Copies `n` elements of `data`, from its element `from` on, to the start of `out`. */
  upload(out: Tensor, data: ArrayLike<number>, n: number, from: number): void;
  /** Copies elements `[from, from + n)` to the host, to `out[at]` on; for logits and traces, never inside a step. */
  download(x: Tensor, from: number, n: number, out: Float32Array | Int32Array | Uint8Array, at: number): void;

  packLinear(source: LinearSource): LinearWeight;
  packExperts(source: ExpertsSource): ExpertsWeight;
  /** Room for a bounded number of experts, to be given to packExperts. */
  createExpertPool(shape: ExpertPoolShape): ExpertPool;
  /** Bytes that packed weights of a format take. */
  packedBytes(format: ExpertFormat, matrices: number, n: number, k: number): number;
  packCompressor(ape: Float32Array, norm: Float32Array): CompressorHandle;
  createRope(o: { ropeDim: number; theta: number; yarn?: YarnParameters }): RopeHandle;

  linear(w: LinearWeight, x: Tensor, m: number, out: Tensor): void;
  /** The same with inputs rounded to BF16. */
  linearBf16(w: LinearWeight, x: Tensor, m: number, out: Tensor): void;
  /** The same with inputs quantized to NVFP4; for weights that have an `inputGlobalDecodeScale`. */
  linearW4A4(w: LinearWeight, x: Tensor, m: number, out: Tensor): void;
  embed(table: LinearWeight, ids: Tensor, t: number, repeat: number, out: Tensor): void;
  rmsNorm(x: Tensor, m: number, d: number, weight: Tensor | null, eps: number, out: Tensor): void;
  addInPlace(out: Tensor, x: Tensor, n: number): void;
  swiglu(gateUp: Tensor, m: number, i: number, limit: number, out: Tensor): void;
  hcPre(
    streams: Tensor,
    t: number,
    s: StreamShape,
    w: HyperWeights,
    post: Tensor,
    comb: Tensor,
    collapsed: Tensor,
  ): void;
  hcPost(streams: Tensor, blockOut: Tensor, t: number, s: StreamShape, post: Tensor, comb: Tensor): void;
  hcHead(streams: Tensor, t: number, s: StreamShape, w: HyperWeights, out: Tensor): void;
  /** out [t, d] = rows `rows[i]` of x. */
  takeRows(x: Tensor, d: number, rows: Tensor, t: number, out: Tensor): void;

  createRouter(spec: RouteSpec): RouterHandle;
  route(r: RouterHandle, logits: Tensor, t: number, bias: Tensor | null, topkIds: Tensor, topkWeights: Tensor): void;
  routeHash(
    r: RouterHandle,
    logits: Tensor,
    t: number,
    ids: Tensor,
    tid2eid: Tensor,
    topkIds: Tensor,
    topkWeights: Tensor,
  ): void;
  assignSlots(
    r: RouterHandle,
    topkIds: Tensor,
    t: number,
    expertOffsets: Tensor,
    slotToken: Tensor,
    tokenSlots: Tensor,
  ): void;
  gatherRows(x: Tensor, d: number, slotToken: Tensor, rows: number, out: Tensor): void;
  /** `slotToken` null: rows are already in slot order. */
  stageNvfp4(
    x: Tensor,
    k: number,
    slotToken: Tensor | null,
    expertOffsets: Tensor,
    globalDecodeScale: Tensor,
    codes: Tensor,
    sf: Tensor,
  ): void;
  stageNvfp4Dynamic(
    x: Tensor,
    k: number,
    slotToken: Tensor | null,
    rows: number,
    codes: Tensor,
    sf: Tensor,
    rowScale: Tensor,
  ): void;
  /** `swiglu` of rows in slot order, then `stageNvfp4` of the result, with the same bits. */
  swigluStageNvfp4(
    gateUp: Tensor,
    i: number,
    limit: number,
    expertOffsets: Tensor,
    globalDecodeScale: Tensor,
    codes: Tensor,
    sf: Tensor,
  ): void;
  swigluStageNvfp4Dynamic(
    gateUp: Tensor,
    rows: number,
    i: number,
    limit: number,
    codes: Tensor,
    sf: Tensor,
    rowScale: Tensor,
  ): void;
  groupedGemmW4A4(
    w: ExpertsWeight,
    codes: Tensor,
    sf: Tensor,
    expertOffsets: Tensor,
    alpha: Tensor,
    rowScale: Tensor | null,
    out: Tensor,
  ): void;
  groupedGemm(w: ExpertsWeight, a: Tensor, expertOffsets: Tensor, alpha: Tensor | null, out: Tensor): void;
  /** The same with rows rounded to BF16. */
  groupedGemmBf16(w: ExpertsWeight, a: Tensor, expertOffsets: Tensor, alpha: Tensor | null, out: Tensor): void;
  scatterExperts(
    y: Tensor,
    d: number,
    tokenSlots: Tensor,
    topkWeights: Tensor,
    t: number,
    topk: number,
    out: Tensor,
  ): void;

  createState(spec: StateSpec): SequenceStateHandle;
  /** Bytes that createState would take. */
  stateBytes(spec: StateSpec): number;
  /** cos and sin [n, ropeDim/2] of `positions` [n]. */
  ropeRows(rope: RopeHandle, positions: Tensor, n: number, cos: Tensor, sin: Tensor): void;
  rope(
    x: Tensor,
    m: number,
    heads: number,
    d: number,
    ropeDim: number,
    cos: Tensor,
    sin: Tensor,
    inverse: boolean,
  ): void;
  writeWindow(s: Segment, layer: number, kv: Tensor): void;
  /** Appends to the layer's compressor (`indexer` false) or its indexer's. */
  compress(
    s: Segment,
    layer: number,
    indexer: boolean,
    kv: Tensor,
    gate: Tensor,
    w: CompressorHandle,
    eps: number,
    rope: RopeHandle,
  ): void;
  /** selected [n, topk] of this segment, from its first row on, ascending, padded with -1. */
  indexSelect(
    s: Segment,
    layer: number,
    q: Tensor,
    headWeights: Tensor,
    heads: number,
    topk: number,
    selected: Tensor,
  ): void;
  /** Attention over window and compressed keys; `selected` null: every visible entry. */
  attend(
    s: Segment,
    layer: number,
    spec: LayerSpec,
    q: Tensor,
    heads: number,
    selected: Tensor | null,
    topk: number,
    sinks: Tensor,
    softmaxScale: number,
    out: Tensor,
  ): void;
  /**
   * What a layer remembers, copied to the host: `window` rows of positions [from, from + n), which must still be held, or entries
   * [from, from + n) of its `compressor` or `indexer`. For traces and checks, never inside a step.
   */
  readState(s: SequenceStateHandle, layer: number, part: StatePart, from: number, n: number, out: Float32Array): void;
}
