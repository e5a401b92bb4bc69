import type { Forward } from '@megamoe/layers';
import { pageKindsOf, PagePool, SequencePages, StepRows, type KvCache } from '@megamoe/ops';
import { SequenceHistory } from './history';
import type { Judge } from './judge';

/** One sequence of a run. */
interface Sequence {
  readonly pages: SequencePages;
  readonly history: SequenceHistory;
}

/** What one sequence appends in a step. */
interface Item {
  readonly sequence: Sequence;
  readonly tokenIds: readonly number[];
}

/** What a run needs. */
export interface RunOptions {
  readonly judge: Judge;
  readonly forward: Forward;
  readonly cache: KvCache;
  readonly vocabSize: number;
  /** Most tokens of one step. */
  readonly maxChunk: number;
  /** Longest sequence that the model takes. */
  readonly maxTokens: number;
}

/** Runs sequences step by step through a judged backend. */
export class Run {
  readonly #o: RunOptions;
  readonly #rows: StepRows;
  readonly #pool: PagePool;
  readonly #main: Sequence;
  /** A clone of the first sequence that goes its own way when tokens are decoded: pages are copied, and steps have two sequences. */
  #other: Sequence | null = null;

  constructor(o: RunOptions) {
    const { specs } = o.cache;
    this.#o = o;
    this.#pool = new PagePool(pageKindsOf(specs), specs[0]?.window ?? 1, o.cache);
    this.#rows = new StepRows(o.maxChunk, this.#pool.kinds);
    this.#main = { pages: new SequencePages(this.#pool), history: new SequenceHistory() };
  }

  /** Tokens of the first sequence so far. */
  get length(): number {
    return this.#main.pages.length;
  }

  /**
   * Appends a prompt, in steps of at most `maxChunk` tokens; the logits of its last token, [V].
   * @param before called before each step, with its first token and how many it has
   */
  async prefill(
    tokenIds: readonly number[],
    before: (at: number, tokens: number) => Promise<void>,
  ): Promise<Float32Array> {
    let logits = new Float32Array(0);
    for (let at = 0; at < tokenIds.length; at += this.#o.maxChunk) {
      const chunk = tokenIds.slice(at, at + this.#o.maxChunk);
      await before(at, chunk.length);
      [logits] = this.#step([{ sequence: this.#main, tokenIds: chunk }], at + chunk.length === tokenIds.length) as [
        Float32Array<ArrayBuffer>,
      ];
    }
    return logits;
  }

  /**
   * Appends a token, and to a clone of the sequence others: in the first such step two. The logits of both.
   * @param others tokens for the clone; its last logits choose them after the first step
   */
  decode(token: number, others: readonly number[]): readonly Float32Array[] {
    const { maxChunk, maxTokens } = this.#o;
    if (this.#other === null && maxChunk >= 3)
      this.#other = { pages: this.#main.pages.clone(), history: this.#main.history.clone() };
    const items: Item[] = [{ sequence: this.#main, tokenIds: [token] }];
    const other = this.#other;
    if (other !== null && other.pages.length + others.length <= maxTokens)
      items.push({ sequence: other, tokenIds: others });
    return this.#step(items, true);
  }

  #step(items: readonly Item[], isWanted: boolean): readonly Float32Array[] {
    const { judge, forward, cache, vocabSize } = this.#o;
    const rows = this.#rows;
    rows.clear();
    for (const { sequence, tokenIds } of items) {
      sequence.pages.reserve(sequence.pages.length + tokenIds.length);
      rows.add(sequence.pages, tokenIds, 0, tokenIds.length);
      if (isWanted) rows.want(rows.rows - 1);
    }
    judge.sequences = items.map((item) => item.sequence.history);
    judge.tap.rows = items[0]!.tokenIds.length;
    const logits = new Float32Array(rows.wanted * vocabSize);
    forward.run(rows, cache, undefined);
    forward.logits(rows, logits, (wanted) => wanted * vocabSize);
    for (const { sequence, tokenIds } of items) sequence.pages.commit(sequence.pages.length + tokenIds.length);
    return items.map((_, i) => logits.slice(i * vocabSize, (i + 1) * vocabSize));
  }
}

/** Indices of the two largest values, the first ones where they are equal. */
export function bestTwo(x: Float32Array): readonly [number, number] {
  let [best, second] = [0, 0];
  for (let i = 1; i < x.length; i++) {
    if (x[i]! > x[best]!) [second, best] = [best, i];
    else if (second === best || x[i]! > x[second]!) second = i;
  }
  return [best, second];
}
