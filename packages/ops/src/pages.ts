import {
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  describe,
  KindError,
  ShapeError,
  takeList,
  ValueError,
} from '@megamoe/core';

/** How a cache holds keys, those of the window and compressed ones. What else it remembers is float32: see {@link LayerSpec.kv}. */
export type KvDtype = 'f32' | 'bf16';

/** What one layer remembers: its window, and for compressed layers how many tokens make an entry. */
export interface LayerSpec {
  /** Tokens per compressed entry (docs/formats.md A1.3): 0 = sliding window only, 4 = CSA (overlapping windows, indexer), 128 = HCA. */
  readonly ratio: 0 | 4 | 128;
  /** Recent tokens kept raw, the query's own included (`sliding_window`). */
  readonly window: number;
  /** Elements of a key row (`head_dim`); K and V are one tensor. */
  readonly headDim: number;
  /** Elements of an indexer key (`index_head_dim`); needed for ratio 4, refused elsewhere. */
  readonly indexHeadDim?: number;
  /**
   * How keys are held; left out: float32. `bf16`: rounded once when they are written, and widened when they are read. Projections of open
   * windows stay in float32, which an entry is the mean of, and so do the indexer's keys: they decide which keys are seen, and no bound covers
   * another choice.
   */
  readonly kv?: KvDtype;
}

/**
 * Kinds of pages. All layers with the same kind of memory share one list of pages for each sequence: `window` is every layer's, `open`
 * are projections that compressors still need, `entries` are compressed keys; 4 and 128 are the compression ratios.
 */
export type PageKind = 'window' | 'open4' | 'entries4' | 'open128' | 'entries128';

/** Rows of a page, and tokens of a row. */
export interface PageShape {
  readonly rows: number;
  readonly tokensPerRow: number;
}

/** A page of each kind. Kernels score 64 entries at a time, so a block of theirs never crosses a page of `entries4`. */
export const PAGES: Readonly<Record<PageKind, PageShape>> = {
  window: { rows: 64, tokensPerRow: 1 },
  open4: { rows: 64, tokensPerRow: 1 },
  entries4: { rows: 64, tokensPerRow: 4 },
  open128: { rows: 64, tokensPerRow: 1 },
  entries128: { rows: 16, tokensPerRow: 128 },
};

/** Every kind. */
export const PAGE_KINDS = Object.keys(PAGES) as readonly PageKind[];

/** Tokens that a sequence can always be cut back by from the longest that it has been, at no cost: pages are kept that long. */
export const REWIND_TOKENS = 64;

/** More layers than any model has. */
const MOST_LAYERS = 2 ** 16;

/** Most tokens of a sequence: positions are 32-bit integers. */
const MAX_LENGTH = 2 ** 31 - 1;

/** Kinds that layers need. */
export function pageKindsOf(given: readonly LayerSpec[]): readonly PageKind[] {
  const layers = takeLayerSpecs('pageKindsOf', 'layers', given);
  const ratios = new Set(layers.map((layer) => layer.ratio));
  return PAGE_KINDS.filter((kind) => kind === 'window' || (kind.endsWith('128') ? ratios.has(128) : ratios.has(4)));
}

/** Bytes of a page of a kind, over all layers that have it: float32 rows. */
export function pageBytes(kind: PageKind, given: readonly LayerSpec[]): number {
  checkOneOf('pageBytes', 'kind', kind, PAGE_KINDS);
  const layers = takeLayerSpecs('pageBytes', 'layers', given);
  const rowBytes = ({ ratio, headDim, indexHeadDim = 0, kv = 'f32' }: LayerSpec): number => {
    const keyBytes = (kv === 'bf16' ? 2 : 4) * headDim;
    if (kind === 'window') return keyBytes;
    if (!kind.endsWith(String(ratio)) || ratio === 0) return 0;
    if (kind.startsWith('entries')) return keyBytes + 4 * indexHeadDim;
    // Values and gates; overlapping windows are projected twice as wide.
    return 4 * 2 * (ratio === 4 ? 2 : 1) * (headDim + indexHeadDim);
  };
  return PAGES[kind].rows * layers.reduce((sum, layer) => sum + rowBytes(layer), 0);
}

