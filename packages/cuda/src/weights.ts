import type { ExpertsShape, ExpertsWeight, LinearWeight, WeightFormat } from '@megamoe/ops';
import type { Device, Memory } from './device';

/** Formats as the addon numbers them. */
export const FORMAT: Readonly<Record<WeightFormat, number>> = { f32: 0, bf16: 1, nvfp4: 2, fp8: 3 };

/** Bytes of elements, and of the scales beside them, of `matrices` weights [N, K]. */
export function weightBytes(format: WeightFormat, matrices: number, n: number, k: number): readonly [number, number] {
  const size = matrices * n * k;
  if (format === 'nvfp4') return [size / 2, size / 16];
  if (format === 'fp8') return [size, 4 * matrices * n * Math.ceil(k / 128)];
  return [size * (format === 'f32' ? 4 : 2), 0];
}

/** Format of NVFP4 weights that lie as tensor cores take them (native/kernels/packed.h): the same bytes in another order. */
const PACKED = 4;

/** Rows that are packed together. */
export const TILE_ROWS = 16;

/** Most matrices of packed weights: their products are cut into at most 65,535 jobs. */
const MOST_PACKED = 4096;

/** Whether NVFP4 weights can be packed, `rows` of them at a time. */
const isPackable = (matrices: number, rows: number, k: number): boolean =>
  matrices <= MOST_PACKED && rows % TILE_ROWS === 0 && k % 64 === 0;

/** Memory of `matrices` weights [N, K] of one format. */
export class WeightMemory {
  readonly #data: Memory;
  readonly #scales: Memory | null;
  readonly bytes: number;
  readonly isPacked: boolean;
  /** format, matrices, n, k, data, scales: as the addon takes a weight. */
  readonly native: readonly number[];

  /** `parts`: into how many the n rows of a matrix are cut when they are filled. */
  constructor(fn: string, device: Device, format: WeightFormat, matrices: number, n: number, k: number, parts: number) {
    const [data, scales] = weightBytes(format, matrices, n, k);
    this.bytes = data + scales;
    this.isPacked = format === 'nvfp4' && isPackable(matrices, n / parts, k);
    this.#data = device.alloc(fn, this.isPacked ? data + scales : data);
    try {
      this.#scales = scales === 0 || this.isPacked ? null : device.alloc(fn, scales);
    } catch (error) {
      this.#data.dispose();
      throw error;
    }
    const number = this.isPacked ? PACKED : FORMAT[format];
    this.native = [number, matrices, n, k, this.#data.address, this.#scales?.address ?? 0];
  }

  /** Copies the first matrix to the places of all others. */
  repeatFirst(fn: string, device: Device): void {
    const [, matrices] = this.native;
    for (const memory of this.#scales === null ? [this.#data] : [this.#data, this.#scales]) {
      const each = memory.bytes / matrices!;
      for (let i = 1; i < matrices!; i++) device.copy(fn, memory.address + i * each, memory.address, each);
    }
  }

  get disposed(): boolean {
    return this.#data.disposed;
  }

  dispose(): void {
    this.#data.dispose();
    this.#scales?.dispose();
  }
}

type State = 'good' | 'disposed' | 'foreign';

/** Scales of an nvfp4 linear. */
export interface LinearScales {
  readonly input: number | 'row' | null;
  /** [groups*parts] f32: weight scales, and those times the input scale when it is a number. */
  readonly alpha: Memory;
  readonly alphaW4a4: Memory;
}

/** What `packLinear` makes. */
export class DeviceLinear implements LinearWeight {
  readonly inputGlobalDecodeScale: number | 'row' | null;
  readonly bytes: number;
  readonly #memory: WeightMemory;
  readonly #scales: LinearScales | null;

  static stateOf(v: unknown): State {
    if (!(typeof v === 'object' && v !== null && #memory in v)) return 'foreign';
    return v.#memory.disposed ? 'disposed' : 'good';
  }

  constructor(
    readonly name: string,
    readonly n: number,
    readonly k: number,
    readonly groups: number,
    readonly dtype: WeightFormat,
    readonly parts: number,
    memory: WeightMemory,
    scales: LinearScales | null,
  ) {
    this.#memory = memory;
    this.#scales = scales;
    this.inputGlobalDecodeScale = scales?.input ?? null;
    this.bytes = memory.bytes;
    Object.freeze(this);
  }

  get native(): readonly number[] {
    return this.#memory.native;
  }

  /** Address of alpha for inputs as they are; 0 for weights without one. */
  get alpha(): number {
    return this.#scales?.alpha.address ?? 0;
  }

  /** The same for quantized inputs. */
  get alphaW4a4(): number {
    return this.#scales?.alphaW4a4.address ?? 0;
  }

  dispose(): void {
    this.#memory.dispose();
    this.#scales?.alpha.dispose();
    this.#scales?.alphaW4a4.dispose();
  }
}

/** What `packExperts` makes. */
export class DeviceExperts implements ExpertsWeight {
  readonly numExperts: number;
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly format: WeightFormat;
  readonly bytes: number;
  readonly #memory: WeightMemory;

  static stateOf(v: unknown): State {
    if (!(typeof v === 'object' && v !== null && #memory in v)) return 'foreign';
    return v.#memory.disposed ? 'disposed' : 'good';
  }

  constructor(
    readonly name: string,
    { numExperts, n, k, parts, format }: ExpertsShape,
    memory: WeightMemory,
  ) {
    this.numExperts = numExperts;
    this.n = n;
    this.k = k;
    this.parts = parts;
    this.format = format;
    this.bytes = memory.bytes;
    this.#memory = memory;
    Object.freeze(this);
  }

  get native(): readonly number[] {
    return this.#memory.native;
  }

  dispose(): void {
    this.#memory.dispose();
  }
}
