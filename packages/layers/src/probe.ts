import type { KvCache, StepRows, Tensor } from '@megamoe/ops';
import type { Workspace } from './workspace';

/**
 * Looks on while a step runs, and never changes its path: it is called between operations, and may read tensors back. Names are those of
 * Hugging Face's modules: `streams`, `attn_hc_collapsed`, `attn_hc_post`, `attn_hc_comb`, `attn_out`, `ffn_out`, `topk_ids`,
 * `topk_weights` of a layer, and `final_norm` (layer -1).
 */
export interface Probe {
  /** A tensor of `rows` rows of shape `inner`. */
  tensor?(name: string, layer: number, x: Tensor, rows: number, inner: readonly number[]): void;
  /**
   * Further float rows, in the order in which operations make them, under names of this project: for those who look for one value, as
   * {@link FirstNonFinite} does. With those of `tensor` they are every float tensor of rows that a step makes, but for the experts' slots.
   */
  between?(name: string, layer: number, x: Tensor, rows: number, inner: readonly number[]): void;
  /** After the attention of a compressed layer: `selected` [rows, topk] entries of each row, or null for all visible ones. */
  attended?(layer: number, selected: Tensor | null, topk: number, cache: KvCache, rows: StepRows): void;
  /** After the first GEMM of the routed experts: `normed`, `slotToken`, `expertOffsets` and `gateUp` hold what the two GEMMs are given. */
  experts?(layer: number, ws: Workspace, slots: number): void;
}

/** Where a step is: for those who look on from underneath, at the operations. */
export interface Place {
  /** -1 before the first layer and after the last. */
  layer: number;
  block: 'embed' | 'attention' | 'experts' | 'head';
}
