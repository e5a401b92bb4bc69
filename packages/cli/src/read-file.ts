import { closeSync, constants, fstatSync, openSync, readFileSync, readSync, realpathSync, statSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';

/** What a file holds. Where a disk fails while it is read, Node's own words do not say which file it was. */
export function readBytes(path: string): Buffer {
  try {
    const info = statSync(path);
    if (!info.isFile() && !info.isDirectory()) throw new Error('expected a regular file'); // a FIFO would wait for a writer
    return readFileSync(path);
  } catch (cause) {
    throw new Error(`${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

/** Most bytes of a file that is named on the command line: what a text can hold. A device may have no end. */
const MOST_BYTES = 2 ** 29 - 24;
const PIECE_BYTES = 1 << 16;
const SOON_MS = 10;

/** Whether a FIFO is a pipe that somebody has been given the other end of, as `<(...)` and `/dev/stdin` are: its name leads to no file. */
function isAnonymous(path: string): boolean {
  try {
    realpathSync.native(path); // the other stops at a pipe
    return false;
  } catch {
    return true;
  }
}

/**
 * Reads what is named on the command line: a file, a device, a FIFO. It never waits in the system, where a signal could not end the wait: a FIFO
 * that nobody writes to is asked again until somebody does.
 * @param signal ends the wait
 */
export async function readInput(path: string, signal: AbortSignal | undefined, most = MOST_BYTES): Promise<Buffer> {
  const fd = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    const pieces: Uint8Array[] = [];
    let length = 0;
    let isEndKnown = !fstatSync(fd).isFIFO() || isAnonymous(path); // an empty FIFO may have had no writer yet
    for (;;) {
      signal?.throwIfAborted();
      const piece = new Uint8Array(PIECE_BYTES);
      const bytes = readReady(fd, piece);
      if (bytes === 0 && isEndKnown) return Buffer.concat(pieces);
      if (bytes !== 0) isEndKnown = true;
      if (bytes) {
        pieces.push(piece.subarray(0, bytes));
        length += bytes;
        if (length > most) throw new Error(`it has more than ${most} bytes`);
      } else await setTimeout(SOON_MS, undefined, signal && { signal });
    }
  } finally {
    closeSync(fd);
  }
}

/** Reads what is there; undefined where nothing is yet, for whoever writes is slower. */
function readReady(fd: number, piece: Uint8Array): number | undefined {
  try {
    return readSync(fd, piece, 0, piece.length, null);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EAGAIN') return undefined;
    throw cause;
  }
}
