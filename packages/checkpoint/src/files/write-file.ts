import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { checkFunction, checkSignal, checkString } from '@megamoe/core';
import { badFile, reasonOf } from '../fail';
import { onDisk, writeTarget } from './target';
import { whatIs } from './there';
import { removeAbandoned, temporaryPath } from './temporary';

/** Puts bytes at a position of a file in the making. */
export type Put = (bytes: Uint8Array, position: number) => void;

/** Writes a file's content, with a {@link Put}, in any order. */
export type WriteContent = (put: Put) => void | Promise<void>;

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, Math.min(bytes.length - done, 2 ** 30), position + done);
  }
}

/**
 * Writes a file under a temporary name beside `path` until it is complete and on the disk, and returns that name for the caller to
 * rename. Whatever fails, nothing stays behind.
 */
export async function stageFile(path: string, write: WriteContent): Promise<string> {
  const temporary = temporaryPath(path);
  const fd = onDisk(path, () => openSync(temporary, 'wx'));
  try {
    try {
      await write((bytes, position) => onDisk(path, () => writeAll(fd, bytes, position)));
      onDisk(path, () => fsyncSync(fd));
    } catch (error) {
      closeAnyway(fd);
      throw error;
    }
    onDisk(path, () => closeSync(fd)); // where a network file system says that the disk is full
  } catch (error) {
    discard(temporary);
    throw error;
  }
  return temporary;
}

/** Closes a file after a failure, which is what is to be told. */
function closeAnyway(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    return; // closed all the same
  }
}

/** Gives a staged file its name, and the permissions of the file that it replaces. */
function place(temporary: string, path: string): void {
  try {
    const old = whatIs(path);
    if (old !== undefined) onDisk(path, () => chmodSync(temporary, old.mode & 0o777));
    onDisk(path, () => renameSync(temporary, path));
  } catch (error) {
    discard(temporary);
    throw error;
  }
  try {
    syncFolder(dirname(path));
  } catch (cause) {
    throw badFile(path, `is written, but may not outlast a power failure: ${reasonOf(cause)}`, { cause });
  }
}

/** Removes a file in the making after a failure, which is what is to be told: that its remains cannot be removed either adds nothing. */
export function discard(temporary: string): void {
  try {
    rmSync(temporary, { force: true });
  } catch {
    return; // the next writer of the file removes it
  }
}

/** What Windows and some file systems answer when a folder is to be put on the disk: they have no such thing. */
const NO_SYNC = new Set(['EACCES', 'EBADF', 'EINVAL', 'EISDIR', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EPERM']);

/** Puts the names of a folder on the disk, where that can be asked for. */
export function syncFolder(dir: string): void {
  try {
    const fd = openSync(dir, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    if (NO_SYNC.has(codeOf(cause) ?? '')) return;
    throw badFile(dir, `the names of its files cannot be put on the disk: ${reasonOf(cause)}`, { cause });
  }
}

/**
 * Writes a file of any format in pieces: `write` puts bytes at positions, in any order. A file appears under its name when it is complete
 * and on the disk; a failure leaves what was there, and what a killed process left of this file is removed. A link is written through; a
 * device, a FIFO or `/dev/stdout` is written into when all bytes are there.
 * @param signal ends the wait for somebody to read from a FIFO
 */
export async function writeFileInPieces(path: string, write: WriteContent, signal?: AbortSignal): Promise<void> {
  const fn = 'writeFileInPieces';
  checkString(fn, 'path', path);
  checkFunction(fn, 'write', write);
  if (signal !== undefined) checkSignal(fn, 'signal', signal);
  const target = writeTarget(path);
  if (target.inPlace) return await writeThrough(path, write, signal);
  removeAbandoned(dirname(target.path), (name) => name === basename(target.path));
  place(await stageFile(target.path, write), target.path);
}

/** Collects the content in a file without a name, and copies it in order. */
async function writeThrough(path: string, write: WriteContent, signal?: AbortSignal): Promise<void> {
  const collected = temporaryPath(join(tmpdir(), basename(path)));
  const from = onDisk(path, () => openSync(collected, 'wx+'));
  try {
    onDisk(path, () => rmSync(collected, { force: true })); // it goes when it is closed, whatever happens
    await write((bytes, position) => onDisk(path, () => writeAll(from, bytes, position)));
    const to = await openToAppend(path, signal);
    try {
      await copy(path, from, to, signal);
    } catch (error) {
      closeAnyway(to);
      throw error;
    }
    onDisk(path, () => closeSync(to));
  } finally {
    closeAnyway(from);
    discard(collected); // where an open file keeps its name
  }
}

const SOON_MS = 10;
const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** Opens without waiting in the system, where nothing could end the wait: a FIFO can be opened when somebody reads it. */
async function openToAppend(path: string, signal?: AbortSignal): Promise<number> {
  const { O_WRONLY, O_APPEND, O_NONBLOCK } = constants;
  for (;;) {
    const isBlocks = onDisk(path, () => statSync(path)).isBlockDevice(); // appending would begin at its end
    try {
      return openSync(path, O_WRONLY | (isBlocks ? 0 : O_APPEND) | (O_NONBLOCK ?? 0));
    } catch (cause) {
      if (codeOf(cause) !== 'ENXIO' || !statSync(path).isFIFO())
        throw badFile(path, `cannot be written: ${reasonOf(cause)}`, { cause });
    }
    await setTimeout(SOON_MS, undefined, { ...(signal ? { signal } : {}) });
  }
}

async function copy(path: string, from: number, to: number, signal?: AbortSignal): Promise<void> {
  const { size } = onDisk(path, () => fstatSync(from));
  const piece = new Uint8Array(Math.min(size, 1 << 16));
  for (let at = 0; at < size;) {
    const bytes = onDisk(path, () => readSync(from, piece, 0, piece.length, at));
    for (let done = 0; done < bytes;) {
      try {
        done += writeSync(to, piece, done, bytes - done);
      } catch (cause) {
        if (codeOf(cause) !== 'EAGAIN') throw badFile(path, `cannot be written: ${reasonOf(cause)}`, { cause });
        await setTimeout(SOON_MS, undefined, { ...(signal ? { signal } : {}) }); // whoever reads is slower
      }
    }
    at += bytes;
    signal?.throwIfAborted();
  }
}
