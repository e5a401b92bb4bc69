import { checkInteger } from '@megamoe/core';
import type { ReadMemory } from '@megamoe/ops';
import type { Device } from './device';

/** Reads that are on their way to the device while the next one goes on. */
const TURNS = 3;

/** Below this, copies by way of the driver's own memory are as fast, and pinning costs more than it saves. */
const LEAST_PINNED = 65_536;

/** Buffers grow by whole megabytes: pinning is slow, and matrices of a model come in a few sizes. */
const GRAIN = 2 ** 20;

/** Behind every buffer, so that no page is pinned for two of them: that the driver refuses. */
const SLACK = 8192;

/**
 * Pinned memory that files are read into, and that the device copies from while the next turn is read: a ring of turns, each with as many
 * buffers as a turn takes. A turn's buffers are handed out again when the copies from them are done.
 */
export class PinnedReads implements ReadMemory {
  readonly #device: Device;
  readonly #turns: Uint8Array[][] = Array.from({ length: TURNS }, () => []);
  /** Turns that have been marked: their copies may be under way. */
  readonly #marked = new Set<number>();
  readonly read: ReadMemory['read'];
  #turn = 0;
  #next = 0;

  constructor(device: Device) {
    this.#device = device;
    this.read = device.canReadFiles
      ? (file, out, at, bytes, position) => device.readFile('read', file, out, at, bytes, position)
      : undefined;
  }

  take(bytes: number): Uint8Array {
    checkInteger('take', 'bytes', bytes, 0);
    const buffers = this.#turns[this.#turn]!;
    const at = this.#next++;
    const held = buffers[at];
    if (held !== undefined && held.length >= bytes) return held.subarray(0, bytes);
    if (held !== undefined) this.#device.unpin(held);
    const size = bytes < LEAST_PINNED ? bytes : Math.ceil(bytes / GRAIN) * GRAIN;
    const made = new Uint8Array(Buffer.allocUnsafeSlow(size + SLACK).buffer, 0, size);
    buffers[at] = made;
    if (bytes >= LEAST_PINNED) this.#device.pin('take', made);
    return made.subarray(0, bytes);
  }

  rewind(): void {
    this.#device.mark('rewind', this.#turn);
    this.#marked.add(this.#turn);
    this.#turn = (this.#turn + 1) % TURNS;
    this.#next = 0;
    if (this.#marked.has(this.#turn)) this.#device.waitFor('rewind', this.#turn);
  }

  dispose(): void {
    for (const buffers of this.#turns) for (const buffer of buffers.splice(0)) this.#device.unpin(buffer);
  }
}
