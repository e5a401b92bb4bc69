import type { LayerSpec, StateSpec } from './spec';

/**
 * Compressed keys of one compressor (the layer's, or its indexer's) and what it needs to make the next one. Written by
 * `AttentionKernels.compress` only.
 */
export interface CompressorState {
  /** Tokens per entry. */
  readonly ratio: number;
  /** Elements of an entry. */
  readonly dim: number;
  /** Elements of a token's projection: 2*dim when windows overlap (ratio 4), else dim. */
  readonly width: number;
  /** Longest sequence, in tokens. */
  readonly maxTokens: number;
  /** Tokens appended so far; `floor(position / ratio)` entries are valid. */
  position: number;
  /** [floor(maxTokens/ratio), dim] f32; rows past the valid ones are never read. */
  readonly entries: Float32Array;
  /** [ratio, width] f32, projections of the open window; row = position % ratio. */
  readonly partialKv: Float32Array;
  /** [ratio, width] f32, its gates with `ape` added. */
  readonly partialGate: Float32Array;
  /** [ratio, dim] f32, first half of the last closed window (0 before there is one); empty without overlap. */
  readonly overlapKv: Float32Array;
  /** [ratio, dim] f32, its gates with `ape` added (-Infinity before there is one); empty without overlap. */
  readonly overlapGate: Float32Array;
}

/** What one layer of one sequence remembers. Written by `writeWindow` and `compress` only. */
export interface LayerState {
  readonly ratio: 0 | 4 | 128;
  readonly window: number;
  readonly headDim: number;
  /** Longest sequence, in tokens. */
  readonly maxTokens: number;
  /** Most tokens in one step. */
  readonly maxChunk: number;
  /** Rows of `ring`: window + maxChunk - 1, so that a whole chunk can be written before its first query is attended. */
  readonly ringCap: number;
  /** [ringCap, headDim] f32; the key of token p is row `p % ringCap`. */
  readonly ring: Float32Array;
  /** Tokens written to the ring so far. */
  position: number;
  /** Ratio 4 and 128. */
  readonly compressor?: CompressorState;
  /** Ratio 4. */
  readonly indexer?: CompressorState;
}

function createCompressor(ratio: number, dim: number, maxTokens: number): CompressorState {
  const overlaps = ratio === 4;
  const width = overlaps ? 2 * dim : dim;
  const overlap = overlaps ? ratio * dim : 0;
  return {
    ratio,
    dim,
    width,
    maxTokens,
    position: 0,
    entries: new Float32Array(Math.floor(maxTokens / ratio) * dim),
    partialKv: new Float32Array(ratio * width),
    partialGate: new Float32Array(ratio * width),
    overlapKv: new Float32Array(overlap),
    overlapGate: new Float32Array(overlap).fill(-Infinity), // weight 0: entry 0 has no previous window
  };
}

/** A zeroed layer at position 0. */
export function createLayer(spec: LayerSpec, { maxTokens, maxChunk }: StateSpec): LayerState {
  const { ratio, window, headDim } = spec;
  const ringCap = window + maxChunk - 1;
  return {
    ratio,
    window,
    headDim,
    maxTokens,
    maxChunk,
    ringCap,
    ring: new Float32Array(ringCap * headDim),
    position: 0,
    ...(ratio !== 0 && { compressor: createCompressor(ratio, headDim, maxTokens) }),
    ...(ratio === 4 && { indexer: createCompressor(ratio, spec.indexHeadDim!, maxTokens) }),
  };
}

/** Bytes that the arrays of a {@link StateSpec}'s state take. */
export function stateBytes({ layers, maxTokens, maxChunk }: StateSpec): number {
  const compressor = (ratio: number, dim: number): number => {
    const wide = ratio === 4 ? 2 : 1; // overlapping windows: projections twice as wide, and an overlap of two arrays
    return Math.floor(maxTokens / ratio) * dim + 2 * ratio * wide * dim + (ratio === 4 ? 2 * ratio * dim : 0);
  };
  return layers.reduce((sum, { ratio, window, headDim, indexHeadDim = 0 }) => {
    const ring = (window + maxChunk - 1) * headDim;
    const entries = ratio === 0 ? 0 : compressor(ratio, headDim);
    return sum + 4 * (ring + entries + (ratio === 4 ? compressor(4, indexHeadDim) : 0));
  }, 0);
}

/** Bytes of all arrays of a layer. */
export function layerBytes(layer: LayerState): number {
  let bytes = layer.ring.byteLength;
  for (const c of [layer.compressor, layer.indexer]) {
    if (!c) continue;
    for (const a of [c.entries, c.partialKv, c.partialGate, c.overlapKv, c.overlapGate]) bytes += a.byteLength;
  }
  return bytes;
}
