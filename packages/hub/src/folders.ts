import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const codeOf = (e: unknown): string | undefined => (e as NodeJS.ErrnoException).code;

/** Makes a folder and those above it. One by one: where a disk fails, the `recursive` of Node's `mkdir` says that there is no such folder. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (e) {
    if (codeOf(e) === 'EEXIST' && (await stat(path)).isDirectory()) return;
    if (codeOf(e) !== 'ENOENT' || dirname(path) === path) throw e;
    await makeFolder(dirname(path));
    await mkdir(path).catch((again: unknown) => {
      if (codeOf(again) !== 'EEXIST') throw again; // another pull was faster
    });
  }
}

/** Says of which file an error of the disk is, when the system did not: of an open file it knows no name. */
export async function ofFile<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (e) {
    const error = e as NodeJS.ErrnoException;
    if (e instanceof Error && error.syscall !== undefined && error.path === undefined) error.path = path;
    throw e;
  }
}

/** Names of links and refs in the making: see store.ts. */
export const BESIDE = /\.megamoe-[0-9a-f]{12}$/;

/** Removes what killed pulls have left of links and refs in the making, at any depth; for whoever holds the lock. */
export async function removeAbandoned(dir: string): Promise<void> {
  let entries;
  try {
    entries = await readdir(dir, { withFileTypes: true });
  } catch (e) {
    if (codeOf(e) === 'ENOENT') return;
    throw e;
  }
  for (const entry of entries) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) await removeAbandoned(path);
    else if (BESIDE.test(entry.name)) await rm(path, { force: true });
  }
}
