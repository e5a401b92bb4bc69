import {
  checkInteger,
  checkOneOf,
  describe,
  placeOf,
  sameBuffer,
  ShapeError,
  UnsupportedError,
  ValueError,
} from '@megamoe/core';
import type { Memory } from '@megamoe/core';
import { hostTensor, pageKindsOf, PAGES, takeLayerSpecs } from '@megamoe/ops';
import type { CachePart, KvCache, LayerSpec, PageKind, HostTensor } from '@megamoe/ops';

const PARTS = ['window', 'entries', 'openKv', 'openGate', 'indexEntries', 'indexOpenKv', 'indexOpenGate'] as const;

/** Pages of one part of one layer: [pages*rows, width] f32. */
export class PartMemory {
  #tensor: HostTensor<'f32'>;

  constructor(
    readonly kind: PageKind,
    readonly width: number,
  ) {
    this.#tensor = hostTensor('f32', [0, width]);
  }

  get tensor(): HostTensor<'f32'> {
    return this.#tensor;
  }

  get data(): Float32Array {
    return this.#tensor.data;
  }

  /** Makes room for `pages` pages; nothing when there is. What is new is zero, and takes no memory before it is written. */
  grow(pages: number): void {
    const rows = pages * PAGES[this.kind].rows;
    if (rows * this.width <= this.data.length) return;
    const grown = hostTensor('f32', [rows, this.width]);
    grown.data.set(this.data);
    this.#tensor.dispose();
    this.#tensor = grown;
  }

  /** Copies the first `rows` rows of page `from` to page `to`. */
  copy(from: number, to: number, rows: number): void {
    const page = PAGES[this.kind].rows * this.width;
    this.data.copyWithin(to * page, from * page, from * page + rows * this.width);
  }
}

/** Memory of one compressor: the layer's, or its indexer's. */
export interface CompressorMemory {
  /** Elements of an entry. */
  readonly dim: number;
  /** Elements of a token's projection: 2*dim when windows overlap (ratio 4), else dim. */
  readonly width: number;
  readonly entries: PartMemory;
  /** Projections of windows that are not closed, or whose next one is not. */
  readonly openKv: PartMemory;
  /** Their gates with `ape` added. */
  readonly openGate: PartMemory;
}

/** Memory of one layer. */
export interface LayerMemory {
  readonly spec: LayerSpec;
  readonly window: PartMemory;
  /** Ratio 4 and 128. */
  readonly compressor: CompressorMemory | undefined;
  /** Ratio 4. */
  readonly indexer: CompressorMemory | undefined;
}

function compressorMemory(ratio: 4 | 128, dim: number): CompressorMemory {
  const width = ratio === 4 ? 2 * dim : dim;
  return {
    dim,
    width,
    entries: new PartMemory(`entries${ratio}`, dim),
    openKv: new PartMemory(`open${ratio}`, width),
    openGate: new PartMemory(`open${ratio}`, width),
  };
}

function layerMemory(spec: LayerSpec): LayerMemory {
  const { ratio, headDim, indexHeadDim } = spec;
  return {
    spec: { ...spec },
    window: new PartMemory('window', headDim),
    compressor: ratio === 0 ? undefined : compressorMemory(ratio, headDim),
    indexer: ratio === 4 ? compressorMemory(4, indexHeadDim!) : undefined,
  };
}

function partsOf({ window, compressor: c, indexer: i }: LayerMemory): Partial<Record<CachePart, PartMemory>> {
  return {
    window,
    ...(c && { entries: c.entries, openKv: c.openKv, openGate: c.openGate }),
    ...(i && { indexEntries: i.entries, indexOpenKv: i.openKv, indexOpenGate: i.openGate }),
  };
}

/** Arguments of operations that must lie outside the memory of the cache. */
export const USES = { windowKv: 0, compressKv: 1, compressGate: 2, selected: 3, out: 4 } as const;
/** One of {@link USES}. */
export type CacheUse = (typeof USES)[keyof typeof USES];

/** What all sequences remember, in typed arrays. */
export class HostCache implements KvCache {
  readonly specs: readonly LayerSpec[];
  readonly layers: number;
  /** Recent tokens that every layer keeps raw. */
  readonly window: number;
  /** Kinds of pages that the layers have. */
  readonly kinds: readonly PageKind[];
  /** Most elements of an entry that can be turned. */
  readonly leastEntry: number;
  readonly memory: readonly LayerMemory[];
  readonly #parts: readonly Partial<Record<CachePart, PartMemory>>[];
  readonly #pages = new Map<PageKind, number>();
  /** By place of use, the array that was last found to lie outside: it always will, for memory that grows is new memory. */
  readonly #outside: (Memory | null)[] = [null, null, null, null, null];
  #disposed = false;

