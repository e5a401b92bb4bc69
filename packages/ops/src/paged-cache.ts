import { checkInteger, checkOneOf, describe, KindError, ShapeError, UnsupportedError, ValueError } from '@megamoe/core';
import type { CachePart, KvCache } from './backend';
import { pageKindsOf, PAGES, takeLayerSpecs, type KvDtype, type LayerSpec, type PageKind } from './pages';
import { bytesOf, type Tensor } from './tensor';

const PARTS = ['window', 'entries', 'openKv', 'openGate', 'indexEntries', 'indexOpenKv', 'indexOpenGate'] as const;

/** Pages of one part of one layer, [pages*rows, width], wherever a backend keeps them. */
export interface PartPages {
  readonly kind: PageKind;
  readonly width: number;
  readonly dtype: KvDtype;
  readonly tensor: Tensor;
  /** Makes room for `pages` pages; nothing when there is. What they hold stays, and what is new is zero. */
  grow(pages: number): void;
  /** Copies the first `rows` rows of page `from` to page `to`. */
  copy(from: number, to: number, rows: number): void;
  dispose(): void;
}

/** Memory of one compressor: the layer's, or its indexer's. */
export interface CompressorMemory<P extends PartPages> {
  /** Elements of an entry. */
  readonly dim: number;
  /** Elements of a token's projection: 2*dim when windows overlap (ratio 4), else dim. */
  readonly width: number;
  readonly entries: P;
  /** Projections of windows that are not closed, or whose next one is not. */
  readonly openKv: P;
  /** Their gates with `ape` added. */
  readonly openGate: P;
}

/** Memory of one layer. */
export interface LayerMemory<P extends PartPages> {
  readonly spec: LayerSpec;
  readonly window: P;
  /** Ratio 4 and 128. */
  readonly compressor: CompressorMemory<P> | undefined;
  /** Ratio 4. */
  readonly indexer: CompressorMemory<P> | undefined;
}

type MakePart<P> = (kind: PageKind, width: number, dtype: KvDtype) => P;

function compressorMemory<P extends PartPages>(
  make: MakePart<P>,
  ratio: 4 | 128,
  dim: number,
  kv: KvDtype,
): CompressorMemory<P> {
  const width = ratio === 4 ? 2 * dim : dim;
  return {
    ...{ dim, width },
    entries: make(`entries${ratio}`, dim, kv),
    openKv: make(`open${ratio}`, width, 'f32'),
    openGate: make(`open${ratio}`, width, 'f32'),
  };
}

function layerMemory<P extends PartPages>(make: MakePart<P>, spec: LayerSpec): LayerMemory<P> {
  const { ratio, headDim, indexHeadDim, kv = 'f32' } = spec;
  return {
    spec: Object.freeze({ ...spec }),
    window: make('window', headDim, kv),
    compressor: ratio === 0 ? undefined : compressorMemory(make, ratio, headDim, kv),
    indexer: ratio === 4 ? compressorMemory(make, 4, indexHeadDim!, 'f32') : undefined,
  };
}

function partsOf<P extends PartPages>({ window, compressor: c, indexer: i }: LayerMemory<P>) {
  return {
    window,
    ...(c && { entries: c.entries, openKv: c.openKv, openGate: c.openGate }),
    ...(i && { indexEntries: i.entries, indexOpenKv: i.openKv, indexOpenGate: i.openGate }),
  } satisfies Partial<Record<CachePart, P>>;
}

/** What all sequences remember: which parts the layers have and how they grow. A backend says where a part's pages lie. */
export abstract class PagedCache<P extends PartPages> implements KvCache {
  readonly specs: readonly LayerSpec[];
  readonly layers: number;
  /** Recent tokens that every layer keeps raw. */
  readonly window: number;
  /** Kinds of pages that the layers have. */
  readonly kinds: readonly PageKind[];
  /** Most elements of an entry that can be turned. */
  readonly leastEntry: number;
  readonly memory: readonly LayerMemory<P>[];
  /** Parts of all layers. */
  protected readonly all: readonly P[];
  readonly #parts: readonly Partial<Record<CachePart, P>>[];
  readonly #pages = new Map<PageKind, number>();
  #disposed = false;