/** Bytes of the pages that a sequence of `tokens` tokens holds. */
export function sequenceBytes(tokens: number, given: readonly LayerSpec[]): number {
  checkInteger('sequenceBytes', 'tokens', tokens, 0);
  const layers = takeLayerSpecs('sequenceBytes', 'layers', given);
  const window = layers[0]?.window ?? 1;
  return pageKindsOf(layers).reduce((sum, kind) => {
    const { rows } = PAGES[kind];
    const back = Math.max(0, tokens - REWIND_TOKENS);
    const first = Math.floor(firstLiveRow(kind, back, window) / rows);
    return sum + Math.max(0, Math.ceil(filledRows(kind, tokens) / rows) - first) * pageBytes(kind, layers);
  }, 0);
}

/** The layers that a caller passed, each field read once: what is checked is what is used. */
export function takeLayerSpecs(fn: string, arg: string, layers: readonly LayerSpec[]): readonly LayerSpec[] {
  return takeList(fn, arg, layers, MOST_LAYERS, (layer, i) => {
    checkObject(fn, `${arg}[${i}]`, layer);
    const { ratio, window, headDim, indexHeadDim, kv } = layer as LayerSpec;
    const own = {
      ...{ ratio, window, headDim },
      ...(indexHeadDim !== undefined && { indexHeadDim }),
      ...(kv !== undefined && { kv }),
    };
    checkLayerSpec(fn, `${arg}[${i}]`, own);
    return own;
  });
}

/** Throws unless `layer` is a usable {@link LayerSpec}; `at` names it in the message. */
export function checkLayerSpec(fn: string, at: string, layer: LayerSpec): void {
  checkObject(fn, at, layer);
  checkOneOf(fn, `${at}.ratio`, layer.ratio, [0, 4, 128] as const);
  checkInteger(fn, `${at}.window`, layer.window, 1, 2 ** 30);
  checkInteger(fn, `${at}.headDim`, layer.headDim, 1, 2 ** 16);
  if (layer.kv !== undefined) checkOneOf(fn, `${at}.kv`, layer.kv, ['f32', 'bf16'] as const);
  if (layer.ratio === 4) checkInteger(fn, `${at}.indexHeadDim`, layer.indexHeadDim ?? NaN, 1, 2 ** 16);
  else if (layer.indexHeadDim !== undefined) {
    throw new ValueError(
      `${fn}: "${at}.indexHeadDim" belongs to ratio 4 only, got ${layer.indexHeadDim} with ratio ${layer.ratio}`,
    );
  }
}

/**
 * Compressed entries that the query at `position` may see: entry w is visible iff `w < floor((position + 1) / ratio)`, that is, once the
 * last token of its window is at or before the query (docs/formats.md D5). 0 for ratio 0.
 */
export function visibleEntries(position: number, ratio: number): number {
  checkInteger('visibleEntries', 'position', position, 0, 2 ** 31 - 2);
  checkInteger('visibleEntries', 'ratio', ratio, 0, 2 ** 31 - 1);
  return ratio === 0 ? 0 : Math.floor((position + 1) / ratio);
}

/** The first row of a kind that tokens at `length` and later can still need. */
export function firstLiveRow(kind: PageKind, length: number, window: number): number {
  pageOf('firstLiveRow', kind);
  checkLengthOf('firstLiveRow', 'length', length);
  checkLengthOf('firstLiveRow', 'window', window);
  return liveRow(kind, length, window);
}

/** {@link firstLiveRow} for who knows its arguments: a step asks for each kind and sequence. */
export function liveRow(kind: PageKind, length: number, window: number): number {
  switch (kind) {
    case 'window':
      return Math.max(0, length - window + 1);
    case 'open4': // windows overlap: the one before the open one is still needed
      return Math.max(0, Math.floor(length / 4) * 4 - 4);
    case 'open128':
      return Math.floor(length / 128) * 128;
    default:
      return 0;
  }
}

/** The least length whose first live row is `row` or later. */
function leastLength(kind: PageKind, row: number, window: number): number {
  if (row === 0) return 0;
  if (kind === 'window') return row + window - 1;
  if (kind === 'open4') return Math.ceil(row / 4) * 4 + 4;
  return kind === 'open128' ? Math.ceil(row / 128) * 128 : 0;
}

