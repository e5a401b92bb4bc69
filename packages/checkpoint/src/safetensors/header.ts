import { checkInteger, checkKind, checkString, plainView } from '@megamoe/core';
import { badFile, quote, reasonOf, shapeText } from '../fail';
import type { Dtype } from './dtypes';
import { DTYPES, isDtype, tensorBytes } from './dtypes';
import type { StrictJson } from './strict-json';
import { jsonText, parseStrictJson } from './strict-json';

/** Bytes before the JSON header: its length as an unsigned 64-bit little-endian number. */
export const LENGTH_BYTES = 8;

/** Largest JSON header, the limit of the official implementation. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Where a tensor lies: bytes `[begin, end)` after the header. */
export interface TensorEntry {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** A checked safetensors header. */
export interface SafetensorsHeader {
  /** In the order of the file's bytes. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** The free text of `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;
  /** File position of the first data byte. */
  readonly dataStart: number;
}

/**
 * The length of the JSON header from the first 8 bytes of a file of `fileBytes`.
 * Throws CheckpointError when the file is shorter than 8 bytes or the length passes the file or 100 MB.
 */
export function readHeaderLength(first: Uint8Array, fileBytes: number, file: string): number {
  const fn = 'readHeaderLength';
  checkKind(fn, 'first', first, Uint8Array);
  checkInteger(fn, 'fileBytes', fileBytes, 0);
  checkString(fn, 'file', file);
  const bytes = plainView(first, Uint8Array);
  if (bytes.length < LENGTH_BYTES) {
    throw badFile(file, `not a safetensors file: expected at least ${LENGTH_BYTES} bytes, found ${bytes.length}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw badFile(file, `header length: expected at most ${MAX_HEADER_BYTES} bytes, found ${length}`);
  }
  if (LENGTH_BYTES + Number(length) > fileBytes) {
    throw badFile(
      file,
      `truncated: the header says ${length} bytes, the file has ${fileBytes - LENGTH_BYTES} after its length`,
    );
  }
  return Number(length);
}

/** One tensor's entry, checked by itself. */
function parseEntry(name: string, value: StrictJson, dataBytes: number, file: string): TensorEntry {
  const bad = (message: string): Error => badFile(file, message, { tensor: name });
  if (!(value instanceof Map)) throw bad(`expected an object, found ${jsonText(value)}`);
  for (const key of value.keys()) {
    if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') throw bad(`unknown field ${quote(key)}`);
  }
  const dtype = value.get('dtype');
  if (!isDtype(dtype)) throw bad(`dtype: expected one of ${DTYPES.join(', ')}, found ${jsonText(dtype)}`);
  const shape = value.get('shape');
  if (!Array.isArray(shape) || !shape.every((n): n is number => typeof n === 'number')) {
    throw bad(`shape: expected an array of non-negative integers, found ${jsonText(shape)}`);
  }
  const offsets = value.get('data_offsets');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every((n): n is number => typeof n === 'number')) {
    throw bad(`data_offsets: expected two non-negative integers, found ${jsonText(offsets)}`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataBytes) {
    throw bad(
      `data_offsets: expected begin <= end <= ${dataBytes} (the data bytes of the file), found [${begin}, ${end}]`,
    );
  }
  const want = tensorBytes(dtype, shape);
  if (want === undefined) throw bad(`shape ${shapeText(shape)} of ${dtype} is not a whole number of bytes below 2^53`);
  if (end - begin !== want) {
    throw bad(
      `expected ${want} bytes for ${dtype} ${shapeText(shape)}, found ${end - begin} (offsets [${begin}, ${end}])`,
    );
  }
  return { dtype, shape, begin, end };
}

function parseMetadata(value: StrictJson, file: string): Map<string, string> {
  if (value === null) return new Map();
  if (!(value instanceof Map)) throw badFile(file, `__metadata__: expected an object, found ${jsonText(value)}`);
  const metadata = new Map<string, string>();
  for (const [key, text] of value) {
    if (typeof text !== 'string') {
      throw badFile(file, `__metadata__ ${quote(key)}: expected a string, found ${jsonText(text)}`);
    }
    metadata.set(key, text);
  }
  return metadata;
}

/**
 * Checks and parses a JSON header.
 *
 * Holds to the rules of the official implementation: tensors cover the data bytes exactly, without overlap and without holes, and
 * every byte count follows from dtype and shape. In addition duplicate names, unknown fields and bad UTF-8 are errors.
 *
 * @param json      the header bytes, after the 8 bytes of their length
 * @param fileBytes size of the whole file
 * @param file      path, for messages
 */
export function parseHeader(json: Uint8Array, fileBytes: number, file: string): SafetensorsHeader {
  const fn = 'parseHeader';
  checkKind(fn, 'json', json, Uint8Array);
  checkInteger(fn, 'fileBytes', fileBytes, 0);
  checkString(fn, 'file', file);
  const bytes = Uint8Array.from(plainView(json, Uint8Array)); // TextDecoder takes no shared memory
  const dataStart = LENGTH_BYTES + bytes.length;
  const dataBytes = fileBytes - dataStart;
  let root: StrictJson;
  try {
    root = parseStrictJson(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw badFile(file, `the header is not valid JSON: ${reasonOf(cause)}`, { cause });
  }
  if (!(root instanceof Map)) throw badFile(file, `the header must be a JSON object, found ${jsonText(root)}`);
  const entries: [string, TensorEntry][] = [];
  let metadata = new Map<string, string>();
  for (const [name, value] of root) {
    if (name === '__metadata__') metadata = parseMetadata(value, file);
    else entries.push([name, parseEntry(name, value, dataBytes, file)]);
  }
  entries.sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let next = 0;
  let previous = 'the header';
  for (const [name, { begin, end }] of entries) {
    if (begin < next) {
      throw badFile(file, `overlaps ${previous}: expected to start at ${next}, found ${begin}`, { tensor: name });
    }
    if (begin > next) {
      throw badFile(file, `leaves a hole after ${previous}: expected to start at ${next}, found ${begin}`, {
        tensor: name,
      });
    }
    next = end;
    previous = `tensor ${quote(name)}`;
  }
  if (next !== dataBytes) {
    throw badFile(file, `the tensors cover ${next} bytes, but ${dataBytes} bytes follow the header`);
  }
  return { tensors: new Map(entries), metadata, dataStart };
}
