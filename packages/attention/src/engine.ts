/**
 * What a backend implements: the hot loops, on plain arrays and positional numbers, arguments already checked. The addon exports
 * the same functions with two arguments in front, table and threads; positional, because an object of many fields costs several
 * times as much across the boundary.
 */
export interface Engine {
  /** Rotates pairs of the last `ropeDim` of each head in place. x [m, heads, d]; cos, sin [m, ropeDim/2]. */
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
  /**
   * Appends rows `row0..row0+n` of kv, gate [*, width] at positions `p0..` and closes full windows. cos, sin
   * [closed windows, ropeDim/2] belong to their first positions, in order. State arrays as in CompressorState.
   */
  compress(
    kv: Float32Array,
    gate: Float32Array,
    row0: number,
    n: number,
    p0: number,
    ratio: number,
    dim: number,
    width: number,
    ape: Float32Array,
    norm: Float32Array,
    rmsNormEps: number,
    ropeDim: number,
    cos: Float32Array,
    sin: Float32Array,
    entries: Float32Array,
    partialKv: Float32Array,
    partialGate: Float32Array,
    overlapKv: Float32Array,
    overlapGate: Float32Array,
  ): void;
  /** Top entries of rows `row0..row0+n` of q [*, heads, dim]; selected [n, topk]. */
  indexSelect(
    entries: Float32Array,
    ratio: number,
    dim: number,
    q: Float32Array,
    headWeights: Float32Array,
    row0: number,
    n: number,
    p0: number,
    heads: number,
    topk: number,
    selected: Int32Array,
  ): void;
  /** Attention over key rows: index < ringCap is a row of ring, else of entries. */
  attend(
    ring: Float32Array,
    ringCap: number,
    entries: Float32Array,
    d: number,
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
