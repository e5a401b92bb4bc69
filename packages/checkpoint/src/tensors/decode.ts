import { decodeBf16Array, decodeF16, E4M3_VALUES } from '@megamoe/core';
import { badFile, shapeText } from '../fail';
import type { TensorInfo } from '../safetensors/store';

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

/** Throws at the first NaN or infinity of a matrix with rows of `k` from `row0` on, in BF16 bits or float32. */
export function checkWeights(info: TensorInfo, data: Uint16Array | Float32Array, k: number, row0: number): void {
  let at = 0;
  if (data instanceof Uint16Array) while (at < data.length && (data[at]! & 0x7f80) !== 0x7f80) at++;
  else while (at < data.length && Number.isFinite(data[at])) at++;
  if (at === data.length) return;
  throw badFile(
    info.file,
    `expected finite weights, found NaN or infinity at row ${row0 + Math.floor(at / k)}, column ${at % k}`,
    { tensor: info.name },
  );
}

/** Throws at the first NaN. Infinity may stand: a sink of -Infinity is none. */
export function checkNoNaN(info: TensorInfo, data: Float32Array): void {
  const at = data.findIndex(Number.isNaN);
  if (at >= 0) throw badFile(info.file, `found NaN at index ${at}`, { tensor: info.name });
}

/**
 * Checks the E4M3 block scales of an NVFP4 matrix: NaN and negative scales are errors, and so is zero over codes that are not, which
 * would erase the block in silence.
 *
 * @param sf    [N, K/16] E4M3
 * @param codes [N, K/2] two E2M1 codes a byte
 * @param kSf   K/16
 * @param row0  the matrix' row that comes first here, for the message
 */
export function checkBlockScales(info: TensorInfo, sf: Uint8Array, codes: Uint8Array, kSf: number, row0: number): void {
  for (let i = 0; i < sf.length; i++) {
    const byte = sf[i]!;
    if (byte !== 0 && byte < 0x7f) continue;
    const where = `block scale at row ${row0 + Math.floor(i / kSf)}, block ${i % kSf}`;
    const hex = `0x${byte.toString(16).padStart(2, '0')}`;
    if ((byte & 0x7f) === 0x7f) throw badFile(info.file, `${where} is NaN (${hex})`, { tensor: info.name });
    if (byte !== 0 && byte !== 0x80) {
      throw badFile(info.file, `${where}: expected above 0, found ${E4M3_VALUES[byte]} (${hex})`, {
        tensor: info.name,
      });
    }
    for (let j = 8 * i; j < 8 * i + 8; j++) {
      if ((codes[j]! & 0x77) !== 0)
        throw badFile(info.file, `${where} is 0, but its codes are not`, { tensor: info.name });
    }
  }
}
