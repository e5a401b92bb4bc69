import { ShapeError, ValueError } from '@megamoe/core';
import { liveRow, PAGES, type PageKind } from './pages';
import type { PageLists, StepRows } from './step';

/** What a step's pages are checked against: the memory that they lie in. */
export interface PagedMemory {
  /** Kinds of pages that its layers have. */
  readonly kinds: readonly PageKind[];
  /** Recent tokens that every layer keeps raw. */
  readonly window: number;
  /** Pages of a kind that there is room for. */
  pages(kind: PageKind): number;
}

/** Finds pages that a step must not use: too few, of another cache, or written by two of its sequences. */
export class PageChecks {
  /** By window page: the check in which it was last written. */
  #written: Int32Array = new Int32Array(0);
  #serial = 0;

  /** Throws unless the pages of every sequence hold what its rows read and write, and no two sequences write one page. */
  check(fn: string, rows: StepRows, cache: PagedMemory): void {
    for (const kind of cache.kinds) {
      const lists = rows.pages.get(kind);
      if (lists === undefined) {
        throw new ShapeError(`${fn}: "rows" must have pages of kind ${kind}, as the cache has; got ${rows.kinds.join(', ')}`); // prettier-ignore
      }
      checkRanges(fn, rows, lists, kind, cache.window);
      checkPages(fn, rows, lists, kind, cache.pages(kind));
    }
    this.#checkWriters(fn, rows, cache);
  }

  #checkWriters(fn: string, rows: StepRows, cache: PagedMemory): void {
    const pages = cache.pages('window');
    if (this.#written.length < pages) this.#written = new Int32Array(2 * pages); // a warm step makes none
    const serial = ++this.#serial;
    const { rows: perPage } = PAGES.window;
    const { offsets, first, ids } = rows.pages.get('window')!;
    const { sequences, positions, firstRow } = rows;
    const written = this.#written;
    for (let s = 0; s < sequences; s++) {
      const from = Math.floor(positions[firstRow[s]!]! / perPage);
      const to = Math.floor(positions[firstRow[s + 1]! - 1]! / perPage);
      for (let page = from; page <= to; page++) {
        const id = ids[offsets[s]! + page - first[s]!]!;
        if (written[id] === serial) {
          throw new ValueError(
            `${fn}: sequence ${s} of the step writes window page ${id}, and so does one before it: reserve the pages of each ` +
              'sequence first, and add no sequence twice',
          );
        }
        written[id] = serial;
      }
    }
  }
}

/** Throws unless each sequence has the pages that its rows need. */
function checkRanges(fn: string, rows: StepRows, lists: PageLists, kind: PageKind, window: number): void {
  const { sequences, positions, firstRow } = rows;
  const { offsets, first } = lists;
  const { rows: perPage, tokensPerRow } = PAGES[kind];
  for (let s = 0; s < sequences; s++) {
    const from = liveRow(kind, positions[firstRow[s]!]!, window);
    const to = Math.floor((positions[firstRow[s + 1]! - 1]! + 1) / tokensPerRow);
    const held = first[s]! * perPage;
    const end = held + (offsets[s + 1]! - offsets[s]!) * perPage;
    if (to <= from || (held <= from && end >= to)) continue;
    throw new ShapeError(
      `${fn}: sequence ${s} of the step must have its pages of kind ${kind} for rows [${from}, ${to}), got [${held}, ${end}): ` +
        'reserve them before it is added, in a pool with the window of the cache',
    );
  }
}

/** Throws unless all pages are of the cache, which has `most`. */
function checkPages(fn: string, rows: StepRows, { offsets, ids }: PageLists, kind: PageKind, most: number): void {
  const { sequences } = rows;
  for (let s = 0; s < sequences; s++) {
    const end = offsets[s + 1]!;
    for (let i = offsets[s]!; i < end; i++) {
      if (ids[i]! >= 0 && ids[i]! < most) continue;
      throw new ShapeError(
        `${fn}: sequence ${s} of the step has page ${ids[i]!} of kind ${kind}, but the cache has ${most}: its pages must come from a pool ` +
          'with this cache as its memory',
      );
    }
  }
}
