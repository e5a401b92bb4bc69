import { i32Room } from './grow';

/**
 * Which memory rows each row of a step reads: `count[r]` of them, from `index[start[r]]` on. Lists of rows that follow each other overlap:
 * those of a sequence's queries are slices of one list.
 */
export class RowLists {
  /** Memory rows; grows. */
  index: Int32Array = new Int32Array(0);
  /** [maxRows] */
  readonly start: Int32Array;
  readonly count: Int32Array;

  constructor(maxRows: number) {
    this.start = new Int32Array(maxRows);
    this.count = new Int32Array(maxRows);
  }

  /** Makes room for n memory rows in all. What was there is lost. */
  reserve(n: number): void {
    this.index = i32Room(this.index, n);
  }
}
