import { ceilDiv, checkCapacity, checkInteger, checkKind, checkOneOf, roundUp } from '@megamoe/core';

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

function stridesOf(fn: string, { rows, kSf, l = 1, order = 'mn-major' }: PackedShape): PackedStrides {
  checkInteger(fn, 'rows', rows, 0);
  checkInteger(fn, 'kSf', kSf, 0);
  checkInteger(fn, 'l', l, 0);
  checkOneOf(fn, 'order', order, ['mn-major', 'row-major']);
  const words = ceilDiv(kSf, 4);
  const rowsPad = roundUp(rows, 4);
  return order === 'mn-major'
    ? { words, rowStride: 1, wordStride: rowsPad, lStride: rowsPad * words, l }
    : { words, rowStride: words, wordStride: 1, lStride: rows * words, l };
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
 * @param out [packedSfLength] u32; may be longer, the rest is not written
 */
export function packSfWords(
  sf: Uint8Array,
  shape: PackedShape,
  out: Uint32Array = new Uint32Array(packedSfLength(shape)),
): Uint32Array {
  const { rows, kSf } = shape;
  const { words, rowStride, wordStride, lStride, l } = stridesOf('packSfWords', shape);
  checkKind('packSfWords', 'sf', sf, Uint8Array);
  checkKind('packSfWords', 'out', out, Uint32Array);
  checkCapacity('packSfWords', 'sf', sf, 'L*rows*kSf', l * rows * kSf);
  checkCapacity('packSfWords', 'out', out, 'packedSfLength', lStride * l);
  out.fill(0, 0, lStride * l);
  for (let b = 0; b < l; b++) {
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
  return out;
}

/**
 * The inverse of {@link packSfWords}; padding is not read. Errors as there.
 * @param words [packedSfLength] u32; may be longer
 * @param sf    [l, rows, kSf] u8, linear; may be longer, the rest is not written
 */
export function unpackSfWords(
  words: Uint32Array,
  shape: PackedShape,
  sf: Uint8Array = new Uint8Array((shape.l ?? 1) * shape.rows * shape.kSf),
): Uint8Array {
  const { rows, kSf } = shape;
  const { rowStride, wordStride, lStride, l } = stridesOf('unpackSfWords', shape);
  checkKind('unpackSfWords', 'words', words, Uint32Array);
  checkKind('unpackSfWords', 'sf', sf, Uint8Array);
  checkCapacity('unpackSfWords', 'words', words, 'packedSfLength', lStride * l);
  checkCapacity('unpackSfWords', 'sf', sf, 'L*rows*kSf', l * rows * kSf);
  for (let b = 0; b < l; b++) {
    for (let row = 0; row < rows; row++) {
      const s = (b * rows + row) * kSf;
      const o = b * lStride + row * rowStride;
      for (let c = 0; c < kSf; c++) sf[s + c] = words[o + (c >> 2) * wordStride]! >>> ((c & 3) * 8);
    }
  }
  return sf;
}