  /**
   * @param limits what attention has kernels for: the widest head, and how keys may be held
   * @throws ValueError naming the layer and field that is out of range, or a window that is not that of the first layer; UnsupportedError
   * for wider heads, and for keys that are held otherwise
   */
  constructor(
    given: readonly LayerSpec[],
    make: MakePart<P>,
    limits: { readonly mostHeadDim?: number; readonly kvDtypes?: readonly KvDtype[] } = {},
  ) {
    const { mostHeadDim = Infinity, kvDtypes = ['f32'] } = limits;
    const fn = 'createCache';
    const layers = takeLayerSpecs(fn, 'layers', given);
    layers.forEach(({ window, headDim, kv = 'f32' }, i) => {
      if (window !== layers[0]!.window)
        throw new ValueError(
          `${fn}: "layers[${i}].window" must be that of the first layer = ${layers[0]!.window}, got ${window}: ` +
            'all layers share the pages of a sequence',
        );
      if (headDim > mostHeadDim)
        throw new UnsupportedError(
          `${fn}: "layers[${i}].headDim" must be at most ${mostHeadDim} on this backend, got ${headDim}`,
        );
      if (!kvDtypes.includes(kv))
        throw new UnsupportedError(
          `${fn}: "layers[${i}].kv" must be ${kvDtypes.join(' or ')} on this backend, got ${kv}`,
        );
    });
    this.memory = layers.map((layer) => layerMemory(make, layer));
    this.specs = this.memory.map((m) => m.spec);
    this.layers = layers.length;
    this.window = layers[0]?.window ?? 1;
    this.kinds = pageKindsOf(layers);
    const dims = this.memory.flatMap((m) => [m.compressor?.dim, m.indexer?.dim]);
    this.leastEntry = Math.min(...dims.map((d) => d ?? Infinity));
    this.#parts = this.memory.map((m) => partsOf(m));
    this.all = this.#parts.flatMap((parts) => Object.values(parts));
  }

  /** What `error`, thrown by a part that was to grow, is for the caller: another one where there is no memory, else itself. */
  protected abstract outOfMemory(error: unknown, message: string): unknown;

  abstract get bytes(): number;

  get disposed(): boolean {
    return this.#disposed;
  }

  part(layer: number, part: CachePart): P['tensor'] {
    const fn = 'cache.part';
    checkInteger(fn, 'layer', layer, 0, this.layers - 1);
    checkOneOf(fn, 'part', part, PARTS);
    const memory = this.#parts[layer]![part];
    if (memory) return memory.tensor;
    const { ratio } = this.specs[layer]!;
    throw new UnsupportedError(`${fn}: layer ${layer} has no ${part}: its compress ratio is ${ratio}`);
  }

  /** Memory of a layer's compressor, or of its indexer's. @throws UnsupportedError where there is none */
  compressor(fn: string, layer: number, indexer: boolean): CompressorMemory<P> {
    checkInteger(fn, 'layer', layer, 0, this.layers - 1);
    const { spec, compressor, indexer: own } = this.memory[layer]!;
    const memory = indexer ? own : compressor;
    if (memory) return memory;
    const what = indexer ? 'indexer' : 'compressor';
    throw new UnsupportedError(`${fn}: layer ${layer} has no ${what}: its compress ratio is ${spec.ratio}`);
  }

  /** Pages of a kind that there is room for. */
  pages(kind: PageKind): number {
    return this.#pages.get(kind) ?? 0;
  }

  grow(kind: PageKind, pages: number): void {
    const fn = 'cache.grow';
    this.#checkKind(fn, kind);
    checkInteger(fn, 'pages', pages, 0, Math.floor((2 ** 31 - 1) / PAGES[kind].rows));
    for (const part of this.all) {
      if (part.kind !== kind) continue;
      try {
        part.grow(pages);
      } catch (error) {
        const bytes = bytesOf(part.dtype) * pages * PAGES[kind].rows * part.width;
        throw this.outOfMemory(
          error,
          `${fn}: no memory for ${pages} pages of kind ${kind}: ${bytes} bytes for one layer`,
        );
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
    for (const part of this.all) if (part.kind === kind) part.copy(from, to, rows);
  }

  dispose(): void {
    this.#disposed = true;
    for (const part of this.all) part.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #checkKind(fn: string, kind: PageKind): void {
    if (this.#disposed) throw new KindError(`${fn}: the cache has been disposed`);
    if (this.kinds.includes(kind)) return;
    throw new ShapeError(`${fn}: no layer has pages of kind ${describe(kind)}; there are ${this.kinds.join(', ')}`);
  }
}
