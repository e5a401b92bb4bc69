import {
  checkFunction,
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
import type { ExpertsSource, LinearSource, Nvfp4LinearSource, WeightFormat, WeightRows } from '@megamoe/ops';
import { MIN_GLOBAL_DECODE_SCALE } from './checks';
import type { Engine, Nvfp4LinearScales } from './engine';
import { checkElements, checkExpertsShape, checkRows, FORMATS, makeRoom, MAX_MATRICES, readPart } from './expert-parts';
import { slotPool } from './pool';
import { PackedExpertsWeight, PackedLinearWeight } from './weights';

/** Bytes of a dense weight that are read at a time. */
const READ_BYTES = 8e6;

/** Bytes of an element, without scales. */
const ELEMENT_BYTES: Readonly<Record<WeightFormat, number>> = { f32: 4, bf16: 2, fp8: 1, nvfp4: 0.5 };

/** The name of a source; empty without one. */
function nameOf(fn: string, { name = '' }: { readonly name?: unknown }): string {
  if (typeof name === 'string') return name;
  throw new KindError(`${fn}: "name" must be a string, got ${typeof name}`);
}

/** The fields of a source, each read once: what is checked is what is used. */
function fieldsOf(source: LinearSource): LinearSource {
  const { name, n, k, groups, dtype, data } = source;
  const { parts, weightGlobalDecodeScale, inputGlobalDecodeScale } = source as Nvfp4LinearSource;
  const own = { name, n, k, groups, dtype, data, parts, weightGlobalDecodeScale, inputGlobalDecodeScale };
  return own as LinearSource;
}

/** Checks the scales of an nvfp4 linear and forms its alphas. */
function nvfp4Scales(fn: string, source: Nvfp4LinearSource, groups: number): Nvfp4LinearScales {
  const { n, parts = 1, weightGlobalDecodeScale: weight, inputGlobalDecodeScale: input = null } = source;
  if (parts !== 1 && parts !== 2) throw new ValueError(`${fn}: "parts" must be one of 1, 2, got ${describe(parts)}`);
  if (n % parts !== 0) throw new ShapeError(`${fn}: "n" must be a multiple of parts = ${parts}, got ${n}`);
  checkKind(fn, 'weightGlobalDecodeScale', weight, Float32Array);
  checkLength(fn, 'weightGlobalDecodeScale', weight, 'parts', parts);
  plainView(weight, Float32Array).forEach((scale, i) => checkPositive(fn, `weightGlobalDecodeScale[${i}]`, scale));
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
  const bad = alphaW4a4.findIndex((a) => !Number.isFinite(a));
  if (bad >= 0) throw new ValueError(`${fn}: weight scale times input scale must be finite, got ${alphaW4a4[bad]}`);
  return { parts, alpha, alphaW4a4, input: typeof input === 'number' ? Math.fround(input) : input };
}

/** Checks and packs a dense weight; see GemmKernels.packLinear. */
export function packLinear(engine: Engine, given: LinearSource): PackedLinearWeight {
  const fn = 'packLinear';
  if (typeof given !== 'object' || given === null) throw new KindError(`${fn}: "source" must be a LinearSource`);
  const source = fieldsOf(given);
  const name = nameOf(fn, source);
  const { n, k, groups = 1, dtype, data } = source;
  checkInteger(fn, 'n', n, 1);
  checkInteger(fn, 'k', k, 1);
  checkInteger(fn, 'groups', groups, 1, MAX_MATRICES);
  checkElements(fn, 'groups*n*k', groups * n * k);
  checkOneOf(fn, 'dtype', dtype, FORMATS);
  if (dtype === 'nvfp4') checkMultiple(fn, 'k', k, 16);
  const scales = source.dtype === 'nvfp4' ? nvfp4Scales(fn, source, groups) : null;
  // f32 and bf16 come as bare arrays.
  const rowsOf = (got: unknown): unknown => (dtype === 'f32' || dtype === 'bf16' ? { data: got } : got);
  const whole = typeof data === 'function' ? null : checkRows(fn, dtype, rowsOf(data), 'groups*n', groups * n, k);
  const builder = makeRoom(fn, engine, dtype, groups, n, k);
  const most = typeof data === 'function' ? Math.max(1, Math.floor(READ_BYTES / (k * ELEMENT_BYTES[dtype]))) : n;
  for (let g = 0; g < groups; g++) {
    for (let row = 0; row < n; row += most) {
      const rows = Math.min(most, n - row);
      if (typeof data === 'function') {
        const got = rowsOf(data(g * n + row, rows));
        builder.put(g, row, rows, checkRows(`${fn}: data(${g * n + row}, ${rows})`, dtype, got, 'rows', rows, k));
      } else {
        builder.put(g, row, rows, cutRows(whole!, g * n + row, rows, groups * n));
      }
    }
  }
  const shape = { groups, n, k, parts: scales?.parts ?? 1 };
  return new PackedLinearWeight(engine, builder, { name, dtype, shape, nvfp4: scales });
}

/** Rows `[row0, row0 + rows)` of `all`; views. */
function cutRows(source: WeightRows, row0: number, rows: number, all: number): WeightRows {
  const cut = <T extends Uint8Array | Uint16Array | Float32Array>(v: T): T =>
    v.subarray((row0 * v.length) / all, ((row0 + rows) * v.length) / all) as T;
  if ('sf' in source) return { codes: cut(source.codes), sf: cut(source.sf) };
  if ('scales' in source) return { codes: cut(source.codes), scales: cut(source.scales) };
  return { data: cut(source.data) };
}

/** Checks and packs expert weights; see GemmKernels.packExperts. */
export function packExperts(engine: Engine, source: ExpertsSource): PackedExpertsWeight {
  const fn = 'packExperts';
  if (typeof source !== 'object' || source === null) throw new KindError(`${fn}: "source" must be an ExpertsSource`);
  const { name: given, numExperts, n, k, parts = 1, format, pool, read: reader } = source;
  const name = nameOf(fn, { name: given });
  const shape = checkExpertsShape(fn, { numExperts, n, k, parts, format });
  checkFunction(fn, 'read', reader);
  const read: ExpertsSource['read'] = (expert, part) => reader.call(source, expert, part);
  if (pool !== undefined)
    return new PackedExpertsWeight(engine, name, shape, null, slotPool(fn, pool, shape, engine), read);
  const builder = makeRoom(fn, engine, format, numExperts, n, k);
  const rows = n / parts;
  for (let e = 0; e < numExperts; e++)
    for (let p = 0; p < parts; p++) builder.put(e, p * rows, rows, readPart(fn, shape, read, e, p));
  return new PackedExpertsWeight(engine, name, shape, builder);
}
