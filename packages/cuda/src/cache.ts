import { checkInteger, checkOneOf, describe, KindError, ShapeError, UnsupportedError, ValueError } from '@megamoe/core';
import { pageKindsOf, PAGES, takeLayerSpecs } from '@megamoe/ops';
import type { CachePart, KvCache, LayerSpec, PageKind } from '@megamoe/ops';
import type { Device, Memory } from './device';
import { DeviceError } from './errors';
import { DeviceTensor } from './tensor';

const PARTS = ['window', 'entries', 'openKv', 'openGate', 'indexEntries', 'indexOpenKv', 'indexOpenGate'] as const;

/** Largest head that attention has kernels for (kMostHeadDim of native/kernels/attention.h). */
const MOST_HEAD_DIM = 1024;

/** Pages of one part of one layer: [pages*rows, width] f32. */
export class PartMemory {
  #memory: Memory;
  #pages = 0;

  constructor(
    private readonly device: Device,
    readonly kind: PageKind,
    readonly width: number,
  ) {
    this.#memory = device.alloc('createCache', 0);
  }

  get address(): number {
    return this.#memory.address;
  }

  get bytes(): number {
    return 4 * this.#pages * this.#pageElements;
  }

  get tensor(): DeviceTensor {
    const rows = this.#pages * PAGES[this.kind].rows;
    return DeviceTensor.on(this.device, this.#memory, 'f32', [rows, this.width], 0);
  }

  /** Makes room for `pages` pages; what they hold stays, and what is new is zero. */
  grow(fn: string, pages: number): void {
    if (pages <= this.#pages) return;
    const grown = this.device.alloc(fn, 4 * pages * this.#pageElements);
    this.device.copy(fn, grown.address, this.#memory.address, this.bytes);
    this.#memory.dispose();
    this.#memory = grown;
    this.#pages = pages;
  }

  /** Copies the first `rows` rows of page `from` to page `to`. */
  copyPage(fn: string, from: number, to: number, rows: number): void {
    const page = 4 * this.#pageElements;
    if (from === to) return;
    this.device.copy(fn, this.address + to * page, this.address + from * page, 4 * rows * this.width);
  }

  dispose(): void {
    this.#memory.dispose();
    this.#pages = 0;
  }

  get #pageElements(): number {
    return PAGES[this.kind].rows * this.width;
  }
}

/** Memory of one compressor: the layer's, or its indexer's. */
export interface CompressorMemory {
  /** Elements of an entry. */
  readonly dim: number;
  /** Elements of a token's projection: 2*dim when windows overlap (ratio 4), else dim. */
  readonly width: number;
  readonly entries: PartMemory;
  readonly openKv: PartMemory;
  readonly openGate: PartMemory;
}

/** Memory of one layer. */
export interface LayerMemory {
  readonly spec: LayerSpec;
  readonly window: PartMemory;
  readonly compressor: CompressorMemory | undefined;
  readonly indexer: CompressorMemory | undefined;
}

function compressorMemory(device: Device, ratio: 4 | 128, dim: number): CompressorMemory {
  const width = ratio === 4 ? 2 * dim : dim;
  return {
    ...{ dim, width },
    entries: new PartMemory(device, `entries${ratio}`, dim),
    openKv: new PartMemory(device, `open${ratio}`, width),
    openGate: new PartMemory(device, `open${ratio}`, width),
  };
}

function layerMemory(device: Device, spec: LayerSpec): LayerMemory {
  const { ratio, headDim, indexHeadDim } = spec;
  return {
    spec: Object.freeze({ ...spec }),
    window: new PartMemory(device, 'window', headDim),
    compressor: ratio === 0 ? undefined : compressorMemory(device, ratio, headDim),
    indexer: ratio === 4 ? compressorMemory(device, 4, indexHeadDim!) : undefined,
  };
}

function partsOf({ window, compressor: c, indexer: i }: LayerMemory): Partial<Record<CachePart, PartMemory>> {
  return {
    window,
    ...(c && { entries: c.entries, openKv: c.openKv, openGate: c.openGate }),
    ...(i && { indexEntries: i.entries, indexOpenKv: i.openKv, indexOpenGate: i.openGate }),
  };
}

/** What all sequences remember, on the GPU, in float32. */
export class DeviceCache implements KvCache {
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
  #disposed = false;

  static stateOf(v: unknown): 'good' | 'disposed' | 'foreign' {
    if (!(typeof v === 'object' && v !== null && #disposed in v)) return 'foreign';
    return v.#disposed ? 'disposed' : 'good';
  }

  /** @throws ValueError naming the layer and field that is out of range, or a window that is not that of the first layer */
  constructor(device: Device, given: readonly LayerSpec[]) {
    const fn = 'createCache';
    const layers = takeLayerSpecs(fn, 'layers', given);
    layers.forEach(({ window, headDim }, i) => {
      if (window !== layers[0]!.window)
        throw new ValueError(
          `${fn}: "layers[${i}].window" must be that of the first layer = ${layers[0]!.window}, got ${window}: ` +
            'all layers share the pages of a sequence',
        );
      if (headDim > MOST_HEAD_DIM)
        throw new UnsupportedError(
          `${fn}: "layers[${i}].headDim" must be at most ${MOST_HEAD_DIM} on cuda, got ${headDim}`,
        );
    });
    this.memory = layers.map((layer) => layerMemory(device, layer));
    this.specs = this.memory.map((m) => m.spec);
    this.layers = layers.length;
    this.window = layers[0]?.window ?? 1;
    this.kinds = pageKindsOf(layers);
    const dims = this.memory.flatMap((m) => [m.compressor?.dim, m.indexer?.dim]);
    this.leastEntry = Math.min(...dims.map((d) => d ?? Infinity));
    this.#parts = this.memory.map(partsOf);
  }

  get bytes(): number {
    return this.#all().reduce((sum, part) => sum + part.bytes, 0);
  }

  part(layer: number, part: CachePart): DeviceTensor {
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

  /** @throws DeviceError where the GPU has no memory for them; pages that were there stay as they are */
  grow(kind: PageKind, pages: number): void {
    const fn = 'cache.grow';
    this.#checkKind(fn, kind);
    checkInteger(fn, 'pages', pages, 0, Math.floor((2 ** 31 - 1) / PAGES[kind].rows));
    for (const part of this.#all()) {
      if (part.kind !== kind) continue;
      try {
        part.grow(fn, pages);
      } catch (error) {
        if (!(error instanceof DeviceError) || error.reason !== 'memory') throw error;
        const bytes = 4 * pages * PAGES[kind].rows * part.width;
        const what = `${fn}: the GPU has no memory for ${pages} pages of kind ${kind}: ${bytes} bytes for one layer`;
        throw new DeviceError(what, 'memory', { cause: error });
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
    for (const part of this.#all()) if (part.kind === kind) part.copyPage(fn, from, to, rows);
  }

  dispose(): void {
    this.#disposed = true;
    for (const part of this.#all()) part.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #all(): PartMemory[] {
    return this.#parts.flatMap((parts) => Object.values(parts));
  }

  #checkKind(fn: string, kind: PageKind): void {
    if (this.#disposed) throw new KindError(`${fn}: the cache has been disposed`);
    if (this.kinds.includes(kind)) return;
    throw new ShapeError(`${fn}: no layer has pages of kind ${describe(kind)}; there are ${this.kinds.join(', ')}`);
  }
}

/** Memory of a layer's compressor, or of its indexer's. @throws UnsupportedError where there is none */
export function compressorOf(fn: string, cache: DeviceCache, layer: number, indexer: boolean): CompressorMemory {
  const { spec, compressor, indexer: own } = cache.memory[layer]!;
  const memory = indexer ? own : compressor;
  if (memory) return memory;
  const what = indexer ? 'indexer' : 'compressor';
  throw new UnsupportedError(`${fn}: layer ${layer} has no ${what}: its compress ratio is ${spec.ratio}`);
}
