import { checkInteger, checkObject, describe, KindError, ShapeError } from '@megamoe/core';

/** `bytes` bytes at offset 0 of an ArrayBuffer of their own, not zeroed: not from Node's pool, so that any typed array fits over them. */
function allocate(bytes: number): Uint8Array {
  try {
    return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer, 0, bytes);
  } catch (cause) {
    throw new ShapeError(`take: "bytes" = ${bytes} cannot be allocated`, { cause });
  }
}

/** A new buffer for each read. */
export const FRESH: Pick<ReadBuffers, 'take'> = { take: allocate };

let isReadBuffers: (v: object) => boolean;

/** Throws KindError unless it is undefined or {@link ReadBuffers}. */
export function checkBuffers(fn: string, arg: string, buffers: ReadBuffers | undefined): void {
  if (buffers === undefined) return;
  checkObject(fn, arg, buffers);
  if (!isReadBuffers(buffers)) throw new KindError(`${fn}: "${arg}" must be ReadBuffers, got ${describe(buffers)}`);
}

/**
 * Memory that reads use again: what is read one by one and packed at once need not become garbage each time. The reads of one call
 * get a buffer each; {@link rewind} hands the same ones out again, so what an earlier call returned is written over.
 */
export class ReadBuffers {
  static {
    isReadBuffers = (v) => #buffers in v;
  }

  readonly #buffers: Uint8Array[] = [];
  #next = 0;

  /** Bytes held. */
  get bytes(): number {
    return this.#buffers.reduce((sum, b) => sum + b.length, 0);
  }

  /** The next buffer, grown when it is too small. */
  take(bytes: number): Uint8Array {
    checkInteger('take', 'bytes', bytes, 0);
    const held = this.#buffers[this.#next];
    const buffer = held !== undefined && held.length >= bytes ? held : allocate(bytes);
    this.#buffers[this.#next++] = buffer;
    return buffer.subarray(0, bytes);
  }

  /** Starts over with the first. */
  rewind(): void {
    this.#next = 0;
  }
}
