import {
  checkFunction,
  checkKind,
  checkLength,
  checkObject,
  KindError,
  plainView,
  type CheckpointError,
} from '@megamoe/core';
import { checkBuffers, ReadBuffers } from '../safetensors/buffers';
import type { TensorInfo } from '../safetensors/store';
import { badBlockScale, checkE8m0, isBadBlockScale, isErased } from './decode';
import { scaleOf, takeModule, type ModuleInfo } from './module-info';

/** Scale bytes that are in memory at a time: whole rows of about this many. */
const PIECE_BYTES = 1 << 20;

/** What the block scales of a 4-bit matrix are. */
export interface BlockScales {
  /** How many scales have each byte, [256]. */
  readonly counts: Float64Array;
  /** What a reader of the matrix throws about them. */
  readonly refused: CheckpointError | undefined;
  /** NVFP4: blocks whose codes are not all 0 under a scale that is; not looked for where all scales are 0, which `counts` shows. */
  readonly erased: number;
}

/** Where stored bytes come from. */
interface Bytes {
  read(name: string, start?: number, end?: number, buffers?: ReadBuffers): Uint8Array;
}

/** Counts bytes by value. Four tables: like bytes in a row do not wait for each other. */
class ByteHistogram {
  readonly #tables = Array.from({ length: 4 }, () => new Uint32Array(256));

  /** How many of each, [256]. @param bytes at an offset that is a multiple of 4 */
  count(bytes: Uint8Array): Uint32Array {
    const [a, b, c, d] = this.#tables as [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
    for (const table of this.#tables) table.fill(0);
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
    for (let i = 0; i < words.length; i++) {
      const w = words[i]!;
      a[w & 255]!++;
      b[(w >>> 8) & 255]!++;
      c[(w >>> 16) & 255]!++;
      d[w >>> 24]!++;
    }
    for (let i = 4 * words.length; i < bytes.length; i++) a[bytes[i]!]!++;
    for (let i = 0; i < 256; i++) a[i]! += b[i]! + c[i]! + d[i]!;
    return a;
  }
}

const HISTOGRAM = new ByteHistogram();

/**
 * Looks at the block scales of an NVFP4 or MXFP4 matrix (of all experts, where they are fused in one tensor), in pieces, by the rules of those who
 * read it; its codes are read only where a scale is 0. Yields the bytes that were read since the last time.
 */
export function scanBlockScales(
  from: Bytes,
  module: ModuleInfo,
  buffers = new ReadBuffers(),
  codeBuffers = new ReadBuffers(),
): Generator<number, BlockScales> {
  const fn = 'scanBlockScales';
  checkObject(fn, 'from', from);
  checkFunction(fn, 'from.read', from.read);
  checkBuffers(fn, 'buffers', buffers);
  checkBuffers(fn, 'codeBuffers', codeBuffers);
  const own = takeModule(fn, module);
  const scale = scaleOf(own);
  if (scale === undefined || (own.format !== 'nvfp4' && own.format !== 'mxfp4') || own.k < 32)
    throw new KindError(`${fn}: "module" must be an NVFP4 or MXFP4 matrix with block scales, got ${formatOf(own)}`);
  const read = (name: string, start: number, end: number, to: ReadBuffers): Uint8Array => {
    const bytes = from.read(name, start, end, to);
    checkKind(fn, 'from.read()', bytes, Uint8Array);
    checkLength(fn, 'from.read()', bytes, 'end - start', end - start);
    return plainView(bytes, Uint8Array);
  };
  return scan(read, own, scale, buffers, codeBuffers);
}

const formatOf = ({ format, k }: ModuleInfo): string => `${format} with k = ${k}`;

function* scan(
  read: (name: string, start: number, end: number, to: ReadBuffers) => Uint8Array,
  module: ModuleInfo,
  scale: TensorInfo,
  buffers: ReadBuffers,
  codeBuffers: ReadBuffers,
): Generator<number, BlockScales> {
  const isNvfp4 = module.format === 'nvfp4';
  const kSf = module.k / (isNvfp4 ? 16 : 32);
  const counts = new Float64Array(256);
  let refused: CheckpointError | undefined;
  let erased = 0;
  const step = Math.max(1, Math.floor(PIECE_BYTES / kSf)) * kSf;
  for (let at = 0; at < scale.bytes; at += step) {
    const piece = read(scale.name, at, Math.min(scale.bytes, at + step), buffers);
    const found = HISTOGRAM.count(piece);
    for (let byte = 0; byte < 256; byte++) counts[byte]! += found[byte]!;
    refused ??= isNvfp4 ? badScale(scale, piece, found, kSf, at / kSf) : badE8m0(scale, piece, found, kSf, at / kSf);
    const zeros = found[0]! + found[0x80]!;
    if (isNvfp4 && zeros > 0 && zeros < piece.length) {
      const codes = read(module.weight.name, 8 * at, 8 * (at + piece.length), codeBuffers);
      for (let i = 0; i < piece.length; i++) if ((piece[i]! & 0x7f) === 0 && isErased(codes, i)) erased++;
      yield codes.length;
    }
    yield piece.length;
  }
  return { counts, refused, erased };
}

function badScale(
  info: TensorInfo,
  piece: Uint8Array,
  found: Uint32Array,
  kSf: number,
  row0: number,
): CheckpointError | undefined {
  if (!found.some((count, byte) => count > 0 && isBadBlockScale(byte))) return undefined;
  const at = piece.findIndex(isBadBlockScale);
  return badBlockScale(info, piece[at]!, row0 + Math.floor(at / kSf), at % kSf);
}

function badE8m0(
  info: TensorInfo,
  piece: Uint8Array,
  found: Uint32Array,
  kSf: number,
  row0: number,
): CheckpointError | undefined {
  if (found[255] === 0) return undefined;
  try {
    checkE8m0(info, piece, kSf, row0);
  } catch (error) {
    return error as CheckpointError;
  }
  return undefined;
}
