import {
  ceilDiv,
  checkInteger,
  checkKind,
  checkLength,
  checkMultiple,
  checkOneOf,
  describe,
  KindError,
  plainView,
  ShapeError,
  ValueError,
} from '@megamoe/core';
import type { DenseRows, ExpertsSource, Fp8Rows, Nvfp4Rows, WeightFormat, WeightRows } from '@megamoe/ops';
import { badScale, findBadScale, findNaNCode } from './checks';
import type { Engine, ExpertsShape, WeightBuilder } from './engine';

/** Formats that weights can be packed in. */
export const FORMATS: readonly WeightFormat[] = ['nvfp4', 'fp8', 'bf16', 'f32'];

/** Most matrices of a weight: experts of a projection, groups of a linear. */
export const MAX_MATRICES = 65536;

/** Most elements of a weight: more memory than any machine has, and sizes that every backend can still count. */
const MAX_ELEMENTS = 2 ** 42;

/** Throws unless a weight may have so many elements. */
export function checkElements(fn: string, formula: string, size: number): void {
  if (size > MAX_ELEMENTS)
    throw new ShapeError(`${fn}: a weight must have at most 2^42 elements, ${formula} is ${size}`);
}

/** Room for a weight; throws ShapeError where no memory can hold it. */
export function makeRoom(
  fn: string,
  engine: Engine,
  format: WeightFormat,
  matrices: number,
  n: number,
  k: number,
): WeightBuilder {
  try {
    return engine.createWeight(format, matrices, n, k);
  } catch (cause) {
    throw new ShapeError(`${fn}: no memory for ${matrices} matrices [${n}, ${k}] in ${format}`, { cause });
  }
}

/** Throws unless the shape is one that experts can have. */
export function checkExpertsShape(fn: string, shape: ExpertsShape): ExpertsShape {
  const { numExperts, n, k, parts, format } = shape;
  checkInteger(fn, 'numExperts', numExperts, 1, MAX_MATRICES);
  checkInteger(fn, 'n', n, 1);
  checkInteger(fn, 'k', k, 1);
  checkElements(fn, 'numExperts*n*k', numExperts * n * k);
  if (parts !== 1 && parts !== 2) throw new ValueError(`${fn}: "parts" must be one of 1, 2, got ${describe(parts)}`);
  if (n % parts !== 0) throw new ShapeError(`${fn}: "n" must be a multiple of parts = ${parts}, got ${n}`);
  checkOneOf(fn, 'format', format, FORMATS);
  if (format === 'nvfp4') checkMultiple(fn, 'k', k, 16);
  return shape;
}

/** Throws unless the typed array of `got` fits its format. */
function checkDenseRows(
  where: string,
  format: 'f32' | 'bf16',
  got: Partial<DenseRows>,
  formula: string,
  size: number,
): void {
  if (format === 'f32') checkKind(where, 'data', got.data, Float32Array);
  else checkKind(where, 'data', got.data, Uint16Array);
  checkLength(where, 'data', got.data!, `${formula}*k`, size);
}

/** Throws unless `got` has the codes and block scales of `rows` rows of k. */
function checkNvfp4Rows(where: string, got: Partial<Nvfp4Rows>, formula: string, rows: number, k: number): void {
  checkKind(where, 'codes', got.codes, Uint8Array);
  checkKind(where, 'sf', got.sf, Uint8Array);
  checkLength(where, 'codes', got.codes, `${formula}*k/2`, (rows * k) / 2);
  checkLength(where, 'sf', got.sf, `${formula}*k/16`, (rows * k) / 16);
  const bad = findBadScale(got.sf, got.sf.length);
  if (bad >= 0) throw badScale(where, 'sf', got.sf[bad]!, bad);
}

/** Throws unless `got` has the codes and tile scales of `rows` rows of k. */
function checkFp8Rows(where: string, got: Partial<Fp8Rows>, formula: string, rows: number, k: number): void {
  checkKind(where, 'codes', got.codes, Uint8Array);
  checkKind(where, 'scales', got.scales, Float32Array);
  checkLength(where, 'codes', got.codes, `${formula}*k`, rows * k);
  checkLength(where, 'scales', got.scales, `${formula}*ceil(k/128)`, rows * ceilDiv(k, 128));
  const nan = findNaNCode(got.codes);
  if (nan >= 0)
    throw new ValueError(`${where}: "codes" must not hold NaN, got 0x${got.codes[nan]!.toString(16)} at index ${nan}`);
  const bad = plainView(got.scales, Float32Array).findIndex((s) => !(s >= 0 && s < Infinity));
  if (bad >= 0)
    throw new ValueError(
      `${where}: "scales" must be finite numbers of at least 0, got ${got.scales[bad]} at index ${bad}`,
    );
}

/** Takes `rows` rows of k in this format out of `got`, or throws; `formula` says where the number of rows comes from. */
export function checkRows(
  where: string,
  format: WeightFormat,
  got: unknown,
  formula: string,
  rows: number,
  k: number,
): WeightRows {
  if (typeof got !== 'object' || got === null) throw new KindError(`${where}: must return an object`);
  // Each array is taken once: what is checked is what is packed.
  if (format === 'nvfp4') {
    const { codes, sf } = got as Nvfp4Rows;
    checkNvfp4Rows(where, { codes, sf }, formula, rows, k);
    return { codes: plainView(codes, Uint8Array), sf: plainView(sf, Uint8Array) };
  }
  if (format === 'fp8') {
    const { codes, scales } = got as Fp8Rows;
    checkFp8Rows(where, { codes, scales }, formula, rows, k);
    return { codes: plainView(codes, Uint8Array), scales: plainView(scales, Float32Array) };
  }
  const { data } = got as DenseRows;
  checkDenseRows(where, format, { data }, formula, rows * k);
  return {
    data:
      format === 'f32' ? plainView(data as Float32Array, Float32Array) : plainView(data as Uint16Array, Uint16Array),
  };
}

/** Reads one part of one expert and checks what came. */
export function readPart(
  fn: string,
  { n, k, parts, format }: ExpertsShape,
  read: ExpertsSource['read'],
  expert: number,
  part: number,
): WeightRows {
  const got: unknown = read(expert, part);
  return checkRows(`${fn}: read(${expert}, ${part})`, format, got, 'n/parts', n / parts, k);
}
