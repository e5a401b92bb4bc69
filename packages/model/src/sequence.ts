import { checkInteger, checkKind, describe, KindError, plainView, takeIds, ValueError } from '@megamoe/core';
import { pageBytes, REWIND_TOKENS, SequencePages } from '@megamoe/ops';
import type { KvMemory } from './kv';
import { checkOrigin, restorePages, savedBackend, savePages, type SavedSequence } from './saved';
import { deserializeSequence, serializeSequence } from './serialized';

/** Gives the pages of sequences back that were collected without `dispose`. */
const forgotten = new FinalizationRegistry<SequencePages>((pages) => pages.dispose());

/**
 * One sequence of tokens and what the model remembers of it, in pages that come as tokens do. It can be cloned, saved, restored and cut
 * back; logits after that equal logits without it, bit for bit. A step either happened for it or left it as it was.
 */
export class Sequence {
  #ids: Int32Array;
  #pages: SequencePages;
  /** As it stood at a place to come back to. */
  #mark: SequencePages | undefined;
  /** The call that it entered last. */
  #call = 0;

  /** By {@link Model.createSequence}. */
  constructor(
    readonly memory: KvMemory,
    /** Tokens it can hold. */
    readonly maxTokens: number,
    pages = new SequencePages(memory.pool),
    /** The tokens that the pages hold. */
    tokenIds: ArrayLike<number> = [],
  ) {
    this.#ids = new Int32Array(Math.max(16, tokenIds.length));
    this.#ids.set(tokenIds);
    this.#pages = pages;
    forgotten.register(this, pages, this);
  }

