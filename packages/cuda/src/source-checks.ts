import {
  ceilDiv,
  checkInteger,
  checkKind,
  checkLength,
  checkMultiple,
  checkOneOf,
  checkPositive,
  describe,
  KindError,
  plainView,
  ShapeError,
  ValueError,
} from '@megamoe/core';
import type {
  DenseRows,
  Fp8Rows,
  HostArray,
  LinearSource,
  Nvfp4LinearSource,
  Nvfp4Rows,
  WeightFormat,
} from '@megamoe/ops';
import type { ExpertsShape } from './weights';

/** Formats that weights can be packed in. */
export const FORMATS: readonly WeightFormat[] = ['nvfp4', 'fp8', 'bf16', 'f32'];

/** Most matrices of a weight: experts of a projection, groups of a linear. */
export const MAX_MATRICES = 65536;

/** Most elements of a weight: more memory than any GPU has. */
const MAX_ELEMENTS = 2 ** 42;

/** Smallest global scale for which `blockScale * globalDecodeScale` is a normal float32 for every block scale. */
const MIN_GLOBAL_DECODE_SCALE = 2 ** -117;

/** Rows of a weight as they are copied to the device: elements, and the scales beside them. */
export interface RowArrays {
  readonly data: HostArray;
  readonly scales: HostArray | null;
}

/** The name of a source; empty without one. */
export function nameOf(fn: string, { name = '' }: { readonly name?: unknown }): string {
  if (typeof name === 'string') return name;
  throw new KindError(`${fn}: "name" must be a string, got ${typeof name}`);
}

/** Throws unless a weight may have so many elements. */
export function checkElements(fn: string, formula: string, size: number): void {
  if (size > MAX_ELEMENTS)
    throw new ShapeError(`${fn}: a weight must have at most 2^42 elements, ${formula} is ${size}`);
}

/** Throws unless the shape is one that experts can have. */
export function checkExpertsShape(fn: string, { numExperts, n, k, parts, format }: ExpertsShape): void {
  checkInteger(fn, 'numExperts', numExperts, 1, MAX_MATRICES);
  checkInteger(fn, 'n', n, 1);
  checkInteger(fn, 'k', k, 1);
  checkElements(fn, 'numExperts*n*k', numExperts * n * k);
  if (parts !== 1 && parts !== 2) throw new ValueError(`${fn}: "parts" must be one of 1, 2, got ${describe(parts)}`);
  if (n % parts !== 0) throw new ShapeError(`${fn}: "n" must be a multiple of parts = ${parts}, got ${n}`);
  checkOneOf(fn, 'format', format, FORMATS);
  if (format === 'nvfp4') checkMultiple(fn, 'k', k, 16);
}

/** The fields of a source of a linear, each read once: what is checked is what is used. */
export function takeLinearSource(source: LinearSource): LinearSource {
  const { name, n, k, groups, dtype, data } = source;
  const { parts, weightGlobalDecodeScale, inputGlobalDecodeScale } = source as Nvfp4LinearSource;
  return { name, n, k, groups, dtype, data, parts, weightGlobalDecodeScale, inputGlobalDecodeScale } as LinearSource;
}

/** Scales of an nvfp4 linear as numbers. */
export interface LinearAlphas {
  readonly parts: 1 | 2;
  readonly input: number | 'row' | null;
  readonly alpha: Float32Array;
  readonly alphaW4a4: Float32Array;
}