/** Rows of a kind that `length` tokens fill. */
export function filledRows(kind: PageKind, length: number): number {
  const { tokensPerRow } = pageOf('filledRows', kind);
  checkLengthOf('filledRows', 'length', length);
  return Math.floor(length / tokensPerRow);
}

/** Throws unless it is a number. */
function checkLengthOf(fn: string, arg: string, v: number): void {
  if (typeof v !== 'number') throw new KindError(`${fn}: "${arg}" must be a number, got ${describe(v)}`);
}

/** The shape of pages of a kind; throws where there is no such kind. */
function pageOf(fn: string, kind: PageKind): PageShape {
  const shape = typeof kind === 'string' && (PAGES[kind] as PageShape | undefined);
  if (!shape) throw new ValueError(`${fn}: "kind" must be one of ${PAGE_KINDS.join(', ')}, got ${describe(kind)}`);
  return shape;
}

/** Lists of kinds by what they hold: equal ones are the same, so that pools and steps of one model need not compare theirs. */
const KIND_LISTS = new Map<string, readonly PageKind[]>();

/** Kinds that a caller passed, read once. */
export function takeKinds(fn: string, kinds: readonly PageKind[]): readonly PageKind[] {
  const own = takeList(fn, 'kinds', kinds, PAGE_KINDS.length, (kind, i) => {
    checkOneOf(fn, `kinds[${i}]`, kind as PageKind, PAGE_KINDS);
    return kind as PageKind;
  });
  const key = own.join();
  const known = KIND_LISTS.get(key);
  if (known !== undefined) return known;
  KIND_LISTS.set(key, Object.freeze(own));
  return own;
}

/** What a page pool asks of the memory behind it. */
export interface PageMemory {
  /** Makes room for `pages` pages of a kind in all; what they hold stays. */
  grow(kind: PageKind, pages: number): void;
  /** Copies the first `rows` rows of a page to another, in every layer. */
  copyPage(kind: PageKind, from: number, to: number, rows: number): void;
}

interface Store {
  capacity: number;
  /** How often each page is held. */
  readonly refs: number[];
  readonly free: number[];
}

/** What a page pool holds, by kind. */
export type PageCounts = Readonly<Partial<Record<PageKind, { readonly used: number; readonly capacity: number }>>>;

/**
 * Pages of all sequences of a model: who holds which. Memory grows by doubling as it is needed, up to `maxPages`, or page by page where there is
 * none to double it; a page that several sequences hold is copied before one of them writes.
 */
export class PagePool {
  readonly kinds: readonly PageKind[];
  readonly #stores = new Map<PageKind, Store>();

  /**
   * @param kinds which pages there are
   * @param window `sliding_window`
   * @param maxPages most pages of each kind; default no bound but memory
   */
  constructor(
    kinds: readonly PageKind[],
    readonly window: number,
    private readonly memory: PageMemory,
    private readonly maxPages: Readonly<Partial<Record<PageKind, number>>> = {},
  ) {
    const fn = 'PagePool';
    this.kinds = takeKinds(fn, kinds);
    checkInteger(fn, 'window', window, 1, 2 ** 30);
    checkObject(fn, 'memory', memory);
    checkFunction(fn, 'memory.grow', memory.grow);
    checkFunction(fn, 'memory.copyPage', memory.copyPage);
    checkObject(fn, 'maxPages', maxPages);
    this.maxPages = Object.fromEntries(this.kinds.map((kind) => [kind, maxPages[kind]]));
    for (const [kind, most] of Object.entries(this.maxPages))
      if (most !== undefined && most !== Infinity) checkInteger(fn, `maxPages.${kind}`, most, 0);
    for (const kind of this.kinds) this.#stores.set(kind, { capacity: 0, refs: [], free: [] });
  }

