import { checkInteger, ShapeError } from '@megamoe/core';
import { PAGES, type PageKind, type SequencePages } from './pages';

/** Pages of a kind, sequence by sequence: row w of sequence s lies in page `ids[offsets[s] + floor(w/rows) - first[s]]`. */
export interface PageLists {
  /** [sequences + 1] */
  offsets: Int32Array;
  /** [sequences] number of each sequence's first page. */
  first: Int32Array;
  /** [offsets[sequences]] */
  ids: Int32Array;
}

/**
 * The tokens of one step, on the host: any number of sequences with any number of new tokens each. Made once for the largest step and
 * refilled, so that a warm step allocates nothing.
 */
export class StepRows {
  /** [maxRows] token id, position and sequence of each row. Rows of a sequence stand together, positions ascending. */
  readonly ids: Int32Array;
  readonly positions: Int32Array;
  readonly rowSequence: Int32Array;
  /** [maxRows + 1] first row of each sequence, and the end. */
  readonly firstRow: Int32Array;
  /** [maxRows] rows whose logits are wanted. */
  readonly wantedRows: Int32Array;
  readonly pages: ReadonlyMap<PageKind, PageLists>;
  rows = 0;
  sequences = 0;
  wanted = 0;
  readonly #isOne = true;

  /** Whether it is one: made by this class, not an object that looks like one. */
  static is(v: unknown): v is StepRows {
    try {
      return (v as StepRows).#isOne !== undefined; // #isOne in v takes several times as long in a running model
    } catch {
      return false;
    }
  }

  constructor(
    readonly maxRows: number,
    readonly kinds: readonly PageKind[],
  ) {
    checkInteger('StepRows', 'maxRows', maxRows, 1, 65536);
    this.ids = new Int32Array(maxRows);
    this.positions = new Int32Array(maxRows);
    this.rowSequence = new Int32Array(maxRows);
    this.firstRow = new Int32Array(maxRows + 1);
    this.wantedRows = new Int32Array(maxRows);
    this.pages = new Map(
      kinds.map((kind) => [
        kind,
        { offsets: new Int32Array(maxRows + 1), first: new Int32Array(maxRows), ids: new Int32Array(4 * maxRows) },
      ]),
    );
  }

  clear(): void {
    this.rows = 0;
    this.sequences = 0;
    this.wanted = 0;
  }

  /** Tokens of the sequence numbered `s`. */
  tokensOf(s: number): number {
    return this.firstRow[s + 1]! - this.firstRow[s]!;
  }

  /**
   * Adds tokens `[from, from + n)` of `tokenIds` at the end of a sequence. Returns its number.
   * @throws ShapeError beyond `maxRows`, and unless the pages for them have been reserved
   */
  add(pages: SequencePages, tokenIds: ArrayLike<number>, from: number, n: number): number {
    if (n < 1 || this.rows + n > this.maxRows) {
      throw new ShapeError(`StepRows.add: the step holds maxRows = ${this.maxRows} rows, got ${this.rows} + ${n}`);
    }
    const end = pages.length + n;
    if (!pages.isReserved(end)) {
      throw new ShapeError(`StepRows.add: pages for tokens up to ${end} must be reserved first: call reserve(${end}) on the sequence`); // prettier-ignore
    }
    if (pages.pool.kinds !== this.kinds) for (const kind of this.kinds) pages.list(kind); // throws before anything is added
    const s = this.sequences++;
    this.firstRow[s] = this.rows;
    for (let j = 0; j < n; j++) {
      const row = this.rows + j;
      this.ids[row] = tokenIds[from + j]!;
      this.positions[row] = pages.length + j;
      this.rowSequence[row] = s;
    }
    this.rows += n;
    this.firstRow[s + 1] = this.rows;
    for (const kind of this.kinds) {
      const lists = this.pages.get(kind)!;
      const { first, ids } = pages.list(kind);
      const at = s === 0 ? 0 : lists.offsets[s]!;
      lists.offsets[s] = at;
      lists.first[s] = first;
      if (lists.ids.length < at + ids.length) {
        const grown = new Int32Array(2 * (at + ids.length));
        grown.set(lists.ids.subarray(0, at));
        lists.ids = grown;
      }
      for (let i = 0; i < ids.length; i++) lists.ids[at + i] = ids[i]!;
      lists.offsets[s + 1] = at + ids.length;
    }
    return s;
  }

  /** Asks for the logits of a row; ask for each once. */
  want(row: number): void {
    checkInteger('StepRows.want', 'row', row, 0, this.rows - 1);
    if (this.wanted === this.maxRows) throw new ShapeError('StepRows.want: every row is wanted already');
    this.wantedRows[this.wanted++] = row;
  }

  /** Where row `w` of a kind of sequence `s` lies in the memory of all pages. */
  memoryRow(kind: PageKind, s: number, w: number): number {
    const { rows } = PAGES[kind];
    const lists = this.pages.get(kind)!;
    return lists.ids[lists.offsets[s]! + Math.floor(w / rows) - lists.first[s]!]! * rows + (w % rows);
  }
}
