import { setImmediate } from 'node:timers/promises';
import {
  checkFunction,
  checkObject,
  checkOneOf,
  checkSignal,
  checkString,
  describe,
  KindError,
  ShapeError,
  takeList,
  ValueError,
} from '@megamoe/core';
import { bytesOfView, takeRecord, takeShape } from '../arguments';
import { quote, shapeText } from '../fail';
import type { WriteContent } from '../files/write-file';
import { writeFileInPieces } from '../files/write-file';
import type { Dtype } from './dtypes';
import { DTYPES, tensorBytes } from './dtypes';
import { checkLittleEndian } from './file';
import { LENGTH_BYTES, MAX_HEADER_BYTES } from './header';

/** A tensor to write: its data, or a function that makes it when its turn comes, so that only one is in memory. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /**
   * Bytes as stored (little-endian), or a typed array of the dtype's elements; a function may give them in pieces, each of which is
   * written before the next is asked for.
   */
  readonly data: ArrayBufferView | (() => TensorData | Promise<TensorData>);
}

/** A tensor's data, whole or in pieces. */
export type TensorData = ArrayBufferView | Iterable<ArrayBufferView>;

/** Options of {@link writeSafetensors}. */
export interface WriteOptions {
  /** `__metadata__`. Default `{ format: 'pt' }`, which transformers wants to see. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Aborts the write between two tensors. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each tensor, with the bytes written so far and in all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** The typed arrays that hold elements of a dtype; bytes fit all. */
const ARRAYS: Partial<Record<Dtype, readonly string[]>> = {
  BOOL: ['Uint8Array'],
  I8: ['Int8Array'],
  I16: ['Int16Array'],
  U16: ['Uint16Array'],
  F16: ['Uint16Array'],
  BF16: ['Uint16Array'],
  I32: ['Int32Array'],
  U32: ['Uint32Array'],
  F32: ['Float32Array'],
  F64: ['Float64Array'],
  I64: ['BigInt64Array'],
  U64: ['BigUint64Array'],
};

/** Bytes of a tensor; throws when dtype and shape make no whole number of them. */
export function checkedBytes(fn: string, { name, dtype, shape }: TensorToWrite): number {
  checkOneOf(fn, `${name}.dtype`, dtype, DTYPES);
  if (!shape.every((n) => Number.isSafeInteger(n) && n >= 0)) {
    throw new ShapeError(`${fn}: ${quote(name)} must have a shape of non-negative integers, got ${shapeText(shape)}`);
  }
  const bytes = tensorBytes(dtype, shape);
  if (bytes === undefined)
    throw new ShapeError(
      `${fn}: ${quote(name)} ${dtype} ${shapeText(shape)} is not a whole number of bytes below 2^53`,
    );
  return bytes;
}

/** More than a header of 100 MB can name. */
const MOST_TENSORS = 2 ** 22;

/** The tensors, each field read once. Names must differ and be text that JSON keeps; data are looked at when their turn comes. */
export function takeTensors(fn: string, tensors: readonly TensorToWrite[]): TensorToWrite[] {
  const seen = new Set<string>();
  return takeList(fn, 'tensors', tensors, MOST_TENSORS, (tensor, i) => {
    checkObject(fn, `tensors[${i}]`, tensor);
    const { name, dtype, shape, data } = tensor as TensorToWrite;
    if (typeof name !== 'string' || name === '__metadata__' || /\p{Cs}/u.test(name)) {
      const got = typeof name === 'string' ? quote(name) : describe(name);
      throw new ValueError(`${fn}: ${got} cannot be a tensor's name`);
    }
    if (seen.has(name)) throw new ValueError(`${fn}: two tensors are named ${quote(name)}`);
    seen.add(name);
    const own = { name, dtype, shape: takeShape(fn, `${name}.shape`, shape), data };
    checkedBytes(fn, own);
    if (typeof data !== 'function') checkedBuffer(fn, own, data);
    return own;
  });
}

/** What {@link WriteOptions} says, each field read once. */
export function takeWriteOptions(
  fn: string,
  { metadata = { format: 'pt' }, signal, onProgress }: WriteOptions,
): { metadata: ReadonlyMap<string, string>; signal: AbortSignal | undefined; onProgress: WriteOptions['onProgress'] } {
  const texts = takeRecord(fn, 'metadata', metadata);
  for (const [key, text] of texts) checkString(fn, `metadata.${key}`, text);
  if (signal !== undefined) checkSignal(fn, 'signal', signal);
  if (onProgress !== undefined) checkFunction(fn, 'onProgress', onProgress);
  return { metadata: texts, signal, onProgress };
}

/** The order of the official implementation: by dtype, widest first, then by name as UTF-8. So every tensor is aligned. */
function inFileOrder(tensors: readonly TensorToWrite[]): TensorToWrite[] {
  const rank = new Map(DTYPES.map((dtype, i) => [dtype, i]));
  return [...tensors].sort(
    (a, b) => rank.get(b.dtype)! - rank.get(a.dtype)! || Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)),
  );
}

