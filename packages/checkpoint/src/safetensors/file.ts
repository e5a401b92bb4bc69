import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { endianness } from 'node:os';
import { CheckpointError, checkString, describe, KindError, UnsupportedError } from '@megamoe/core';
import { badFile, reasonOf } from '../fail';
import { HEAD_BYTES, kindOfBytes } from '../file-kind';
import { checkBuffers, FRESH, readerOf, type ReadBuffers } from './buffers';
import type { SafetensorsHeader, TensorEntry } from './header';
import { LENGTH_BYTES, parseHeader, readHeaderLength } from './header';

/** Most bytes asked of one `read` call: Linux transfers at most 2^31 - 4096. */
const READ_CHUNK = 2 ** 30;

/** Reads of at most SMALL_READ bytes come out of blocks of this many; as many blocks are kept as a layer's scalars lie in. */
const BLOCK = 65536;
const SMALL_READ = 4096;
const BLOCKS_KEPT = 4;

/** Throws UnsupportedError on a big-endian machine: bytes are handed out as they lie in the file. */
export function checkLittleEndian(): void {
  if (endianness() !== 'LE') throw new UnsupportedError('safetensors: only little-endian machines are supported');
}

/**
 * One open safetensors file. Opening reads and checks the header; tensor bytes are read when they are asked for, and nothing else is.
 * Every failure is a CheckpointError that names the file and the tensor.
 */
export class SafetensorsFile {
  readonly path: string;
  /** Size of the file. */
  readonly bytes: number;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
  readonly #dataStart: number;
  /** The blocks last read, the newest at the end. */
  readonly #blocks: { readonly start: number; readonly bytes: Uint8Array }[] = [];
  #fd: number | undefined;

  /** Opens `path` and checks its header. */
  constructor(path: string) {
    checkLittleEndian();
    checkString('SafetensorsFile', 'path', path);
    this.path = path;
    try {
      if (!statSync(path).isFile()) throw badFile(path, 'expected a regular file'); // opening a pipe would wait for a writer
      this.#fd = openSync(path, 'r');
    } catch (cause) {
      if (cause instanceof CheckpointError) throw cause;
      throw badFile(path, `cannot be opened: ${reasonOf(cause)}`, { cause });
    }
    try {
      this.bytes = this.#size(this.#fd);
      const header = this.#header();
      this.tensors = header.tensors;
      this.metadata = header.metadata;
      this.#dataStart = header.dataStart;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #size(fd: number): number {
    try {
      return fstatSync(fd).size;
    } catch (cause) {
      throw badFile(this.path, `cannot be read: ${reasonOf(cause)}`, { cause });
    }
  }

  /** Reads and checks the header; a file that has none is called what it is. */
  #header(): SafetensorsHeader {
    const head = this.#readAt(0, new Uint8Array(Math.min(HEAD_BYTES, this.bytes)), undefined);
    try {
      const json = new Uint8Array(readHeaderLength(head.subarray(0, LENGTH_BYTES), this.bytes, this.path));
      return parseHeader(this.#readAt(LENGTH_BYTES, json, undefined), this.bytes, this.path);
    } catch (cause) {
      const isHeader = head[LENGTH_BYTES] === 0x7b && head.subarray(4, LENGTH_BYTES).every((byte) => byte === 0); // '{' after a length
      const kind = isHeader ? undefined : kindOfBytes(head);
      if (kind === undefined) throw cause;
      throw badFile(this.path, `not a safetensors file: this is ${kind}`);
    }
  }

  /** The entry of `name`; throws when there is none. */
  entry(name: string): TensorEntry {
    checkString('SafetensorsFile.entry', 'name', name);
    const entry = this.tensors.get(name);
    if (!entry) throw badFile(this.path, 'no such tensor in this file', { tensor: name });
    return entry;
  }

  /**
   * The bytes of a tensor, or `[start, end)` of them, at the start of a buffer of their own: any typed array fits over it. With
   * `buffers` that is memory which later reads write over. Little-endian, as stored.
   */
  read(name: string, start = 0, end?: number, buffers?: ReadBuffers): Uint8Array {
    const fn = 'SafetensorsFile.read';
    checkString(fn, 'name', name);
    const entry = this.entry(name);
    const size = entry.end - entry.begin;
    const stop = end ?? size;
    for (const [arg, n] of [
      ['start', start],
      ['end', stop],
    ] as const)
      if (typeof n !== 'number') throw new KindError(`${fn}: "${arg}" must be a number, got ${describe(n)}`);
    checkBuffers(fn, 'buffers', buffers);
    if (!Number.isInteger(start) || !Number.isInteger(stop) || start < 0 || stop < start || stop > size) {
      throw badFile(this.path, `cannot read bytes [${start}, ${stop}) of ${size}`, { tensor: name });
    }
    let out: Uint8Array;
    try {
      out = (buffers ?? FRESH).take(stop - start);
    } catch (cause) {
      throw badFile(this.path, `${stop - start} bytes do not fit in memory: ${reasonOf(cause)}`, {
        tensor: name,
        cause,
      });
    }
    const position = this.#dataStart + entry.begin + start;
    if (out.length <= SMALL_READ && this.#readSmall(position, out)) return out;
    return this.#readAt(position, out, name, readerOf(buffers));
  }

  /**
   * Reads from a block: a checkpoint has thousands of scalars, which lie together, and a system call for each is what a small model's
   * load waits for. False when that does not work: reading the bytes themselves then says why.
   */
  #readSmall(position: number, out: Uint8Array): boolean {
    if (this.#fd === undefined) return false;
    const start = position - (position % BLOCK);
    let block = this.#blocks.find((b) => b.start === start);
    if (!block) {
      const oldest = this.#blocks.length < BLOCKS_KEPT ? undefined : this.#blocks.shift();
      block = { start, bytes: oldest?.bytes ?? new Uint8Array(BLOCK) };
      try {
        if (readSync(this.#fd, block.bytes, 0, BLOCK, start) < Math.min(BLOCK, this.bytes - start)) return false;
      } catch {
        return false;
      }
      this.#blocks.push(block);
    }
    const from = position - start;
    if (from + out.length > BLOCK) return false;
    out.set(block.bytes.subarray(from, from + out.length));
    return true;
  }

  /** Closes the file; reading after that is an error. Closing twice is fine. */
  close(): void {
    if (this.#fd === undefined) return;
    this.#blocks.length = 0;
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  #readAt(position: number, out: Uint8Array, tensor: string | undefined, read = readSync): Uint8Array {
    const where = tensor === undefined ? {} : { tensor };
    if (this.#fd === undefined) throw badFile(this.path, 'the file has been closed', where);
    for (let done = 0; done < out.length;) {
      let n: number;
      try {
        n = read(this.#fd, out, done, Math.min(out.length - done, READ_CHUNK), position + done);
      } catch (cause) {
        throw badFile(this.path, `cannot be read: ${reasonOf(cause)}`, { ...where, cause });
      }
      if (n === 0) {
        throw badFile(this.path, `truncated: expected ${out.length} bytes at ${position}, found ${done}`, where);
      }
      done += n;
    }
    return out;
  }
}
