import {
  checkApartOrSame,
  checkCapacity,
  checkInteger,
  checkKind,
  describe,
  newArray,
  roundUp,
  ValueError,
} from '@megamoe/core';
import { tileRows } from './geometry';
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

/** The array of E ends to write, checked, which may be `expertOffsets` itself; a new one when it was left out. */
export function endsToWrite(
  fn: string,
  arg: string,
  expertOffsets: Int32Array,
  given: Int32Array | undefined,
): Int32Array {
  const numExperts = expertOffsets.length;
  const out = given ?? newArray(fn, arg, Int32Array, 'E', numExperts);
  checkKind(fn, arg, out, Int32Array);
  checkCapacity(fn, arg, out, 'E', numExperts);
  checkApartOrSame(fn, arg, out, 'expertOffsets', expertOffsets, numExperts, numExperts);
  return out;
}

/**
 * Padded end offsets: each expert's rows rounded up to whole tiles (128 for `128x4`), an expert without rows stays empty.
 * Counts [4, 4, 0] have `expertOffsets` [4, 8, 8] and `sfOffsets` [128, 256, 256].
 * @param expertOffsets [E] i32, cumulative ends, no leading zero
 * @param given         the output, [E] i32; may be `expertOffsets` itself, and overlap it in no other way
 */
export function paddedSfOffsets(expertOffsets: Int32Array, given?: Int32Array, layout: SfLayout = '128x4'): Int32Array {
  return paddedEnds('paddedSfOffsets', expertOffsets, given, layout);
}

/** {@link paddedSfOffsets}, for errors of the function that was called. */
export function paddedEnds(
  fn: string,
  expertOffsets: Int32Array,
  given: Int32Array | undefined,
  layout: SfLayout,
): Int32Array {
  const tile = tileRows(fn, layout);
  checkKind(fn, 'expertOffsets', expertOffsets, Int32Array);
  checkEndOffsets(fn, 'expertOffsets', expertOffsets, 2 ** 31 - 1 - tile * expertOffsets.length);
  const sfOffsets = endsToWrite(fn, 'sfOffsets', expertOffsets, given);
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
  return capacityRows(rows, numExperts, tileRows('sfCapacityRows', layout));
}

/** {@link sfCapacityRows} without checks. */
export function capacityRows(rows: number, numExperts: number, tile: number): number {
  const bound = numExperts === 0 ? 0 : rows + Math.min(rows, numExperts) * (tile - 1);
  return bound - (bound % tile);
}

/**
 * End offsets in scale columns for a reduction that is ragged over experts: `sum(ceil(count_e / sfVecSize))`.
 * @param expertOffsets [E] i32, cumulative ends in elements along K
 * @param given         the output, [E] i32, cumulative ends in scale columns; may be `expertOffsets` itself
 */
export function raggedKSfOffsets(expertOffsets: Int32Array, sfVecSize: 16 | 32 = 16, given?: Int32Array): Int32Array {
  if (sfVecSize !== 16 && sfVecSize !== 32) {
    throw new ValueError(`raggedKSfOffsets: "sfVecSize" must be one of 16, 32, got ${describe(sfVecSize)}`);
  }
  checkEndOffsets('raggedKSfOffsets', 'expertOffsets', expertOffsets, 2 ** 31 - 1);
  const kSfOffsets = endsToWrite('raggedKSfOffsets', 'kSfOffsets', expertOffsets, given);
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
