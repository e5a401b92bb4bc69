import {
  checkInteger,
  checkKind,
  checkLength,
  checkMultiple,
  checkObject,
  checkOneOf,
  checkPositive,
  decodeBf16Array,
  E2M1_MAX,
  E4M3_MAX,
  E4M3_VALUES,
  newArray,
  plainView,
  type TypedArrayClass,
  ValueError,
} from '@megamoe/core';
import { dequantizeMxfp4, dequantizeNvfp4, globalDecodeScale } from '@megamoe/nvfp4-quant';

/** A matrix as BF16 bits, row-major. */
export interface Bf16Tensor {
  readonly format: 'bf16';
  readonly n: number;
  readonly k: number;
  /** [N, K] BF16 bits. */
  readonly data: Uint16Array;
}

/** A matrix as float32, row-major. F16 comes as this too: it fits exactly. */
export interface F32Tensor {
  readonly format: 'f32';
  readonly n: number;
  readonly k: number;
  /** [N, K]. */
  readonly data: Float32Array;
}

/** A matrix in FP8 with a scale for every tile of 128 x 128: `w[r, c] = e4m3(codes[r, c]) * scales[r, c / 128]`. */
export interface Fp8Tensor {
  readonly format: 'fp8';
  readonly n: number;
  readonly k: number;
  /** [N, K] E4M3; none is NaN. */
  readonly codes: Uint8Array;
  /**
   * [N, ceil(K/128)] float32, finite, at least 0. Each row has its own copy of its tile's scales, so that rows can be cut and stacked
   * wherever tiles begin; E8M0 scales are powers of two.
   */
  readonly scales: Float32Array;
}

/** A matrix in MXFP4: `w = e2m1(code) * 2^(e8m0 - 127)`. */
export interface Mxfp4Tensor {
  readonly format: 'mxfp4';
  readonly n: number;
  readonly k: number;
  /** [N, K/2] two E2M1 codes a byte, even column in the low nibble. */
  readonly codes: Uint8Array;
  /** [N, K/32] E8M0; none is NaN (255). 0 is 2^-127. */
  readonly e8m0: Uint8Array;
}

/** A matrix in NVFP4, ModelOpt's or compressed-tensors': `w = e2m1(code) * e4m3(sf) * weightGlobalDecodeScale`. */
export interface Nvfp4Tensor {
  readonly format: 'nvfp4';
  readonly n: number;
  readonly k: number;
  /** [N, K/2] two E2M1 codes a byte, even column in the low nibble. */
  readonly codes: Uint8Array;
  /** [N, K/16] E4M3 block scales, linear (not swizzled); none is NaN, negative or -0. 0 makes its block zeros. */
  readonly sf: Uint8Array;
  /** `weight_scale_2`, or one over `weight_global_scale`; finite and above 0. */
  readonly weightGlobalDecodeScale: number;
  /** `input_scale`, or one over `input_global_scale`; absent for experts that no calibration token reached. */
  readonly inputGlobalDecodeScale?: number;
}

/** A matrix as it is stored. */
export type MatrixTensor = Bf16Tensor | F32Tensor | Fp8Tensor | Mxfp4Tensor | Nvfp4Tensor;

/** A dense matrix. */
export type LinearTensor = MatrixTensor;

/** A routed expert's matrix. */
export type ExpertTensor = MatrixTensor;

/** How an expert's matrix comes, and the global scales of one in NVFP4: an {@link ExpertTensor} without its data. */
export interface ExpertScales {
  readonly format: ExpertTensor['format'];
  readonly n: number;
  readonly k: number;
  readonly weightGlobalDecodeScale?: number;
  readonly inputGlobalDecodeScale?: number;
}

/** Tile of FP8 scales, in both directions. */
export const FP8_TILE = 128;

/** The formats of {@link MatrixTensor}. */
const FORMATS = ['bf16', 'f32', 'fp8', 'mxfp4', 'nvfp4'] as const;

