import { readFileSync, statSync } from 'node:fs';

/** What a file holds. Where a disk fails while it is read, Node's own words do not say which file it was. */
export function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new Error(`${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

/** Codes of what is no name of anything. */
const NOTHING = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ERR_INVALID_ARG_VALUE']);

/** Whether there is something at a path; throws where the disk cannot say. `existsSync` says no then, and what is there would be overwritten. */
export function isThere(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (cause) {
    if (NOTHING.has((cause as NodeJS.ErrnoException).code ?? '')) return false;
    throw cause;
  }
}
