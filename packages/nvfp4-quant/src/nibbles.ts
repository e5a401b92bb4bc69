import {
  checkApart,
  checkApartOrSame,
  checkKind,
  checkLength,
  checkObject,
  checkOneOf,
  newArray,
  ValueError,
} from '@megamoe/core';
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
export function packNibbles(unpacked: Uint8Array, shape: CodesShape, codes?: Uint8Array): Uint8Array {
  const { n, out } = checkCodes('packNibbles', shape, 2, unpacked, 'unpacked', 1, codes, 'codes', 2);
  for (let i = 0; i < n; i++) {
    if (unpacked[i]! > 15) {
      throw new ValueError(`packNibbles: "unpacked" must hold codes in [0, 15], got ${unpacked[i]} at index ${i}`);
    }
  }
  for (let i = 0; i < n / 2; i++) out[i] = unpacked[2 * i]! | (unpacked[2 * i + 1]! << 4);
  return out;
}

/**
 * Unpacks two `low-first` codes per byte into one per byte.
 * @param codes    [M, K/2] u8
 * @param unpacked [M, K]   u8, codes 0 to 15
 */
export function unpackNibbles(codes: Uint8Array, shape: CodesShape, unpacked?: Uint8Array): Uint8Array {
  const { n, out } = checkCodes('unpackNibbles', shape, 2, codes, 'codes', 2, unpacked, 'unpacked', 1);
  for (let i = 0; i < n / 2; i++) {
    out[2 * i] = codes[i]! & 15;
    out[2 * i + 1] = codes[i]! >> 4;
  }
  return out;
}

/**
 * Changes the nibble order. The output may be `codes` itself.
 * @param codes [M, K/2] u8 in order `from`; `k` is a multiple of 16
 * @param given [M, K/2] u8 in order `to`, the output
 */
export function reorderNibbles(
  codes: Uint8Array,
  shape: CodesShape & { readonly from: NibbleOrder; readonly to: NibbleOrder },
  given?: Uint8Array,
): Uint8Array {
  checkObject('reorderNibbles', 'shape', shape);
  const { from, to } = shape;
  checkOneOf('reorderNibbles', 'from', from, ORDERS);
  checkOneOf('reorderNibbles', 'to', to, ORDERS);
  const { n, out } = checkCodes('reorderNibbles', shape, 16, codes, 'codes', 2, given, 'out', 2);
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

/** Checks both arrays against `m * k / perByte`, and makes the output where it was left out; gives `m * k` and the output. */
function checkCodes(
  fn: string,
  shape: CodesShape,
  multiple: number,
  a: Uint8Array,
  aName: string,
  aPerByte: 1 | 2,
  given: Uint8Array | undefined,
  bName: string,
  bPerByte: 1 | 2,
): { readonly n: number; readonly out: Uint8Array } {
  const { m, k } = checkShape(fn, shape, multiple);
  const formula = (perByte: 1 | 2): string => (perByte === 1 ? 'M*K' : 'M*K/2');
  checkKind(fn, aName, a, Uint8Array);
  checkLength(fn, aName, a, formula(aPerByte), (m * k) / aPerByte);
  const out = given ?? newArray(fn, bName, Uint8Array, formula(bPerByte), (m * k) / bPerByte);
  checkKind(fn, bName, out, Uint8Array);
  checkLength(fn, bName, out, formula(bPerByte), (m * k) / bPerByte);
  if (aPerByte === bPerByte) checkApartOrSame(fn, bName, out, aName, a);
  else checkApart(fn, bName, out, aName, a);
  return { n: m * k, out };
}
