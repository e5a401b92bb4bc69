import { KindError } from '@megamoe/core';
import { OP_NAMES, type HostArray, type OpName } from '@megamoe/ops';
import type { CudaAddon, NativeDataFailure, NativeDevice, NativeOp } from './addon';
import { dataError } from './data-errors';
import { deviceError } from './errors';

/** A piece of memory of a GPU, which belongs to one tensor or handle. */
export class Memory {
  #address: number;

  constructor(
    private readonly device: Device,
    address: number,
    readonly bytes: number,
  ) {
    this.#address = address;
  }

  get disposed(): boolean {
    return this.#address === 0;
  }

  /** @throws KindError after dispose */
  get address(): number {
    if (this.#address === 0) throw new KindError('cuda: memory that is used has been disposed');
    return this.#address;
  }

  dispose(): void {
    if (this.#address === 0) return;
    this.device.free(this.#address);
    this.#address = 0;
  }
}

/** The number of each operation, for the kernels' reports. */
const NUMBER = Object.fromEntries(OP_NAMES.map((name, i) => [name, i])) as Readonly<Record<OpName, number>>;

/** A GPU as one backend uses it: the addon's functions with errors of this package. */
export class Device {
  #native: NativeDevice | null;
  /** Kept: the device may copy from them. */
  readonly #pinned = new Set<Uint8Array>();

  constructor(
    private readonly addon: CudaAddon,
    private readonly index: number,
  ) {
    this.#native = this.#trying('createCudaBackend', () => addon.openDevice(index));
  }

  get isOpen(): boolean {
    return this.#native !== null;
  }

  /** Memory of zeros. @throws DeviceError where there is none left */
  alloc(fn: string, bytes: number): Memory {
    const device = this.#open(fn);
    return new Memory(
      this,
      this.#trying(fn, () => this.addon.alloc(device, bytes)),
      bytes,
    );
  }

  /** Memory with a copy of `data`. */
  allocFrom(fn: string, data: HostArray): Memory {
    const memory = this.alloc(fn, data.byteLength);
    this.upload(fn, memory.address, data, 0, data.byteLength);
    return memory;
  }

  free(address: number): void {
    if (this.#native !== null) this.addon.free(this.#native, address);
  }

  /** Copies `bytes` of an array from its byte `from` on. */
  upload(fn: string, to: number, data: HostArray, from: number, bytes: number): void {
    const device = this.#open(fn);
    this.#trying(fn, () => this.addon.upload(device, to, data, from, bytes));
  }

  /** Pins an array, so that uploads from it go on by themselves. Where the system refuses, nothing changes. */
  pin(fn: string, data: Uint8Array): void {
    const device = this.#open(fn);
    if (this.#trying(fn, () => this.addon.pin(device, data))) this.#pinned.add(data);
  }

  /** Waits for uploads from it. Not pinned: nothing. */
  unpin(data: Uint8Array): void {
    if (this.#pinned.delete(data) && this.#native !== null) this.addon.unpin(this.#native, data);
  }

  mark(fn: string, turn: number): void {
    const device = this.#open(fn);
    this.#trying(fn, () => this.addon.mark(device, turn));
  }

  waitFor(fn: string, turn: number): void {
    const device = this.#open(fn);
    this.#trying(fn, () => this.addon.waitFor(device, turn));
  }

  get canReadFiles(): boolean {
    return this.addon.readFile !== undefined;
  }

  /** Reads parts of an open file at once. Answers how many bytes are there. */
  readFile(fn: string, file: number, out: Uint8Array, at: number, bytes: number, position: number): number {
    return this.addon.readFile!(this.#open(fn), file, out, at, bytes, position);
  }

  /** Rows of NVFP4 weights, linear, into packed ones. */
  putPacked(fn: string, to: number, k: number, row0: number, rows: number, codes: HostArray, sf: HostArray): void {
    const device = this.#open(fn);
    this.#trying(fn, () => this.addon.putPacked(device, to, k, row0, rows, codes, sf));
  }

  /** Copies to byte `at` of an array on, after all earlier work. @throws ValueError for data that an operation could not use */
  download(fn: string, from: number, data: HostArray, at: number, bytes: number): void {
    const device = this.#open(fn);
    raise(this.#trying(fn, () => this.addon.download(device, from, data, at, bytes)));
  }

  copy(fn: string, to: number, from: number, bytes: number): void {
    const device = this.#open(fn);
    this.#trying(fn, () => this.addon.copy(device, to, from, bytes));
  }

  /** Waits for all work. @throws ValueError for data that an operation could not use */
  synchronize(fn: string): void {
    const device = this.#open(fn);
    raise(this.#trying(fn, () => this.addon.synchronize(device)));
  }

  beginStep(fn: string): void {
    const device = this.#open(fn);
    this.#trying(fn, () => this.addon.beginStep(device));
  }

  /** Launches what an operation is made of. */
  run(op: OpName, f: NativeOp, ...args: number[]): void {
    const device = this.#open(op);
    try {
      f(device, NUMBER[op], ...args);
    } catch (error) {
      throw deviceError(error, op);
    }
  }

  /** What the whole GPU has, whoever uses it. */
  deviceMemory(fn: string): { readonly freeBytes: number; readonly totalBytes: number } {
    this.#open(fn);
    const { freeBytes, totalBytes } = this.#trying(fn, () => this.addon.deviceInfo(this.index));
    return { freeBytes, totalBytes };
  }

  /** What a benchmark asks of it. */
  measure<T>(fn: string, ask: (device: NativeDevice) => T): T {
    const device = this.#open(fn);
    return this.#trying(fn, () => ask(device));
  }

  get memory(): { readonly bytes: number; readonly allocations: number } {
    return this.#native === null ? { bytes: 0, allocations: 0 } : this.addon.memory(this.#native);
  }

  /** For tests: fails as hardware does. */
  lose(): void {
    this.addon.lose(this.#open('lose'));
  }

  close(): void {
    if (this.#native !== null) this.addon.closeDevice(this.#native);
    this.#native = null;
    this.#pinned.clear();
  }

  #open(fn: string): NativeDevice {
    if (this.#native !== null) return this.#native;
    throw new KindError(`${fn}: the cuda backend has been disposed`);
  }

  #trying<T>(fn: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw deviceError(error, fn);
    }
  }
}

function raise(failure: NativeDataFailure): void {
  if (failure !== null) throw dataError(failure);
}
