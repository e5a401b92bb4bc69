import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointError, checkFunction, checkString } from '@megamoe/core';
import { badFile, listText, quote, reasonOf } from '../fail';
import { kindOfFile } from '../file-kind';
import { readWhole } from '../files/read-file';
import { settle } from '../files/replacement';
import { isThere } from '../files/there';
import { checkBuffers, type ReadBuffers } from './buffers';
import type { Dtype } from './dtypes';
import { SafetensorsFile } from './file';
import type { StrictJson } from './strict-json';
import { jsonText, parseStrictJson } from './strict-json';

/** File name of an unsharded checkpoint's tensors. */
export const SINGLE_FILE = 'model.safetensors';

/** File name of a sharded checkpoint's index. */
export const INDEX_FILE = 'model.safetensors.index.json';

/** A stored tensor, under the name its file gives it. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Bytes in the file. */
  readonly bytes: number;
  /** Path of the file that holds it. */
  readonly file: string;
}

/** All tensors of a checkpoint folder, whichever file holds them. */
export interface TensorStore {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly warnings: readonly string[];
  /** The bytes of a tensor, or `[start, end)` of them. */
  read(name: string, start?: number, end?: number): Uint8Array;
  /** Runs `f`, whose reads go to `buffers` when there are some: what they return is good until the next use of these. */
  into<T>(buffers: ReadBuffers | undefined, f: () => T): T;
  close(): void;
}

/** The `weight_map` of an index file, checked, and the `total_size` it claims. */
function readIndex(path: string): { weightMap: Map<string, string>; totalSize: StrictJson | undefined } {
  let root: StrictJson;
  try {
    root = parseStrictJson(readWhole(path).toString());
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause;
    const other = kindOfFile(path);
    throw badFile(
      path,
      other === undefined ? `not a valid index: ${reasonOf(cause)}` : `expected an index, found ${other}`,
      { cause },
    );
  }
  const map = root instanceof Map ? root.get('weight_map') : undefined;
  if (!(map instanceof Map)) throw badFile(path, `weight_map: expected an object, found ${jsonText(map)}`);
  const weightMap = new Map<string, string>();
  for (const [tensor, shard] of map) {
    if (typeof shard !== 'string') throw badFile(path, `expected a file name, found ${jsonText(shard)}`, { tensor });
    // A name with a separator could reach any file of the machine.
    if (!/^[^/\\\0]+\.safetensors$/.test(shard) || shard.startsWith('.')) {
      throw badFile(path, `expected the plain name of a .safetensors file beside the index, found ${quote(shard)}`, {
        tensor,
      });
    }
    weightMap.set(tensor, shard);
  }
  const metadata = root instanceof Map ? root.get('metadata') : undefined;
  return { weightMap, totalSize: metadata instanceof Map ? metadata.get('total_size') : undefined };
}

/** Which file holds what, from the index or the single file. */
function findFiles(dir: string): { files: string[]; index?: ReturnType<typeof readIndex> & { path: string } } {
  const indexPath = join(dir, INDEX_FILE);
  const single = isThere(join(dir, SINGLE_FILE));
  if (!isThere(indexPath)) {
    if (single) return { files: [SINGLE_FILE] };
    let there: string[];
    try {
      if (!statSync(dir).isDirectory()) throw new Error('not a folder');
      there = readdirSync(dir).sort();
    } catch (cause) {
      throw badFile(dir, `cannot be read as a checkpoint folder: ${reasonOf(cause)}`, { cause });
    }
    const found = there.length ? `found ${listText(there)}` : 'the folder is empty';
    throw badFile(dir, `no checkpoint here: expected ${SINGLE_FILE} or ${INDEX_FILE}, ${found}`);
  }
  const index = { ...readIndex(indexPath), path: indexPath };
  const files = [...new Set(index.weightMap.values())].sort();
  if (single && !files.includes(SINGLE_FILE)) {
    throw badFile(
      dir,
      `both ${SINGLE_FILE} and ${INDEX_FILE} are here and the index does not name the first: remove one`,
    );
  }
  return { files, index };
}

/**
 * Opens the tensors of a checkpoint folder: `model.safetensors`, or the shards that `model.safetensors.index.json` names. Index and
 * shards must agree on every tensor. Throws CheckpointError.
 */
export function openTensorStore(dir: string): TensorStore {
  checkString('openTensorStore', 'dir', dir);
  settle(dir);
  const { files, index } = findFiles(dir);
  const open = new Map<string, SafetensorsFile>();
  const close = (): void => {
    for (const file of open.values()) file.close();
  };
  try {
    for (const file of files) {
      const path = join(dir, file);
      if (index && !isThere(path)) {
        const names = [...index.weightMap].filter(([, shard]) => shard === file).map(([name]) => name);
        throw badFile(path, `missing shard: the index puts ${listText(names, 2)} there`);
      }
      open.set(file, new SafetensorsFile(path));
    }
    const tensors = new Map<string, TensorInfo>();
    const holder = new Map<string, SafetensorsFile>();
    let total = 0;
    for (const [fileName, file] of open) {
      for (const [name, { dtype, shape, begin, end }] of file.tensors) {
        const other = holder.get(name);
        if (other) throw badFile(file.path, `stored twice: ${other.path} holds it too`, { tensor: name });
        const listed = index ? index.weightMap.get(name) : fileName;
        if (listed === undefined) throw badFile(file.path, `in the file, but not in ${INDEX_FILE}`, { tensor: name });
        if (listed !== fileName) {
          const both = open.get(listed)?.tensors.has(name) ? 'stored twice' : 'in the wrong file';
          throw badFile(file.path, `${both}: the index puts it in ${listed}`, { tensor: name });
        }
        tensors.set(name, { name, dtype, shape, bytes: end - begin, file: file.path });
        holder.set(name, file);
        total += end - begin;
      }
    }
    for (const [name, shard] of index?.weightMap ?? []) {
      if (!tensors.has(name)) throw badFile(join(dir, shard), 'in the index, but not in this file', { tensor: name });
    }
    const warnings: string[] = [];
    if (index?.totalSize !== undefined && index.totalSize !== total) {
      warnings.push(`${INDEX_FILE}: total_size says ${jsonText(index.totalSize)}, the tensors have ${total} bytes`);
    }
    let current: ReadBuffers | undefined;
    return {
      tensors,
      warnings,
      read(name, start, end) {
        checkString('TensorStore.read', 'name', name);
        const file = holder.get(name);
        if (!file) throw badFile(dir, 'no such tensor in this checkpoint', { tensor: name });
        return file.read(name, start, end, current);
      },
      into(buffers, f) {
        checkBuffers('TensorStore.into', 'buffers', buffers);
        checkFunction('TensorStore.into', 'f', f);
        buffers?.rewind();
        current = buffers;
        try {
          return f();
        } finally {
          current = undefined;
        }
      },
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}
