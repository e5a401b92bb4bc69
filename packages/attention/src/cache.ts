import { placeOf, sameBuffer, ValueError } from '@megamoe/core';
import type { Memory } from '@megamoe/core';
import { hostTensor, PagedCache, PAGES } from '@megamoe/ops';
import type { CompressorMemory, HostTensor, LayerSpec, PageKind, PartPages } from '@megamoe/ops';

/** Pages of one part of one layer in a typed array: [pages*rows, width] f32. */
export class HostPages implements PartPages {
  readonly dtype = 'f32';
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

  /** What is new takes no memory before it is written. */
  grow(pages: number): void {
    const rows = pages * PAGES[this.kind].rows;
    if (rows * this.width <= this.data.length) return;
    const grown = hostTensor('f32', [rows, this.width]);
    grown.data.set(this.data);
    this.#tensor.dispose();
    this.#tensor = grown;
  }

  copy(from: number, to: number, rows: number): void {
    const page = PAGES[this.kind].rows * this.width;
    this.data.copyWithin(to * page, from * page, from * page + rows * this.width);
  }

  dispose(): void {
    this.#tensor.dispose();
  }
}

/** Memory of a compressor in typed arrays. */
export type HostCompressorMemory = CompressorMemory<HostPages>;

/** Arguments of operations that must lie outside the memory of the cache. */
export const USES = { windowKv: 0, compressKv: 1, compressGate: 2, selected: 3, out: 4 } as const;
/** One of {@link USES}. */
export type CacheUse = (typeof USES)[keyof typeof USES];

/** What all sequences remember, in typed arrays. */
export class HostCache extends PagedCache<HostPages> {
  /** By place of use, the array that was last found to lie outside: it always will, for memory that grows is new memory. */
  readonly #outside: (Memory | null)[] = [null, null, null, null, null];

  constructor(given: readonly LayerSpec[]) {
    super(given, (kind, width) => new HostPages(kind, width));
  }

  /** Whether it was made here: not an object that looks like one. */
  static is(v: unknown): v is HostCache {
    try {
      return (v as HostCache).#outside !== undefined; // #outside in v takes several times as long in a running model
    } catch {
      return false;
    }
  }

  /** Whether an array lies outside the memory of all layers. `use` is who asks: the same arrays come there again and again. */
  isOutside(use: CacheUse, v: Memory): boolean {
    if (this.#outside[use] === v) return true;
    const { buffer } = placeOf('', v, 0);
    if (this.all.some((part) => sameBuffer(part.data.buffer, buffer))) return false;
    this.#outside[use] = v;
    return true;
  }

  get bytes(): number {
    return this.disposed ? 0 : this.all.reduce((sum, part) => sum + part.data.byteLength, 0);
  }

  protected override outOfMemory(error: unknown, message: string): unknown {
    return error instanceof RangeError ? new ValueError(message, { cause: error }) : error;
  }
}
