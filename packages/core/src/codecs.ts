/**
 * Exact codecs for the small number formats of NVFP4 checkpoints. Every decode is exact in float32; every encode rounds to
 * nearest, ties to even. Sources: OCP Microscaling Formats v1.0 (E2M1, E8M0), OCP 8-bit Floating Point v1.0 (E4M3).
 */
import { checkApart, checkKind, describe, plainView } from './arrays';
import { checkLength } from './checks';
import { KindError } from './errors';

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** The error of a codec that was given something else; a check of the type alone costs nothing in compiled code. */
function noNumber(fn: string, arg: string, v: unknown): KindError {
  return new KindError(`${fn}: "${arg}" must be a number, got ${describe(v)}`);
}

/** Values of the 16 E2M1 codes: 0, .5, 1, 1.5, 2, 3, 4, 6 and, from code 8, their negatives (code 8 is -0). */
export const E2M1_VALUES: Float32Array = Float32Array.of(
  0,
  0.5,
  1,
  1.5,
  2,
  3,
  4,
  6,
  -0,
  -0.5,
  -1,
  -1.5,
  -2,
  -3,
  -4,
  -6,
);

/** Largest E2M1 magnitude. */
export const E2M1_MAX = 6;

/** Largest finite E4M3 value (byte 0x7E). */
export const E4M3_MAX = 448;

/** Smallest positive E4M3 value (byte 0x01, subnormal). */
export const E4M3_MIN = 2 ** -9;

/** Values of the 256 E4M3 bytes (`e4m3fn`: no infinity, 0x7F and 0xFF are NaN). */
export const E4M3_VALUES: Float32Array = Float32Array.from({ length: 256 }, (_, byte) => {
  const sign = byte & 0x80 ? -1 : 1;
  const exponent = (byte >> 3) & 15;
  const mantissa = byte & 7;
  if (exponent === 15 && mantissa === 7) return NaN;
  return sign * (exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10));
});

/** Values of the 256 E8M0 bytes: `2^(byte - 127)`; 255 is NaN. Byte 0 is 2^-127, a float32 subnormal. */
export const E8M0_VALUES: Float32Array = Float32Array.from({ length: 256 }, (_, byte) =>
  byte === 255 ? NaN : 2 ** (byte - 127),
);

/**
 * The E2M1 code nearest to `x`, ties to the even code, saturating at 6. The sign bit is `x < 0`, so -0 becomes code 0 and a small
 * negative number code 8, as in ModelOpt. `x` must not be NaN.
 */
export function encodeE2m1(x: number): number {
  if (typeof x !== 'number') throw noNumber('encodeE2m1', 'x', x);
  const a = Math.abs(x);
  // A tie goes to the even code: .25 -> 0, .75 -> 1 (code 2), 1.25 -> 1, 1.75 -> 2 (code 4), 2.5 -> 2, 3.5 -> 4 (code 6), 5 -> 4.
  const code =
    a <= 0.25 ? 0 : a < 0.75 ? 1 : a <= 1.25 ? 2 : a < 1.75 ? 3 : a <= 2.5 ? 4 : a < 3.5 ? 5 : a <= 5 ? 6 : 7;
  return x < 0 ? code | 8 : code;
}

/**
 * The E4M3 byte nearest to `x`, ties to even. Saturates at 448 (PyTorch's cast gives NaN from 464 on: clamp first, as every
 * published quantizer does, and the two agree). NaN gives 0x7F; the sign of zero is kept.
 */
export function encodeE4m3(x: number): number {
  if (typeof x !== 'number') throw noNumber('encodeE4m3', 'x', x);
  if (Number.isNaN(x)) return 0x7f;
  const sign = x < 0 || Object.is(x, -0) ? 0x80 : 0;
  const a = Math.abs(x);
  if (a >= E4M3_MAX) return sign | 0x7e;
  const exponent = a < 2 ** -6 ? -6 : Math.floor(Math.log2(a));
  // log2 may land one too high just below a power of two; the step is then twice too large.
  const step = 2 ** ((2 ** exponent > a && exponent > -6 ? exponent - 1 : exponent) - 3);
  const q = a / step; // exact: step is a power of two
  const floor = Math.floor(q);
  const rest = q - floor;
  const rounded = (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor) * step;
  if (rounded < 2 ** -6) return sign | (rounded * 512);
  const e = Math.floor(Math.log2(rounded)); // exact: rounded has four significant bits
  return sign | ((e + 7) << 3) | (rounded / 2 ** (e - 3) - 8);
}

/** The float32 value of one BF16 bit pattern. */
export function decodeBf16(bits: number): number {
  if (typeof bits !== 'number') throw noNumber('decodeBf16', 'bits', bits);
  u32[0] = bits << 16;
  return f32[0]!;
}

/** The BF16 bit pattern nearest to `x` (first rounded to float32), ties to even; NaN stays NaN. */
export function encodeBf16(x: number): number {
  if (typeof x !== 'number') throw noNumber('encodeBf16', 'x', x);
  f32[0] = x;
  const u = u32[0]!;
  if ((u & 0x7fffffff) > 0x7f800000) return (u >>> 16) | 0x40;
  return ((u + 0x7fff + ((u >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The float32 value of one IEEE half (F16) bit pattern. */
export function decodeF16(bits: number): number {
  if (typeof bits !== 'number') throw noNumber('decodeF16', 'bits', bits);
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25));
}

/** Decodes a BF16 array. `given`, [n] f32, is written where it is there; apart from `bits`. */
export function decodeBf16Array(bits: Uint16Array, given?: Float32Array): Float32Array {
  const fn = 'decodeBf16Array';
  checkKind(fn, 'bits', bits, Uint16Array);
  const out = given ?? new Float32Array(bits.length);
  checkKind(fn, 'out', out, Float32Array);
  checkApart(fn, 'out', out, 'bits', bits);
  checkLength(fn, 'out', out, 'bits.length', bits.length);
  const { buffer, byteOffset } = plainView(out, Float32Array);
  const words = new Uint32Array(buffer, byteOffset, bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return out;
}

/** Encodes float32 values as BF16, nearest, ties to even. `given`, [n] u16, is written where it is there; apart from `x`. */
export function encodeBf16Array(x: Float32Array, given?: Uint16Array): Uint16Array {
  const fn = 'encodeBf16Array';
  checkKind(fn, 'x', x, Float32Array);
  const out = given ?? new Uint16Array(x.length);
  checkKind(fn, 'out', out, Uint16Array);
  checkApart(fn, 'out', out, 'x', x);
  checkLength(fn, 'out', out, 'x.length', x.length);
  for (let i = 0; i < x.length; i++) out[i] = encodeBf16(x[i]!);
  return out;
}