  /** @throws ValueError naming the layer and field that is out of range, or a window that is not that of the first layer */
  constructor(given: readonly LayerSpec[]) {
    const fn = 'createCache';
    const layers = takeLayerSpecs(fn, 'layers', given);
    layers.forEach((layer, i) => {
      if (layer.window === layers[0]!.window) return;
      throw new ValueError(
        `${fn}: "layers[${i}].window" must be that of the first layer = ${layers[0]!.window}, got ${layer.window}: ` +
          'all layers share the pages of a sequence',
      );
    });
    this.memory = layers.map(layerMemory);
    this.specs = this.memory.map((m) => m.spec);
    this.layers = layers.length;
    this.window = layers[0]?.window ?? 1;
    this.kinds = pageKindsOf(layers);
    this.leastEntry = Math.min(...this.memory.flatMap((m) => [m.compressor?.dim, m.indexer?.dim]).map((d) => d ?? Infinity)); // prettier-ignore
    this.#parts = this.memory.map(partsOf);
  }

  /** Whether it was made here: not an object that looks like one. */
  static is(v: unknown): v is HostCache {
    try {
      return (v as HostCache).#disposed !== undefined; // #disposed in v takes several times as long in a running model
    } catch {
      return false;
    }
  }

  /** Whether an array lies outside the memory of all layers. `use` is who asks: the same arrays come there again and again. */
  isOutside(use: CacheUse, v: Memory): boolean {
    if (this.#outside[use] === v) return true;
    const { buffer } = placeOf('', v, 0);
    if (this.#all().some((part) => sameBuffer(part.data.buffer, buffer))) return false;
    this.#outside[use] = v;
    return true;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  get bytes(): number {
    return this.#disposed ? 0 : this.#all().reduce((sum, part) => sum + part.data.byteLength, 0);
  }

  part(layer: number, part: CachePart): HostTensor<'f32'> {
    const fn = 'cache.part';
    checkInteger(fn, 'layer', layer, 0, this.layers - 1);
    checkOneOf(fn, 'part', part, PARTS);
    const memory = this.#parts[layer]![part];
    if (memory) return memory.tensor;
    const { ratio } = this.specs[layer]!;
    throw new UnsupportedError(`${fn}: layer ${layer} has no ${part}: its compress ratio is ${ratio}`);
  }

  /** Pages of a kind that there is room for. */
  pages(kind: PageKind): number {
    return this.#pages.get(kind) ?? 0;
  }

  grow(kind: PageKind, pages: number): void {
    const fn = 'cache.grow';
    this.#checkKind(fn, kind);
    checkInteger(fn, 'pages', pages, 0, Math.floor((2 ** 31 - 1) / PAGES[kind].rows));
    for (const part of this.#all()) {
      if (part.kind !== kind) continue;
      try {
        part.grow(pages);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        const bytes = 4 * pages * PAGES[kind].rows * part.width;
        throw new ValueError(`${fn}: no memory for ${pages} pages of kind ${kind}: ${bytes} bytes for one layer`, {
          cause: error,
        });
      }
    }
    this.#pages.set(kind, Math.max(pages, this.pages(kind)));
  }

  copyPage(kind: PageKind, from: number, to: number, rows: number): void {
    const fn = 'cache.copyPage';
    this.#checkKind(fn, kind);
    checkInteger(fn, 'from', from, 0, this.pages(kind) - 1);
    checkInteger(fn, 'to', to, 0, this.pages(kind) - 1);
    checkInteger(fn, 'rows', rows, 0, PAGES[kind].rows);
    for (const part of this.#all()) if (part.kind === kind) part.copy(from, to, rows);
  }

  dispose(): void {
    this.#disposed = true;
    for (const part of this.#all()) part.tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #all(): PartMemory[] {
    return this.#parts.flatMap((parts) => Object.values(parts));
  }

  #checkKind(fn: string, kind: PageKind): void {
    if (this.kinds.includes(kind)) return;
    throw new ShapeError(`${fn}: no layer has pages of kind ${describe(kind)}; there are ${this.kinds.join(', ')}`);
  }
}
