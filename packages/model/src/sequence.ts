import { ValueError } from '@megamoe/core';
import type { SequenceStateHandle } from './backend/ops';

/** What {@link Sequence.save} gives: plain data that can be structured-cloned. */
export interface SavedSequence {
  readonly tokenIds: Int32Array;
  readonly state: unknown;
}

/** A point of one sequence to cut back to. */
export interface SequenceMark {
  readonly length: number;
  readonly state: unknown;
}

/**
 * One sequence of tokens and what the model remembers of it. It can be cloned, saved, restored and cut back to a marked point;
 * logits after that equal logits without it, bit for bit.
 */
export class Sequence {
  private readonly ids: Int32Array; // [maxTokens] at once, like the state: a step allocates nothing
  private marks = new WeakSet<SequenceMark>();

  constructor(
    readonly state: SequenceStateHandle,
    /** Tokens it can hold. */
    readonly maxTokens: number,
  ) {
    this.ids = new Int32Array(maxTokens);
  }

  /** Tokens seen. */
  get length(): number {
    return this.state.position;
  }

  /** The tokens seen, [length]; a view. */
  get tokenIds(): Int32Array {
    return this.ids.subarray(0, this.length);
  }

  /** Bytes of state. */
  get bytes(): number {
    return this.state.bytes;
  }

  /** Called by the model after a step that took in `tokenIds[from, from + n)`. */
  noteTokens(tokenIds: ArrayLike<number>, from: number, n: number): void {
    const start = this.length - n;
    for (let i = 0; i < n; i++) this.ids[start + i] = tokenIds[from + i]!;
  }

  /** An independent copy. */
  clone(): Sequence {
    const copy = new Sequence(this.state.clone(), this.maxTokens);
    copy.ids.set(this.ids);
    return copy;
  }

  /** Everything needed to go on elsewhere. */
  save(): SavedSequence {
    return { tokenIds: this.tokenIds.slice(), state: this.state.save() };
  }

  /** Replaces this sequence by a saved one of the same model. */
  restore(saved: SavedSequence): void {
    if (saved.tokenIds.length > this.maxTokens) {
      throw new ValueError(
        `Sequence.restore: saved sequence has ${saved.tokenIds.length} tokens, this one holds maxTokens = ${this.maxTokens}`,
      );
    }
    this.state.restore(saved.state);
    this.ids.set(saved.tokenIds);
  }

  /** The present point, to cut back to. */
  mark(): SequenceMark {
    const mark = { length: this.length, state: this.state.mark() };
    this.marks.add(mark);
    return mark;
  }

  /** Forgets all tokens after `mark`, which must come from this sequence. */
  rewind(mark: SequenceMark): void {
    if (!this.marks.has(mark)) throw new ValueError('Sequence.rewind: "mark" comes from another sequence');
    this.state.rewind(mark.state);
  }
}
