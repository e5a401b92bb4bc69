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
import type { Engine, ExpertsShape } from './engine';
import type { ExpertsSource, LinearSource, Nvfp4Rows } from './types';
import { PackedExpertsWeight, PackedLinearWeight } from './weights';

/** Throws unless `data` is the typed array that `dtype` is held in. */
function checkDense(fn: string, arg: string, dtype: 'f32' | 'bf16', data: unknown): void {
  if (dtype === 'f32') checkKind(fn, arg, data, Float32Array);
  else checkKind(fn, arg, data, Uint16Array);
}

/** Bytes of a dense weight that are read at a time. */
const READ_BYTES = 8e6;

/** Checks and packs a dense weight; see GemmKernels.packLinear. */
export function packLinear(engine: Engine, source: LinearSource): PackedLinearWeight {
  const fn = 'packLinear';
  if (typeof source !== 'object' || source === null) throw new KindError(`${fn}: "source" must be a LinearSource`);
  const { n, k, groups = 1, dtype, data } = source;
  checkInteger(fn, 'n', n, 1);
  checkInteger(fn, 'k', k, 1);
  checkInteger(fn, 'groups', groups, 1);
  checkOneOf(fn, 'dtype', dtype, ['f32', 'bf16']);
  if (typeof data !== 'function') {
    checkDense(fn, 'data', dtype, data);
    checkLength(fn, 'data', data, 'groups*n*k', groups * n * k);
  }
  const { storage, bytes, put } = engine.createLinear({ groups, n, k, dtype });
  if (typeof data !== 'function') {
    for (let g = 0; g < groups; g++) put(g, 0, n, data.subarray(g * n * k, (g + 1) * n * k));
  } else {
    const most = Math.max(1, Math.floor(READ_BYTES / (k * (dtype === 'f32' ? 4 : 2))));
    for (let g = 0; g < groups; g++) {
      for (let row = 0; row < n; row += most) {
        const rows = Math.min(most, n - row);
        const got = data(g * n + row, rows);
        checkDense(fn, 'data(row0, rows)', dtype, got);
        checkLength(fn, 'data(row0, rows)', got, 'rows*k', rows * k);
        put(g, row, rows, got);
      }
    }
  }
  return new PackedLinearWeight(n, k, groups, dtype, bytes, engine.layout, storage);
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

/** Checks and packs expert weights; see GemmKernels.packExperts. */
export function packExperts(engine: Engine, source: ExpertsSource): PackedExpertsWeight {
  const fn = 'packExperts';
  if (typeof source !== 'object' || source === null) throw new KindError(`${fn}: "source" must be an ExpertsSource`);
  const { numExperts, n, k, parts = 1, format } = source;
  checkInteger(fn, 'numExperts', numExperts, 1);
  checkInteger(fn, 'n', n, 1);
  checkInteger(fn, 'k', k, 1);
  if (parts !== 1 && parts !== 2) throw new ValueError(`${fn}: "parts" must be one of 1, 2, got ${String(parts)}`);
  if (n % parts !== 0) throw new ShapeError(`${fn}: "n" must be a multiple of parts = ${parts}, got ${n}`);
  checkOneOf(fn, 'format', format, ['nvfp4', 'bf16', 'f32']);
  if (format === 'nvfp4') checkMultiple(fn, 'k', k, 16);
  if (typeof source.read !== 'function') throw new KindError(`${fn}: "read" must be a function`);
  const shape: ExpertsShape = { numExperts, n, k, parts, format };
  const builder = engine.createExperts(shape);
  const rows = n / parts;
  for (let e = 0; e < numExperts; e++) {
    for (let p = 0; p < parts; p++) {
      const where = `${fn}: read(${e}, ${p})`;
      const got = source.read(e, p) as Partial<Nvfp4Rows> & { data?: Float32Array | Uint16Array };
      if (typeof got !== 'object' || got === null) throw new KindError(`${where}: must return an object`);
      if (format === 'nvfp4') {
        checkNvfp4Rows(where, got, rows, k);
      } else {
        checkDense(where, 'data', format, got.data);
        checkLength(where, 'data', got.data!, 'n/parts*k', rows * k);
      }
      builder.put(e, p, got as Nvfp4Rows);
    }
  }
  return new PackedExpertsWeight(shape, builder.bytes, engine.layout, builder.storage);
}
