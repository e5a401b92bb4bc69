import { readdirSync } from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';
import { checkInteger, checkObject, checkString, describe, KindError, plainView, ValueError } from '@megamoe/core';
import { takeRecord } from '../arguments';
import { badFile, listText, quote } from '../fail';
import { makeFolders, removeFolders } from '../files/folders';
import { isPlainPath, replaceFiles, settle } from '../files/replacement';
import { onDisk } from '../files/target';
import { RECORD, removeAbandoned } from '../files/temporary';
import { isThere, whatIs } from '../files/there';
import type { WriteContent } from '../files/write-file';
import { discard, stageFile, syncFolder } from '../files/write-file';
import { INDEX_FILE, SINGLE_FILE } from './store';
import type { TensorToWrite, WriteOptions } from './writer';
import { checkedBytes, safetensorsContent, takeTensors, takeWriteOptions } from './writer';

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

/** A copy of what a file is to hold. */
function fileBytes(name: string, content: string | Uint8Array | object): Uint8Array {
  if (describe(content) === 'Uint8Array') return Uint8Array.from(plainView(content as Uint8Array, Uint8Array));
  if (typeof content === 'string') return Buffer.from(content);
  if (typeof content !== 'object' || content === null || ArrayBuffer.isView(content))
    throw new KindError(`${FN}: "files.${name}" must be text, bytes or an object, got ${describe(content)}`);
  return Buffer.from(`${jsonOf(name, content)}\n`);
}

function jsonOf(name: string, content: object): string {
  let cause: unknown;
  try {
    const text: unknown = JSON.stringify(content, null, 2);
    if (typeof text === 'string') return text;
  } catch (error) {
    cause = error;
  }
  throw new KindError(`${FN}: "files.${name}" must be an object that JSON can hold`, { cause });
}

/** Files of an earlier checkpoint that would be mixed up with the new one. */
function inTheWay(dir: string, targets: readonly string[]): string[] {
  const there = whatIs(dir)?.isDirectory() ? onDisk(dir, () => readdirSync(dir)) : [];
  const model = there.filter((name) => MODEL_FILE.test(name) || name === INDEX_FILE);
  return [...new Set([...model, ...targets.filter((name) => isThere(join(dir, name)))])].sort();
}

/**
 * Writes a checkpoint folder: shards (or one `model.safetensors`), their index, and the other files given. Everything is first written
 * under temporary names; only when all of it is on the disk do the files get their own. Whatever ends the work, and whenever, the folder
 * holds the old checkpoint or the new one: an error or an abort before all is written leaves it as it was, and a process that is killed
 * among the new names leaves a record by which whoever opens the folder next completes it (openCheckpoint, a second writeCheckpoint). Who
 * knows nothing of the record finds files missing, never old and new ones mixed. Names are the folder's own: a link that bears one is
 * replaced, not written through.
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
  checkString(FN, 'dir', dir);
  checkObject(FN, 'options', options);
  const { maxShardBytes = 5e9, files = {}, overwrite = false } = options;
  const { onProgress, ...rest } = takeWriteOptions(FN, options);
  checkInteger(FN, 'maxShardBytes', maxShardBytes, 1);
  const own = takeTensors(FN, tensors);
  const shards = planShards(own, maxShardBytes);
  const others = new Map(
    [...takeRecord(FN, 'files', files)].map(([name, content]) => [name, fileBytes(name, content)]),
  );
  for (const name of others.keys()) {
    if (!isPlainPath(name) || MODEL_FILE.test(name) || name === INDEX_FILE) {
      throw new ValueError(
        `${FN}: "files" must have names within the folder, other than the model's own, got ${quote(name)}`,
      );
    }
  }
  if (shards.length > 1) others.set(INDEX_FILE, Buffer.from(indexText(shards)));
  const targets = [...shards.map((_, i) => shardName(i, shards.length)), ...others.keys()];
  settle(dir);
  const old = inTheWay(dir, targets);
  if (old.length && !overwrite) throw badFile(dir, `would overwrite ${listText(old)}; nothing has been written`);

  const total = own.reduce((sum, tensor) => sum + checkedBytes(FN, tensor), 0);
  const made = makeFolders(dir);
  const staged = new Map<string, string>(); // name to temporary name, within the folder
  const stage = async (name: string, content: WriteContent): Promise<void> => {
    const temporary = await stageFile(join(dir, name), content);
    staged.set(name, posix.join(posix.dirname(name), basename(temporary)));
  };
  let isCommitted = false;
  try {
    for (const folder of new Set(['.', ...targets.map((name) => posix.dirname(name))])) {
      made.unshift(...makeFolders(join(dir, folder)));
      removeAbandoned(join(dir, folder), (name) => {
        const target = posix.join(folder, name);
        return MODEL_FILE.test(target) || target === RECORD || targets.includes(target);
      });
    }
    let before = 0;
    for (const [i, shard] of shards.entries()) {
      const start = before;
      const progress = onProgress && ((done: number): void => onProgress(start + done, total));
      await stage(shardName(i, shards.length), safetensorsContent(FN, shard, { ...rest, onProgress: progress }));
      before += shard.reduce((sum, tensor) => sum + checkedBytes(FN, tensor), 0);
    }
    for (const [name, bytes] of others) await stage(name, (put) => put(bytes, 0));
    rest.signal?.throwIfAborted();
    for (const folder of made) syncFolder(dirname(folder));
    // Old files go first, the index before the shards: a reader must never find the two mixed.
    old.sort((a, b) => Number(b === INDEX_FILE) - Number(a === INDEX_FILE));
    await replaceFiles(dir, old, staged, () => (isCommitted = true));
  } catch (error) {
    if (!isCommitted) {
      for (const temporary of staged.values()) discard(join(dir, temporary));
      removeFolders(made);
    }
    throw error;
  }
}
