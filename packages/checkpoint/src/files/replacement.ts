import { lstatSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { CheckpointError } from '@megamoe/core';
import { badFile, reasonOf } from '../fail';
import { readWhole } from './read-file';
import { onDisk } from './target';
import { isRunning, RECORD, TEMPORARY } from './temporary';
import { isAbsence, isThere, whatLinkIs } from './there';
import { discard, stageFile, syncFolder } from './write-file';

/**
 * What the record of a replacement holds. The record appears, whole, at the moment when the new files of a folder are all on the disk under
 * temporary names. Before that moment the folder holds the old files; from then on the new ones, for whoever opens the folder first gives
 * them their names.
 */
interface Replacement {
  /** The process that gives the files their names; 0 when it could not. */
  readonly pid: number;
  /** When that process began, in the system's own words: numbers of processes come again. */
  readonly began: string;
  /** Old files to remove, as `[name, identity]`, in this order. */
  readonly remove: readonly (readonly [string, string])[];
  /** New files, as `[name, temporary name]`, in this order; paths within the folder. */
  readonly place: readonly (readonly [string, string])[];
}

/** Whether a path stays within its folder, and is spelled in one way only. */
export function isPlainPath(path: string): boolean {
  return !/[\\\0]/.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

/** What tells a file from another one that later gets its name. */
function identityOf(path: string): string | undefined {
  const info = onDisk(path, () => lstatSync(path, { bigint: true, throwIfNoEntry: false }));
  return info && `${info.dev}:${info.ino}`;
}

/** When a process began; empty where the system does not say. */
function beganAt(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

function isPair(x: unknown): x is readonly [string, string] {
  return (
    Array.isArray(x) && x.length === 2 && typeof x[0] === 'string' && typeof x[1] === 'string' && isPlainPath(x[0])
  );
}

/** A temporary file of that name, beside it. */
function isTemporaryOf([name, temporary]: readonly [string, string]): boolean {
  const [, of] = TEMPORARY.exec(posix.basename(temporary)) ?? [];
  return isPlainPath(temporary) && posix.dirname(temporary) === posix.dirname(name) && of === posix.basename(name);
}

function readRecord(dir: string): Replacement | undefined {
  const path = join(dir, RECORD);
  let text: string;
  try {
    text = readWhole(path).toString();
  } catch (error) {
    if (isAbsence(error)) return undefined;
    if (error instanceof CheckpointError) throw error;
    throw badFile(path, `cannot be read: ${reasonOf(error)}`, { cause: error });
  }
  try {
    const { pid, began, remove, place } = JSON.parse(text) as Replacement;
    const good = Number.isInteger(pid) && pid >= 0 && typeof began === 'string' && [...remove, ...place].every(isPair);
    if (good && place.every(isTemporaryOf)) return { pid, began, remove, place };
  } catch {
    // not even JSON
  }
  throw badFile(path, 'is not a record that writeCheckpoint made: remove it if the files beside it are complete');
}

/** Writes the record. When its name is there, so is all of it. */
async function writeRecord(dir: string, record: Replacement): Promise<void> {
  const path = join(dir, RECORD);
  const bytes = Buffer.from(JSON.stringify(record));
  const temporary = await stageFile(path, (put) => put(bytes, 0));
  try {
    onDisk(path, () => renameSync(temporary, path));
  } catch (error) {
    discard(temporary);
    throw error;
  }
}

/** Gives all files their names. Each step can be done again, also by somebody else: nothing is removed but the very files of the record. */
function finish(dir: string, { remove, place }: Replacement): void {
  for (const [name, identity] of remove) {
    const path = join(dir, name);
    if (identityOf(path) === identity) onDisk(path, () => rmSync(path, { force: true }));
  }
  for (const [name, temporary] of place) {
    const path = join(dir, name);
    try {
      renameSync(join(dir, temporary), path);
    } catch (cause) {
      const done = (cause as NodeJS.ErrnoException).code === 'ENOENT' && identityOf(path) !== undefined;
      if (!done) throw badFile(path, `cannot be written: ${reasonOf(cause)}`, { cause });
    }
  }
  for (const folder of new Set([dir, ...place.map(([name]) => join(dir, dirname(name)))])) syncFolder(folder);
  const record = join(dir, RECORD); // should it come back after a power failure, it finds nothing to do
  onDisk(record, () => rmSync(record, { force: true }));
}

/**
 * Replaces files of a folder by files that lie beside them under temporary names. A failure before the record is written throws and has
 * changed nothing: `staged` is the caller's to remove. A failure after that throws too, but the new files count from then on.
 * @param old    names of files to remove, those that a reader looks for first
 * @param staged temporary name of each new file, within the folder
 * @param begun  called when there is no way back
 */
export async function replaceFiles(
  dir: string,
  old: readonly string[],
  staged: ReadonlyMap<string, string>,
  begun: () => void,
): Promise<void> {
  for (const name of new Set([...old, ...staged.keys()])) {
    const path = join(dir, name);
    if (whatLinkIs(path)?.isDirectory()) throw badFile(path, 'cannot be written: it is a folder');
  }
  const remove = old.flatMap((name) => {
    const identity = identityOf(join(dir, name));
    return identity === undefined ? [] : [[name, identity] as const];
  });
  const record: Replacement = { pid: process.pid, began: beganAt(process.pid), remove, place: [...staged] };
  await writeRecord(dir, record);
  try {
    syncFolder(dir); // nothing is removed before the record is there to stay
  } catch (error) {
    if (isTakenBack(dir)) throw error;
    begun(); // it counts, and what it names must stay
    throw unfinished(dir, error);
  }
  begun();
  try {
    finish(dir, record);
  } catch (cause) {
    try {
      await writeRecord(dir, { ...record, pid: 0 }); // others need not wait for this process
    } catch {
      // they wait until it ends
    }
    throw unfinished(dir, cause);
  }
}

function unfinished(dir: string, cause: unknown): Error {
  return badFile(
    dir,
    `the new checkpoint is complete, but not all of its files could be given their names: ${reasonOf(cause)}; the next command that opens this folder tries again`,
    { cause },
  );
}

/** Removes the record of a replacement that has not begun; whether it is gone. */
function isTakenBack(dir: string): boolean {
  try {
    rmSync(join(dir, RECORD), { force: true });
    return !isThere(join(dir, RECORD));
  } catch {
    return false;
  }
}

/**
 * Gives the files of an interrupted replacement their names, when the process that did it is no more: so a folder always holds the old or
 * the new files. Every reader of a folder calls it first; where nothing was interrupted it looks for one file.
 * @throws CheckpointError while another process is at it, or when the folder cannot be written
 */
export function settle(dir: string): void {
  const record = readRecord(dir);
  if (record === undefined) return;
  const { pid, began } = record;
  if (pid !== 0 && pid !== process.pid && isRunning(pid) && (began === '' || beganAt(pid) === began))
    throw badFile(dir, `process ${pid} is replacing this checkpoint: try again when it has ended`);
  try {
    finish(dir, record);
  } catch (cause) {
    throw badFile(dir, `holds a replacement that was interrupted and cannot be completed: ${reasonOf(cause)}`, {
      cause,
    });
  }
}
