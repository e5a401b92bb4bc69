import type { Segment, SequenceStateHandle } from './backend/ops';

interface MutableSegment extends Segment {
  state: SequenceStateHandle;
  row0: number;
  n: number;
  p0: number;
}

/**
 * The tokens of one step and which of their logits go where: made once for the largest step and refilled, so that a warm step
 * allocates nothing.
 */
export class StepBatch {
  /** Token ids and positions of rows 0 .. rows. */
  readonly ids: Int32Array;
  readonly positions: Int32Array;
  /** Rows whose logits are wanted, and the row of the result that each goes to. */
  readonly wantedRow: Int32Array;
  readonly wantedTo: Int32Array;
  rows = 0;
  wanted = 0;
  /** Segments in use; `segment(i)` gives them. */
  count = 0;
  private readonly pool: MutableSegment[] = [];

  constructor(readonly maxRows: number) {
    this.ids = new Int32Array(maxRows);
    this.positions = new Int32Array(maxRows);
    this.wantedRow = new Int32Array(maxRows);
    this.wantedTo = new Int32Array(maxRows);
  }

  segment(i: number): Segment {
    return this.pool[i]!;
  }

  clear(): void {
    this.rows = 0;
    this.wanted = 0;
    this.count = 0;
  }

  /** Adds tokens `[from, from + n)` of a sequence at its present position. */
  add(state: SequenceStateHandle, tokenIds: ArrayLike<number>, from: number, n: number): void {
    const p0 = state.position;
    let segment = this.pool[this.count];
    if (segment === undefined) this.pool.push((segment = { state, row0: 0, n: 0, p0: 0 }));
    segment.state = state;
    segment.row0 = this.rows;
    segment.n = n;
    segment.p0 = p0;
    this.count++;
    for (let j = 0; j < n; j++) {
      this.ids[this.rows + j] = tokenIds[from + j]!;
      this.positions[this.rows + j] = p0 + j;
    }
    this.rows += n;
  }

  /** Asks for the logits of a row of this step, as row `to` of the result. */
  want(row: number, to: number): void {
    this.wantedRow[this.wanted] = row;
    this.wantedTo[this.wanted++] = to;
  }
}
