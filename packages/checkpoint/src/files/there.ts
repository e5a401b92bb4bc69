import { lstatSync, statSync, type Stats } from 'node:fs';
import { checkString } from '@megamoe/core';
import { badFile, reasonOf } from '../fail';

/** Whether a file system says that there is nothing of a name, or that what should be its folder is none. */
export const isAbsence = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Codes of what can be no name of anything: too long, or with a NUL in it. */
const NO_NAME: readonly string[] = ['ENAMETOOLONG', 'ERR_INVALID_ARG_VALUE'];

function ask(path: string, look: (path: string) => Stats): Stats | undefined {
  try {
    return look(path);
  } catch (cause) {
    if (isAbsence(cause) || NO_NAME.includes((cause as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw badFile(path, `cannot be read: ${reasonOf(cause)}`, { cause });
  }
}

/** What there is at a path, links followed; undefined when there is nothing. Errors: as of `isThere`. */
export const whatIs = (path: string): Stats | undefined => ask(path, (at) => statSync(at));

/** `whatIs` of a link itself. */
export const whatLinkIs = (path: string): Stats | undefined => ask(path, (at) => lstatSync(at));

/**
 * Whether there is something at a path, links followed. `existsSync` also says no where the disk cannot be asked, and then a file that is there
 * gets overwritten or left out: here that is a CheckpointError.
 */
export function isThere(path: string): boolean {
  checkString('isThere', 'path', path);
  return whatIs(path) !== undefined;
}