/** Throws unless it is a number whose float32 is finite and above 0. */
function checkScale(fn: string, arg: string, v: number): void {
  checkPositive(fn, arg, typeof v === 'number' ? Math.fround(v) : v);
}

/** A matrix whose fields are read once and checked; its arrays are views of the same memory with methods of their own class. */
export function takeMatrix(fn: string, tensor: MatrixTensor): MatrixTensor {
  checkObject(fn, 'tensor', tensor);
  const { format, n, k } = tensor;
  checkOneOf(fn, 'tensor.format', format, FORMATS);
  checkInteger(fn, 'tensor.n', n, 0);
  checkInteger(fn, 'tensor.k', k, 0);
  const take = <T extends { readonly length: number }>(
    arg: string,
    v: T,
    kind: TypedArrayClass<T>,
    [formula, width]: readonly [string, number],
  ): T => {
    checkKind(fn, `tensor.${arg}`, v, kind);
    const own = plainView(v, kind);
    checkLength(fn, `tensor.${arg}`, own, formula, n * width);
    return own;
  };
  switch (format) {
    case 'bf16':
      return { format, n, k, data: take('data', (tensor as Bf16Tensor).data, Uint16Array, ['N*K', k]) };
    case 'f32':
      return { format, n, k, data: take('data', (tensor as F32Tensor).data, Float32Array, ['N*K', k]) };
    case 'fp8': {
      const { codes, scales } = tensor as Fp8Tensor;
      const tiles = ['N*ceil(K/128)', Math.ceil(k / FP8_TILE)] as const;
      return {
        ...{ format, n, k },
        ...{ codes: take('codes', codes, Uint8Array, ['N*K', k]), scales: take('scales', scales, Float32Array, tiles) },
      };
    }
    case 'mxfp4': {
      checkMultiple(fn, 'tensor.k', k, 32);
      const { codes, e8m0 } = tensor as Mxfp4Tensor;
      return {
        ...{ format, n, k },
        ...{ codes: take('codes', codes, Uint8Array, ['N*K/2', k / 2]) },
        ...{ e8m0: take('e8m0', e8m0, Uint8Array, ['N*K/32', k / 32]) },
      };
    }
    case 'nvfp4': {
      checkMultiple(fn, 'tensor.k', k, 16);
      const { codes, sf, weightGlobalDecodeScale, inputGlobalDecodeScale } = tensor as Nvfp4Tensor;
      checkScale(fn, 'tensor.weightGlobalDecodeScale', weightGlobalDecodeScale);
      if (inputGlobalDecodeScale !== undefined) checkScale(fn, 'tensor.inputGlobalDecodeScale', inputGlobalDecodeScale);
      return {
        ...{ format, n, k, weightGlobalDecodeScale },
        ...{ codes: take('codes', codes, Uint8Array, ['N*K/2', k / 2]) },
        ...{ sf: take('sf', sf, Uint8Array, ['N*K/16', k / 16]) },
        ...(inputGlobalDecodeScale === undefined ? {} : { inputGlobalDecodeScale }),
      };
    }
  }
}

/** `out[r, c] = e4m3(codes[r, c]) * scales[r, c / 128]`, rounded once. */
function dequantizeFp8({ n, k, codes, scales }: Fp8Tensor): Float32Array {
  const out = newArray('matrixToFloat32', 'result', Float32Array, 'N*K', n * k);
  const tiles = Math.ceil(k / FP8_TILE);
  for (let r = 0; r < n; r++) {
    for (let t = 0; t < tiles; t++) {
      const scale = scales[r * tiles + t]!;
      const end = r * k + Math.min(k, (t + 1) * FP8_TILE);
      for (let i = r * k + t * FP8_TILE; i < end; i++) out[i] = E4M3_VALUES[codes[i]!]! * scale;
    }
  }
  return out;
}

const LARGEST_F32 = (2 - 2 ** -23) * 2 ** 127;

