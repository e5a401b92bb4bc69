import { checkApart, checkKind, checkLength, newArray, ValueError } from '@megamoe/core';
import { checkShape, outputs } from './modelopt';
import type { Nvfp4Matrix } from './modelopt';
import type { CodesShape } from './nibbles';

/** Elements in one GGUF `NVFP4` block (`QK_NVFP4`). */
export const GGUF_BLOCK = 64;

/** Bytes of one GGUF `NVFP4` block: four UE4M3 scales, then 32 bytes of codes. */
export const GGUF_BLOCK_BYTES = 36;

/**
 * Repacks row-major codes and scales as GGUF `NVFP4` blocks (`GGML_TYPE_NVFP4`): `d[4]` block scales as UE4M3, then `qs[32]`,
 * where byte `s*8 + j` holds element `s*16 + j` in the low and `s*16 + j + 8` in the high nibble. The global scale does not
 * fit in: GGUF keeps it in a tensor `NAME.scale`, multiplied after the matmul. A scale of -0 becomes 0. Throws `ValueError`
 * naming the index of a scale that UE4M3 cannot hold (negative, or NaN, which ggml would read as 0).
 * @param codes [M, K/2]  u8, low nibble first; `k` is a multiple of 64
 * @param sf    [M, K/16] E4M3 bytes, linear
 * @param given [M, K/64 * 36] u8, where the blocks go
 */
export function packGguf(codes: Uint8Array, sf: Uint8Array, shape: CodesShape, given?: Uint8Array): Uint8Array {
  const fn = 'packGguf';
  const { m, k } = checkShape(fn, shape, GGUF_BLOCK);
  const blocks = given ?? newArray(fn, 'blocks', Uint8Array, 'M*K/64*36', ((m * k) / GGUF_BLOCK) * GGUF_BLOCK_BYTES);
  checkGguf(fn, codes, sf, m, k, blocks);
  checkApart(fn, 'blocks', blocks, 'codes', codes);
  checkApart(fn, 'blocks', blocks, 'sf', sf);
  for (let i = 0; i < sf.length; i++) {
    if (sf[i]! >= 0x7f && sf[i] !== 0x80) {
      const got = `0x${sf[i]!.toString(16)}`;
      throw new ValueError(`packGguf: "sf" must hold E4M3 bytes in [0, 0x7e], got ${got} at index ${i}`);
    }
  }
  const count = (m * k) / GGUF_BLOCK;
  for (let b = 0; b < count; b++) {
    const at = b * GGUF_BLOCK_BYTES;
    for (let s = 0; s < 4; s++) {
      blocks[at + s] = sf[b * 4 + s]! & 0x7f; // -0 is 0
      const c = b * 32 + s * 8;
      for (let j = 0; j < 8; j++) {
        const shift = (j & 1) << 2; // columns j and j + 8 have the same parity
        const low = (codes[c + (j >> 1)]! >> shift) & 15;
        const high = (codes[c + 4 + (j >> 1)]! >> shift) & 15;
        blocks[at + 4 + s * 8 + j] = low | (high << 4);
      }
    }
  }
  return blocks;
}

/**
 * The inverse of {@link packGguf}. A scale byte 0x7F, which ggml decodes as 0, comes out as 0; one with the top bit set is no
 * UE4M3 and throws `ValueError`.
 * @param blocks     [M, K/64 * 36] u8
 * @param givenCodes [M, K/2]  u8, where the codes go, low nibble first
 * @param givenSf    [M, K/16] where the E4M3 bytes go, linear
 */
export function unpackGguf(
  blocks: Uint8Array,
  shape: CodesShape,
  givenCodes?: Uint8Array,
  givenSf?: Uint8Array,
): Nvfp4Matrix {
  const fn = 'unpackGguf';
  const { m, k } = checkShape(fn, shape, GGUF_BLOCK);
  const { codes, sf } = outputs(fn, m, k, givenCodes, givenSf, checkLength);
  checkGguf(fn, codes, sf, m, k, blocks);
  checkApart(fn, 'codes', codes, 'blocks', blocks);
  checkApart(fn, 'sf', sf, 'blocks', blocks);
  const count = (m * k) / GGUF_BLOCK;
  for (let b = 0; b < count; b++) {
    const at = b * GGUF_BLOCK_BYTES;
    for (let s = 0; s < 4; s++) {
      if (blocks[at + s]! > 0x7f) {
        const got = `0x${blocks[at + s]!.toString(16)}`;
        throw new ValueError(`unpackGguf: "blocks" must hold UE4M3 scales in [0, 0x7f], got ${got} at index ${at + s}`);
      }
    }
  }
  for (let b = 0; b < count; b++) {
    const at = b * GGUF_BLOCK_BYTES;
    for (let s = 0; s < 4; s++) {
      const scale = blocks[at + s]!;
      sf[b * 4 + s] = scale === 0x7f ? 0 : scale;
      const c = b * 32 + s * 8;
      const q = at + 4 + s * 8;
      for (let j = 0; j < 8; j += 2) {
        codes[c + (j >> 1)] = (blocks[q + j]! & 15) | ((blocks[q + j + 1]! & 15) << 4);
        codes[c + 4 + (j >> 1)] = (blocks[q + j]! >> 4) | (blocks[q + j + 1]! & 0xf0);
      }
    }
  }
  return { codes, sf };
}

function checkGguf(fn: string, codes: Uint8Array, sf: Uint8Array, m: number, k: number, blocks: Uint8Array): void {
  checkKind(fn, 'codes', codes, Uint8Array);
  checkKind(fn, 'sf', sf, Uint8Array);
  checkKind(fn, 'blocks', blocks, Uint8Array);
  checkLength(fn, 'codes', codes, 'M*K/2', (m * k) / 2);
  checkLength(fn, 'sf', sf, 'M*K/16', (m * k) / 16);
  checkLength(fn, 'blocks', blocks, 'M*K/64*36', ((m * k) / GGUF_BLOCK) * GGUF_BLOCK_BYTES);
}
