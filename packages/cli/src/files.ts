import { isSameFile, isThere, writeFileInPieces, writeTarget } from '@megamoe/checkpoint';
import { readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UsageError } from './errors';
import { readBytes } from './read-file';

/**
 * Writes a file, as every command does: beside its place and renamed to it, through links, into devices and FIFOs. How is
 * `writeFileInPieces` of the checkpoint package, which writes all files of this project.
 */
export async function writeFile(path: string, data: string | Uint8Array, signal?: AbortSignal): Promise<void> {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  await writeFileInPieces(path, (put) => put(bytes, 0), signal);
}

const INDEX = 'model.safetensors.index.json';
/** Names that readers of a checkpoint look for, there or not. */
const LOOKED_FOR =
  /^(?:model(?:-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|(?:generation_|tokenizer_)?config\.json|hf_quant_config\.json|tokenizer\.json)$/i;

/** What lies in a folder and in the folders in it, folders aside. Not through links, as `recursive` of Node 24 goes: one may lead back. */
function pathsBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? pathsBelow(path) : [path];
  });
}

/** Files of a checkpoint folder that are read: all but reports, and tensors that no index names, which a command may have written before. */
function filesOf(folder: string): string[] {
  const index = join(folder, INDEX);
  const shards = isThere(index) ? readBytes(index).toString() : '';
  const isRead = (name: string): boolean =>
    /\.safetensors$/i.test(name)
      ? LOOKED_FOR.test(name) || shards.includes(JSON.stringify(name))
      : !/\.(?:html|svg|csv)$/i.test(name);
  return pathsBelow(folder).filter((path) => isRead(basename(path)));
}

/** Whether a file to write is one of those that a checkpoint in `folder` consists of, or would become one. */
function belongsTo(folder: string, path: string): boolean {
  if (LOOKED_FOR.test(basename(path)) && isSameFile(dirname(path), folder)) return true;
  return isThere(path) && filesOf(folder).some((file) => isSameFile(file, path));
}

/** Whether it is a folder; what is no path at all, as a list of token ids, is none. */
function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** Paths by what they are called on the command line; undefined is not given. */
type Paths = Readonly<Record<string, string | undefined>>;

const given = (paths: Paths): [string, string][] =>
  Object.entries(paths).filter((entry): entry is [string, string] => entry[1] !== undefined);

/**
 * Throws unless every file to write is another than all that the command reads, and than all else that it writes, however their paths are
 * spelled. Devices and FIFOs may be anything.
 * @param reads  files and checkpoint folders
 * @param files  files to write
 * @param folder checkpoint folder to write
 */
export function checkTargets(command: string, reads: Paths, files: Paths, folder: Paths = {}): void {
  for (const [option, path] of given(folder)) {
    for (const [source, read] of given(reads)) {
      if (isSameFile(read, path))
        throw new UsageError(`${command}: ${option} must be another folder than ${source}, both are "${path}"`);
    }
  }
  const done: [string, string][] = [];
  for (const [option, file] of given(files)) {
    const target = writeTarget(file);
    if (target.inPlace) continue;
    const path = join(realpathSync.native(dirname(target.path)), basename(target.path));
    for (const [source, read] of given(reads)) {
      if (isFolder(read) ? belongsTo(read, path) : isSameFile(read, path))
        throw new UsageError(`${command}: ${option} must be another file than those of ${source}: "${file}" is read`);
    }
    for (const [other, read] of [...given(folder), ...done]) {
      if (isFolder(read) ? belongsTo(read, path) : isSameFile(read, path))
        throw new UsageError(
          `${command}: ${option} must be another file than those of ${other}: "${file}" is written twice`,
        );
    }
    done.push([option, path]);
  }
}

/** Where a file of this package lies: modules of `src` and of `dist` are as deep. */
export const packageFile = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
