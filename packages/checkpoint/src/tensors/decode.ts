import type { CheckpointError } from '@megamoe/core';
import { decodeBf16Array, decodeF16, E4M3_VALUES, firstNonFinite } from '@megamoe/core';
import { badFile, shapeText } from '../fail';
import type { TensorInfo } from '../safetensors/store';
import { FP8_TILE } from './matrix';

/** Element types that decode to float32 without loss. */
export const FLOAT_DTYPES: readonly string[] = ['F32', 'BF16', 'F16'];

/** F32, BF16 or F16 bytes (in a buffer of their own) as float32; exact. F32 comes back as a view. */
export function decodeFloats(info: TensorInfo, bytes: Uint8Array): Float32Array {
  switch (info.dtype) {
    case 'F32':
      return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    case 'BF16':
      return decodeBf16Array(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2));
    case 'F16':
      return Float32Array.from(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2), decodeF16);
    default:
      throw badFile(info.file, `expected ${FLOAT_DTYPES.join(', ')}, found ${info.dtype} ${shapeText(info.shape)}`, {
        tensor: info.name,
      });
  }
}

/** Integers of any signed width or U8 as int32; throws when a value does not fit. */
export function decodeInts(info: TensorInfo, bytes: Uint8Array): Int32Array {
  const { buffer, byteOffset, length } = bytes;
  switch (info.dtype) {
    case 'I32':
      return new Int32Array(buffer, byteOffset, length / 4);
    case 'I64': {
      // Two's complement: the high word of a value that fits is the sign of its low word. Far quicker than BigInt64Array.
      const words = new Int32Array(buffer, byteOffset, length / 4);
      const out = new Int32Array(length / 8);
      for (let i = 0; i < out.length; i++) {
        const low = words[2 * i]!;
        if (words[2 * i + 1] !== low >> 31) {
          const value = new BigInt64Array(buffer, byteOffset, length / 8)[i];
          throw badFile(info.file, `expected values of 32 bits, found ${value} at index ${i}`, { tensor: info.name });
        }
        out[i] = low;
      }
      return out;
    }
    default:
      throw badFile(info.file, `expected I64 or I32, found ${info.dtype} ${shapeText(info.shape)}`, {
        tensor: info.name,
      });
  }
}

/** Index of the first NaN or infinity among BF16 bits; -1 when there is none. */
function firstNonFiniteBf16(data: Uint16Array): number {
  // Two at a time: an exponent of all ones plus one reaches the top bit.
  const isAligned = data.byteOffset % 4 === 0;
  const words = isAligned ? new Uint32Array(data.buffer, data.byteOffset, data.length >> 1) : new Uint32Array(0);
  let at = 0;
  while (at < words.length && (((words[at]! & 0x7f807f80) + 0x00800080) & 0x80008000) === 0) at++;
  at *= 2;
  while (at < data.length && (data[at]! & 0x7f80) !== 0x7f80) at++;
  return at < data.length ? at : -1;
}

/** Throws at the first NaN or infinity of a matrix with rows of `k` from `row0` on, in BF16 bits or float32. */
export function checkWeights(info: TensorInfo, data: Uint16Array | Float32Array, k: number, row0: number): void {
  const at = data instanceof Uint16Array ? firstNonFiniteBf16(data) : firstNonFinite(data, 0, data.length);
  if (at < 0) return;
  throw badFile(
    info.file,
    `expected finite weights, found NaN or infinity at row ${row0 + Math.floor(at / k)}, column ${at % k}`,
    { tensor: info.name },
  );
}

/** Tensors whose infinities mean something: a sink that takes everything or nothing, a router's bias that switches an expert on or off. */
const MAY_BE_INFINITE = /\.attn_sink$|\.gate\.bias$/;

/** Throws at the first value of a tensor that is no matrix which cannot stand: NaN, and infinity where it means nothing. @param name canonical */
export function checkVector(info: TensorInfo, name: string, data: Float32Array): void {
  const bad = firstNonFinite(data, 0, data.length); // quick where all is well
  const at = bad >= 0 && MAY_BE_INFINITE.test(name) ? data.findIndex(Number.isNaN) : bad;
  if (at < 0) return;
  const found = Number.isNaN(data[at]) ? 'found NaN' : `expected finite values, found ${data[at]}`;
  throw badFile(info.file, `${found} at index ${at}`, { tensor: info.name });
}

/**
 * Checks the E4M3 block scales of an NVFP4 matrix: NaN and negative scales are errors, -0 becomes 0. A scale that underflowed to 0 makes its block
 * zeros, as it does for every engine.
 *
 * @param sf    [N, K/16] E4M3
 * @param codes [N, K/2] two E2M1 codes a byte
 * @param kSf   K/16
 * @param row0  the matrix' row that comes first here, for the message
 * @param from  first row to be counted
 * @returns how many blocks have codes that are not 0 under a scale that is
 */
