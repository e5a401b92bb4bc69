import { checkInteger, describe, KindError, ShapeError, ValueError } from '@megamoe/core';
import { hostTensor, PageChecks, StepRows } from '@megamoe/ops';
import type { HostTensor, Step } from '@megamoe/ops';
import type { HostCache } from './cache';
import { CompressionPlan } from './plan/compression-plan';
import { PageTable } from './plan/page-table';
import { RowLists } from './plan/row-lists';
import type { Rope } from './rope';

/** Copies the first `n` numbers: few, so that a call into the engine costs more. */
function copy(from: Int32Array, to: Int32Array, n: number): void {
  for (let i = 0; i < n; i++) to[i] = from[i]!;
}

/** The rows of one step and what they read and write, in arrays that are made once and grow. */
export class HostStep implements Step {
  readonly ids: HostTensor<'i32'>;
  readonly positions: HostTensor<'i32'>;
  readonly wantedRows: HostTensor<'i32'>;
  /** [maxRows] where the key of each row goes. */
  readonly windowRow: Int32Array;
  /** Window rows that each row sees, positions ascending, its own last. */
  readonly near: RowLists;
  /** No entries for any row. */
  readonly none: RowLists;
  /** Whether it was made here: not an object that looks like one. */
  static is(v: unknown): v is HostStep {
    try {
      return (v as HostStep).#rows !== undefined; // #rows in v takes several times as long in a running model
    } catch {
      return false;
    }
  }

  readonly #window: PageTable;
  readonly #checks = new PageChecks();
  readonly #compressions: { readonly 4: CompressionPlan; readonly 128: CompressionPlan };
  #rows = 0;
  #sequences = 0;
  #cache: HostCache | null = null;
  #disposed = false;

  constructor(readonly maxRows: number) {
    checkInteger('createStep', 'maxRows', maxRows, 1, 65536);
    this.ids = hostTensor('i32', [maxRows]);
    this.positions = hostTensor('i32', [maxRows]);
    this.wantedRows = hostTensor('i32', [maxRows]);
    this.windowRow = new Int32Array(maxRows);
    this.near = new RowLists(maxRows);
    this.none = new RowLists(maxRows);
    this.#window = new PageTable('window', maxRows);
    this.#compressions = { 4: new CompressionPlan(4, maxRows), 128: new CompressionPlan(128, maxRows) };
  }

  get rows(): number {
    return this.#rows;
  }

  get sequences(): number {
    return this.#sequences;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** The cache that it is planned for; null when it has not been planned, or planning failed. */
  get cache(): HostCache | null {
    return this.#cache;
  }

  /** What layers of a compression ratio do. */
  compression(ratio: 4 | 128): CompressionPlan {
    return this.#compressions[ratio];
  }

  /** See AttentionKernels.planStep; handles have been checked. */
  plan(fn: string, rows: StepRows, cache: HostCache, rope: Rope): void {
    this.#cache = null;
    this.#rows = 0;
    this.#sequences = 0;
    if (!StepRows.is(rows)) throw new KindError(`${fn}: "rows" must be StepRows, got ${describe(rows)}`);
    if (rows.rows > this.maxRows) {
      throw new ShapeError(`${fn}: "rows" must be at most maxRows = ${this.maxRows} of the step, got ${rows.rows}`);
    }
    if (rope.ropeDim > cache.leastEntry) {
      throw new ValueError(
        `${fn}: "rope" must turn no more than the ${cache.leastEntry} elements of an entry, got ropeDim = ${rope.ropeDim}`,
      );
    }
    this.#checks.check(fn, rows, cache);
    copy(rows.ids, this.ids.data, rows.rows);
    copy(rows.positions, this.positions.data, rows.rows);
    copy(rows.wantedRows, this.wantedRows.data, rows.wanted);
    this.#fillWindow(rows, cache.window);
    if (cache.kinds.includes('open4')) this.#compressions[4].fill(rows, rope);
    if (cache.kinds.includes('open128')) this.#compressions[128].fill(rows, rope);
    this.#rows = rows.rows;
    this.#sequences = rows.sequences;
    this.#cache = cache;
  }

  #fillWindow(rows: StepRows, window: number): void {
    const table = this.#window;
    table.fill(rows);
    const { sequences, positions, firstRow } = rows;
    let total = 0;
    for (let s = 0; s < sequences; s++)
      total += firstRow[s + 1]! - firstRow[s]! + Math.min(window - 1, positions[firstRow[s]!]!);
    this.near.reserve(total);
    const { windowRow } = this;
    const { index, start, count } = this.near;
    let at = 0;
    for (let s = 0; s < sequences; s++) {
      const row0 = firstRow[s]!;
      const end = firstRow[s + 1]!;
      const first = Math.max(0, positions[row0]! - window + 1);
      const after = positions[end - 1]! + 1;
      table.copyRows(table.base[s]!, first, after, index, at);
      for (let r = row0; r < end; r++) {
        const next = positions[r]! + 1;
        const seen = Math.min(window, next);
        windowRow[r] = index[at + next - 1 - first]!;
        count[r] = seen;
        start[r] = at + next - seen - first;
      }
      at += after - first;
    }
  }

  dispose(): void {
    this.#disposed = true;
    this.#cache = null;
    this.#rows = 0;
    this.#sequences = 0;
    for (const tensor of [this.ids, this.positions, this.wantedRows]) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
