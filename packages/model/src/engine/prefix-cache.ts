import { pageBytes, type PageKind, type SequencePages } from '@megamoe/ops';
import type { KvMemory } from '../kv';
import { matchPrefix, nodeAt, PrefixNode, prune, type Snapshot } from './prefix-tree';

/** What a look for a prefix found. */
export interface PrefixHit {
  /** Pages of their own for the first `length` tokens, shared with the cache; undefined when nothing can be used. */
  readonly pages: SequencePages | undefined;
  /** Tokens that need not be computed. */
  readonly length: number;
  /** Tokens that another prompt began with as well: a state kept at this place would have served both. */
  readonly shared: number;
}

/** A snapshot far beyond a place cannot be cut back to it: how far to look. */
const REACH = 4096;

/**
 * States of sequences by the tokens that led to them, in RAM. What is kept shares pages with the sequences that made it, so that a state costs
 * only what nobody else holds; at most `limitBytes` of pages are held in all. A state is cut back to the very token where a prompt departs, as
 * far as its pages reach: hits happen at any length, compressed layers included, and are exact.
 *
 * What was used longest ago goes first, speculative states before all others. A prompt that begins like another's takes a clone and takes
 * nothing away.
 */
export class PrefixCache {
  readonly #roots = new Map<string, PrefixNode>();
  /** In order of use. */
  readonly #kept = new Set<Snapshot>();
  readonly #speculative = new Set<Snapshot>();
  /** How many snapshots hold a page, by kind. */
  readonly #holds = new Map<PageKind, Map<number, number>>();
  readonly #pageBytes = new Map<PageKind, number>();
  #bytes = 0;

  constructor(
    memory: KvMemory,
    readonly limitBytes: number,
  ) {
    for (const kind of memory.pool.kinds) {
      this.#holds.set(kind, new Map());
      this.#pageBytes.set(kind, pageBytes(kind, memory.layers));
    }
  }

  /** Bytes of the pages that it holds, alone or with sequences. */
  get bytes(): number {
    return this.#bytes;
  }

  /** States that are kept. */
  get size(): number {
    return this.#kept.size + this.#speculative.size;
  }

  /** The longest state that is a prefix of `ids`, of at most `most` tokens; the caller disposes of its pages. */
  find(key: string, ids: ArrayLike<number>, most: number): PrefixHit {
    const root = this.#roots.get(key);
    if (root === undefined) return { pages: undefined, length: 0, shared: 0 };
    const { length: shared, last, within } = matchPrefix(root, ids, most);
    const beyond = this.#beyond(within === undefined ? [...last.children.values()] : [within], shared);
    const own = shared === last.depth ? (last.kept ?? last.speculative) : undefined;
    let [snapshot, length] = [own ?? beyond, shared];
    for (let node: PrefixNode | undefined = last; snapshot === undefined && node !== undefined; node = node.parent) {
      snapshot = node.kept ?? node.speculative;
      length = node.depth;
    }
    if (snapshot === undefined || length === 0) return { pages: undefined, length: 0, shared };
    this.#touch(snapshot);
    const pages = snapshot.pages.clone();
    if (pages.length > length) pages.rewind(length);
    return { pages, length, shared };
  }

  /**
   * Keeps the state of a sequence of `ids`, `pages.length` tokens of them; the pages are cloned. A state that is there already is used anew.
   */
  put(key: string, ids: ArrayLike<number>, pages: SequencePages, speculative: boolean): void {
    if (this.limitBytes === 0 || pages.length === 0) return;
    let root = this.#roots.get(key);
    if (root === undefined) this.#roots.set(key, (root = new PrefixNode(undefined, new Int32Array(0), 0)));
    const node = nodeAt(root, ids, pages.length);
    const there = speculative ? node.speculative : node.kept;
    if (there !== undefined) this.#touch(there);
    if (there === undefined || there.pages.shortest > pages.shortest) {
      if (there !== undefined) this.#drop(there);
      const snapshot = { key, node, pages: pages.clone(), speculative };
      if (speculative) node.speculative = snapshot;
      else node.kept = snapshot;
      this.#count(snapshot.pages, 1);
      this.#touch(snapshot);
    }
    while (this.#bytes > this.limitBytes && this.evict());
  }

  /** Lets go of the state that is needed least; false when there is none. */
  evict(): boolean {
    const [snapshot] = this.#speculative.size > 0 ? this.#speculative : this.#kept;
    if (snapshot === undefined) return false;
    const { key, node } = snapshot;
    this.#drop(snapshot);
    prune(node);
    if (this.#roots.get(key)?.children.size === 0) this.#roots.delete(key);
    return true;
  }

  /** Lets go of everything. */
  clear(): void {
    while (this.evict());
  }

  /** A state of the trees below that can be cut back to `length`. */
  #beyond(nodes: readonly PrefixNode[], length: number): Snapshot | undefined {
    const queue = [...nodes];
    for (let node = queue.shift(); node !== undefined; node = queue.shift()) {
      for (const snapshot of [node.kept, node.speculative]) {
        if (snapshot !== undefined && snapshot.pages.shortest <= length) return snapshot;
      }
      if (node.depth < length + REACH) queue.push(...node.children.values());
    }
    return undefined;
  }

  #touch(snapshot: Snapshot): void {
    const order = snapshot.speculative ? this.#speculative : this.#kept;
    order.delete(snapshot);
    order.add(snapshot);
  }

  #drop(snapshot: Snapshot): void {
    const { node, pages, speculative } = snapshot;
    (speculative ? this.#speculative : this.#kept).delete(snapshot);
    if (speculative) node.speculative = undefined;
    else node.kept = undefined;
    this.#count(pages, -1);
    pages.dispose();
  }

  /** Counts pages in or out. */
  #count(pages: SequencePages, by: 1 | -1): void {
    for (const [kind, holds] of this.#holds) {
      const bytes = this.#pageBytes.get(kind)!;
      for (const id of pages.list(kind).ids) {
        const had = holds.get(id) ?? 0;
        if (had === 0) this.#bytes += bytes;
        if (had + by === 0) {
          holds.delete(id);
          this.#bytes -= bytes;
        } else holds.set(id, had + by);
      }
    }
  }
}
