import { checkCapacity, checkInteger, checkKind, roundUp, ValueError } from '@megamoe/core';
import { rowsPerTile } from './geometry';
import type { SfLayout } from './geometry';

/** Throws `ValueError` unless `offsets` are cumulative ends: not negative, never decreasing, the last at most `max`. */
export function checkEndOffsets(fn: string, arg: string, offsets: Int32Array, max: number): void {
  checkKind(fn, arg, offsets, Int32Array);
  let previous = 0;
  for (let e = 0; e < offsets.length; e++) {
    const end = offsets[e]!;
    if (end < previous || end > max) {
      throw new ValueError(
        `${fn}: "${arg}" must hold ascending ends in [0, ${max}], got ${end} after ${previous} at index ${e}`,
      );
    }
    previous = end;
  }
}

/**
 * Padded end offsets: each expert's rows rounded up to whole tiles (128 for `128x4`), an expert without rows stays empty.
 * Counts [4, 4, 0] have `expertOffsets` [4, 8, 8] and `sfOffsets` [128, 256, 256].
 * @param expertOffsets [E] i32, cumulative ends, no leading zero
 * @param sfOffsets     [E] i32; may be `expertOffsets` itself
 */
export function paddedSfOffsets(
  expertOffsets: Int32Array,
  sfOffsets: Int32Array = new Int32Array(expertOffsets.length),
  layout: SfLayout = '128x4',
): Int32Array {
  const tile = rowsPerTile(layout);
  checkEndOffsets('paddedSfOffsets', 'expertOffsets', expertOffsets, 2 ** 31 - 1 - tile * expertOffsets.length);
  checkKind('paddedSfOffsets', 'sfOffsets', sfOffsets, Int32Array);
  checkCapacity('paddedSfOffsets', 'sfOffsets', sfOffsets, 'E', expertOffsets.length);
  let start = 0;
  let padded = 0;
  for (let e = 0; e < expertOffsets.length; e++) {
    const end = expertOffsets[e]!;
    padded += roundUp(end - start, tile);
    sfOffsets[e] = padded;
    start = end;
  }
  return sfOffsets;
}

/** The first `e` with `ends[e] > row` (searchsorted right), E when there is none: padding behind the last expert has no expert. */
export function firstEndAbove(ends: Int32Array, row: number): number {
  let low = 0;
  let high = ends.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (ends[mid]! > row) high = mid;
    else low = mid + 1;
  }
  return low;
}

/**
 * The largest number of padded rows that `rows` rows over `numExperts` experts can need, whatever the routing: `rows` plus up
 * to `tile - 1` for each expert that can have any, cut to whole tiles (a sum of whole tiles is one). Size buffers with it
 * when the counts must stay on the device.
 */
export function sfCapacityRows(rows: number, numExperts: number, layout: SfLayout = '128x4'): number {
  checkInteger('sfCapacityRows', 'rows', rows, 0);
  checkInteger('sfCapacityRows', 'numExperts', numExperts, 0);
  const tile = rowsPerTile(layout);
  const bound = numExperts === 0 ? 0 : rows + Math.min(rows, numExperts) * (tile - 1);
  return bound - (bound % tile);
}

/**
 * End offsets in scale columns for a reduction that is ragged over experts: `sum(ceil(count_e / sfVecSize))`.
 * @param expertOffsets [E] i32, cumulative ends in elements along K
 * @param kSfOffsets    [E] i32, cumulative ends in scale columns
 */
export function raggedKSfOffsets(
  expertOffsets: Int32Array,
  sfVecSize: 16 | 32 = 16,
  kSfOffsets: Int32Array = new Int32Array(expertOffsets.length),
): Int32Array {
  if (sfVecSize !== 16 && sfVecSize !== 32) {
    throw new ValueError(`raggedKSfOffsets: "sfVecSize" must be one of 16, 32, got ${String(sfVecSize)}`);
  }
  checkEndOffsets('raggedKSfOffsets', 'expertOffsets', expertOffsets, 2 ** 31 - 1);
  checkKind('raggedKSfOffsets', 'kSfOffsets', kSfOffsets, Int32Array);
  checkCapacity('raggedKSfOffsets', 'kSfOffsets', kSfOffsets, 'E', expertOffsets.length);
  let start = 0;
  let columns = 0;
  for (let e = 0; e < expertOffsets.length; e++) {
    const end = expertOffsets[e]!;
    columns += Math.ceil((end - start) / sfVecSize);
    kSfOffsets[e] = columns;
    start = end;
  }
  return kSfOffsets;
}
