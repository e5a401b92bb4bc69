import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join, posix, resolve } from 'node:path';
import { checkInteger, ValueError } from '@megamoe/core';
import { badFile, listText, quote } from '../fail';
import { INDEX_FILE, SINGLE_FILE } from './store';
import type { TensorToWrite, WriteOptions } from './writer';
import { checkedBytes, checkNames, onDisk, removeAbandoned, stageFile, stageSafetensors } from './writer';

/** Options of {@link writeCheckpoint}. */
export interface WriteCheckpointOptions extends WriteOptions {
  /** Most tensor bytes per shard (a larger tensor gets a shard of its own). Default 5 GB, as Hugging Face had it for long. */
  readonly maxShardBytes?: number;
  /**
   * Other files of the folder by name, as `config.json`, or by path, as `encoding/encoding_dsv4.py`: text, bytes, or a value to write as
   * indented JSON.
   */
  readonly files?: Readonly<Record<string, string | Uint8Array | object>>;
  /** Replace a checkpoint that is there. Default false: that is an error. */
  readonly overwrite?: boolean;
}

const FN = 'writeCheckpoint';
const MODEL_FILE = /^model(?:-\d+-of-\d+)?\.safetensors$/;

/** Fills shards in the given order, each up to the limit. */
function planShards(tensors: readonly TensorToWrite[], limit: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [[]];
  let size = 0;
  for (const tensor of tensors) {
    const bytes = checkedBytes(FN, tensor);
    if (size + bytes > limit && shards.at(-1)!.length > 0) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)!.push(tensor);
    size += bytes;
  }
  return shards;
}

/** File names as Hugging Face gives them. */
function shardName(i: number, count: number): string {
  const five = (n: number): string => String(n).padStart(5, '0');
  return count === 1 ? SINGLE_FILE : `model-${five(i + 1)}-of-${five(count)}.safetensors`;
}

/** The index as Hugging Face writes it: two spaces, names in order, a final line break. */
function indexText(shards: readonly (readonly TensorToWrite[])[]): string {
  const where = shards.flatMap((shard, i) => shard.map(({ name }) => [name, shardName(i, shards.length)] as const));
  where.sort(([a], [b]) => (a < b ? -1 : 1));
  const total = shards.flat().reduce((sum, tensor) => sum + checkedBytes(FN, tensor), 0);
  return `${JSON.stringify({ metadata: { total_size: total }, weight_map: Object.fromEntries(where) }, null, 2)}\n`;
}

function fileBytes(content: string | Uint8Array | object): Uint8Array {
  if (content instanceof Uint8Array) return content;
  return Buffer.from(typeof content === 'string' ? content : `${JSON.stringify(content, null, 2)}\n`);
}

/** Makes `dir` and its parents; returns those that were not there, deepest first. */
function makeFolders(dir: string): string[] {
  const made: string[] = [];
  for (let d = resolve(dir); !existsSync(d); d = dirname(d)) made.push(d);
  onDisk(dir, () => mkdirSync(dir, { recursive: true }));
  return made;
}

function removeFolders(dirs: readonly string[]): void {
  for (const dir of dirs) {
    try {
      rmdirSync(dir);
    } catch {
      continue; // somebody else put something there
    }
  }
}

/** Files of an earlier checkpoint that would be mixed up with the new one. */
function inTheWay(dir: string, targets: readonly string[]): string[] {
  const there = existsSync(dir) ? onDisk(dir, () => readdirSync(dir)) : [];
  const model = there.filter((name) => MODEL_FILE.test(name) || name === INDEX_FILE);
  return [...new Set([...model, ...targets.filter((name) => existsSync(join(dir, name)))])].sort();
}

/** Whether a path stays within its folder, and is spelled in one way only. */
function isPlainPath(path: string): boolean {
  return !/[\\\0]/.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

/**
 * Writes a checkpoint folder: shards (or one `model.safetensors`), their index, and the other files given. Everything is first written
 * under temporary names; only when all of it is on the disk do the files get their own, the index and other files last. A failure or an
 * abort before that leaves the folder as it was.
 *
 * @param dir     folder; made when it is not there
 * @param tensors in the order in which shards are filled; see {@link writeSafetensors} for the order inside one
 * @throws CheckpointError when a checkpoint is there and `overwrite` is not set, and what {@link writeSafetensors} throws
 */
export async function writeCheckpoint(
  dir: string,
  tensors: readonly TensorToWrite[],
  options: WriteCheckpointOptions = {},
): Promise<void> {
  const { maxShardBytes = 5e9, files = {}, overwrite = false, onProgress, ...rest } = options;
  checkInteger(FN, 'maxShardBytes', maxShardBytes, 1);
  checkNames(FN, tensors);
  const shards = planShards(tensors, maxShardBytes);
  const others = new Map(Object.entries(files).map(([name, content]) => [name, fileBytes(content)]));
  for (const name of others.keys()) {
    if (!isPlainPath(name) || MODEL_FILE.test(name) || name === INDEX_FILE) {
      throw new ValueError(
        `${FN}: "files" must have names within the folder, other than the model's own, got ${quote(name)}`,
      );
    }
  }
  if (shards.length > 1) others.set(INDEX_FILE, Buffer.from(indexText(shards)));
  const targets = [...shards.map((_, i) => shardName(i, shards.length)), ...others.keys()];
  const old = inTheWay(dir, targets);
  if (old.length && !overwrite) throw badFile(dir, `would overwrite ${listText(old)}; nothing has been written`);

  const total = tensors.reduce((sum, tensor) => sum + checkedBytes(FN, tensor), 0);
  const made = makeFolders(dir);
  const staged = new Map<string, string>(); // temporary path to final path
  const placed: string[] = [];
  try {
    for (const folder of new Set(['.', ...targets.map((name) => posix.dirname(name))])) {
      made.unshift(...makeFolders(join(dir, folder)));
      removeAbandoned(join(dir, folder), (name) => {
        const target = posix.join(folder, name);
        return MODEL_FILE.test(target) || targets.includes(target);
      });
    }
    let before = 0;
    for (const [i, shard] of shards.entries()) {
      const path = join(dir, shardName(i, shards.length));
      const start = before;
      const progress = onProgress && ((done: number): void => onProgress(start + done, total));
      staged.set(await stageSafetensors(FN, path, shard, { ...rest, onProgress: progress }), path);
      before += shard.reduce((sum, tensor) => sum + checkedBytes(FN, tensor), 0);
    }
    for (const [name, bytes] of others) {
      const path = join(dir, name);
      staged.set(await stageFile(path, (put) => put(bytes, 0)), path);
    }
    // Old files go first, the index before the shards: a reader must never find the two mixed.
    for (const name of old.sort((a, b) => Number(b === INDEX_FILE) - Number(a === INDEX_FILE))) {
      onDisk(join(dir, name), () => rmSync(join(dir, name)));
    }
    for (const [temporary, path] of staged) {
      onDisk(path, () => renameSync(temporary, path));
      placed.push(path);
    }
  } catch (error) {
    for (const path of [...staged.keys(), ...placed]) rmSync(path, { force: true });
    removeFolders(made);
    throw error;
  }
}
