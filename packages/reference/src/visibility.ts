/** Which compressed entries a query may attend to (docs/formats.md D5). */
import { checkInteger, newArray } from '@megamoe/core';
import { takeOptional, takeSizes } from './arguments';

/** Compressed entries that position `t` may see: `floor((t + 1) / ratio)`, the windows that are complete including `t` itself. */
export function visibleEntries(position: number, ratio: number): number {
  checkInteger('visibleEntries', 'position', position, 0);
  checkInteger('visibleEntries', 'ratio', ratio, 1);
  return Math.floor((position + 1) / ratio);
}

/** Arguments of {@link visibleSet}. */
export interface Visibility {
  /** Queries, at positions firstPosition, firstPosition + 1, ... */
  readonly n: number;
  readonly firstPosition: number;
  readonly ratio: number;
  /** Compressed entries there are. */
  readonly entries: number;
  /** [N, topk] i32 chosen by the indexer (-1 = none); absent: every visible entry (HCA). */
  readonly selected?: ArrayLike<number> | null;
  readonly topk?: number;
}

/** [N, entries] u8: 1 where a query attends to a compressed entry. */
export function visibleSet(args: Visibility): Uint8Array {
  const fn = 'visibleSet';
  const { n, firstPosition, ratio, entries } = takeSizes(fn, 'args', args, 'n', 'firstPosition', 'ratio', 'entries');
  const { topk = 0 } = args;
  checkInteger(fn, 'topk', topk, 0);
  checkInteger(fn, 'ratio', ratio, 1);
  const selected = takeOptional(fn, 'selected', args.selected, ['N*topk', n * topk]);
  const set = newArray(fn, 'result', Uint8Array, 'N*entries', n * entries);
  if (set.length === 0) return set;
  for (let row = 0; row < n; row++) {
    const limit = Math.min(visibleEntries(firstPosition + row, ratio), entries);
    if (selected) {
      for (let j = 0; j < topk; j++) {
        const w = selected[row * topk + j]!;
        checkInteger(fn, `selected[${row}, ${j}]`, w, -1, limit - 1);
        if (w >= 0) set[row * entries + w] = 1;
      }
    } else set.fill(1, row * entries, row * entries + limit);
  }
  return set;
}
