/** The lightning indexer: which compressed entries a query of a CSA layer attends to (docs/formats.md D7). */
import { checkLength } from '@megamoe/core';
import { toFloat64, type Numbers } from './numbers';
import { topK } from './topk';
import { visibleEntries } from './visibility';

/** Shape of the indexer's tensors. */
export interface IndexShape {
  /** Queries. */
  readonly n: number;
  readonly heads: number;
  readonly dim: number;
  /** Compressed keys. */
  readonly entries: number;
}

/**
 * Scores [N, entries]: `sum_h w[n, h] * heads^-0.5 * relu(q[n, h] . key[e]) * dim^-0.5`. q [N, heads, dim] after RoPE, keys
 * [entries, dim] after RoPE, headWeights [N, heads] as projected.
 */
export function indexScores(q: Numbers, keys: Numbers, headWeights: Numbers, shape: IndexShape): Float64Array {
  const { n, heads, dim, entries } = shape;
  checkLength('indexScores', 'q', q, 'N*heads*dim', n * heads * dim);
  checkLength('indexScores', 'keys', keys, 'entries*dim', entries * dim);
  checkLength('indexScores', 'headWeights', headWeights, 'N*heads', n * heads);
  const qs = toFloat64(q);
  const ks = toFloat64(keys);
  const out = new Float64Array(n * entries);
  for (let row = 0; row < n; row++)
    for (let e = 0; e < entries; e++) {
      let score = 0;
      for (let h = 0; h < heads; h++) {
        let dot = 0;
        for (let c = 0; c < dim; c++) dot += qs[(row * heads + h) * dim + c]! * ks[e * dim + c]!;
        score += headWeights[row * heads + h]! * heads ** -0.5 * Math.max(dot, 0) * dim ** -0.5;
      }
      out[row * entries + e] = score;
    }
  return out;
}

/** Arguments of {@link indexSelect}. */
export interface IndexSelection extends IndexShape {
  /** Position of the first query; the others follow. */
  readonly firstPosition: number;
  readonly ratio: number;
  readonly topk: number;
}

/**
 * The entries each query keeps, [N, topk] i32 ascending, padded with -1: the `topk` best by {@link indexScores} among those that are
 * visible, ties to the lowest index.
 */
export function indexSelect(q: Numbers, keys: Numbers, headWeights: Numbers, args: IndexSelection): Int32Array {
  const { n, entries, firstPosition, ratio, topk } = args;
  const scores = indexScores(q, keys, headWeights, args);
  const selected = new Int32Array(n * topk).fill(-1);
  for (let row = 0; row < n; row++) {
    const visible = Math.min(visibleEntries(firstPosition + row, ratio), entries);
    const best = topK(scores.subarray(row * entries, row * entries + visible), topk);
    selected.set(
      best.sort((a, b) => a - b),
      row * topk,
    );
  }
  return selected;
}
