import { E4M3_MIN } from '@megamoe/core';

const float = new Float32Array(2);
const bits = new Int32Array(float.buffer);

/**
 * The E4M3 byte nearest to a float32 `s` in [0, 448], ties to even, from the bits of `s`. The same as core's `encodeE4m3`,
 * several times faster; the tests compare the two on every midpoint and its neighbours.
 */
export function e4m3FromFloat32(s: number): number {
  // Subnormal results: float32 has a step of 2^-9 from 2^14 on, so the addition rounds to the right grid, to nearest even.
  if (s < 0.015625) return (Math.fround(s + 16384) - 16384) / E4M3_MIN;
  float[0] = s;
  const b = bits[0]!;
  return ((b + 0x7ffff + ((b >>> 20) & 1)) >>> 20) - ((127 - 7) << 3); // keep three mantissa bits, change the exponent's bias
}

/** Where the magnitudes of codes 1 to 7 begin, and whether the bound itself (a tie, which goes to the even code) belongs to the code. */
const CODE_STARTS: readonly (readonly [number, boolean])[] = [
  [0.25, false],
  [0.75, true],
  [1.25, false],
  [1.75, true],
  [2.5, false],
  [3.5, true],
  [5, false],
];

/** The index of a float32, given as its bits, into {@link CODES} and {@link SIGNED_CODES}. */
export function codeIndex(b: number): number {
  return ((b >>> 19) & 0x1ffe) | (b & 0xfffff ? 1 : 0);
}

/**
 * E2M1 code of every float32 by the top 12 bits (sign, exponent, three mantissa bits) and one bit that says whether anything
 * follows. The rounding thresholds have at most two mantissa bits, so all floats of one entry round alike. `signOfZero`: keep
 * the sign bit of -0. Filled in runs: every process that loads this module waits for it.
 */
function codeTable(signOfZero: boolean): Uint8Array {
  const table = new Uint8Array(8192); // not-a-number stays 0
  const negative = 4096;
  const infinity = codeIndex(0x7f800000);
  for (const [i, [start, included]] of CODE_STARTS.entries()) {
    float[0] = start;
    table.fill(i + 1, codeIndex(bits[0]!) + (included ? 0 : 1), infinity + 1);
  }
  for (let i = signOfZero ? 0 : 1; i <= infinity; i++) table[negative + i] = table[i]! | 8;
  return table;
}

/** Codes as ModelOpt gives them: -0 becomes code 0. Index with {@link codeIndex}. */
export const CODES: Uint8Array = codeTable(false);

/** Codes as compressed-tensors gives them: the sign bit is always kept, -0 becomes code 8. Index with {@link codeIndex}. */
export const SIGNED_CODES: Uint8Array = codeTable(true);

/**
 * Writes the 8 code bytes of the 16 values `x[o..o+16)`, each divided by `d` in float32, to `codes[c..c+8)`. `d` 0 (a scale
 * product that underflows: what it decodes is 0 too) gives zero codes.
 */
export function encodeBlock(
  x: Float32Array,
  o: number,
  d: number,
  table: Uint8Array,
  codes: Uint8Array,
  c: number,
): void {
  if (d === 0) {
    codes.fill(0, c, c + 8);
    return;
  }
  for (let i = 0; i < 8; i++) {
    float[0] = x[o + 2 * i]! / d; // the store rounds the double quotient of two float32 to float32: the same as a float32 division
    float[1] = x[o + 2 * i + 1]! / d;
    codes[c + i] = table[codeIndex(bits[0]!)]! | (table[codeIndex(bits[1]!)]! << 4);
  }
}

/** The largest magnitude of the 16 values `x[o..o+16)`. */
export function blockAmax(x: Float32Array, o: number): number {
  let amax = 0;
  for (let i = 0; i < 16; i++) {
    const a = Math.abs(x[o + i]!);
    if (a > amax) amax = a;
  }
  return amax;
}
