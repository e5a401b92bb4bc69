import type { HostArray } from '@megamoe/ops';
import { readSync } from 'node:fs';
import type { CudaAddon, NativeDevice, NativeDeviceInfo } from '../src/addon';
import { Device } from '../src/device';

/** A GPU whose memory is the host's and which computes nothing: what this package does with memory, seen without a GPU. */
export class HostMemory {
  readonly #pieces = new Map<number, Uint8Array>();
  #next = 4096;
  /** Pinned arrays; what is copied from them is copied when it is waited for, as late as a device may. */
  readonly pinned = new Set<ArrayBufferLike>();
  readonly #copies: { readonly to: number; readonly from: Uint8Array }[] = [];
  readonly #marks: number[] = [];

  /** @param bytes all that there are */
  constructor(private readonly bytes = 1e6) {}

  get device(): Device {
    const native = {} as NativeDevice;
    const part: Partial<CudaAddon> = {
      openDevice: () => native,
      alloc: (_, bytes) => this.#alloc(bytes),
      free: (_, address) => void this.#pieces.delete(address),
      upload: (_, to, data, from, bytes) => {
        const part = bytesIn(data).subarray(from, from + bytes);
        if (this.pinned.has(part.buffer)) this.#copies.push({ to, from: part });
        else this.at(to, bytes).set(part);
      },
      pin: (_, data) => !this.refusesToPin && !!this.pinned.add(data.buffer),
      unpin: (_, data) => {
        this.#finish(this.#copies.length);
        this.pinned.delete(data.buffer);
      },
      mark: (_, turn) => void (this.#marks[turn] = this.#done + this.#copies.length),
      waitFor: (_, turn) => this.#finish((this.#marks[turn] ?? 0) - this.#done),
      readFile: (_, file, data, at, bytes, position) => readSync(file, data, at, bytes, position),
      deviceInfo: () =>
        ({
          freeBytes: this.liesAboutRoom ? Infinity : this.bytes - this.held,
          totalBytes: this.bytes,
        }) as NativeDeviceInfo,
      download: (_, from, data, at, bytes) => {
        this.#finish(this.#copies.length);
        bytesIn(data).set(this.at(from, bytes), at);
        return null;
      },
      copy: (_, to, from, bytes) => this.at(to, bytes).set(this.at(from, bytes).slice()),
      beginStep: () => undefined,
      closeDevice: () => this.#pieces.clear(),
    };
    return new Device(part as CudaAddon, 0);
  }

  get held(): number {
    return [...this.#pieces.values()].reduce((sum, { length }) => sum + length, 0);
  }

  #done = 0;
  refusesToPin = false;
  liesAboutRoom = false;

  /** Does the first `n` copies that are under way. */
  #finish(n: number): void {
    if (n <= 0) return;
    for (const { to, from } of this.#copies.splice(0, n)) this.at(to, from.length).set(from);
    this.#done += n;
  }

  /** Bytes at an address, which must lie in one piece. */
  at(address: number, bytes: number): Uint8Array {
    for (const [begin, piece] of this.#pieces)
      if (address >= begin && address + bytes <= begin + piece.length)
        return piece.subarray(address - begin, address - begin + bytes);
    if (bytes === 0) return new Uint8Array(0);
    throw new Error(`nothing lies at ${address}`);
  }

  #alloc(bytes: number): number {
    if (this.held + bytes > this.bytes)
      throw Object.assign(new Error('no memory'), { cudaError: 'cudaErrorMemoryAllocation', isLost: false });
    const address = this.#next;
    this.#next += bytes + 256;
    this.#pieces.set(address, new Uint8Array(bytes));
    return address;
  }
}

const bytesIn = (v: HostArray): Uint8Array => new Uint8Array(v.buffer, v.byteOffset, v.byteLength);
