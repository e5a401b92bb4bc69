import type { Forward, Probe } from '@megamoe/layers';
import { StepRows } from '@megamoe/ops';
import { StepError, type StepFailure } from './errors';
import type { KvMemory } from './kv';
import type { Sequence } from './sequence';

/** Which rows of an item's logits are wanted: its last token's, all its tokens', or none. */
export type WantedLogits = 'last' | 'all' | 'none';

/** Tokens to append to one sequence. */
export interface BatchItem {
  readonly sequence: Sequence;
  readonly tokenIds: ArrayLike<number>;
  /** Of this item; default: what the call says. */
  readonly logits?: WantedLogits | undefined;
}

/** Rows of logits that an item gives. */
export function wantedRows({ tokenIds, logits }: BatchItem, otherwise: WantedLogits): number {
  const wanted = logits ?? otherwise;
  return wanted === 'none' ? 0 : wanted === 'last' ? 1 : tokenIds.length;
}

/** Part of an item that a step takes in: tokens `[from, from + n)`. */
interface Share {
  item: number;
  from: number;
  n: number;
}

/** What the data of one sequence can cause: it alone fails then. */
const isDataError = (error: unknown): error is Error =>
  error instanceof Error && (error as { code?: unknown }).code === 'ERR_VALUE';

/**
 * Runs batches step by step. A step reserves pages, runs, reads its logits and only then commits: an operation that fails leaves every
 * sequence as it was. Where the data of one sequence make it fail, its neighbours are run without it, with the same bits.
 */
export class StepRunner {
  readonly #rows: StepRows;
  readonly #shares: Share[] = [];
  #count = 0;
  /** [items] first row of each item's logits. */
  #base = new Int32Array(16);
  readonly #wantedTo: Int32Array;
  readonly #to: (wanted: number) => number;
  #failures: StepFailure[] = [];

  constructor(
    private readonly forward: Forward,
    private readonly memory: KvMemory,
    private readonly vocabSize: number,
    private readonly maxRows: number,
  ) {
    this.#rows = new StepRows(maxRows, memory.pool.kinds);
    this.#wantedTo = new Int32Array(maxRows);
    this.#to = (wanted) => this.#wantedTo[wanted]! * vocabSize;
  }

  /** As `Model.forward`, its arguments checked. */
  run(batch: readonly BatchItem[], logits: WantedLogits, out: Float32Array, probe: Probe | undefined): void {
    if (this.#base.length < batch.length) this.#base = new Int32Array(2 * batch.length);
    for (let i = 0, row = 0; i < batch.length; i++) {
      this.#base[i] = row;
      row += wantedRows(batch[i]!, logits);
    }
    if (this.#failures.length > 0) this.#failures = [];
    // Earlier items first, each as far as the step holds; what is left goes into the next one.
    let item = 0;
    let done = 0;
    while (item < batch.length) {
      this.#count = 0;
      for (let rows = 0; item < batch.length && rows < this.maxRows;) {
        const { length } = batch[item]!.tokenIds;
        const n = Math.min(length - done, this.maxRows - rows);
        this.#share(item, done, n);
        rows += n;
        done += n;
        if (done < length) break;
        item++;
        done = 0;
      }
      const failed = this.#failures.length;
      this.#step(batch, logits, out, probe);
      if (this.#failures.length > failed && done > 0 && this.#failures.at(-1)!.item === item) {
        item++; // the rest of an item that failed
        done = 0;
      }
    }
    if (this.#failures.length === 0) return;
    if (batch.length === 1) throw this.#failures[0]!.error;
    for (const { item: i } of this.#failures) {
      const rows = wantedRows(batch[i]!, logits);
      out.fill(NaN, this.#base[i]! * this.vocabSize, (this.#base[i]! + rows) * this.vocabSize);
    }
    throw new StepError(this.#failures, out, batch.length);
  }

  #share(item: number, from: number, n: number): void {
    let share = this.#shares[this.#count];
    if (share === undefined) this.#shares.push((share = { item, from, n }));
    share.item = item;
    share.from = from;
    share.n = n;
    this.#count++;
  }

  #step(batch: readonly BatchItem[], logits: WantedLogits, out: Float32Array, probe: Probe | undefined): void {
    // Before any work: a step for which there is no memory leaves nothing half done.
    for (let i = 0; i < this.#count; i++) {
      const { item, n } = this.#shares[i]!;
      const { pages } = batch[item]!.sequence;
      pages.reserve(pages.length + n);
    }
    this.#attempt(0, this.#count, batch, logits, out, probe);
  }

  /** Runs shares `[from, to)` as one step, or in halves when the data of some of them make it fail. */
  #attempt(
    from: number,
    to: number,
    batch: readonly BatchItem[],
    logits: WantedLogits,
    out: Float32Array,
    probe: Probe | undefined,
  ): void {
    const rows = this.#rows;
    rows.clear();
    for (let i = from; i < to; i++) {
      const share = this.#shares[i]!;
      const { sequence, tokenIds } = batch[share.item]!;
      const row0 = rows.rows;
      rows.add(sequence.pages, tokenIds, share.from, share.n);
      const wanted = batch[share.item]!.logits ?? logits;
      const base = this.#base[share.item]!;
      if (wanted === 'all') for (let j = 0; j < share.n; j++) this.#want(row0 + j, base + share.from + j);
      else if (wanted === 'last' && share.from + share.n === tokenIds.length) this.#want(row0 + share.n - 1, base);
    }
    try {
      this.forward.run(rows, this.memory.cache, probe);
      if (rows.wanted > 0) this.forward.logits(rows, out, this.#to);
    } catch (error) {
      if (!isDataError(error)) throw error;
      if (to - from === 1) {
        this.#failures.push({ item: this.#shares[from]!.item, error });
        return;
      }
      const middle = (from + to) >> 1;
      this.#attempt(from, middle, batch, logits, out, probe);
      this.#attempt(middle, to, batch, logits, out, probe);
      return;
    }
    for (let i = from; i < to; i++) {
      const share = this.#shares[i]!;
      const { sequence, tokenIds } = batch[share.item]!;
      sequence.commit(tokenIds, share.from, share.n);
    }
  }

  #want(row: number, to: number): void {
    this.#wantedTo[this.#rows.wanted] = to;
    this.#rows.want(row);
  }
}
