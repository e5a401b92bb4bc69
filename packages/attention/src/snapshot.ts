import type { CompressorState, LayerState } from './layer-state';

/** A compressor's part of a {@link SavedState}. */
export interface SavedCompressor {
  /** [floor(position/ratio), dim] f32. */
  readonly entries: Float32Array;
  /** [position % ratio, width] f32. */
  readonly partialKv: Float32Array;
  readonly partialGate: Float32Array;
  /** [ratio, dim] f32, or empty. */
  readonly overlapKv: Float32Array;
  readonly overlapGate: Float32Array;
}

/** A layer's part of a {@link SavedState}. */
export interface SavedLayer {
  readonly ratio: 0 | 4 | 128;
  readonly window: number;
  readonly headDim: number;
  /** Ratio 4 only. */
  readonly indexHeadDim?: number;
  /** [min(position, window-1), headDim] f32, oldest first: what later queries can still see. */
  readonly ring: Float32Array;
  readonly compressor?: SavedCompressor;
  readonly indexer?: SavedCompressor;
}

/** A sequence's memory as plain data: `structuredClone`, `postMessage` and serializers take it as it is. */
export interface SavedState {
  readonly format: 'megamoe-sequence';
  readonly version: 1;
  readonly position: number;
  readonly layers: readonly SavedLayer[];
}

/** Ring rows that a query at `position` or later can still see. */
export function liveRows(position: number, window: number): number {
  return Math.min(position, window - 1);
}

/** Copies the rows of the last `count` positions out of a ring (oldest first), or back into it. */
function copyRing(layer: LayerState, position: number, rows: Float32Array, direction: 'out' | 'in'): void {
  const { ring, ringCap, headDim: d } = layer;
  const count = liveRows(position, layer.window);
  for (let i = 0; i < count; i++) {
    const slot = (position - count + i) % ringCap;
    if (direction === 'out') rows.set(ring.subarray(slot * d, (slot + 1) * d), i * d);
    else ring.set(rows.subarray(i * d, (i + 1) * d), slot * d);
  }
}

function takeCompressor(c: CompressorState, withEntries: boolean): SavedCompressor {
  const open = (c.position % c.ratio) * c.width;
  const closed = withEntries ? Math.floor(c.position / c.ratio) * c.dim : 0;
  return {
    entries: c.entries.slice(0, closed),
    partialKv: c.partialKv.slice(0, open),
    partialGate: c.partialGate.slice(0, open),
    overlapKv: c.overlapKv.slice(),
    overlapGate: c.overlapGate.slice(),
  };
}

/** Copies what `layer` remembers. Without entries for a mark: entries are only ever appended, so cutting back keeps them. */
export function takeLayer(layer: LayerState, withEntries: boolean): SavedLayer {
  const { ratio, window, headDim, compressor, indexer, position } = layer;
  const ring = new Float32Array(liveRows(position, window) * headDim);
  copyRing(layer, position, ring, 'out');
  return {
    ratio,
    window,
    headDim,
    ...(indexer && { indexHeadDim: indexer.dim }),
    ring,
    ...(compressor && { compressor: takeCompressor(compressor, withEntries) }),
    ...(indexer && { indexer: takeCompressor(indexer, withEntries) }),
  };
}

function putCompressor(c: CompressorState, saved: SavedCompressor, position: number): void {
  c.entries.set(saved.entries);
  c.partialKv.set(saved.partialKv);
  c.partialGate.set(saved.partialGate);
  c.overlapKv.set(saved.overlapKv);
  c.overlapGate.set(saved.overlapGate);
  c.position = position;
}

/** Writes back what {@link takeLayer} copied at `position`. Shapes must have been checked. */
export function putLayer(layer: LayerState, saved: SavedLayer, position: number): void {
  copyRing(layer, position, saved.ring, 'in');
  layer.position = position;
  if (layer.compressor && saved.compressor) putCompressor(layer.compressor, saved.compressor, position);
  if (layer.indexer && saved.indexer) putCompressor(layer.indexer, saved.indexer, position);
}
