import type { HostArray } from '@megamoe/ops';
import type { CudaAddon, NativeDevice } from '../src/addon';
import { Device } from '../src/device';

/** A GPU whose memory is the host's and which computes nothing: what this package does with memory, seen without a GPU. */
export class HostMemory {
  readonly #pieces = new Map<number, Uint8Array>();
  #next = 4096;

  /** @param bytes all that there are */
  constructor(private readonly bytes = 1e6) {}

  get device(): Device {
    const native = {} as NativeDevice;
    const part: Partial<CudaAddon> = {
      openDevice: () => native,
      alloc: (_, bytes) => this.#alloc(bytes),
      free: (_, address) => void this.#pieces.delete(address),
      upload: (_, to, data, from, bytes) => this.at(to, bytes).set(bytesIn(data).subarray(from, from + bytes)),
      download: (_, from, data, at, bytes) => {
        bytesIn(data).set(this.at(from, bytes), at);
        return null;
      },
      copy: (_, to, from, bytes) => this.at(to, bytes).set(this.at(from, bytes).slice()),
      beginStep: () => undefined,
    };
    return new Device(part as CudaAddon, 0);
  }

  get held(): number {
    return [...this.#pieces.values()].reduce((sum, { length }) => sum + length, 0);
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
