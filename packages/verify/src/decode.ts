import { FP8_TILE, type MatrixTensor } from '@megamoe/checkpoint';
import { decodeBf16, decodeBf16Array, E4M3_VALUES, encodeBf16, encodeBf16Array } from '@megamoe/core';
import type { Fp8Rows, WeightRows } from '@megamoe/ops';
import { dequantizeMxfp4, dequantizeNvfp4 } from '@megamoe/reference';

/** NVFP4 rows: codes [rows, K/2], sf [rows, K/16] linear. */
export interface Nvfp4Codes {
  readonly codes: Uint8Array;
  readonly sf: Uint8Array;
}

/** Rows `[row0, row0 + rows)` of NVFP4 rows; views. */
export function nvfp4Part({ codes, sf }: Nvfp4Codes, k: number, row0: number, rows: number): Nvfp4Codes {
  return {
    codes: codes.subarray((row0 * k) / 2, ((row0 + rows) * k) / 2),
    sf: sf.subarray((row0 * k) / 16, ((row0 + rows) * k) / 16),
  };
}

/** Float32 values, or BF16 bits decoded. */
function numbersOf(data: Float32Array | Uint16Array): Float64Array {
  if (!(data instanceof Uint16Array)) return new Float64Array(data);
  const out = new Float64Array(data.length); // a loop: `from` with a function is ten times slower
  for (let i = 0; i < data.length; i++) out[i] = decodeBf16(data[i]!);
  return out;
}

/** FP8 rows as numbers: each row has the scales of its own tiles beside it. */
function fp8Values({ codes, scales }: Fp8Rows, k: number): Float64Array {
  const tiles = Math.ceil(k / FP8_TILE);
  const out = new Float64Array(codes.length);
  for (let i = 0; i < out.length; i++) {
    out[i] = E4M3_VALUES[codes[i]!]! * scales[Math.floor(i / k) * tiles + Math.floor((i % k) / FP8_TILE)]!;
  }
  return out;
}

/** Rows of a weight of any format as numbers [rows, K], exact; those of NVFP4 without a global scale. All rows, or `rows` from `row0` on. */
export function decodeRows(of: WeightRows, k: number, row0 = 0, rows?: number): Float64Array {
  const end = rows === undefined ? undefined : row0 + rows;
  if ('sf' in of) {
    const part = rows === undefined ? of : nvfp4Part(of, k, row0, rows);
    return dequantizeNvfp4(part, { m: (2 * part.codes.length) / k, k, globalDecodeScale: 1 });
  }
  if ('scales' in of) {
    const tiles = Math.ceil(k / FP8_TILE);
    return fp8Values(
      { codes: of.codes.subarray(row0 * k, end && end * k), scales: of.scales.subarray(row0 * tiles) },
      k,
    );
  }
  return numbersOf(of.data.subarray(row0 * k, end && end * k));
}

/** A matrix of any stored format as numbers, decoded by the reference: exact. */
export function matrixValues(t: MatrixTensor): Float64Array {
  const { n, k } = t;
  if (t.format === 'nvfp4') return dequantizeNvfp4(t, { m: n, k, globalDecodeScale: t.weightGlobalDecodeScale });
  if (t.format === 'mxfp4') return dequantizeMxfp4(t, { n, k });
  return decodeRows(t, k);
}

/** Float32 values rounded to BF16, nearest even. */
export function roundedToBf16(x: Float32Array): Float32Array {
  return decodeBf16Array(encodeBf16Array(x));
}

/**
 * What BF16 values `held` may have been before they were rounded: of the values that round to each, the nearest to `want`. One that is no BF16
 * value stays as it is: nothing rounds to it.
 */
export function nearestHeld(held: Float32Array, want: ArrayLike<number>): Float64Array {
  return Float64Array.from(held, (x, i) => {
    const bits = encodeBf16(x);
    if (!Number.isFinite(x) || decodeBf16(bits) !== x) return x;
    const least = decodeBf16(1) / 2;
    const [a, b] = x === 0 ? [-least, least] : [bits - 1, bits + 1].map((other) => (x + decodeBf16(other)) / 2);
    return Math.min(Math.max(want[i]!, Math.min(a!, b!)), Math.max(a!, b!));
  });
}
