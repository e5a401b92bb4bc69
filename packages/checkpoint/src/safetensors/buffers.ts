import { readSync } from 'node:fs';
import {
  checkFunction,
  checkInteger,
  checkKind,
  checkObject,
  describe,
  KindError,
  plainView,
  ShapeError,
} from '@megamoe/core';

/** `bytes` bytes at offset 0 of an ArrayBuffer of their own, not zeroed: not from Node's pool, so that any typed array fits over them. */
function allocate(bytes: number): Uint8Array {
  try {
    return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer, 0, bytes);
  } catch (cause) {
    throw new ShapeError(`take: "bytes" = ${bytes} cannot be allocated`, { cause });
  }
}

/**
 * Memory of somebody else for reads to go to, as what a device copies from: `ReadMemory` of `@megamoe/ops`, as far as readers use it.
 */
export interface ReadTarget {
  /** `bytes` bytes at the beginning of an ArrayBuffer. */
  take(bytes: number): Uint8Array;
  /** The next read begins. */
  rewind(): void;
  /** Reads to `out[at]` on, as `fs.readSync`; answers how many bytes were there. */
  readonly read?: ((file: number, out: Uint8Array, at: number, bytes: number, position: number) => number) | undefined;
}

/** A new buffer for each read. */
export const FRESH: Pick<ReadBuffers, 'take'> = { take: allocate };

let isReadBuffers: (v: object) => boolean;
let targetOf: (buffers: ReadBuffers) => ReadTarget | undefined;

/** Throws KindError unless it is undefined or {@link ReadBuffers}. */
export function checkBuffers(fn: string, arg: string, buffers: ReadBuffers | undefined): void {
  if (buffers === undefined) return;
  checkObject(fn, arg, buffers);
  if (!isReadBuffers(buffers)) throw new KindError(`${fn}: "${arg}" must be ReadBuffers, got ${describe(buffers)}`);
}

/** What reads for `buffers`: their target where it does that itself, else Node. */
export function readerOf(buffers: ReadBuffers | undefined): typeof readSync {
  const target = buffers && targetOf(buffers);
  if (target?.read === undefined) return readSync;
  return ((file: number, out: Uint8Array, at: number, bytes: number, position: number) => {
    const n = target.read!(file, out, at, bytes, position);
    checkInteger('ReadBuffers', 'target.read()', n, 0, bytes);
    return n;
  }) as typeof readSync;
}

/** A target that a caller passed, its functions read once. */
function takeTarget(target: ReadTarget): ReadTarget {
  const fn = 'ReadBuffers';
  checkObject(fn, 'target', target);
  const { take, rewind, read } = target;
  checkFunction(fn, 'target.take', take);
  checkFunction(fn, 'target.rewind', rewind);
  if (read !== undefined) checkFunction(fn, 'target.read', read);
  return {
    take(bytes) {
      const taken = take.call(target, bytes);
      checkKind(fn, 'target.take()', taken, Uint8Array);
      const own = plainView(taken, Uint8Array);
      if (own.byteOffset === 0 && own.length === bytes) return own;
      throw new ShapeError(
        `${fn}: "target.take()" must be ${bytes} bytes at the beginning of an ArrayBuffer, got ${own.length} at ${own.byteOffset}`,
      );
    },
    rewind: () => void rewind.call(target),
    read: read && ((...a) => read.apply(target, a)),
  };
}

/**
 * Memory that reads use again: what is read one by one and packed at once need not become garbage each time. The reads of one call
 * get a buffer each; {@link rewind} hands the same ones out again, so what an earlier call returned is written over.
 */
export class ReadBuffers {
  static {
    isReadBuffers = (v) => #buffers in v;
    targetOf = (v) => v.#target;
  }

  readonly #buffers: Uint8Array[] = [];
  readonly #target: ReadTarget | undefined;
  #next = 0;

  /** @param target whose memory to use, in place of their own */
  constructor(target?: ReadTarget) {
    this.#target = target === undefined ? undefined : takeTarget(target);
  }

  /** Bytes held. */
  get bytes(): number {
    return this.#buffers.reduce((sum, b) => sum + b.length, 0);
  }

  /** The next buffer, grown when it is too small. */
  take(bytes: number): Uint8Array {
    checkInteger('take', 'bytes', bytes, 0);
    if (this.#target !== undefined) return this.#target.take(bytes);
    const held = this.#buffers[this.#next];
    const buffer = held !== undefined && held.length >= bytes ? held : allocate(bytes);
    this.#buffers[this.#next++] = buffer;
    return buffer.subarray(0, bytes);
  }

  /** Starts over with the first. */
  rewind(): void {
    this.#next = 0;
    this.#target?.rewind();
  }
}
