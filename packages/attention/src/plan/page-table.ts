import { PAGES, type PageKind, type StepRows } from '@megamoe/ops';
import { i32Room } from './grow';

/** Where rows of one kind of memory lie: the pages of each sequence of a step. */
export class PageTable {
  readonly rowsPerPage: number;
  /** Page ids of all sequences; grows. */
  ids: Int32Array = new Int32Array(0);
  /** [maxRows] where page 0 of each sequence would stand in `ids`; its rows before the first page that is held are never asked for. */
  readonly base: Int32Array;

  constructor(
    readonly kind: PageKind,
    maxRows: number,
  ) {
    this.rowsPerPage = PAGES[kind].rows;
    this.base = new Int32Array(maxRows);
  }

  /** Takes in the pages of a step. */
  fill(rows: StepRows): void {
    const { offsets, first, ids } = rows.pages.get(this.kind)!;
    const n = offsets[rows.sequences]!;
    this.ids = i32Room(this.ids, n);
    for (let i = 0; i < n; i++) this.ids[i] = ids[i]!;
    for (let s = 0; s < rows.sequences; s++) this.base[s] = offsets[s]! - first[s]!;
  }

  /** The memory row of row `w` of the sequence whose page 0 stands at `base`. */
  row(base: number, w: number): number {
    const page = Math.floor(w / this.rowsPerPage);
    return this.ids[base + page]! * this.rowsPerPage + (w - page * this.rowsPerPage);
  }

  /** The memory rows of rows `[from, to)`, to `out[at]` on: those of a page follow each other. */
  copyRows(base: number, from: number, to: number, out: Int32Array, at: number): void {
    const { ids, rowsPerPage } = this;
    let w = from;
    for (let page = Math.floor(from / rowsPerPage); w < to; page++) {
      const end = Math.min(to, (page + 1) * rowsPerPage);
      let row = ids[base + page]! * rowsPerPage + (w - page * rowsPerPage);
      for (; w < end; w++) out[at++] = row++;
    }
  }
}