/** Checks the scales of an nvfp4 linear and forms its alphas [groups*parts]. */
export function linearAlphas(fn: string, source: Nvfp4LinearSource, groups: number): LinearAlphas {
  const { n, parts = 1, weightGlobalDecodeScale: given, inputGlobalDecodeScale: input = null } = source;
  if (parts !== 1 && parts !== 2) throw new ValueError(`${fn}: "parts" must be one of 1, 2, got ${describe(parts)}`);
  if (n % parts !== 0) throw new ShapeError(`${fn}: "n" must be a multiple of parts = ${parts}, got ${n}`);
  checkKind(fn, 'weightGlobalDecodeScale', given, Float32Array);
  checkLength(fn, 'weightGlobalDecodeScale', given, 'parts', parts);
  const weight = plainView(given, Float32Array);
  weight.forEach((scale, i) => checkPositive(fn, `weightGlobalDecodeScale[${i}]`, scale));
  if (
    input !== null &&
    input !== 'row' &&
    !(typeof input === 'number' && input >= MIN_GLOBAL_DECODE_SCALE && input < Infinity)
  )
    throw new ValueError(
      `${fn}: "inputGlobalDecodeScale" must be "row" or a finite number of at least 2^-117, got ${describe(input)}`,
    );
  const alpha = new Float32Array(groups * parts).map((_, i) => weight[i % parts]!);
  const alphaW4a4 = typeof input === 'number' ? alpha.map((scale) => scale * Math.fround(input)) : alpha;
  const bad = alphaW4a4.find((a) => !Number.isFinite(a));
  if (bad !== undefined) throw new ValueError(`${fn}: weight scale times input scale must be finite, got ${bad}`);
  return { parts, input: typeof input === 'number' ? Math.fround(input) : input, alpha, alphaW4a4 };
}

function nvfp4Rows(where: string, got: Nvfp4Rows, formula: string, rows: number, k: number): RowArrays {
  const { codes, sf } = got;
  checkKind(where, 'codes', codes, Uint8Array);
  checkKind(where, 'sf', sf, Uint8Array);
  checkLength(where, 'codes', codes, `${formula}*k/2`, (rows * k) / 2);
  checkLength(where, 'sf', sf, `${formula}*k/16`, (rows * k) / 16);
  const scales = plainView(sf, Uint8Array);
  const bad = scales.findIndex((byte) => byte >= 0x7f);
  if (bad >= 0) {
    const hex = scales[bad]!.toString(16).padStart(2, '0');
    throw new ValueError(
      `${where}: "sf" must hold E4M3 scales that are numbers of at least 0, got 0x${hex} at index ${bad}`,
    );
  }
  return { data: plainView(codes, Uint8Array), scales };
}

function fp8Rows(where: string, got: Fp8Rows, formula: string, rows: number, k: number): RowArrays {
  const { codes, scales } = got;
  checkKind(where, 'codes', codes, Uint8Array);
  checkKind(where, 'scales', scales, Float32Array);
  checkLength(where, 'codes', codes, `${formula}*k`, rows * k);
  checkLength(where, 'scales', scales, `${formula}*ceil(k/128)`, rows * ceilDiv(k, 128));
  const own = { data: plainView(codes, Uint8Array), scales: plainView(scales, Float32Array) };
  const nan = own.data.findIndex((code) => (code & 0x7f) === 0x7f);
  if (nan >= 0)
    throw new ValueError(`${where}: "codes" must not hold NaN, got 0x${own.data[nan]!.toString(16)} at index ${nan}`);
  const bad = own.scales.findIndex((s) => !(s >= 0 && s < Infinity));
  if (bad >= 0)
    throw new ValueError(
      `${where}: "scales" must be finite numbers of at least 0, got ${own.scales[bad]} at index ${bad}`,
    );
  return own;
}

/** Takes `rows` rows of k in a format out of `got`, or throws; `formula` says where the number of rows comes from. */
export function takeRows(
  where: string,
  format: WeightFormat,
  got: unknown,
  formula: string,
  rows: number,
  k: number,
): RowArrays {
  if (typeof got !== 'object' || got === null) throw new KindError(`${where}: must return an object`);
  if (format === 'nvfp4') return nvfp4Rows(where, got as Nvfp4Rows, formula, rows, k);
  if (format === 'fp8') return fp8Rows(where, got as Fp8Rows, formula, rows, k);
  const { data } = got as DenseRows;
  if (format === 'f32') checkKind(where, 'data', data, Float32Array);
  else checkKind(where, 'data', data, Uint16Array);
  checkLength(where, 'data', data, `${formula}*k`, rows * k);
  const own =
    format === 'f32' ? plainView(data as Float32Array, Float32Array) : plainView(data as Uint16Array, Uint16Array);
  return { data: own, scales: null };
}