  /** Puts other pages in place of its own. */
  #replace(pages: SequencePages, tokenIds?: Int32Array): void {
    const old = this.#pages;
    this.#pages = pages;
    if (tokenIds !== undefined) this.#ids = tokenIds;
    this.#watch();
    old.dispose();
  }

  #watch(): void {
    forgotten.unregister(this);
    forgotten.register(this, this.#pages, this);
    if (this.#mark) forgotten.register(this, this.#mark, this);
  }

  /** Its pages, for the model. @throws KindError after dispose */
  get pages(): SequencePages {
    if (this.#pages.disposed) throw new KindError('Sequence: the sequence has been disposed');
    return this.#pages;
  }

  /** Tokens seen. */
  get length(): number {
    return this.#pages.length;
  }

  /** The tokens seen, [length]; a view. */
  get tokenIds(): Int32Array {
    return this.#ids.subarray(0, this.length);
  }

  /** Bytes of the pages that it holds, alone or with clones. */
  get bytes(): number {
    const { pool, layers } = this.memory;
    return pool.kinds.reduce((sum, kind) => sum + this.#pages.list(kind).ids.length * pageBytes(kind, layers), 0);
  }

  /** Takes part in a call of {@link Model.forward}, for the model; false when it does already: a sequence comes once in a batch. */
  enter(call: number): boolean {
    checkInteger('Sequence.enter', 'call', call, 1);
    if (call <= this.#call) return false; // a later one: a getter of the batch has run a step with this sequence
    this.#call = call;
    return true;
  }

  /** Called by the model when a step that took in `tokenIds[from, from + n)` stands. */
  commit(tokenIds: ArrayLike<number>, from: number, n: number): void {
    const fn = 'Sequence.commit';
    const start = this.length;
    checkInteger(fn, 'from', from, 0);
    checkInteger(fn, 'n', n, 0, Math.min(this.maxTokens - start, tokenIds.length - from));
    if (this.#ids.length < start + n) {
      const grown = new Int32Array(Math.min(this.maxTokens, Math.max(2 * this.#ids.length, start + n)));
      grown.set(this.#ids);
      this.#ids = grown;
    }
    for (let i = 0; i < n; i++) this.#ids[start + i] = tokenIds[from + i]!;
    this.#pages.commit(start + n);
  }

  /** A copy that goes its own way; pages are shared until one of the two writes to them. */
  clone(): Sequence {
    return new Sequence(this.memory, this.maxTokens, this.pages.clone(), this.tokenIds);
  }

  /** Everything needed to go on elsewhere. */
  save(): SavedSequence {
    const { pages } = this;
    const shortest = Math.max(0, pages.length - REWIND_TOKENS, pages.shortest);
    const layers = savePages(this.memory, pages, shortest);
    const { fingerprint: model } = this.memory;
    const backend = savedBackend(this.memory);
    return {
      format: 'megamoe-sequence',
      version: 2,
      model,
      backend,
      tokenIds: this.tokenIds.slice(),
      shortest,
      layers,
    };
  }

  /** {@link Sequence.save} as bytes, for a file: with a checksum, and the same on every machine. */
  serialize(): Uint8Array {
    return serializeSequence(this.save());
  }

  /**
   * Replaces this sequence by one that was serialized.
   * @throws KindError for what are no bytes; ValueError for bytes that are damaged or no sequence; as {@link Sequence.restore}
   */
  deserialize(bytes: Uint8Array): void {
    const fn = 'Sequence.deserialize';
    this.#restore(fn, deserializeSequence(fn, bytes));
  }

  /**
   * Replaces this sequence by a saved one of the same model, on the same backend, which holds keys in the same way.
   * @throws KindError, ValueError, ShapeError for what is no saved sequence, is of another model or backend, or too long; the sequence is then
   * as it was
   */
  restore(saved: SavedSequence): void {
    this.#restore('Sequence.restore', saved);
  }

  #restore(fn: string, saved: SavedSequence): void {
    if (typeof saved !== 'object' || saved === null) {
      throw new KindError(
        `${fn}: "saved" must be what Sequence.save gave, got ${saved === null ? 'null' : typeof saved}`,
      );
    }
    const { format, version, model, backend, tokenIds: ids, shortest, layers } = saved;
    if (format !== 'megamoe-sequence' || version !== 2) {
      const got = format === undefined ? 'another object' : `${describe(format)} ${describe(version)}`;
      throw new ValueError(
        `${fn}: "saved" must be a megamoe-sequence of version 2, as Sequence.save gives it, got ${got}`,
      );
    }
    const { fingerprint } = this.memory;
    if (model !== undefined && model !== fingerprint) {
      throw new ValueError(
        `${fn}: "saved" is of another model, or of this one loaded with other options: its fingerprint is ${describe(model)}, this ` +
          `model's is ${fingerprint}`,
      );
    }
    checkOrigin(fn, this.memory, backend, layers);
    checkKind(fn, 'saved.tokenIds', ids, Int32Array);
    const tokenIds = plainView(ids, Int32Array).slice();
    if (tokenIds.length > this.maxTokens) {
      throw new ValueError(
        `${fn}: "saved" has ${tokenIds.length} tokens, this sequence holds maxTokens = ${this.maxTokens}`,
      );
    }
    const { length } = tokenIds;
    if (shortest !== undefined) checkInteger(fn, 'saved.shortest', shortest, 0, length);
    void this.pages; // throws when it has been disposed
    const pages = restorePages(fn, this.memory, layers, { length, shortest: shortest ?? length });
    this.#mark?.dispose();
    this.#mark = undefined;
    this.#replace(pages, tokenIds);
  }

  /**
   * Forgets all tokens from `length` on. The last 64 tokens can always be taken back, at no cost; to come back from farther, clone first.
   * @throws ValueError when what tokens before `length` need has been given back
   */
  rewind(length: number): void {
    this.pages.rewind(length);
  }

  /** Remembers this place, besides the last 64 tokens: {@link Sequence.resume} can come back to it from anywhere. There is one such place. */
  mark(): void {
    const mark = this.pages.clone();
    this.#mark?.dispose();
    this.#mark = mark;
    this.#watch();
  }

  /**
   * Cuts the sequence back to what it has in common with `tokenIds`, at most `most` tokens: at once where it can be cut back so far, else to the
   * place that it was told to remember, else to nothing. Returns its length.
   */
  resume(tokenIds: ArrayLike<number>, most: number): number {
    const fn = 'Sequence.resume';
    const { pages } = this;
    const own = takeIds(fn, 'tokenIds', tokenIds);
    checkInteger(fn, 'most', most, 0);
    const end = Math.min(pages.length, most, own.length);
    let common = 0;
    while (common < end && this.#ids[common] === own[common]) common++;
    if (common >= pages.shortest) {
      pages.rewind(common);
      return common;
    }
    const mark = this.#mark;
    if (mark !== undefined && mark.shortest <= common) {
      const back = mark.clone();
      if (back.length > common) back.rewind(common);
      this.#replace(back);
    } else this.#replace(new SequencePages(this.memory.pool));
    return this.length;
  }

  /** Gives its pages back now. Twice is fine. */
  dispose(): void {
    forgotten.unregister(this);
    this.#pages.dispose();
    this.#mark?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
