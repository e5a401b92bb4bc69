import type { Ops } from './backend/ops';
import type { ExpertRanges } from './calibrate';
import type { Tensor } from './tensor';

/** One traced tensor, all tokens of the trace in its first axis. */
export interface TracedTensor {
  readonly dtype: 'f32' | 'i32' | 'u8';
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}

/** What looks on while a step runs. */
export interface Observers {
  readonly trace?: Trace | undefined;
  readonly ranges?: ExpertRanges | undefined;
}

interface Track {
  readonly dtype: TracedTensor['dtype'];
  readonly inner: readonly number[];
  readonly parts: (Float32Array | Int32Array)[];
  rows: number;
}

/**
 * Collects per-layer tensors of one sequence over any number of forward calls, under the names of Hugging Face's modules:
 * `layers.i.streams` [S, hc, D], `layers.i.attn_hc_collapsed` [S, D], `layers.i.attn_hc_post` [S, hc], `layers.i.attn_hc_comb`
 * [S, hc, hc], `layers.i.attn_out`, `layers.i.ffn_out` [S, D], `layers.i.topk_ids`, `layers.i.topk_weights` [S, topk],
 * `layers.i.compressed_kv` [T, headDim], `layers.i.visible` [S, T], `final_norm` [S, D].
 */
export class Trace {
  private readonly tracks = new Map<string, Track>();
  private readonly visible = new Map<number, Uint32Array[]>();
  private readonly compressed = new Map<number, { entries: number; dim: number; data: Float32Array }>();

  /** Appends `rows` rows of shape `inner` from a tensor. */
  record(ops: Ops, name: string, x: Tensor, rows: number, inner: readonly number[]): void {
    const n = rows * inner.reduce((a, b) => a * b, 1);
    const data = x.dtype === 'i32' ? new Int32Array(n) : new Float32Array(n);
    ops.download(x, 0, n, data, 0);
    let track = this.tracks.get(name);
    if (!track) this.tracks.set(name, (track = { dtype: x.dtype, inner, parts: [], rows: 0 }));
    track.parts.push(data);
    track.rows += rows;
  }

  /** Appends, for each query, the compressed entries that it attends to. */
  recordVisible(layer: number, entriesOfRows: Uint32Array[]): void {
    const all = this.visible.get(layer) ?? [];
    this.visible.set(layer, all.concat(entriesOfRows));
  }

  /** The compressed keys of a layer as they stand now; a later call replaces them, since entries never change. */
  recordCompressed(layer: number, entries: number, dim: number, data: Float32Array): void {
    this.compressed.set(layer, { entries, dim, data });
  }

  /** Everything recorded. */
  tensors(): Map<string, TracedTensor> {
    const out = new Map<string, TracedTensor>();
    for (const [name, { dtype, inner, parts, rows }] of this.tracks) {
      const size = rows * inner.reduce((a, b) => a * b, 1);
      const data = dtype === 'i32' ? new Int32Array(size) : new Float32Array(size);
      let at = 0;
      for (const part of parts) {
        data.set(part, at);
        at += part.length;
      }
      out.set(name, { dtype, shape: [rows, ...inner], data });
    }
    for (const [layer, { entries, dim, data }] of this.compressed) {
      out.set(`layers.${layer}.compressed_kv`, { dtype: 'f32', shape: [entries, dim], data });
      const rows = this.visible.get(layer) ?? [];
      const mask = new Uint8Array(rows.length * entries);
      rows.forEach((list, s) => list.forEach((w) => (mask[s * entries + w] = 1)));
      out.set(`layers.${layer}.visible`, { dtype: 'u8', shape: [rows.length, entries], data: mask });
    }
    return out;
  }
}