/** The 8 length bytes and the JSON header, padded with spaces to a multiple of 8. */
function encodeHeader(fn: string, tensors: readonly TensorToWrite[], metadata: ReadonlyMap<string, string>): Buffer {
  const entries: string[] = [];
  const sorted = [...metadata].sort(([a], [b]) => (a < b ? -1 : 1));
  if (sorted.length) entries.push(`"__metadata__":${JSON.stringify(Object.fromEntries(sorted))}`);
  let at = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    const end = at + checkedBytes(fn, tensor);
    entries.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [at, end] })}`);
    at = end;
  }
  const json = Buffer.from(`{${entries.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  if (padded > MAX_HEADER_BYTES)
    throw new ValueError(`${fn}: a header of ${padded} bytes is over the limit of ${MAX_HEADER_BYTES}`);
  const out = Buffer.alloc(LENGTH_BYTES + padded, ' ');
  out.writeBigUInt64LE(BigInt(padded));
  json.copy(out, LENGTH_BYTES);
  return out;
}

/** The bytes of one tensor's data, or of a piece of it, whose kind is checked against what its header says. */
function checkedBuffer(fn: string, { name, dtype }: TensorToWrite, data: ArrayBufferView): Uint8Array {
  const view = bytesOfView(data);
  if (view === undefined)
    throw new KindError(`${fn}: the data of ${quote(name)} must be a typed array, got ${describe(data)}`);
  const { kind, bytes } = view;
  if (kind === 'Uint8Array' || kind === 'DataView' || ARRAYS[dtype]?.includes(kind)) return bytes;
  throw new KindError(
    `${fn}: the data of ${quote(name)} must be ${[...(ARRAYS[dtype] ?? []), 'bytes'].join(' or ')} for ${dtype}, got ${kind}`,
  );
}

/** Throws unless the data of a tensor have the length that its header says. */
function checkTotal(fn: string, tensor: TensorToWrite, got: number): void {
  const { name, dtype, shape } = tensor;
  const want = checkedBytes(fn, tensor);
  if (got === want) return;
  throw new ShapeError(
    `${fn}: the data of ${quote(name)} must have ${want} bytes for ${dtype} ${shapeText(shape)}, got ${got}`,
  );
}

/** Makes what writes the bytes of a file of tensors and options that have been taken. */
export function safetensorsContent(
  fn: string,
  tensors: readonly TensorToWrite[],
  { metadata, signal, onProgress }: ReturnType<typeof takeWriteOptions>,
): WriteContent {
  checkLittleEndian();
  const ordered = inFileOrder(tensors);
  const header = encodeHeader(fn, ordered, metadata);
  const total = ordered.reduce((sum, tensor) => sum + checkedBytes(fn, tensor), 0);
  signal?.throwIfAborted();
  const start = new Map<TensorToWrite, number>();
  let at = header.length;
  for (const tensor of ordered) {
    start.set(tensor, at);
    at += checkedBytes(fn, tensor);
  }
  return async (put) => {
    put(header, 0);
    let done = 0;
    const breathe = async (): Promise<void> => {
      await setImmediate(); // lets signals and timers be heard: writing is synchronous
      signal?.throwIfAborted();
    };
    // In the caller's order, each at its place: what belongs together can be made together.
    for (const tensor of tensors) {
      const data = typeof tensor.data === 'function' ? await tensor.data() : tensor.data;
      signal?.throwIfAborted();
      const first = start.get(tensor)!;
      if (ArrayBuffer.isView(data) || data === null || typeof data !== 'object' || !(Symbol.iterator in data)) {
        const bytes = checkedBuffer(fn, tensor, data as ArrayBufferView);
        checkTotal(fn, tensor, bytes.length);
        put(bytes, first);
      } else {
        const want = checkedBytes(fn, tensor);
        let got = 0;
        for (const piece of data) {
          const bytes = checkedBuffer(fn, tensor, piece);
          if (got + bytes.length > want) checkTotal(fn, tensor, got + bytes.length); // before it is written over another's place
          put(bytes, first + got);
          got += bytes.length;
          onProgress?.(done + got, total);
          await breathe();
        }
        checkTotal(fn, tensor, got);
      }
      done += checkedBytes(fn, tensor);
      onProgress?.(done, total);
      await breathe();
    }
  };
}

/**
 * Writes a safetensors file, byte for byte as the official implementation would: tensors by dtype (widest first), then by name,
 * header padded to 8 bytes. The file appears under its name only when it is complete; an abort or a failure leaves nothing behind.
 *
 * @param path    file to write; one that is there is replaced, and a link, a device or a FIFO is written through
 * @param tensors in any order, in which data made by functions is asked for, one at a time
 * @throws ShapeError when data and shape differ, ValueError for bad or repeated names, KindError for data of another element type
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  options: WriteOptions = {},
): Promise<void> {
  const fn = 'writeSafetensors';
  checkString(fn, 'path', path);
  checkObject(fn, 'options', options);
  const own = takeWriteOptions(fn, options);
  await writeFileInPieces(path, safetensorsContent(fn, takeTensors(fn, tensors), own), own.signal);
}
