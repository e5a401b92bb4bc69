/**
 * Writers of the quantized formats that checkpoints come in (docs/formats.md A1.5, A3), by their definitions: scales first, then for every value the
 * nearest code, found by search. NVFP4 in ModelOpt's convention is in nvfp4.ts. They make test checkpoints; nothing here is fast.
 */
import {
  ceilDiv,
  checkFinite,
  checkMultiple,
  checkObject,
  checkOneOf,
  checkPositive,
  E2M1_VALUES,
  E4M3_VALUES,
  E8M0_VALUES,
} from '@megamoe/core';
import { result, takeBytes, takeNumbers, takeSizes } from './arguments';
import { nearest } from './grid';
import type { Nvfp4Matrix } from './nvfp4';
import type { Numbers } from './numbers';

const TILE = 128;
const E2M1_GRID = E2M1_VALUES.subarray(0, 8);
const E4M3_GRID = E4M3_VALUES.subarray(0, 0x7f);

/** Shape of a matrix [n, k]. */
export interface MatrixShape {
  readonly n: number;
  readonly k: number;
}

/** The sizes of a matrix whose rows are whole blocks. */
function takeMatrixShape(fn: string, shape: MatrixShape, block: number): MatrixShape {
  const { n, k } = takeSizes(fn, 'shape', shape, 'n', 'k');
  checkMultiple(fn, 'k', k, block);
  return { n, k };
}

/** The finite values of a matrix. */
function takeValues(fn: string, values: Numbers, { n, k }: MatrixShape): Numbers {
  const x = takeNumbers(fn, 'x', values, ['N*K', n * k]);
  checkFinite(fn, 'x', x);
  return x;
}

/** A matrix in FP8: one scale for each tile of 128 x 128. */
export interface Fp8Matrix {
  /** [N, K] E4M3. */
  readonly codes: Uint8Array;
  /** [ceil(N/128), ceil(K/128)] float32. */
  readonly scales: Float32Array;
  /** The same as E8M0 bytes, when they are powers of two. */
  readonly e8m0: Uint8Array | undefined;
}

/** The smallest power of two that is at least `x`, as an E8M0 byte in [0, 254]. */
function e8m0AtLeast(x: number): number {
  let byte = 0;
  while (byte < 254 && E8M0_VALUES[byte]! < x) byte++;
  return byte;
}

/** Nearest E4M3 byte, ties to even, saturating. */
const e4m3Code = (x: number): number => nearest(E4M3_GRID, Math.abs(x)) | (x < 0 ? 0x80 : 0);

/** Nearest E2M1 code, ties to even, saturating. */
const e2m1Code = (x: number): number => nearest(E2M1_GRID, Math.abs(x)) | (x < 0 ? 8 : 0);

/** Sets the code of element `i` in a packed array; the even one lies in the low nibble. */
function putCode(codes: Uint8Array, i: number, code: number): void {
  codes[i >> 1]! |= i % 2 === 0 ? code : code << 4;
}

/**
 * Quantizes `x` [N, K] to FP8 with a scale for every tile of 128 x 128: `amax / 448`, as float32 (`f32`), or rounded up to a power of two with
 * `amax` at least 1e-4 (`e8m0`, DeepSeek's rule); the code is the nearest E4M3 of `x / scale`.
 */
export function quantizeFp8(values: Numbers, shape: MatrixShape, kind: 'e8m0' | 'f32'): Fp8Matrix {
  const fn = 'quantizeFp8';
  const { n, k } = takeMatrixShape(fn, shape, 1);
  checkOneOf(fn, 'kind', kind, ['e8m0', 'f32']);
  const x = takeValues(fn, values, { n, k });
  const [rows, columns] = [ceilDiv(n, TILE), ceilDiv(k, TILE)];
  const amax = new Float64Array(rows * columns);
  const tileOf = (i: number): number => Math.floor(Math.floor(i / k) / TILE) * columns + Math.floor((i % k) / TILE);
  for (let i = 0; i < n * k; i++) amax[tileOf(i)] = Math.max(amax[tileOf(i)]!, Math.abs(x[i]!));
  const e8m0 = kind === 'e8m0' ? Uint8Array.from(amax, (a) => e8m0AtLeast(Math.max(a, 1e-4) / 448)) : undefined;
  const scales = e8m0
    ? Float32Array.from(e8m0, (byte) => E8M0_VALUES[byte]!)
    : Float32Array.from(amax, (a) => (a === 0 ? 1 : a / 448));
  const codes = Uint8Array.from({ length: n * k }, (_, i) => e4m3Code(x[i]! / scales[tileOf(i)]!));
  return { codes, scales, e8m0 };
}

/** `e4m3 * scale` [N, K], exact in float64. */
export function dequantizeFp8(matrix: Omit<Fp8Matrix, 'e8m0'>, shape: MatrixShape): Float64Array {
  const fn = 'dequantizeFp8';
  checkObject(fn, 'matrix', matrix);
  const { codes: bytes, scales: factors } = matrix;
  const { n, k } = takeMatrixShape(fn, shape, 1);
  const codes = takeBytes(fn, 'codes', bytes, ['N*K', n * k]);
  const tiles = ceilDiv(n, TILE) * ceilDiv(k, TILE);
  const scales = takeNumbers(fn, 'scales', factors, ['ceil(N/128)*ceil(K/128)', tiles]);
  return Float64Array.from(codes, (code, i) => {
    const tile = Math.floor(Math.floor(i / k) / TILE) * ceilDiv(k, TILE) + Math.floor((i % k) / TILE);
    return E4M3_VALUES[code]! * scales[tile]!;
  });
}

