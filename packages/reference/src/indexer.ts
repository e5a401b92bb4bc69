/** The lightning indexer: which compressed entries a query of a CSA layer attends to (docs/formats.md D7). */
import { checkInteger, newArray } from '@megamoe/core';
import { result, takeNumbers, takePositiveSizes, takeSizes } from './arguments';
import { toFloat64, type Numbers } from './numbers';
import { topK } from './topk';
import { visibleEntries } from './visibility';

/** Most entries that a query may keep, far beyond any model. */
export const MAX_TOPK = 2 ** 20;

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
  return scoresOf('indexScores', q, keys, headWeights, shape);
}

function scoresOf(fn: string, q: Numbers, keys: Numbers, weights: Numbers, shape: IndexShape): Float64Array {
  const { n, entries } = takeSizes(fn, 'shape', shape, 'n', 'entries');
  const { heads, dim } = takePositiveSizes(fn, 'shape', shape, 'heads', 'dim');
  const qs = toFloat64(takeNumbers(fn, 'q', q, ['N*heads*dim', n * heads * dim]));
  const ks = toFloat64(takeNumbers(fn, 'keys', keys, ['entries*dim', entries * dim]));
  const headWeights = takeNumbers(fn, 'headWeights', weights, ['N*heads', n * heads]);
  const out = result(fn, 'N*entries', n * entries);
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
  const fn = 'indexSelect';
  const shape = takeSizes(fn, 'args', args, 'n', 'heads', 'dim', 'entries', 'firstPosition', 'ratio', 'topk');
  const { n, entries, firstPosition, ratio, topk } = shape;
  checkInteger(fn, 'ratio', ratio, 1);
  checkInteger(fn, 'topk', topk, 0, MAX_TOPK);
  const scores = scoresOf(fn, q, keys, headWeights, shape);
  const selected = newArray(fn, 'result', Int32Array, 'N*topk', n * topk).fill(-1);
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
