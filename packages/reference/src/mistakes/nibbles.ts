/** The two orders in which E2M1 codes are packed, and the orders that they are mistaken for. */
import { E2M1_VALUES } from '@megamoe/core';

/**
 * How codes are read: `right`; `swapped` (high nibble first); `half` (byte j of a block read as elements j and j + 8); `packed-half`
 * (packed so, and read rightly).
 */
export type NibbleOrder = 'right' | 'swapped' | 'half' | 'packed-half';

/** For each place in a block of 16: the place whose code is found there. */
export const FOUND_AT: Readonly<Record<NibbleOrder, Uint8Array>> = {
  right: Uint8Array.from({ length: 16 }, (_, i) => i),
  swapped: Uint8Array.from({ length: 16 }, (_, i) => i ^ 1),
  half: Uint8Array.from({ length: 16 }, (_, i) => (i < 8 ? 2 * i : 2 * (i - 8) + 1)),
  'packed-half': Uint8Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? i / 2 : (i - 1) / 2 + 8)),
};

/** The readings of the two mistakes about packing. */
export const NIBBLE_MISTAKES: readonly { id: string; order: NibbleOrder; rank: 0 | 1; reading: string }[] = [
  { id: 'nibbles-swapped', order: 'swapped', rank: 0, reading: '' },
  { id: 'nibbles-half-split', order: 'half', rank: 0, reading: '' },
  { id: 'nibbles-half-split', order: 'packed-half', rank: 1, reading: 'packed as halves, read as pairs' },
];

/** Values of the low nibble of a byte. */
export const LOW = Float64Array.from({ length: 256 }, (_, byte) => E2M1_VALUES[byte & 15]!);
/** Values of the high nibble of a byte. */
export const HIGH = Float64Array.from({ length: 256 }, (_, byte) => E2M1_VALUES[byte >> 4]!);

/** For each order: the elements that the low and the high nibble of byte j become. */
const BECOMES = Object.fromEntries(
  Object.entries(FOUND_AT).map(([order, found]) => [
    order,
    {
      low: Uint8Array.from({ length: 8 }, (_, j) => found.indexOf(2 * j)),
      high: Uint8Array.from({ length: 8 }, (_, j) => found.indexOf(2 * j + 1)),
    },
  ]),
) as Record<NibbleOrder, { low: Uint8Array; high: Uint8Array }>;

/** `e2m1 * scale` of row `row` of codes [., K/2] with decoded block scales, into `out` [K]. Exact. */
export function decodeRow(
  codes: Uint8Array,
  row: number,
  scales: (block: number) => number,
  order: NibbleOrder,
  out: Float64Array,
): Float64Array {
  const k = out.length;
  const { low, high } = BECOMES[order];
  const [lows, highs] = [LOW, HIGH];
  for (let block = 0; block < k / 16; block++) {
    const scale = scales(block);
    const first = block * 16;
    const byte0 = (row * k) / 2 + block * 8;
    for (let j = 0; j < 8; j++) {
      const byte = codes[byte0 + j]!;
      out[first + low[j]!] = lows[byte]! * scale;
      out[first + high[j]!] = highs[byte]! * scale;
    }
  }
  return out;
}

/** Codes [., K/2] repacked in another order, as they would lie in memory. */
export function repack(codes: Uint8Array, order: NibbleOrder): Uint8Array {
  const from = FOUND_AT[order];
  const out = new Uint8Array(codes.length);
  const nibble = (block: number, place: number): number => {
    const byte = codes[block * 8 + (place >> 1)]!;
    return place & 1 ? byte >> 4 : byte & 15;
  };
  for (let block = 0; block < codes.length / 8; block++)
    for (let j = 0; j < 8; j++)
      out[block * 8 + j] = nibble(block, from[2 * j]!) | (nibble(block, from[2 * j + 1]!) << 4);
  return out;
}

/** Dot product in float64. */
export function dot(a: Float64Array, b: Float64Array): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  const n = a.length & ~3;
  for (let i = 0; i < n; i += 4) {
    s0 += a[i]! * b[i]!;
    s1 += a[i + 1]! * b[i + 1]!;
    s2 += a[i + 2]! * b[i + 2]!;
    s3 += a[i + 3]! * b[i + 3]!;
  }
  for (let i = n; i < a.length; i++) s0 += a[i]! * b[i]!;
  return s0 + s1 + s2 + s3;
}

/** Length of a vector. */
export function norm(a: Float64Array): number {
  return Math.sqrt(dot(a, a));
}