/** A matrix in MXFP4. */
export interface Mxfp4Matrix {
  /** [N, K/2] two E2M1 codes a byte, even column in the low nibble. */
  readonly codes: Uint8Array;
  /** [N, K/32] E8M0. */
  readonly e8m0: Uint8Array;
}

/** Quantizes `x` [N, K] to MXFP4: the scale is `amax / 6` rounded up to a power of two (DeepSeek's rule), the code the nearest E2M1 of `x / scale`. */
export function quantizeMxfp4(values: Numbers, shape: MatrixShape): Mxfp4Matrix {
  const fn = 'quantizeMxfp4';
  const { n, k } = takeMatrixShape(fn, shape, 32);
  const x = takeValues(fn, values, { n, k });
  const codes = new Uint8Array((n * k) / 2);
  const e8m0 = Uint8Array.from({ length: (n * k) / 32 }, (_, block) => {
    let amax = 0;
    for (let i = 32 * block; i < 32 * block + 32; i++) amax = Math.max(amax, Math.abs(x[i]!));
    const byte = e8m0AtLeast(Math.max(amax / 6, 2 ** -126));
    for (let i = 32 * block; i < 32 * block + 32; i++) putCode(codes, i, e2m1Code(x[i]! / E8M0_VALUES[byte]!));
    return byte;
  });
  return { codes, e8m0 };
}

/** `e2m1 * 2^(e8m0 - 127)` [N, K], exact. */
export function dequantizeMxfp4(matrix: Mxfp4Matrix, shape: MatrixShape): Float64Array {
  const fn = 'dequantizeMxfp4';
  checkObject(fn, 'matrix', matrix);
  const { codes: bytes, e8m0: scales } = matrix;
  const { n, k } = takeMatrixShape(fn, shape, 32);
  const codes = takeBytes(fn, 'codes', bytes, ['N*K/2', (n * k) / 2]);
  const e8m0 = takeBytes(fn, 'e8m0', scales, ['N*K/32', (n * k) / 32]);
  return result(fn, 'N*K', n * k).map((_, i) => {
    const byte = codes[i >> 1]!;
    return E2M1_VALUES[i % 2 === 0 ? byte & 15 : byte >> 4]! * E8M0_VALUES[e8m0[i >> 5]!]!;
  });
}

/** A matrix in NVFP4 as compressed-tensors writes it; the global scale divides. */
export interface CompressedTensorsMatrix extends Nvfp4Matrix {
  /** `weight_global_scale`. */
  readonly globalEncodeScale: number;
}

/**
 * Quantizes `x` [N, K] by compressed-tensors' rule: `G = 2688 / amax`; block scale = nearest E4M3 of `G * amax_block / 6`, 0.125 where that is 0; code =
 * nearest E2M1 of `x / (scale / G)`; float32 at each step.
 */
export function quantizeCompressedTensors(values: Numbers, shape: MatrixShape): CompressedTensorsMatrix {
  const fn = 'quantizeCompressedTensors';
  const { n, k } = takeMatrixShape(fn, shape, 16);
  const x = takeValues(fn, values, { n, k });
  const f = Math.fround;
  const amaxOf = (from: number, to: number): number => {
    let amax = 0;
    for (let i = from; i < to; i++) amax = Math.max(amax, Math.abs(f(x[i]!)));
    return amax;
  };
  const g = f(2688 / amaxOf(0, n * k));
  const globalEncodeScale = Number.isFinite(g) ? g : 1;
  const codes = new Uint8Array((n * k) / 2);
  const sf = Uint8Array.from({ length: (n * k) / 16 }, (_, block) => {
    const amax = amaxOf(16 * block, 16 * block + 16);
    const scale = e4m3Code(f(globalEncodeScale * f(amax / 6))) || 0x20;
    const step = f(E4M3_VALUES[scale]! / globalEncodeScale);
    for (let i = 16 * block; i < 16 * block + 16; i++) putCode(codes, i, e2m1Code(f(f(x[i]!) / step)));
    return scale;
  });
  return { codes, sf, globalEncodeScale };
}

/** `e2m1 * e4m3 / globalEncodeScale` [N, K], rounded once, to float64. */
export function dequantizeCompressedTensors(matrix: CompressedTensorsMatrix, shape: MatrixShape): Float64Array {
  const fn = 'dequantizeCompressedTensors';
  checkObject(fn, 'matrix', matrix);
  const { codes: bytes, sf: scales, globalEncodeScale } = matrix;
  const { n, k } = takeMatrixShape(fn, shape, 16);
  checkPositive(fn, 'globalEncodeScale', globalEncodeScale);
  const codes = takeBytes(fn, 'codes', bytes, ['N*K/2', (n * k) / 2]);
  const sf = takeBytes(fn, 'sf', scales, ['N*K/16', (n * k) / 16]);
  return result(fn, 'N*K', n * k).map((_, i) => {
    const byte = codes[i >> 1]!;
    return (E2M1_VALUES[i % 2 === 0 ? byte & 15 : byte >> 4]! * E4M3_VALUES[sf[i >> 4]!]!) / globalEncodeScale;
  });
}
