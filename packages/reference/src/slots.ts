/** Which expert owns which row, by definition. */
import { checkInteger, newArray, ValueError } from '@megamoe/core';
import { takeNumbers, takeSizes } from './arguments';

/**
 * The expert that owns `row`: the first e with `expertOffsets[e] > row` (offsets are cumulative ends, no leading zero). Experts
 * without rows own nothing. A row past the last end is an error.
 */
export function expertOfRow(offsets: ArrayLike<number>, row: number): number {
  const expertOffsets = takeNumbers('expertOfRow', 'expertOffsets', offsets);
  checkInteger('expertOfRow', 'row', row, 0);
  for (let e = 0; e < expertOffsets.length; e++) if (expertOffsets[e]! > row) return e;
  throw new ValueError(
    `expertOfRow: "row" ${row} lies past the last end ${expertOffsets[expertOffsets.length - 1] ?? 0}`,
  );
}

/** Rows of all experts, of offsets that have been taken: the last end, 0 without experts. Ends that decrease or are no integers are an error. */
export function rowsOf(fn: string, expertOffsets: ArrayLike<number>): number {
  let last = 0;
  for (let e = 0; e < expertOffsets.length; e++) {
    checkInteger(fn, `expertOffsets[${e}]`, expertOffsets[e]!, last);
    last = expertOffsets[e]!;
  }
  return last;
}

const MAX_EXPERTS = 2 ** 20; // far beyond any model

/** The order in which (token, choice) pairs are worked on. */
export interface Slots {
  /** [E] cumulative ends. */
  readonly expertOffsets: Int32Array;
  /** [slots] the token a slot reads. */
  readonly slotToken: Int32Array;
  /** [T, topk] the slot of a token's j-th choice; -1 for an id that is -1. */
  readonly tokenSlots: Int32Array;
}

/** Sorts all choices of `topkIds` [T, topk] (i32, -1 = none) by (expert, token, choice). */
export function assignSlots(
  ids: ArrayLike<number>,
  shape: { readonly t: number; readonly topk: number; readonly numExperts: number },
): Slots {
  const fn = 'assignSlots';
  const { t, topk, numExperts } = takeSizes(fn, 'shape', shape, 't', 'topk', 'numExperts');
  checkInteger(fn, 'numExperts', numExperts, 0, MAX_EXPERTS);
  const topkIds = takeNumbers(fn, 'topkIds', ids, ['T*topk', t * topk]);
  const expertOffsets = newArray(fn, 'expertOffsets', Int32Array, 'numExperts', numExperts);
  const choices: { expert: number; at: number }[] = [];
  for (let at = 0; at < t * topk; at++) {
    checkInteger(fn, `topkIds[${at}]`, topkIds[at]!, -1, numExperts - 1);
    if (topkIds[at]! >= 0) choices.push({ expert: topkIds[at]!, at });
  }
  choices.sort((a, b) => a.expert - b.expert || a.at - b.at);
  const tokenSlots = new Int32Array(t * topk).fill(-1);
  choices.forEach(({ at }, slot) => (tokenSlots[at] = slot));
  for (const { expert } of choices) expertOffsets[expert]!++;
  for (let e = 1; e < numExperts; e++) expertOffsets[e]! += expertOffsets[e - 1]!;
  return {
    expertOffsets,
    slotToken: Int32Array.from(choices, ({ at }) => Math.floor(at / topk)),
    tokenSlots,
  };
}

/** Padded ends of the scale rows: each expert's rows rounded up to `rowsPerTile`, an empty expert has none. */
export function paddedOffsets(offsets: ArrayLike<number>, rowsPerTile = 128): Int32Array {
  const expertOffsets = takeNumbers('paddedOffsets', 'expertOffsets', offsets);
  checkInteger('paddedOffsets', 'rowsPerTile', rowsPerTile, 1);
  rowsOf('paddedOffsets', expertOffsets);
  let end = 0;
  return Int32Array.from({ length: expertOffsets.length }, (_, e) => {
    const rows = expertOffsets[e]! - (e === 0 ? 0 : expertOffsets[e - 1]!);
    end += Math.ceil(rows / rowsPerTile) * rowsPerTile;
    return end;
  });
}
