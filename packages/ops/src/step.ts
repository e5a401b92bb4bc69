import { checkInteger, describe, KindError, ShapeError, ValueError } from '@megamoe/core';
import { PAGES, SequencePages, takeKinds, type PageKind } from './pages';

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
  /** The same, as `kinds` has them. */
  readonly #lists: readonly PageLists[];
  rows = 0;
  sequences = 0;
  wanted = 0;
  readonly #isOne = true;
  /** [maxRows] what `pages` holds for each sequence number: the version of a sequence's pages, for the first `#known` of them. */
  readonly #versions: Float64Array;
  #known = 0;

  /** Whether it is one: made by this class, not an object that looks like one. */
  static is(v: unknown): v is StepRows {
    try {
      return (v as StepRows).#isOne !== undefined; // #isOne in v takes several times as long in a running model
    } catch {
      return false;
    }
  }

  readonly kinds: readonly PageKind[];

  constructor(
    readonly maxRows: number,
    given: readonly PageKind[],
  ) {
    checkInteger('StepRows', 'maxRows', maxRows, 1, 65536);
    const kinds = takeKinds('StepRows', given);
    this.kinds = kinds;
    this.ids = new Int32Array(maxRows);
    this.positions = new Int32Array(maxRows);
    this.rowSequence = new Int32Array(maxRows);
    this.firstRow = new Int32Array(maxRows + 1);
    this.wantedRows = new Int32Array(maxRows);
    this.#versions = new Float64Array(maxRows);
    this.#lists = kinds.map(() => ({
      offsets: new Int32Array(maxRows + 1),
      first: new Int32Array(maxRows),
      ids: new Int32Array(4 * maxRows),
    }));
    this.pages = new Map(kinds.map((kind, k) => [kind, this.#lists[k]!]));
  }

  clear(): void {
    this.rows = 0;
    this.sequences = 0;
    this.wanted = 0;
  }

  /** Tokens of the sequence numbered `s`. */
  tokensOf(s: number): number {
    checkInteger('StepRows.tokensOf', 's', s, 0, this.sequences - 1);
    return this.firstRow[s + 1]! - this.firstRow[s]!;
  }

  /**
   * Adds tokens `[from, from + n)` of `tokenIds` at the end of a sequence. Returns its number.
   * @throws ShapeError beyond `maxRows`, and unless the pages for them have been reserved
   */
  add(pages: SequencePages, tokenIds: ArrayLike<number>, from: number, n: number): number {
    const fn = 'StepRows.add';
    if (!(pages instanceof SequencePages))
      throw new KindError(`${fn}: "pages" must be SequencePages, got ${describe(pages)}`);
    checkInteger(fn, 'n', n, 0);
    checkInteger(fn, 'from', from, 0);
    if (n < 1 || this.rows + n > this.maxRows) {
      throw new ShapeError(`StepRows.add: the step holds maxRows = ${this.maxRows} rows, got ${this.rows} + ${n}`);
    }
    const start = pages.length;
    const end = start + n;
    if (!pages.isReserved(end)) {
      throw new ShapeError(`StepRows.add: pages for tokens up to ${end} must be reserved first: call reserve(${end}) on the sequence`); // prettier-ignore
    }
    checkIds(fn, tokenIds, from, n);
    if (pages.pool.kinds !== this.kinds) for (const kind of this.kinds) pages.list(kind); // throws before anything is added
    const s = this.sequences++;
    const { ids, positions, rowSequence, rows: row0 } = this;
    this.firstRow[s] = row0;
    for (let j = 0; j < n; j++) {
      ids[row0 + j] = tokenIds[from + j]!;
      positions[row0 + j] = start + j;
      rowSequence[row0 + j] = s;
    }
    this.rows += n;
    this.firstRow[s + 1] = this.rows;
    // Sequences that go on keep their numbers and mostly their pages: what stands in the lists from the step before is right.
    if (s >= this.#known || this.#versions[s] !== pages.version) this.#list(s, pages);
    return s;
  }

  /** Writes the pages of a sequence into the lists; what stood after them there is of no use then. */
  #list(s: number, pages: SequencePages): void {
    for (let k = 0; k < this.kinds.length; k++) {
      const lists = this.#lists[k]!;
      const { first, ids } = pages.list(this.kinds[k]!);
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
    this.#versions[s] = pages.version;
    this.#known = s + 1;
  }

  /** Asks for the logits of a row; ask for each once. */
  want(row: number): void {
    checkInteger('StepRows.want', 'row', row, 0, this.rows - 1);
    if (this.wanted === this.maxRows) throw new ShapeError('StepRows.want: every row is wanted already');
    this.wantedRows[this.wanted++] = row;
  }

  /** Where row `w` of a kind of sequence `s` lies in the memory of all pages. */
  memoryRow(kind: PageKind, s: number, w: number): number {
    const fn = 'StepRows.memoryRow';
    const lists = this.pages.get(kind);
    if (lists === undefined)
      throw new ValueError(`${fn}: no pages of kind ${describe(kind)}; there are ${this.kinds.join(', ')}`);
    checkInteger(fn, 's', s, 0, this.sequences - 1);
    checkInteger(fn, 'w', w, 0);
    const { rows } = PAGES[kind];
    return lists.ids[lists.offsets[s]! + Math.floor(w / rows) - lists.first[s]!]! * rows + (w % rows);
  }
}

/** Throws unless a step can hold the `n` ids from `from` on: they are stored as 32-bit integers. */
function checkIds(fn: string, tokenIds: ArrayLike<number>, from: number, n: number): void {
  if (typeof tokenIds !== 'object' || tokenIds === null)
    throw new KindError(`${fn}: "tokenIds" must be an array of token ids, got ${describe(tokenIds)}`);
  for (let i = from; i < from + n; i++) {
    const id: unknown = tokenIds[i];
    if (typeof id !== 'number')
      throw new ValueError(`${fn}: "tokenIds" must hold token ids, got ${describe(id)} at index ${i}`);
  }
}
