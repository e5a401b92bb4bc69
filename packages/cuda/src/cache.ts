import { bytesOf, PagedCache, PAGES } from '@megamoe/ops';
import type { KvDtype, LayerSpec, PageKind, PartPages } from '@megamoe/ops';
import type { Device, Memory } from './device';
import { DeviceError } from './errors';
import { DeviceTensor } from './tensor';

/** Largest head that attention has kernels for (kMostHeadDim of native/kernels/attention.h). */
const MOST_HEAD_DIM = 1024;

/** How keys can be held; the addon takes the index of one (KvType of native/kernels/attention.h). */
export const KV_DTYPES: readonly KvDtype[] = ['f32', 'bf16'];

/** Pages of one part of one layer in memory of the GPU: [pages*rows, width]. */
export class DevicePages implements PartPages {
  #memory: Memory;
  #pages = 0;

  constructor(
    private readonly device: Device,
    readonly kind: PageKind,
    readonly width: number,
    readonly dtype: KvDtype,
  ) {
    this.#memory = device.alloc('createCache', 0);
  }

  get address(): number {
    return this.#memory.address;
  }

  get bytes(): number {
    return this.bytesOf(this.#pages);
  }

  /** Bytes of so many pages. */
  bytesOf(pages: number): number {
    return pages * this.#pageBytes;
  }

  get tensor(): DeviceTensor {
    const rows = this.#pages * PAGES[this.kind].rows;
    return DeviceTensor.on(this.device, this.#memory, this.dtype, [rows, this.width], 0);
  }

  grow(pages: number): void {
    const fn = 'cache.grow';
    if (pages <= this.#pages) return;
    const grown = this.device.alloc(fn, this.bytesOf(pages));
    this.device.copy(fn, grown.address, this.#memory.address, this.bytes);
    this.#memory.dispose();
    this.#memory = grown;
    this.#pages = pages;
  }

  copy(from: number, to: number, rows: number): void {
    const page = this.#pageBytes;
    if (from === to) return;
    const bytes = bytesOf(this.dtype) * rows * this.width;
    this.device.copy('cache.copyPage', this.address + to * page, this.address + from * page, bytes);
  }

  dispose(): void {
    this.#memory.dispose();
    this.#pages = 0;
  }

  get #pageBytes(): number {
    return bytesOf(this.dtype) * PAGES[this.kind].rows * this.width;
  }
}

/** What all sequences remember, on the GPU. */
export class DeviceCache extends PagedCache<DevicePages> {
  readonly #device: Device;

  static stateOf(v: unknown): 'good' | 'disposed' | 'foreign' {
    if (!(typeof v === 'object' && v !== null && #device in v)) return 'foreign';
    return v.disposed ? 'disposed' : 'good';
  }

  constructor(device: Device, given: readonly LayerSpec[]) {
    super(given, (kind, width, dtype) => new DevicePages(device, kind, width, dtype), {
      mostHeadDim: MOST_HEAD_DIM,
      kvDtypes: KV_DTYPES,
    });
    this.#device = device;
  }

  /** Grows all parts or none: some alone would keep what others need when fewer pages are asked for next. */
  override grow(kind: PageKind, pages: number): void {
    const grown = this.all.filter((part) => part.kind === kind && part.bytesOf(pages) > part.bytes);
    const more = grown.reduce((sum, part) => sum + part.bytesOf(pages) - part.bytes, 0);
    const twice = Math.max(0, ...grown.map(({ bytes }) => bytes)); // one part at a time stands twice, while it is copied
    if (more > 0 && this.#device.deviceMemory('cache.grow').freeBytes < more + twice)
      throw new DeviceError(
        `cache.grow: no memory for ${pages} pages of kind ${kind}: ${more + twice} more bytes of the GPU`,
        'memory',
      );
    super.grow(kind, pages);
  }

  get bytes(): number {
    return this.all.reduce((sum, part) => sum + part.bytes, 0);
  }

  protected override outOfMemory(error: unknown, message: string): unknown {
    if (!(error instanceof DeviceError) || error.reason !== 'memory') return error;
    return new DeviceError(`${message} of the GPU`, 'memory', { cause: error });
  }
}
