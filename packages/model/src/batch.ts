import { checkOneOf, describe, KindError, ShapeError, ValueError } from '@megamoe/core';
import type { KvMemory } from './kv';
import { Sequence } from './sequence';
import type { BatchItem, WantedLogits } from './step-runner';
import { takeTokenIds } from './token-ids';

/** Which rows may be asked for. */
export const WANTED: readonly WantedLogits[] = ['last', 'all', 'none'];

/** Ids of an item that are worth keeping room for: those of a decode step, or of a few. */
const KEPT_IDS = 64;

interface Item {
  sequence: Sequence;
  tokenIds: number[];
  logits: WantedLogits | undefined;
}

/**
 * The items of calls of `Model.forward`: copies, because `out` may lie over the ids and a getter may do anything, in objects that are kept for
 * the next call, because a warm decode step allocates nothing.
 */
export class Batches {
  #kept: Item[] | undefined;
  #calls = 0;

  /**
   * Each field read once.
   * @throws ValueError for an item without tokens, a token id out of range, a sequence twice or of another model; ShapeError past a sequence's
   * capacity; KindError for what is no batch
   */
  take(batch: readonly BatchItem[], memory: KvMemory, vocabSize: number): Item[] {
    const fn = 'Model.forward';
    if (!Array.isArray(batch)) throw new KindError(`${fn}: "batch" must be an array, got ${describe(batch)}`);
    if (batch.length === 0) throw new ValueError(`${fn}: the batch is empty; give at least one item`);
    const items = this.#kept ?? [];
    this.#kept = undefined; // a getter may call forward
    const call = ++this.#calls;
    for (let i = 0; i < batch.length; i++) {
      const item: unknown = batch[i];
      if (typeof item !== 'object' || item === null)
        throw new KindError(
          `${fn}: batch item ${i} must be an object with "sequence" and "tokenIds", got ${describe(item)}`,
        );
      const { sequence, tokenIds: ids, logits } = item as BatchItem;
      if (logits !== undefined) checkOneOf(fn, 'logits', logits, WANTED);
      if (!(sequence instanceof Sequence) || sequence.memory !== memory) {
        throw new ValueError(`${fn}: the sequence of batch item ${i} is not one that this model made`);
      }
      if (!sequence.enter(call)) throw new ValueError(`${fn}: batch item ${i} repeats a sequence of the batch`);
      const own = (items[i] ??= { sequence, tokenIds: [], logits });
      own.sequence = sequence;
      own.logits = logits;
      takeTokenIds(fn, i, ids, vocabSize, own.tokenIds);
      if (own.tokenIds.length === 0) throw new ValueError(`${fn}: batch item ${i} has no tokens; give at least one`);
      const { length } = sequence.pages; // throws when it has been disposed
      if (length + own.tokenIds.length > sequence.maxTokens) {
        throw new ShapeError(
          `${fn}: batch item ${i} needs ${length} + ${own.tokenIds.length} tokens, the sequence holds maxTokens = ${sequence.maxTokens}`,
        );
      }
    }
    if (items.length > batch.length) items.length = batch.length;
    return items;
  }

  /** Keeps a call's objects for the next one; nothing of the caller's stays in them. */
  giveBack(items: Item[]): void {
    for (const item of items) {
      item.sequence = undefined as unknown as Sequence;
      if (item.tokenIds.length > KEPT_IDS) item.tokenIds = [];
    }
    this.#kept = items;
  }
}
