import { ValueError } from '@megamoe/core';
import type { StepRows } from '@megamoe/ops';
import { fillRopeRow, type Rope } from '../rope';
import { f32Room, i32Room } from './grow';
import { PageTable } from './page-table';
import { RowLists } from './row-lists';

/** What one step does in all layers of one compression ratio. */
export class CompressionPlan {
  /** Candidates of an entry: the tokens of its window, after those of the window before it where windows overlap (ratio 4). */
  readonly candidatesPerEntry: number;
  /** [maxRows] where the projections of each row go, and the row of `ape` for its gates. */
  readonly openRow: Int32Array;
  readonly apeRow: Int32Array;
  /** Windows that become full. */
  closed = 0;
  /** [closed, candidatesPerEntry] rows of the open memory; -1: before the first window, no weight. */
  candidates: Int32Array = new Int32Array(0);
  /** [closed] row of the entry. */
  entryRow: Int32Array = new Int32Array(0);
  /** [closed, ropeDim/2] of the windows' first positions. */
  cos: Float32Array = new Float32Array(0);
  sin: Float32Array = new Float32Array(0);
  ropeDim = 0;
  /** Where entries lie. */
  readonly entries: PageTable;
  /** [maxRows] entries that each row sees, and where the pages of its sequence begin in `entries.ids`. */
  readonly visible: Int32Array;
  readonly entryBase: Int32Array;
  /** Entries that a call of attend chose. */
  readonly chosen: RowLists;

  readonly #open: PageTable;
  readonly #all: RowLists;
  readonly #firstRow: Int32Array;
  #allFilled = false;
  #rows = 0;
  #sequences = 0;

  constructor(
    readonly ratio: 4 | 128,
    maxRows: number,
  ) {
    this.candidatesPerEntry = ratio === 4 ? 2 * ratio : ratio;
    this.openRow = new Int32Array(maxRows);
    this.apeRow = new Int32Array(maxRows);
    this.visible = new Int32Array(maxRows);
    this.entryBase = new Int32Array(maxRows);
    this.entries = new PageTable(`entries${ratio}`, maxRows);
    this.chosen = new RowLists(maxRows);
    this.#open = new PageTable(`open${ratio}`, maxRows);
    this.#all = new RowLists(maxRows);
    this.#firstRow = new Int32Array(maxRows + 1);
  }

  /** Pages must have been checked. */
  fill(rows: StepRows, rope: Rope): void {
    const { ratio } = this;
    this.#open.fill(rows);
    this.entries.fill(rows);
    this.#rows = rows.rows;
    this.#sequences = rows.sequences;
    for (let s = 0; s <= rows.sequences; s++) this.#firstRow[s] = rows.firstRow[s]!;
    this.#allFilled = false;
    const { openRow, apeRow, visible, entryBase } = this;
    const { sequences, positions, firstRow } = rows;
    const [open, entries] = [this.#open, this.entries];
    let closed = 0;
    for (let s = 0; s < sequences; s++) {
      const base = open.base[s]!;
      const entry0 = entries.base[s]!;
      const end = firstRow[s + 1]!;
      for (let r = firstRow[s]!; r < end; r++) {
        const position = positions[r]!;
        const next = position + 1;
        const w = Math.floor(next / ratio);
        openRow[r] = open.row(base, position);
        apeRow[r] = position % ratio;
        visible[r] = w;
        entryBase[r] = entry0;
        if (w * ratio === next) closed++;
      }
    }
    this.#fillClosings(rows, rope, closed);
  }

  #fillClosings(rows: StepRows, { ropeDim, invFreq }: Rope, closed: number): void {
    const { ratio, candidatesPerEntry: count } = this;
    const half = ropeDim / 2;
    this.closed = closed;
    this.ropeDim = ropeDim;
    this.candidates = i32Room(this.candidates, closed * count);
    this.entryRow = i32Room(this.entryRow, closed);
    this.cos = f32Room(this.cos, closed * half);
    this.sin = f32Room(this.sin, closed * half);
    let i = 0;
    for (let s = 0; s < rows.sequences; s++) {
      const base = this.#open.base[s]!;
      for (let r = rows.firstRow[s]!; r < rows.firstRow[s + 1]!; r++) {
        const end = rows.positions[r]! + 1;
        if (end % ratio !== 0) continue;
        const first = end - count;
        const before = Math.max(0, -first); // of the first window there is none before it
        for (let j = 0; j < before; j++) this.candidates[i * count + j] = -1;
        this.#open.copyRows(base, first + before, end, this.candidates, i * count + before);
        this.entryRow[i] = this.entries.row(this.entries.base[s]!, end / ratio - 1);
        fillRopeRow(invFreq, end - ratio, this.cos, this.sin, i * half);
        i++;
      }
    }
  }

  /** Every entry that each row sees, ascending; worked out when it is first asked for. */
  all(): RowLists {
    if (this.#allFilled) return this.#all;
    const { visible, entries } = this;
    const { start, count } = this.#all;
    let total = 0;
    for (let s = 0; s < this.#sequences; s++) total += visible[this.#firstRow[s + 1]! - 1]!;
    this.#all.reserve(total);
    const { index } = this.#all;
    let at = 0;
    for (let s = 0; s < this.#sequences; s++) {
      const end = this.#firstRow[s + 1]!;
      for (let r = this.#firstRow[s]!; r < end; r++) {
        start[r] = at;
        count[r] = visible[r]!;
      }
      const most = visible[end - 1]!;
      entries.copyRows(entries.base[s]!, 0, most, index, at);
      at += most;
    }
    this.#allFilled = true;
    return this.#all;
  }

  /**
   * The entries of `selected` [rows, topk].
   * @throws ValueError unless each row has entries that it sees, ascending, and then -1
   */
  choose(fn: string, selected: Int32Array, topk: number): RowLists {
    const { visible, entryBase, entries, chosen } = this;
    chosen.reserve(this.#rows * topk);
    const { index, start, count } = chosen;
    let at = 0;
    for (let r = 0; r < this.#rows; r++) {
      start[r] = at;
      let last = -1;
      for (let i = 0; i < topk; i++) {
        const w = selected[r * topk + i]!;
        if (w === -1) {
          checkPadding(fn, selected, r, i, topk);
          break;
        }
        if (w <= last || w >= visible[r]!) refuse(fn, r, i, w, last, visible[r]!);
        last = w;
        index[at++] = entries.row(entryBase[r]!, w);
      }
      count[r] = at - start[r]!;
    }
    return chosen;
  }
}

function checkPadding(fn: string, selected: Int32Array, r: number, from: number, topk: number): void {
  for (let i = from; i < topk; i++) {
    const w = selected[r * topk + i]!;
    if (w === -1) continue;
    throw new ValueError(`${fn}: "selected" must be padded with -1 at the end, got ${w} at row ${r}, index ${i}`);
  }
}

function refuse(fn: string, r: number, i: number, w: number, last: number, visible: number): never {
  if (w < 0 || w >= visible) {
    throw new ValueError(
      `${fn}: "selected" must be in [0, ${visible}) or -1, got ${w} at row ${r}, index ${i}: that entry is not visible`,
    );
  }
  throw new ValueError(`${fn}: "selected" must ascend, got ${w} after ${last} at row ${r}, index ${i}`);
}
