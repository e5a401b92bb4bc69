import { checkInteger, describe, KindError, ShapeError, ValueError } from '@megamoe/core';
import { PAGE_KINDS, PageChecks, PAGES, StepRows, type PageKind, type Step } from '@megamoe/ops';
import type { DeviceCache } from './cache';
import type { Device, Memory } from './device';
import type { DeviceRope } from './handles';
import { DeviceTensor } from './tensor';

/** Arrays of [maxRows] at the beginning of a step's memory, in this order. */
const IDS = 0;
const POSITIONS = 1;
const WANTED = 2;
const SEQUENCE = 3;
/** And then the base of each kind of pages. */
const BASES = 4;
const ARRAYS = BASES + PAGE_KINDS.length;

/** Page ids that there is room for at first, by row. */
const IDS_A_ROW = 8;

/** The rows of one step in the memory of the GPU: kernels find pages and windows by themselves, so one small upload is all. */
export class DeviceStep implements Step {
  readonly #device: Device;
  readonly #checks = new PageChecks();
  #memory: Memory;
  /** The same on the host. */
  #host: Int32Array;
  readonly #pageIds = new Map<PageKind, number>();
  #rows = 0;
  #sequences = 0;
  #cache: DeviceCache | null = null;
  #rope: DeviceRope | null = null;
  /** Length of the longest sequence with the rows of this step. */
  #longest = 0;
  #disposed = false;
  #tensors: readonly DeviceTensor[];

  static stateOf(v: unknown): 'good' | 'disposed' | 'foreign' {
    if (!(typeof v === 'object' && v !== null && #rows in v)) return 'foreign';
    return v.#disposed ? 'disposed' : 'good';
  }

  constructor(
    device: Device,
    readonly maxRows: number,
  ) {
    checkInteger('createStep', 'maxRows', maxRows, 1, 65536);
    this.#device = device;
    this.#host = new Int32Array((ARRAYS + IDS_A_ROW) * maxRows);
    this.#memory = device.alloc('createStep', this.#host.byteLength);
    this.#tensors = this.#makeTensors();
  }

  get rows(): number {
    return this.#rows;
  }

  get sequences(): number {
    return this.#sequences;
  }

  get ids(): DeviceTensor {
    return this.#tensors[IDS]!;
  }

  get positions(): DeviceTensor {
    return this.#tensors[POSITIONS]!;
  }

  get wantedRows(): DeviceTensor {
    return this.#tensors[WANTED]!;
  }

  /** Length of the longest sequence with the rows of this step. */
  get longest(): number {
    return this.#longest;
  }

  /** The cache that it is planned for; null when it has not been planned, or planning failed. */
  get cache(): DeviceCache | null {
    return this.#cache;
  }

  /** What turns compressed entries. */
  get rope(): DeviceRope {
    return this.#rope!;
  }

  /** positions, rowSequence, rows: as the addon takes a step. */
  get native(): readonly number[] {
    return [this.#at(POSITIONS), this.#at(SEQUENCE), this.#rows];
  }

  /** base, ids, rows of a page: as the addon takes pages; zeros for a kind that the cache lacks. */
  pages(kind: PageKind): readonly number[] {
    const ids = this.#pageIds.get(kind);
    if (ids === undefined) return [0, 0, PAGES[kind].rows];
    return [this.#at(BASES + PAGE_KINDS.indexOf(kind)), this.#memory.address + 4 * ids, PAGES[kind].rows];
  }

  /** See Backend.planStep; handles have been checked. */
  plan(fn: string, rows: StepRows, cache: DeviceCache, rope: DeviceRope): void {
    this.#cache = null;
    this.#rows = 0;
    this.#sequences = 0;
    if (!StepRows.is(rows)) throw new KindError(`${fn}: "rows" must be StepRows, got ${describe(rows)}`);
    if (rows.rows > this.maxRows)
      throw new ShapeError(`${fn}: "rows" must be at most maxRows = ${this.maxRows} of the step, got ${rows.rows}`);
    if (rope.ropeDim > cache.leastEntry)
      throw new ValueError(
        `${fn}: "rope" must turn no more than the ${cache.leastEntry} elements of an entry, got ropeDim = ${rope.ropeDim}`,
      );
    this.#checks.check(fn, rows, cache);
    const used = this.#fill(fn, rows, cache);
    this.#device.beginStep(fn);
    this.#device.upload(fn, this.#memory.address, this.#host, 0, 4 * used);
    this.#rows = rows.rows;
    this.#sequences = rows.sequences;
    this.#rope = rope;
    this.#cache = cache;
  }

  /** Writes all of it to the host's copy; returns how many elements that are. */
  #fill(fn: string, rows: StepRows, cache: DeviceCache): number {
    const { maxRows } = this;
    let used = ARRAYS * maxRows;
    for (const kind of cache.kinds) used += rows.pages.get(kind)!.offsets[rows.sequences]!;
    this.#reserve(fn, used);
    const host = this.#host;
    this.#longest = 0;
    for (let r = 0; r < rows.rows; r++) {
      host[IDS * maxRows + r] = rows.ids[r]!;
      host[POSITIONS * maxRows + r] = rows.positions[r]!;
      host[SEQUENCE * maxRows + r] = rows.rowSequence[r]!;
      this.#longest = Math.max(this.#longest, rows.positions[r]! + 1);
    }
    for (let i = 0; i < rows.wanted; i++) host[WANTED * maxRows + i] = rows.wantedRows[i]!;
    let at = ARRAYS * maxRows;
    this.#pageIds.clear();
    for (const kind of cache.kinds) {
      const { offsets, first, ids } = rows.pages.get(kind)!;
      const base = (BASES + PAGE_KINDS.indexOf(kind)) * maxRows;
      for (let s = 0; s < rows.sequences; s++) host[base + s] = offsets[s]! - first[s]!;
      const n = offsets[rows.sequences]!;
      for (let i = 0; i < n; i++) host[at + i] = ids[i]!;
      this.#pageIds.set(kind, at);
      at += n;
    }
    return used;
  }

  /** Room for `n` elements; a warm step makes none. The tensors move with the memory. */
  #reserve(fn: string, n: number): void {
    if (n <= this.#host.length) return;
    const host = new Int32Array(2 * n);
    const memory = this.#device.alloc(fn, host.byteLength);
    this.#memory.dispose();
    this.#memory = memory;
    this.#host = host;
    this.#tensors = this.#makeTensors();
  }

  #makeTensors(): readonly DeviceTensor[] {
    return [IDS, POSITIONS, WANTED].map((i) =>
      DeviceTensor.on(this.#device, this.#memory, 'i32', [this.maxRows], 4 * i * this.maxRows),
    );
  }

  #at(array: number): number {
    return this.#memory.address + 4 * array * this.maxRows;
  }

  dispose(): void {
    this.#disposed = true;
    this.#cache = null;
    this.#rows = 0;
    this.#sequences = 0;
    this.#memory.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