export function checkBlockScales(
  info: TensorInfo,
  sf: Uint8Array,
  codes: Uint8Array,
  { kSf, row0, from }: { kSf: number; row0: number; from: number },
): number {
  let erased = 0;
  for (let i = 0; i < sf.length; i++) {
    const byte = sf[i]!;
    if (byte !== 0 && byte < 0x7f) continue;
    const row = row0 + Math.floor(i / kSf);
    if (byte !== 0 && byte !== 0x80) throw badBlockScale(info, byte, row, i % kSf);
    sf[i] = 0;
    if (row >= from && isErased(codes, i)) erased++;
  }
  return erased;
}

/** Whether a byte is no E4M3 block scale: NaN, or below 0. */
export const isBadBlockScale = (byte: number): boolean => byte >= 0x7f && byte !== 0x80;

/** The error about an E4M3 block scale that is NaN or negative. */
export function badBlockScale(info: TensorInfo, byte: number, row: number, block: number): CheckpointError {
  const where = `block scale at row ${row}, block ${block}`;
  const hex = `0x${byte.toString(16).padStart(2, '0')}`;
  const what = (byte & 0x7f) === 0x7f ? ` is NaN (${hex})` : `: expected above 0, found ${E4M3_VALUES[byte]} (${hex})`;
  return badFile(info.file, where + what, { tensor: info.name });
}

/** Whether any of the 16 codes of a block is not 0. */
export function isErased(codes: Uint8Array, block: number): boolean {
  for (let j = 8 * block; j < 8 * block + 8; j++) if ((codes[j]! & 0x77) !== 0) return true;
  return false;
}

/** Throws at the first NaN of FP8 codes with rows of `k` from `row0` on. */
export function checkFp8Codes(info: TensorInfo, codes: Uint8Array, k: number, row0: number): void {
  // Four codes at a time: magnitude 0x7f plus one reaches the top bit.
  const words = new Uint32Array(codes.buffer, codes.byteOffset, codes.length >> 2);
  let at = 0;
  while (at < words.length && (((words[at]! & 0x7f7f7f7f) + 0x01010101) & 0x80808080) === 0) at++;
  at *= 4;
  while (at < codes.length && (codes[at]! & 0x7f) !== 0x7f) at++;
  if (at === codes.length) return;
  throw badFile(
    info.file,
    `expected finite weights, found NaN (0x${codes[at]!.toString(16)}) at row ${row0 + Math.floor(at / k)}, column ${at % k}`,
    { tensor: info.name },
  );
}

/**
 * Checks FP8 scales: they must be finite and at least 0. One that underflowed to 0 makes its tile zeros.
 *
 * @param stored scales of the tiles that the rows touch, [tiles of rows, ceil(K/128)]
 * @param codes  [N, K] E4M3
 * @param o      `first`: the row of the stored matrix that comes first here; `tile0`: its tile's row in the scale tensor; `from`: the first row
 *   here to be counted
 * @returns how many rows of tiles have codes that are not 0 under a scale that is
 */
export function checkFp8Scales(
  info: TensorInfo,
  stored: Float32Array,
  codes: Uint8Array,
  { n, k, first, tile0, from: counted }: { n: number; k: number; first: number; tile0: number; from: number },
): number {
  let erased = 0;
  const tiles = Math.ceil(k / FP8_TILE);
  for (let i = 0; i < stored.length; i++) {
    const scale = stored[i]!;
    if (scale > 0 && scale < Infinity) continue;
    const [row, column] = [Math.floor(i / tiles), i % tiles];
    const where = `scale at row ${tile0 + row}, column ${column}`;
    if (scale !== 0) {
      const want = Number.isNaN(scale) ? 'is NaN' : `expected a finite number above 0, found ${scale}`;
      throw badFile(info.file, Number.isNaN(scale) ? `${where} ${want}` : `${where}: ${want}`, { tensor: info.name });
    }
    const from = Math.max(counted, row * FP8_TILE - (first % FP8_TILE));
    const to = Math.min(n, (row + 1) * FP8_TILE - (first % FP8_TILE));
    for (let r = from; r < to; r++) {
      const tile = codes.subarray(r * k + column * FP8_TILE, r * k + Math.min(k, (column + 1) * FP8_TILE));
      if (tile.some((c) => (c & 0x7f) !== 0)) erased++;
    }
  }
  return erased;
}

/** Throws at the first NaN (255) of E8M0 scales with rows of `kSf` from `row0` on. */
export function checkE8m0(info: TensorInfo, e8m0: Uint8Array, kSf: number, row0: number): void {
  const at = e8m0.indexOf(255);
  if (at < 0) return;
  throw badFile(info.file, `block scale at row ${row0 + Math.floor(at / kSf)}, block ${at % kSf} is NaN (0xff)`, {
    tensor: info.name,
  });
}