  /** Pages in use and made, by kind. */
  get counts(): PageCounts {
    return Object.fromEntries(
      [...this.#stores].map(([kind, s]) => [kind, { used: s.refs.length - s.free.length, capacity: s.capacity }]),
    );
  }

  /** Pages that can still be handed out. */
  available(kind: PageKind): number {
    const s = this.#store('available', kind);
    return (this.maxPages[kind] ?? Infinity) - (s.refs.length - s.free.length);
  }

  /** An unused page, held once. @throws ValueError when `maxPages` are in use */
  take(kind: PageKind): number {
    const s = this.#store('take', kind);
    let page = s.free.pop();
    if (page === undefined) {
      const most = this.maxPages[kind] ?? Infinity;
      page = s.refs.length;
      if (page >= most) {
        throw new ValueError(
          `PagePool: all ${most} pages of kind ${kind} are in use; dispose of sequences, or allow more KV memory`,
        );
      }
      if (page >= s.capacity) {
        s.capacity = this.#grow(kind, page + 1, Math.min(most, Math.max(4, 2 * s.capacity)));
      }
      s.refs.push(0);
    }
    s.refs[page] = 1;
    return page;
  }

  /** Makes room for `wanted` pages, or where there is no memory for so many, for `least`. May throw: nothing has been taken yet. */
  #grow(kind: PageKind, least: number, wanted: number): number {
    try {
      this.memory.grow(kind, wanted);
      return wanted;
    } catch (error) {
      if (least >= wanted) throw error;
      this.memory.grow(kind, least);
      return least;
    }
  }

  /** How many sequences hold a page. */
  holders(kind: PageKind, page: number): number {
    const { refs } = this.#store('holders', kind);
    checkInteger('PagePool.holders', 'page', page, 0);
    return refs[page] ?? 0;
  }

  /** Holds a page once more. */
  hold(kind: PageKind, page: number): void {
    const s = this.#held('hold', kind, page);
    s.refs[page] = s.refs[page]! + 1;
  }

  /** Lets go of a page. */
  drop(kind: PageKind, page: number): void {
    const s = this.#held('drop', kind, page);
    const refs = s.refs[page]! - 1;
    s.refs[page] = refs;
    if (refs === 0) s.free.push(page);
  }

  /** `page` when nobody else holds it; else a copy of its first `rows` rows, held instead of it. */
  own(kind: PageKind, page: number, rows: number): number {
    const s = this.#held('own', kind, page);
    checkInteger('PagePool.own', 'rows', rows, 0, PAGES[kind].rows);
    if (s.refs[page] === 1) return page;
    const copy = this.take(kind);
    if (rows > 0) this.memory.copyPage(kind, page, copy, rows);
    this.drop(kind, page);
    return copy;
  }

  #store(method: string, kind: PageKind): Store {
    const s = this.#stores.get(kind);
    if (s !== undefined) return s;
    const there = this.kinds.join(', ');
    throw new ValueError(`PagePool.${method}: no pages of kind ${describe(kind)}; there are ${there}`);
  }

  /** The pages of a kind; throws unless somebody holds `page`. */
  #held(method: string, kind: PageKind, page: number): Store {
    const s = this.#store(method, kind);
    if (typeof page === 'number' && s.refs[page]! > 0) return s;
    throw new ValueError(
      `PagePool.${method}: "page" must be a page of kind ${kind} that is held, got ${describe(page)}`,
    );
  }
}

interface List {
  readonly kind: PageKind;
  /** Number of the first page that is held; those before it are gone. */
  first: number;
  readonly ids: number[];
}

/** Counts what happens to page lists, of all sequences together. */
let changes = 0;

/**
 * The pages of one sequence, and its one position: `length` tokens are committed. A step reserves room, writes beyond `length`, and commits;
 * a step that fails leaves everything as it was. Rows are addressed by position, so what a failed step wrote is written over.
 */
export class SequencePages {
  #length = 0;
  #disposed = false;
  /** Tokens up to here can be written: every page for them is there and held by nobody else. */
  #reserved = 0;
  /** The length at which a commit next gives pages back. */
  #nextDrop = 0;
  /** The shortest length whose rows are all there: pages of a restored sequence hold none that only tokens before it need. */
  #opened = 0;
  /** A length to come back to: what it needs is kept. */
  #retained = Infinity;
  readonly #lists: readonly List[];
  #version = ++changes;

  constructor(readonly pool: PagePool) {
    if (!(pool instanceof PagePool))
      throw new KindError(`SequencePages: "pool" must be a PagePool, got ${describe(pool)}`);
    this.#lists = pool.kinds.map((kind) => ({ kind, first: 0, ids: [] }));
  }