/** Throws where a finite code times a finite scale is more than float32 holds; looks only when a scale is that large. */
function checkOverflow(out: Float32Array, k: number, format: string, large: boolean): Float32Array {
  const at = large ? out.findIndex((v) => Math.abs(v) === Infinity) : -1;
  if (at < 0) return out;
  throw new ValueError(
    `matrixToFloat32: the ${format} value at row ${Math.floor(at / k)}, column ${at % k} is above the largest float32: its scale is damaged`,
  );
}

/**
 * The values of a matrix, [N, K] float32. Exact for BF16, MXFP4 and FP8 with powers of two as scales; else each value is rounded once (FP8) or
 * twice (NVFP4: the block scale times the global scale, then the product). F32 comes back as a view of the same memory.
 * @throws ValueError for NaN among block scales, and for a value that a quantized format holds and float32 does not
 */
export function matrixToFloat32(matrix: MatrixTensor): Float32Array {
  const tensor = takeMatrix('matrixToFloat32', matrix);
  switch (tensor.format) {
    case 'f32':
      return tensor.data;
    case 'bf16':
      return decodeBf16Array(tensor.data);
    case 'fp8':
      return checkOverflow(
        dequantizeFp8(tensor),
        tensor.k,
        'FP8',
        tensor.scales.some((s) => Math.abs(s) > LARGEST_F32 / E4M3_MAX),
      );
    case 'mxfp4':
      return checkOverflow(
        dequantizeMxfp4(tensor.codes, tensor.e8m0, { m: tensor.n, k: tensor.k }),
        tensor.k,
        'MXFP4',
        tensor.e8m0.some((byte) => byte > 252), // 6 * 2^(253 - 127) is 1.5 * 2^128
      );
    case 'nvfp4':
      return checkOverflow(
        dequantizeNvfp4(tensor.codes, tensor.sf, {
          m: tensor.n,
          k: tensor.k,
          globalDecodeScale: globalDecodeScale(tensor.weightGlobalDecodeScale),
        }),
        tensor.k,
        'NVFP4',
        tensor.weightGlobalDecodeScale > LARGEST_F32 / (E4M3_MAX * E2M1_MAX),
      );
  }
}

/** Rows `[row0, row0 + rows)` of a matrix that is whole in memory; views, no copies. */
export function matrixRows(matrix: MatrixTensor, row0: number, rows: number): MatrixTensor {
  const fn = 'matrixRows';
  const t = takeMatrix(fn, matrix);
  checkInteger(fn, 'row0', row0, 0, t.n);
  checkInteger(fn, 'rows', rows, 0, t.n - row0);
  const cut = <T extends Uint8Array | Uint16Array | Float32Array>(data: T, width: number): T =>
    data.subarray(row0 * width, (row0 + rows) * width) as T;
  switch (t.format) {
    case 'bf16':
      return { ...t, n: rows, data: cut(t.data, t.k) };
    case 'f32':
      return { ...t, n: rows, data: cut(t.data, t.k) };
    case 'fp8':
      return { ...t, n: rows, codes: cut(t.codes, t.k), scales: cut(t.scales, Math.ceil(t.k / FP8_TILE)) };
    case 'mxfp4':
      return { ...t, n: rows, codes: cut(t.codes, t.k / 2), e8m0: cut(t.e8m0, t.k / 32) };
    case 'nvfp4':
      return { ...t, n: rows, codes: cut(t.codes, t.k / 2), sf: cut(t.sf, t.k / 16) };
  }
}

/** Bytes of one row of a matrix of this format with its scales, as a checkpoint stores them (an FP8 tile's scale is as good as nothing). */
export function matrixRowBytes(matrix: MatrixTensor): number {
  const fn = 'matrixRowBytes';
  checkObject(fn, 'matrix', matrix);
  const { format, k } = matrix;
  checkOneOf(fn, 'matrix.format', format, FORMATS);
  checkInteger(fn, 'matrix.k', k, 0);
  const bits = { bf16: 16, f32: 32, fp8: 8, mxfp4: 4 + 8 / 32, nvfp4: 4 + 8 / 16 }[format];
  return (k * bits) / 8;
}
