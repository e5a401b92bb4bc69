import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { onDisk } from './target';
import { isThere } from './there';

/** Name of the record of a replacement in its folder: see replacement.ts. */
export const RECORD = '.megamoe-replacement.json';

/** A name for a file in the making, in the folder where it will lie. */
export function temporaryPath(path: string): string {
  return join(dirname(path), `.${basename(path)}.tmp-${process.pid}-${randomBytes(4).toString('hex')}`);
}

/** What {@link temporaryPath} makes: the file that it is for, and the process that writes it. */
export const TEMPORARY = /^\.(.+)\.tmp-(\d+)-[0-9a-f]{8}$/;

/**
 * Removes temporary files of `isOurs` names that a process left behind which is no more: killed, it could not clean up. Where a replacement
 * is not finished they stay: some are the new files.
 */
export function removeAbandoned(dir: string, isOurs: (name: string) => boolean): void {
  if (!isThere(dir) || isThere(join(dir, RECORD))) return;
  for (const file of onDisk(dir, () => readdirSync(dir))) {
    const [, name, pid] = TEMPORARY.exec(file) ?? [];
    if (name === undefined || !isOurs(name) || isRunning(Number(pid))) continue;
    const path = join(dir, file);
    onDisk(path, () => rmSync(path, { force: true }));
  }
}

/** Whether there is a process of this number. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0); // sends nothing
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'; // somebody else's process is one, too
  }
}