  /** Tokens committed. */
  get length(): number {
    return this.#length;
  }

  /** Whether its pages have been given back. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /** Which pages it holds: another number after every change of a list, and never the number of another sequence. */
  get version(): number {
    return this.#version;
  }

  /** Pages held, of all kinds. */
  get pages(): number {
    return this.#lists.reduce((sum, { ids }) => sum + ids.length, 0);
  }

  /** The pages of a kind: number of the first, and their ids. */
  list(kind: PageKind): { readonly first: number; readonly ids: readonly number[] } {
    return this.#list('list', kind);
  }

  #list(method: string, kind: PageKind): List {
    for (const list of this.#lists) if (list.kind === kind) return list;
    throw new ValueError(
      `SequencePages.${method}: no pages of kind ${describe(kind)}; there are ${this.pool.kinds.join(', ')}`,
    );
  }

  /** Pages of a kind that {@link SequencePages.reserve} would take: those that are not there, and copies of those that others hold. */
  missing(kind: PageKind, end: number): number {
    checkInteger('SequencePages.missing', 'end', end, 0, MAX_LENGTH);
    const { first, ids } = this.#list('missing', kind);
    const { rows } = PAGES[kind];
    const from = filledRows(kind, this.#length);
    const wanted = filledRows(kind, end);
    let missing = 0;
    for (let page = Math.floor(from / rows); wanted > from && page * rows < wanted; page++) {
      const id = ids[page - first];
      if (id === undefined || this.pool.holders(kind, id) !== 1) missing++;
    }
    return missing;
  }

  /** Whether tokens up to `end` can be written. */
  isReserved(end: number): boolean {
    checkInteger('SequencePages.isReserved', 'end', end, 0, MAX_LENGTH);
    if (end <= this.#reserved) return true;
    for (const { kind } of this.#lists) if (this.missing(kind, end) > 0) return false;
    return true;
  }

  /**
   * Makes room for tokens up to `end`, held by nobody else. What it has taken when it throws stays reserved and is used by the next try.
   * @throws ValueError when the pool has no more pages
   * @throws KindError after dispose, as all that changes a sequence
   */
  reserve(end: number): void {
    this.#checkAlive('reserve');
    checkInteger('SequencePages.reserve', 'end', end, 0, MAX_LENGTH);
    if (end <= this.#reserved) return;
    let reserved = Infinity;
    for (const list of this.#lists) {
      const { rows, tokensPerRow } = PAGES[list.kind];
      const from = filledRows(list.kind, this.#length); // the first row to be written
      const wanted = filledRows(list.kind, end);
      if (wanted === from) {
        reserved = Math.min(reserved, (from + 1) * tokensPerRow - 1); // before the next row is full
        continue;
      }
      const at = Math.floor(from / rows);
      for (let i = at - list.first; i < list.ids.length; i++) {
        if (list.first + i > Math.floor((wanted - 1) / rows)) break;
        const kept = i === at - list.first ? from - at * rows : 0;
        list.ids[i] = this.pool.own(list.kind, list.ids[i]!, kept);
        this.#version = ++changes;
      }
      while ((list.first + list.ids.length) * rows < wanted) {
        list.ids.push(this.pool.take(list.kind));
        this.#version = ++changes;
      }
      reserved = Math.min(reserved, (Math.ceil(wanted / rows) * rows + 1) * tokensPerRow - 1); // to the end of the last page
    }
    this.#reserved = reserved;
  }

  /** The step that wrote tokens up to `end` stands: pages that no later token can need are given back. */
  commit(end: number): void {
    this.#checkAlive('commit');
    checkInteger('SequencePages.commit', 'end', end, this.#length);
    this.#length = end;
    if (end >= this.#nextDrop) this.#giveBack();
  }

  /**
   * From now on keeps what a return to `length` needs, however far the sequence goes on; without an argument only the last 64 tokens again.
   * A clone made in between can be cut back that far, and keeps nothing by itself.
   */
  retain(length = Infinity): void {
    this.#checkAlive('retain');
    if (length !== Infinity) checkInteger('SequencePages.retain', 'length', length, 0, MAX_LENGTH);
    this.#retained = length;
    this.#giveBack();
  }

  /** Lets go of pages that nothing to come needs. */
  #giveBack(): void {
    const back = Math.max(0, Math.min(this.#length - REWIND_TOKENS, this.#retained));
    let next = Infinity;
    for (const list of this.#lists) {
      const live = Math.floor(firstLiveRow(list.kind, back, this.pool.window) / PAGES[list.kind].rows);
      while (list.first < live && list.ids.length > 0) {
        this.pool.drop(list.kind, list.ids.shift()!);
        list.first++;
        this.#version = ++changes;
      }
      if (!list.kind.startsWith('entries')) {
        next = Math.min(next, leastLength(list.kind, (live + 1) * PAGES[list.kind].rows, this.pool.window));
      }
    }
    this.#nextDrop = next + REWIND_TOKENS;
  }

  /** The shortest length that {@link SequencePages.rewind} takes. */
  get shortest(): number {
    const { window } = this.pool;
    const least = ({ kind, first }: List): number => leastLength(kind, first * PAGES[kind].rows, window);
    return this.#lists.reduce((most, list) => Math.max(most, least(list)), this.#opened);
  }

  /** Forgets all tokens from `length` on. Costs nothing. @throws ValueError below {@link SequencePages.shortest} */
  rewind(length: number): void {
    const fn = 'SequencePages.rewind';
    this.#checkAlive('rewind');
    checkInteger(fn, 'length', length, 0, this.#length);
    if (length < this.shortest) {
      throw new ValueError(
        `${fn}: "length" must be at least ${this.shortest}: what tokens before that need has been given back, got ${length}; clone the ` +
          'sequence at a point to come back to',
      );
    }
    this.#length = length;
    this.#reserved = 0; // pages before the old length may be shared
    this.#version = ++changes;
    for (const list of this.#lists) {
      const keep = Math.ceil(filledRows(list.kind, length) / PAGES[list.kind].rows) - list.first;
      while (list.ids.length > Math.max(0, keep)) this.pool.drop(list.kind, list.ids.pop()!);
    }
  }

  /** A sequence with the same tokens; pages are shared until one of the two writes. */
  clone(): SequencePages {
    this.#checkAlive('clone');
    this.#reserved = 0;
    const copy = new SequencePages(this.pool);
    copy.#length = this.#length;
    copy.#opened = this.#opened;
    this.#lists.forEach((list, i) => {
      const to = copy.#lists[i]!;
      to.first = list.first;
      for (const id of list.ids) {
        this.pool.hold(list.kind, id);
        to.ids.push(id);
      }
    });
    return copy;
  }

  /**
   * Starts at `length` with pages of its own for what tokens from `shortest` on need: for a restore, which fills them. It can be cut back to
   * `shortest`, no further: what only tokens before need is not there. The sequence must be empty.
   */
  open(length: number, shortest = length): void {
    this.#checkAlive('open');
    checkInteger('SequencePages.open', 'length', length, 0, MAX_LENGTH);
    checkInteger('SequencePages.open', 'shortest', shortest, 0, length);
    if (this.pages > 0 || this.#length > 0) throw new ShapeError('SequencePages.open: the sequence must be empty');
    for (const list of this.#lists) {
      const { rows } = PAGES[list.kind];
      const row = firstLiveRow(list.kind, shortest, this.pool.window);
      this.#opened = Math.max(this.#opened, leastLength(list.kind, row, this.pool.window));
      list.first = Math.floor(row / rows);
      this.#version = ++changes;
      while ((list.first + list.ids.length) * rows < filledRows(list.kind, length)) {
        list.ids.push(this.pool.take(list.kind));
        this.#version = ++changes;
      }
    }
    this.#length = length;
  }

  /** Gives all pages back and forgets all tokens. Twice is fine. */
  dispose(): void {
    for (const list of this.#lists) {
      for (const id of list.ids.splice(0)) this.pool.drop(list.kind, id);
      list.first = 0;
    }
    this.#version = ++changes;
    this.#length = 0;
    this.#opened = 0;
    this.#reserved = 0;
    this.#disposed = true;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #checkAlive(method: string): void {
    if (this.#disposed) throw new KindError(`SequencePages.${method}: the sequence has been disposed`);
  }
}
