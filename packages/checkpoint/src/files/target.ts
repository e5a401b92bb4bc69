import type { BigIntStats } from 'node:fs';
import { readlinkSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { checkString } from '@megamoe/core';
import { badFile, reasonOf } from '../fail';
import { whatLinkIs } from './there';

/** Where the bytes for a path go. */
export interface WriteTarget {
  /** The path, links to files followed to their end. */
  readonly path: string;
  /**
   * Whether it is written into, from first to last byte, for it is no file of a folder: a device, a FIFO, what a process has open
   * (`/dev/stdout`). All else is written beside its place and renamed to it.
   */
  readonly inPlace: boolean;
}

const MOST_LINKS = 40; // as Linux

/** Runs a step that the disk may refuse (full, read-only, no such folder): that becomes a CheckpointError that names the file. */
export function onDisk<T>(path: string, step: () => T): T {
  try {
    return step();
  } catch (cause) {
    throw badFile(path, `cannot be written: ${reasonOf(cause)}`, { cause });
  }
}

/**
 * Where a file for `path` is written. A symbolic link is written through: what it points at is replaced, and it stays a link.
 * @throws CheckpointError when there is no folder for it, or the path is a folder
 */
export function writeTarget(path: string): WriteTarget {
  checkString('writeTarget', 'path', path);
  if (path === '') throw badFile(path, 'cannot be written: the path is empty');
  if (/[\\/]$/.test(path)) throw badFile(path, 'cannot be written: it names a folder');
  let at = path;
  for (let links = 0; links < MOST_LINKS; links++) {
    const folder = onDisk(path, () => realpathSync.native(dirname(at)));
    const info = whatLinkIs(at);
    if (info?.isDirectory()) throw badFile(path, 'cannot be written: it is a folder');
    if (folder === '/proc' || folder.startsWith('/proc/')) return { path: at, inPlace: true }; // a name of an open file
    if (info === undefined || info.isFile()) return { path: at, inPlace: false };
    if (!info.isSymbolicLink()) return { path: at, inPlace: true };
    const next = onDisk(path, () => readlinkSync(at));
    at = isAbsolute(next) ? next : join(folder, next);
  }
  throw badFile(path, 'cannot be written: its links lead nowhere');
}

function identity(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return undefined;
  }
}

/** The real path of a file that is not there yet; undefined when its folder is not there either. */
function placeOf(path: string): string | undefined {
  try {
    const target = writeTarget(path);
    return join(realpathSync.native(dirname(target.path)), basename(target.path));
  } catch {
    return undefined;
  }
}

/**
 * Whether two paths are one file or folder, however they are spelled: through links, hard links, another mount, another case where the
 * file system takes that for the same. Paths of files that are not there yet are compared as they would be made.
 */
export function isSameFile(a: string, b: string): boolean {
  checkString('isSameFile', 'a', a);
  checkString('isSameFile', 'b', b);
  const [x, y] = [identity(a), identity(b)];
  if (x !== undefined && y !== undefined) return x.dev === y.dev && x.ino === y.ino;
  if (x !== undefined || y !== undefined) return false;
  const place = placeOf(a);
  return place !== undefined && place === placeOf(b);
}
