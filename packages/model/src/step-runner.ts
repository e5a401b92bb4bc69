import { ValueError } from '@megamoe/core';
import { FirstNonFinite, type Forward, type NonFiniteValue, type Probe } from '@megamoe/layers';
import { StepRows, type Backend } from '@megamoe/ops';
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

/** A value that is not finite where a share's results are looked at. */
interface Bad {
  readonly what: 'logits' | 'hidden states';
  readonly value: string;
  /** Of the sequence. */
  readonly token: number;
}

/** What the data of one sequence can cause: it alone fails then. */
const isDataError = (error: unknown): error is Error =>
  error instanceof Error && (error as { code?: unknown }).code === 'ERR_VALUE';

/**
 * Runs batches step by step. A step reserves pages, runs, reads its logits and only then commits: an operation that fails leaves every
 * sequence as it was. Where the data of one sequence make it fail, its neighbours are run without it, with the same bits. Values that are
 * not finite in what a step gives of a sequence make it fail too, at the step that made them: no state is kept that has them.
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
    private readonly backend: Backend,
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
      if (this.#failures.length > failed && done > 0 && this.#failures.some((f) => f.item === item)) {
        item++; // the rest of an item that failed
        done = 0;
      }
    }
    if (this.#failures.length === 0) return;
    if (batch.length === 1) throw this.#failures[0]!.error;
    this.#failures.sort((a, b) => a.item - b.item);
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

  /** Runs shares `[from, to)` as one step, or without those whose data make it fail. */
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
    let finite = false;
    try {
      this.forward.run(rows, this.memory.cache, probe);
      finite = this.forward.logits(rows, out, this.#to);
    } catch (error) {
      if (!isDataError(error)) throw error;
      this.#without(from, to, error, batch, logits, out, probe);
      return;
    }
    let bad: (Bad | undefined)[] | undefined;
    for (let i = from, row0 = 0; i < to; i++) {
      const share = this.#shares[i]!;
      const found = this.#nonFinite(share, batch[share.item]!, logits, row0, out, finite);
      if (found !== undefined) (bad ??= [])[i] = found;
      row0 += share.n;
    }
    const first = bad && this.#search();
    for (let i = from, row0 = 0; i < to; i++) {
      const { item, from: at, n } = this.#shares[i]!;
      const own = bad?.[i];
      if (own !== undefined) this.#failures.push({ item, error: nonFiniteError(item, own, first!.in(row0, row0 + n)) });
      else batch[item]!.sequence.commit(batch[item]!.tokenIds, at, n);
      row0 += n;
    }
  }

  /**
   * The first value that is not finite in what the step that ran gives of a share: the logits that are wanted, unless all are known to be
   * `finite`, else hidden states.
   */
  #nonFinite(
    share: Share,
    item: BatchItem,
    logits: WantedLogits,
    row0: number,
    out: Float32Array,
    finite: boolean,
  ): Bad | undefined {
    const { from, n } = share;
    const wanted = item.logits ?? logits;
    const rows = wanted === 'all' ? n : wanted === 'last' && from + n === item.tokenIds.length ? 1 : 0;
    if (rows > 0 && !finite) {
      const v = this.vocabSize;
      const at = (this.#base[share.item]! + (wanted === 'all' ? from : 0)) * v;
      const i = this.forward.nonFiniteIn(out, at, at + rows * v);
      if (i >= 0) {
        const token = item.sequence.length + n - rows + Math.floor((i - at) / v);
        return { what: 'logits', value: String(out[i]), token };
      }
    }
    if (rows === n) return undefined;
    const row = this.forward.firstNonFinite(row0, row0 + n);
    if (row < 0) return undefined;
    return { what: 'hidden states', value: 'NaN or Infinity', token: item.sequence.length + row - row0 };
  }

  /** Runs shares `[from, to)`, of which some made a step fail by their data, without those. */
  #without(
    from: number,
    to: number,
    error: Error,
    batch: readonly BatchItem[],
    logits: WantedLogits,
    out: Float32Array,
    probe: Probe | undefined,
  ): void {
    const shares = this.#shares;
    const { layer, block } = this.forward.place;
    const first = this.#search();
    let rest = from; // [from, rest): those that go on, in order
    for (let i = from, row0 = 0; i < to; i++) {
      const share = shares[i]!;
      const { item, n } = share;
      const found = first.in(row0, row0 + n);
      if (found !== undefined) {
        const token = batch[item]!.sequence.length + found.row - row0;
        const bad: Bad = { what: 'hidden states', value: String(found.value), token };
        this.#failures.push({ item, error: nonFiniteError(item, bad, found, { cause: error }) });
      } else {
        shares[i] = shares[rest]!;
        shares[rest++] = share;
      }
      row0 += n;
    }
    if (rest === to && to - from === 1) {
      const { item } = shares[from]!;
      const where = layer < 0 ? `the ${block}` : `the ${block} of layer ${layer}`;
      const message = `Model.forward: batch item ${item} failed in ${where}: ${error.message}`;
      this.#failures.push({ item, error: new ValueError(message, { cause: error }) });
    } else if (rest === to) {
      const middle = (from + to) >> 1;
      this.#attempt(from, middle, batch, logits, out, probe);
      this.#attempt(middle, to, batch, logits, out, probe);
    } else if (rest > from) this.#attempt(from, rest, batch, logits, out, probe);
  }

  /** Runs the step once more, all its rows, to see where values that are not finite come from. It changes nothing that stands. */
  #search(): FirstNonFinite {
    const first = new FirstNonFinite();
    try {
      this.forward.run(this.#rows, this.memory.cache, first.probe(this.backend));
    } catch (error) {
      if (!isDataError(error)) throw error; // it stopped at such a value, and what came before has been seen
    }
    return first;
  }

  #want(row: number, to: number): void {
    this.#wantedTo[this.#rows.wanted] = to;
    this.#rows.want(row);
  }
}

const placeOf = ({ tensor, layer }: NonFiniteValue): string => (layer < 0 ? tensor : `${tensor} of layer ${layer}`);

function nonFiniteError(
  item: number,
  { what, value, token }: Bad,
  found: NonFiniteValue | undefined,
  options?: ErrorOptions,
): ValueError {
  return new ValueError(
    `Model.forward: the ${what} of batch item ${item} are not finite (${value} at token ${token}): ` +
      (found !== undefined
        ? `the first operation that made one is ${placeOf(found)}`
        : what === 'logits'
          ? 'the first operation that made one is the head (when the step was run again, nothing before it did)'
          : 'the same step run again made none: the backend does not give the same results twice'),
    options,
  );
}
