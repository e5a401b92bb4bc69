import { readFileSync } from 'node:fs';

/** What a file holds. Where a disk fails while it is read, Node's own words do not say which file it was. */
export function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new Error(`${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}
