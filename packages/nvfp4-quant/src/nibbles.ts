import { checkKind, checkLength, checkOneOf, ValueError } from '@megamoe/core';
import { checkShape } from './modelopt';

/** A matrix of codes: `m` rows of `k` elements. */
export interface CodesShape {
  readonly m: number;
  readonly k: number;
}

/**
 * Where element `c` of a row stands.
 * - `low-first`: byte `c/2`, even columns in the low nibble. ModelOpt, compressed-tensors, MXFP4 and this project.
 * - `high-first`: byte `c/2`, even columns in the high nibble.
 * - `half-split`: within each block of 16, byte `j` holds element `j` in the low and `j + 8` in the high nibble. GGUF.
 */
export type NibbleOrder = 'low-first' | 'high-first' | 'half-split';

const ORDERS: readonly NibbleOrder[] = ['low-first', 'high-first', 'half-split'];

/**
 * Packs one code per byte into two per byte, `low-first`. Throws `ValueError` naming the index of a code above 15,
 * `ShapeError` on lengths or an odd `k`.
 * @param unpacked [M, K]   u8, codes 0 to 15
 * @param codes    [M, K/2] u8
 */
export function packNibbles(
  unpacked: Uint8Array,
  shape: CodesShape,
  codes: Uint8Array = new Uint8Array((shape.m * shape.k) / 2),
): Uint8Array {
  const n = checkCodes('packNibbles', shape, 2, unpacked, 'unpacked', 1, codes, 'codes', 2);
  for (let i = 0; i < n; i++) {
    if (unpacked[i]! > 15) {
      throw new ValueError(`packNibbles: "unpacked" must hold codes in [0, 15], got ${unpacked[i]} at index ${i}`);
    }
  }
  for (let i = 0; i < n / 2; i++) codes[i] = unpacked[2 * i]! | (unpacked[2 * i + 1]! << 4);
  return codes;
}

/**
 * Unpacks two `low-first` codes per byte into one per byte.
 * @param codes    [M, K/2] u8
 * @param unpacked [M, K]   u8, codes 0 to 15
 */
export function unpackNibbles(
  codes: Uint8Array,
  shape: CodesShape,
  unpacked: Uint8Array = new Uint8Array(shape.m * shape.k),
): Uint8Array {
  const n = checkCodes('unpackNibbles', shape, 2, codes, 'codes', 2, unpacked, 'unpacked', 1);
  for (let i = 0; i < n / 2; i++) {
    unpacked[2 * i] = codes[i]! & 15;
    unpacked[2 * i + 1] = codes[i]! >> 4;
  }
  return unpacked;
}

/**
 * Changes the nibble order. `out` may be `codes` itself.
 * @param codes [M, K/2] u8 in order `from`; `k` is a multiple of 16
 * @param out   [M, K/2] u8 in order `to`
 */
export function reorderNibbles(
  codes: Uint8Array,
  { m, k, from, to }: CodesShape & { readonly from: NibbleOrder; readonly to: NibbleOrder },
  out: Uint8Array = new Uint8Array((m * k) / 2),
): Uint8Array {
  checkOneOf('reorderNibbles', 'from', from, ORDERS);
  checkOneOf('reorderNibbles', 'to', to, ORDERS);
  const n = checkCodes('reorderNibbles', { m, k }, 16, codes, 'codes', 2, out, 'out', 2);
  for (let c = 0; c < n / 2; c += 8) {
    readBlock(codes, c, from);
    writeBlock(out, c, to);
  }
  return out;
}

const block = new Uint8Array(16);

function readBlock(codes: Uint8Array, c: number, order: NibbleOrder): void {
  const step = order === 'half-split' ? 1 : 2;
  const low = order === 'high-first' ? 1 : 0;
  const high = order === 'half-split' ? 8 : 1 - low;
  for (let j = 0; j < 8; j++) {
    block[j * step + low] = codes[c + j]! & 15;
    block[j * step + high] = codes[c + j]! >> 4;
  }
}

function writeBlock(codes: Uint8Array, c: number, order: NibbleOrder): void {
  const step = order === 'half-split' ? 1 : 2;
  const low = order === 'high-first' ? 1 : 0;
  const high = order === 'half-split' ? 8 : 1 - low;
  for (let j = 0; j < 8; j++) codes[c + j] = block[j * step + low]! | (block[j * step + high]! << 4);
}

/** Checks both arrays against `m * k / perByte`; gives `m * k`. */
function checkCodes(
  fn: string,
  { m, k }: CodesShape,
  multiple: number,
  a: Uint8Array,
  aName: string,
  aPerByte: 1 | 2,
  b: Uint8Array,
  bName: string,
  bPerByte: 1 | 2,
): number {
  checkShape(fn, m, k, multiple);
  checkKind(fn, aName, a, Uint8Array);
  checkKind(fn, bName, b, Uint8Array);
  checkLength(fn, aName, a, aPerByte === 1 ? 'M*K' : 'M*K/2', (m * k) / aPerByte);
  checkLength(fn, bName, b, bPerByte === 1 ? 'M*K' : 'M*K/2', (m * k) / bPerByte);
  return m * k;
}
