import { PAGES, visibleEntries, type Backend, type KvCache, type StepRows, type Tensor } from '@megamoe/ops';
import type { Probe } from './probe';

/** One traced tensor, all tokens of the trace in its first axis. */
export interface TracedTensor {
  readonly dtype: 'f32' | 'i32' | 'u8';
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}

interface Track {
  readonly dtype: TracedTensor['dtype'];
  readonly inner: readonly number[];
  readonly parts: (Float32Array | Int32Array)[];
  rows: number;
}

/**
 * Collects per-layer tensors of one sequence over any number of steps, under the names of Hugging Face's modules:
 * `layers.i.streams` [S, hc, D], `layers.i.attn_hc_collapsed` [S, D], `layers.i.attn_hc_post` [S, hc], `layers.i.attn_hc_comb`
 * [S, hc, hc], `layers.i.attn_out`, `layers.i.ffn_out` [S, D], `layers.i.topk_ids`, `layers.i.topk_weights` [S, topk],
 * `layers.i.compressed_kv` [T, headDim], `layers.i.visible` [S, T], `final_norm` [S, D].
 */
export class Trace {
  readonly #tracks = new Map<string, Track>();
  readonly #visible = new Map<number, Uint32Array[]>();
  readonly #compressed = new Map<number, { entries: number; dim: number; data: Float32Array }>();

  /** What looks on while a step of a backend runs. */
  probe(backend: Backend): Probe {
    return {
      tensor: (name, layer, x, rows, inner) =>
        this.#record(backend, layer < 0 ? name : `layers.${layer}.${name}`, x, rows, inner),
      attended: (layer, selected, topk, cache, rows) => this.#attended(backend, layer, selected, topk, cache, rows),
    };
  }

  /** Appends `rows` rows of shape `inner` from a tensor. */
  #record(backend: Backend, name: string, x: Tensor, rows: number, inner: readonly number[]): void {
    const n = rows * inner.reduce((a, b) => a * b, 1);
    const dtype = x.dtype === 'i32' ? 'i32' : 'f32';
    const data = dtype === 'i32' ? new Int32Array(n) : new Float32Array(n);
    backend.download(x, 0, n, data, 0);
    let track = this.#tracks.get(name);
    if (!track) this.#tracks.set(name, (track = { dtype, inner, parts: [], rows: 0 }));
    track.parts.push(data);
    track.rows += rows;
  }

  /** The compressed keys as they stand (entries never change, so a later step replaces them), and which of them each row sees. */
  #attended(
    backend: Backend,
    layer: number,
    selected: Tensor | null,
    topk: number,
    cache: KvCache,
    rows: StepRows,
  ): void {
    const { ratio, headDim } = cache.specs[layer]!;
    const kind = ratio === 4 ? 'entries4' : 'entries128';
    const last = rows.positions[rows.rows - 1]!;
    const entries = visibleEntries(last, ratio);
    const data = new Float32Array(entries * headDim);
    const memory = cache.part(layer, 'entries');
    const page = PAGES[kind].rows;
    for (let w = 0; w < entries; w += page) {
      const n = Math.min(page, entries - w);
      backend.download(memory, rows.memoryRow(kind, 0, w) * headDim, n * headDim, data, w * headDim);
    }
    this.#compressed.set(layer, { entries, dim: headDim, data });
    const ids = new Int32Array(selected ? rows.rows * topk : 0);
    if (selected) backend.download(selected, 0, ids.length, ids, 0);
    const seen = Array.from({ length: rows.rows }, (_, i) => {
      if (selected) return Uint32Array.from(ids.subarray(i * topk, (i + 1) * topk).filter((e) => e >= 0));
      return Uint32Array.from({ length: visibleEntries(rows.positions[i]!, ratio) }, (_, e) => e);
    });
    this.#visible.set(layer, (this.#visible.get(layer) ?? []).concat(seen));
  }

  /** Everything recorded. */
  tensors(): Map<string, TracedTensor> {
    const out = new Map<string, TracedTensor>();
    for (const [name, { dtype, inner, parts, rows }] of this.#tracks) {
      const size = rows * inner.reduce((a, b) => a * b, 1);
      const data = dtype === 'i32' ? new Int32Array(size) : new Float32Array(size);
      let at = 0;
      for (const part of parts) {
        data.set(part, at);
        at += part.length;
      }
      out.set(name, { dtype, shape: [rows, ...inner], data });
    }
    for (const [layer, { entries, dim, data }] of this.#compressed) {
      out.set(`layers.${layer}.compressed_kv`, { dtype: 'f32', shape: [entries, dim], data });
      const rows = this.#visible.get(layer) ?? [];
      const mask = new Uint8Array(rows.length * entries);
      rows.forEach((list, s) => list.forEach((w) => (mask[s * entries + w] = 1)));
      out.set(`layers.${layer}.visible`, { dtype: 'u8', shape: [rows.length, entries], data: mask });
    }
    return out;
  }
}
