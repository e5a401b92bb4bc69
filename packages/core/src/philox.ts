import { checkKind } from './arrays';
import { checkCapacity, checkInteger } from './checks';

const M0 = 0xd2511f53 | 0;
const M1 = 0xcd9e8d57 | 0;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;
const ROUNDS = 10;

/** High 32 bits of the 64-bit product of two unsigned 32-bit integers, from 16-bit halves: no sum below passes 32 bits. */
function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = Math.imul(aLow, bLow) >>> 16;
  const middle = (Math.imul(aHigh, bLow) + low) | 0;
  const carry = (Math.imul(aLow, bHigh) + (middle & 0xffff)) | 0;
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (carry >>> 16)) | 0;
}

/** Whether `v` is 32 bits, with a sign or without: asked first, since draws ask in their inner loops. */
const isWord = (v: unknown): boolean => typeof v === 'number' && ((v | 0) === v || v >>> 0 === v);

/**
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): four random words from a counter of four words and
 * a key of two, with no state in between. Checked against the known-answer vectors of Random123.
 *
 * @param out [4] u32, written
 */
export function philox4x32(
  c0: number,
  c1: number,
  c2: number,
  c3: number,
  k0: number,
  k1: number,
  out: Uint32Array,
): void {
  const fn = 'philox4x32';
  if (!(isWord(c0) && isWord(c1) && isWord(c2) && isWord(c3) && isWord(k0) && isWord(k1)))
    for (const [arg, v] of Object.entries({ c0, c1, c2, c3, k0, k1 }))
      checkInteger(fn, arg, v, -(2 ** 31), 2 ** 32 - 1);
  checkKind(fn, 'out', out, Uint32Array);
  checkCapacity(fn, 'out', out, '4', 4);
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = mulHigh(M0, c0);
    const high1 = mulHigh(M1, c2);
    const low0 = Math.imul(M0, c0);
    const low1 = Math.imul(M1, c2);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + W0) | 0;
    k1 = (k1 + W1) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}
