import { ShapeError } from '@megamoe/core';
import { takeExperts, takeLinear, type ExpertsSource, type LinearSource, type WeightFormat } from '@megamoe/ops';
import type { Engine, WeightBuilder } from './engine';
import { slotPool } from './pool';
import { PackedExpertsWeight, PackedLinearWeight } from './weights';

/** Room for a weight; throws ShapeError where no memory can hold it. */
function makeRoom(
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

/** Checks and packs a dense weight; see GemmKernels.packLinear. */
export function packLinear(engine: Engine, given: LinearSource): PackedLinearWeight {
  const fn = 'packLinear';
  const source = takeLinear(fn, given);
  const { name, n, k, groups, dtype, scales, whole } = source;
  const builder = makeRoom(fn, engine, dtype, groups, n, k);
  const most = whole === null ? source.most : n;
  for (let g = 0; g < groups; g++) {
    for (let row = 0; row < n; row += most) {
      const rows = Math.min(most, n - row);
      builder.put(g, row, rows, source.read(g * n + row, rows));
    }
  }
  const shape = { groups, n, k, parts: scales?.parts ?? 1 };
  return new PackedLinearWeight(engine, builder, { name, dtype, shape, nvfp4: scales });
}

/** Checks and packs expert weights; see GemmKernels.packExperts. */
export function packExperts(engine: Engine, given: ExpertsSource): PackedExpertsWeight {
  const fn = 'packExperts';
  const { name, shape, pool, read } = takeExperts(fn, given);
  if (pool !== undefined)
    return new PackedExpertsWeight(engine, name, shape, null, slotPool(fn, pool, shape, engine), read);
  const { numExperts, n, k, parts, format } = shape;
  const builder = makeRoom(fn, engine, format, numExperts, n, k);
  const rows = n / parts;
  for (let e = 0; e < numExperts; e++) for (let p = 0; p < parts; p++) builder.put(e, p * rows, rows, read(e, p));
  return new PackedExpertsWeight(engine, name, shape, builder);
}
