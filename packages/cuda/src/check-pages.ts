import { ShapeError, ValueError } from '@megamoe/core';
import { filledRows, firstLiveRow, PAGES, type PageKind, type StepRows } from '@megamoe/ops';
import type { DeviceCache } from './cache';

/** Throws unless the pages of every sequence hold what its rows read and write, and no two sequences write one page. */
export function checkPages(fn: string, rows: StepRows, cache: DeviceCache): void {
  for (const kind of cache.kinds) {
    if (!rows.pages.has(kind))
      throw new ShapeError(
        `${fn}: "rows" must have pages of kind ${kind}, as the cache has; got ${rows.kinds.join(', ')}`,
      );
    for (let s = 0; s < rows.sequences; s++) checkSequence(fn, rows, cache, kind, s);
  }
  checkWriters(fn, rows);
}

function checkWriters(fn: string, rows: StepRows): void {
  if (rows.sequences < 2) return;
  const { rows: perPage } = PAGES.window;
  const { offsets, first, ids } = rows.pages.get('window')!;
  const written = new Set<number>();
  for (let s = 0; s < rows.sequences; s++) {
    const from = Math.floor(rows.positions[rows.firstRow[s]!]! / perPage);
    const to = Math.floor(rows.positions[rows.firstRow[s + 1]! - 1]! / perPage);
    for (let page = from; page <= to; page++) {
      const id = ids[offsets[s]! + page - first[s]!]!;
      if (written.has(id))
        throw new ValueError(
          `${fn}: sequence ${s} of the step writes window page ${id}, and so does one before it: reserve the pages of each ` +
            'sequence first, and add no sequence twice',
        );
      written.add(id);
    }
  }
}

function checkSequence(fn: string, rows: StepRows, cache: DeviceCache, kind: PageKind, s: number): void {
  const { offsets, first, ids } = rows.pages.get(kind)!;
  const start = rows.positions[rows.firstRow[s]!]!;
  const from = firstLiveRow(kind, start, cache.window);
  const to = filledRows(kind, rows.positions[rows.firstRow[s + 1]! - 1]! + 1);
  const { rows: perPage } = PAGES[kind];
  const held = first[s]! * perPage;
  const end = (first[s]! + offsets[s + 1]! - offsets[s]!) * perPage;
  if (to > from && (held > from || end < to)) {
    throw new ShapeError(
      `${fn}: sequence ${s} of the step must have its pages of kind ${kind} for rows [${from}, ${to}), got [${held}, ${end}): ` +
        'reserve them before it is added, in a pool with the window of the cache',
    );
  }
  const most = cache.pages(kind);
  for (let i = offsets[s]!; i < offsets[s + 1]!; i++) {
    if (ids[i]! >= 0 && ids[i]! < most) continue;
    throw new ShapeError(
      `${fn}: sequence ${s} of the step has page ${ids[i]!} of kind ${kind}, but the cache has ${most}: its pages must come from a pool ` +
        'with this cache as its memory',
    );
  }
}
