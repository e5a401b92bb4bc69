import { checkInteger, checkOneOf, ValueError } from '@megamoe/core';

/** What one layer remembers: its window, and for compressed layers how many tokens make an entry. */
export interface LayerSpec {
  /** Tokens per compressed entry: 0 = sliding window only, 4 = CSA (overlapping windows, indexer), 128 = HCA. */
  readonly ratio: 0 | 4 | 128;
  /** Recent tokens kept raw, the query's own included (`sliding_window`). */
  readonly window: number;
  /** Elements of a key row (`head_dim`); K and V are one tensor. */
  readonly headDim: number;
  /** Elements of an indexer key (`index_head_dim`); needed for ratio 4, refused elsewhere. */
  readonly indexHeadDim?: number;
}

/** What a {@link SequenceState} is allocated from. */
export interface StateSpec {
  readonly layers: readonly LayerSpec[];
  /** Longest sequence the state can hold, in tokens. */
  readonly maxTokens: number;
  /** Most tokens of this sequence in one step. */
  readonly maxChunk: number;
}

/** The published compression ratios: none, CSA and HCA (docs/formats.md A1.3). */
const RATIOS = [0, 4, 128] as const;

/** Throws unless `layer` is a usable {@link LayerSpec}; `at` names it in the message. */
export function checkLayerSpec(fn: string, at: string, layer: LayerSpec): void {
  checkOneOf(fn, `${at}.ratio`, layer.ratio, RATIOS);
  checkInteger(fn, `${at}.window`, layer.window, 1, 2 ** 30);
  checkInteger(fn, `${at}.headDim`, layer.headDim, 1, 2 ** 16);
  if (layer.ratio === 4) checkInteger(fn, `${at}.indexHeadDim`, layer.indexHeadDim ?? NaN, 1, 2 ** 16);
  else if (layer.indexHeadDim !== undefined) {
    throw new ValueError(
      `${fn}: "${at}.indexHeadDim" belongs to ratio 4 only, got ${layer.indexHeadDim} with ratio ${layer.ratio}`,
    );
  }
}

/**
 * Compressed entries that the query at `position` may see: entry w is visible iff `w < floor((position + 1) / ratio)`, that is,
 * once the last token of its window is at or before the query (docs/formats.md D5). 0 for ratio 0.
 */
export function visibleEntries(position: number, ratio: number): number {
  checkInteger('visibleEntries', 'position', position, 0, 2 ** 31 - 2);
  checkInteger('visibleEntries', 'ratio', ratio, 0, 2 ** 31 - 1);
  return ratio === 0 ? 0 : Math.floor((position + 1) / ratio);
}
