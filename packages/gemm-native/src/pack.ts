import { checkInteger, checkLength, checkOneOf, KindError } from '@megamoe/core';
import { checkDense, checkExpertsShape, readPart } from './expert-parts';
import { slotPool } from './pool';
import type { Engine } from './engine';
import type { ExpertsSource, LinearSource } from './types';
import { PackedExpertsWeight, PackedLinearWeight } from './weights';

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
  return new PackedLinearWeight(n, k, groups, dtype, bytes, engine, storage);
}

/** Checks and packs expert weights; see GemmKernels.packExperts. */
export function packExperts(engine: Engine, source: ExpertsSource): PackedExpertsWeight {
  const fn = 'packExperts';
  if (typeof source !== 'object' || source === null) throw new KindError(`${fn}: "source" must be an ExpertsSource`);
  const { numExperts, n, k, parts = 1, format, pool } = source;
  const shape = checkExpertsShape(fn, { numExperts, n, k, parts, format });
  if (typeof source.read !== 'function') throw new KindError(`${fn}: "read" must be a function`);
  const read: ExpertsSource['read'] = (expert, part) => source.read(expert, part);
  if (pool !== undefined) return new PackedExpertsWeight(shape, engine, null, slotPool(fn, pool, shape, engine), read);
  const builder = engine.createExperts(shape);
  for (let e = 0; e < numExperts; e++)
    for (let p = 0; p < parts; p++) builder.put(e, p, readPart(fn, shape, read, e, p));
  return new PackedExpertsWeight(shape, engine, builder);
}
