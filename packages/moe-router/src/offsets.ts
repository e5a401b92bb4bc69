import {
  checkApart,
  checkApartOrSame,
  checkCapacity,
  checkInteger,
  checkKind,
  describe,
  ShapeError,
  ValueError,
} from '@megamoe/core';

/**
 * Rows per expert.
 *
 * @param topkIds [T, topk] i32 in [-1, E); -1 is masked and counts nowhere
 * @param counts  [E] i32 out
 * @throws ValueError naming token and place of an id out of range; nothing is written then
 */
export function countExperts(
  topkIds: Int32Array,
  t: number,
  topk: number,
  numExperts: number,
  counts: Int32Array,
): void {
  const fn = 'countExperts';
  checkKind(fn, 'counts', counts, Int32Array);
  checkIds(fn, topkIds, t, topk, numExperts);
  checkCapacity(fn, 'counts', counts, 'E', numExperts);
  checkApart(fn, 'counts', counts, 'topkIds', topkIds, numExperts, t * topk);
  for (let e = 0; e < numExperts; e++) counts[e] = 0;
  const n = t * topk;
  for (let i = 0; i < n; i++) {
    const e = topkIds[i]!;
    if (e >= 0) counts[e] = counts[e]! + 1;
  }
}

/** Checks shapes and that every id is in [-1, E). */
export function checkIds(fn: string, topkIds: Int32Array, t: number, topk: number, numExperts: number): void {
  checkInteger(fn, 't', t, 0);
  checkInteger(fn, 'topk', topk, 1);
  checkInteger(fn, 'numExperts', numExperts, 1);
  checkKind(fn, 'topkIds', topkIds, Int32Array);
  checkCapacity(fn, 'topkIds', topkIds, 'T*topk', t * topk);
  const n = t * topk;
  for (let i = 0; i < n; i++) {
    const e = topkIds[i]!;
    if (e >= -1 && e < numExperts) continue;
    const at = `token ${Math.floor(i / topk)}, place ${i % topk}`;
    throw new ValueError(`${fn}: "topkIds" must be in [-1, ${numExperts}), got ${e} at ${at}`);
  }
}

/**
 * Cumulative **end** offsets without a leading zero: counts [4, 4, 0] give [4, 8, 8].
 *
 * @param counts        [E] i32, non-negative
 * @param expertOffsets [E] i32 out, may be `counts` itself
 * @throws ValueError for a negative count or a sum above 2^31 - 1
 */
export function offsetsFromCounts(counts: Int32Array, numExperts: number, expertOffsets: Int32Array): void {
  const fn = 'offsetsFromCounts';
  checkInteger(fn, 'numExperts', numExperts, 1);
  checkKind(fn, 'counts', counts, Int32Array);
  checkKind(fn, 'expertOffsets', expertOffsets, Int32Array);
  checkCapacity(fn, 'counts', counts, 'E', numExperts);
  checkCapacity(fn, 'expertOffsets', expertOffsets, 'E', numExperts);
  checkApartOrSame(fn, 'expertOffsets', expertOffsets, 'counts', counts, numExperts, numExperts);
  let total = 0;
  for (let e = 0; e < numExperts; e++) {
    if (counts[e]! < 0) throw new ValueError(`${fn}: "counts" must not be negative, got ${counts[e]} at expert ${e}`);
    total += counts[e]!;
  }
  checkRows(fn, 'counts', total);
  let end = 0;
  for (let e = 0; e < numExperts; e++) {
    end += counts[e]!;
    expertOffsets[e] = end;
  }
}

function checkRows(fn: string, arg: string, total: number): void {
  if (total > 0x7fffffff) throw new ValueError(`${fn}: "${arg}" must add up to at most 2147483647 rows, got ${total}`);
}

/** Throws unless `expertOffsets` are ends: the first not negative, none below the one before. */
export function checkOffsets(fn: string, expertOffsets: Int32Array, numExperts: number): void {
  let before = 0;
  for (let e = 0; e < numExperts; e++) {
    const end = expertOffsets[e]!;
    if (end < before) {
      throw new ValueError(`${fn}: "expertOffsets" must not decrease, got ${end} after ${before} at expert ${e}`);
    }
    before = end;
  }
}

/**
 * The expert that row `row` belongs to: the first e with `expertOffsets[e] > row` (searchsorted right), so that the first row after an
 * end belongs to the next expert that has rows.
 *
 * @param expertOffsets [E] i32 cumulative ends; its length is E
 * @throws ShapeError unless `row` is in [0, rows)
 */
export function expertOfRow(expertOffsets: Int32Array, row: number): number {
  checkKind('expertOfRow', 'expertOffsets', expertOffsets, Int32Array);
  const numExperts = expertOffsets.length;
  const rows = numExperts === 0 ? 0 : expertOffsets[numExperts - 1]!;
  if (!(Number.isInteger(row) && row >= 0 && row < rows)) {
    throw new ShapeError(`expertOfRow: "row" must be an integer in [0, rows = ${rows}), got ${describe(row)}`);
  }
  let low = 0;
  let high = numExperts - 1;
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (expertOffsets[mid]! > row) high = mid;
    else low = mid + 1;
  }
  return low;
}
