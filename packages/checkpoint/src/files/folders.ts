import { checkString } from '@megamoe/core';
import { mkdirSync, rmdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { badFile } from '../fail';
import { onDisk } from './target';
import { isThere, whatIs } from './there';

/**
 * Makes `dir` and its parents; returns those that were not there, deepest first. One by one: when a disk fails, Node's `recursive` says that
 * there is no such folder.
 * @throws CheckpointError when it cannot be made, or is no folder; what was made of it is then removed
 */
export function makeFolders(dir: string): string[] {
  checkString('makeFolders', 'dir', dir);
  const missing: string[] = [];
  for (let d = resolve(dir); !isThere(d); d = dirname(d)) missing.push(d);
  const made: string[] = [];
  try {
    for (const folder of missing.reverse()) {
      if (onDisk(dir, () => isMade(folder))) made.unshift(folder);
    }
    if (!whatIs(dir)?.isDirectory()) throw badFile(dir, 'cannot be written: it is no folder');
  } catch (error) {
    removeFolders(made);
    throw error;
  }
  return made;
}

/** Makes a folder, unless somebody else has just made it. */
function isMade(folder: string): boolean {
  try {
    mkdirSync(folder);
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    return false;
  }
}

/** Removes folders that are empty. */
export function removeFolders(dirs: readonly string[]): void {
  for (const dir of dirs) {
    try {
      rmdirSync(dir);
    } catch {
      continue; // somebody else put something there
    }
  }
}
