import {
  ceilDiv,
  checkApart,
  checkCapacity,
  checkInteger,
  checkKind,
  checkObject,
  checkOneOf,
  newArray,
  plainView,
  roundUp,
} from '@megamoe/core';

/**
 * Which of the two axes of packed scales is contiguous.
 * - `mn-major`: `[ceil(kSf / 4), roundUp(rows, 4)]`, rows contiguous and padded to 16 bytes: what DeepGEMM reads through TMA.
 * - `row-major`: `[rows, ceil(kSf / 4)]`.
 */
export type PackedOrder = 'mn-major' | 'row-major';

/** `l` matrices (default 1) of `rows` by `kSf` scales. */
export interface PackedShape {
  readonly rows: number;
  readonly kSf: number;
  readonly l?: number;
  /** Default `mn-major`. */
  readonly order?: PackedOrder;
}

/** Where packed words stand: `word(l, row, j)` at `l * lStride + row * rowStride + j * wordStride`. */
interface PackedStrides {
  readonly words: number;
  readonly rowStride: number;
  readonly wordStride: number;
  readonly lStride: number;
  readonly l: number;
}

function stridesOf(fn: string, shape: PackedShape): PackedStrides & { readonly rows: number; readonly kSf: number } {
  checkObject(fn, 'shape', shape);
  const { rows, kSf, l = 1, order = 'mn-major' } = shape;
  checkInteger(fn, 'rows', rows, 0);
  checkInteger(fn, 'kSf', kSf, 0);
  checkInteger(fn, 'l', l, 0);
  checkOneOf(fn, 'order', order, ['mn-major', 'row-major']);
  const words = ceilDiv(kSf, 4);
  const rowsPad = roundUp(rows, 4);
  return order === 'mn-major'
    ? { rows, kSf, words, rowStride: 1, wordStride: rowsPad, lStride: rowsPad * words, l }
    : { rows, kSf, words, rowStride: words, wordStride: 1, lStride: rows * words, l };
}

/** Number of 32-bit words that {@link packSfWords} writes. */
export function packedSfLength(shape: PackedShape): number {
  const { lStride, l } = stridesOf('packedSfLength', shape);
  return lStride * l;
}

/**
 * Packs four one-byte scales (E4M3 or UE8M0) that follow each other along K into a 32-bit word, the first in the lowest byte,
 * as DeepGEMM's `get_mn_major_tma_aligned_packed_ue8m0_tensor` does; columns and rows past the end are zero. Throws
 * `ShapeError` when an array is too short, `KindError`, `ValueError` on the shape.
 * @param sf  [l, rows, kSf] u8, linear; may be longer
 * @param given the output, [packedSfLength] u32; may be longer, the rest is not written
 */
export function packSfWords(sf: Uint8Array, shape: PackedShape, given?: Uint32Array): Uint32Array {
  const { rows, kSf, words, rowStride, wordStride, lStride, l } = stridesOf('packSfWords', shape);
  checkKind('packSfWords', 'sf', sf, Uint8Array);
  const result = given ?? newArray('packSfWords', 'out', Uint32Array, 'packedSfLength', lStride * l);
  checkKind('packSfWords', 'out', result, Uint32Array);
  const out = plainView(result, Uint32Array);
  checkCapacity('packSfWords', 'sf', sf, 'L*rows*kSf', l * rows * kSf);
  checkCapacity('packSfWords', 'out', out, 'packedSfLength', lStride * l);
  checkApart('packSfWords', 'out', out, 'sf', sf, lStride * l, l * rows * kSf);
  out.fill(0, 0, lStride * l);
  for (let b = 0; b < (lStride === 0 ? 0 : l); b++) {
    for (let row = 0; row < rows; row++) {
      const s = (b * rows + row) * kSf;
      const o = b * lStride + row * rowStride;
      for (let j = 0; j < words; j++) {
        let word = 0;
        for (let c = Math.min(kSf - 4 * j, 4) - 1; c >= 0; c--) word = (word << 8) | sf[s + 4 * j + c]!;
        out[o + j * wordStride] = word;
      }
    }
  }
  return result;
}

/**
 * The inverse of {@link packSfWords}; padding is not read. Errors as there.
 * @param words [packedSfLength] u32; may be longer
 * @param given the output, [l, rows, kSf] u8, linear; may be longer, the rest is not written
 */
export function unpackSfWords(words: Uint32Array, shape: PackedShape, given?: Uint8Array): Uint8Array {
  const { rows, kSf, rowStride, wordStride, lStride, l } = stridesOf('unpackSfWords', shape);
  checkKind('unpackSfWords', 'words', words, Uint32Array);
  const sf = given ?? newArray('unpackSfWords', 'sf', Uint8Array, 'L*rows*kSf', l * rows * kSf);
  checkKind('unpackSfWords', 'sf', sf, Uint8Array);
  checkCapacity('unpackSfWords', 'words', words, 'packedSfLength', lStride * l);
  checkCapacity('unpackSfWords', 'sf', sf, 'L*rows*kSf', l * rows * kSf);
  checkApart('unpackSfWords', 'sf', sf, 'words', words, l * rows * kSf, lStride * l);
  for (let b = 0; b < (lStride === 0 ? 0 : l); b++) {
    for (let row = 0; row < rows; row++) {
      const s = (b * rows + row) * kSf;
      const o = b * lStride + row * rowStride;
      for (let c = 0; c < kSf; c++) sf[s + c] = words[o + (c >> 2) * wordStride]! >>> ((c & 3) * 8);
    }
  }
  return sf;
}
