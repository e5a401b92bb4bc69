import {
  checkInteger,
  checkKind,
  checkLength,
  checkMultiple,
  checkOneOf,
  KindError,
  ShapeError,
  ValueError,
} from '@megamoe/core';
import { badScale, findBadScale } from './checks';
import type { ExpertsShape } from './engine';
import type { DenseRows, ExpertsSource, Nvfp4Rows } from './types';

/** Throws unless the shape is one that experts can have. */
export function checkExpertsShape(fn: string, shape: ExpertsShape): ExpertsShape {
  const { numExperts, n, k, parts, format } = shape;
  checkInteger(fn, 'numExperts', numExperts, 1);
  checkInteger(fn, 'n', n, 1);
  checkInteger(fn, 'k', k, 1);
  if (parts !== 1 && parts !== 2) throw new ValueError(`${fn}: "parts" must be one of 1, 2, got ${String(parts)}`);
  if (n % parts !== 0) throw new ShapeError(`${fn}: "n" must be a multiple of parts = ${parts}, got ${n}`);
  checkOneOf(fn, 'format', format, ['nvfp4', 'bf16', 'f32']);
  if (format === 'nvfp4') checkMultiple(fn, 'k', k, 16);
  return shape;
}

/** Throws unless `data` is the typed array that `dtype` is held in. */
export function checkDense(fn: string, arg: string, dtype: 'f32' | 'bf16', data: unknown): void {
  if (dtype === 'f32') checkKind(fn, arg, data, Float32Array);
  else checkKind(fn, arg, data, Uint16Array);
}

/** Throws unless `got` has the codes and block scales of `rows` rows of k. */
function checkNvfp4Rows(where: string, got: Partial<Nvfp4Rows>, rows: number, k: number): void {
  checkKind(where, 'codes', got.codes, Uint8Array);
  checkKind(where, 'sf', got.sf, Uint8Array);
  checkLength(where, 'codes', got.codes, 'n/parts*k/2', (rows * k) / 2);
  checkLength(where, 'sf', got.sf, 'n/parts*k/16', (rows * k) / 16);
  const bad = findBadScale(got.sf, got.sf.length);
  if (bad >= 0) throw badScale(where, 'sf', got.sf[bad]!, bad);
}

/** Reads one part of one expert and checks what came. */
export function readPart(
  fn: string,
  { n, k, parts, format }: ExpertsShape,
  read: ExpertsSource['read'],
  expert: number,
  part: number,
): Nvfp4Rows | DenseRows {
  const where = `${fn}: read(${expert}, ${part})`;
  const got = read(expert, part) as Partial<Nvfp4Rows> & { data?: Float32Array | Uint16Array };
  if (typeof got !== 'object' || got === null) throw new KindError(`${where}: must return an object`);
  const rows = n / parts;
  if (format === 'nvfp4') {
    checkNvfp4Rows(where, got, rows, k);
  } else {
    checkDense(where, 'data', format, got.data);
    checkLength(where, 'data', got.data!, 'n/parts*k', rows * k);
  }
  return got as Nvfp4Rows | DenseRows;
}
