/** Weights as a caller gives them, for backends that pack them: every field is read once, so that what is checked is what is packed. */
import {
  ceilDiv,
  checkFunction,
  checkInteger,
  checkKind,
  checkLength,
  checkMultiple,
  checkObject,
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
  ExpertPool,
  ExpertsSource,
  Fp8Rows,
  LinearSource,
  Nvfp4LinearSource,
  Nvfp4Rows,
  WeightFormat,
  WeightRows,
} from './weights';

const FORMATS: readonly WeightFormat[] = ['nvfp4', 'fp8', 'bf16', 'f32'];

/** Most matrices of a weight: experts of a projection, groups of a linear. */
const MAX_MATRICES = 65536;

/** Most elements of a weight: more memory than any machine has, and sizes that every backend can still count. */
const MAX_ELEMENTS = 2 ** 42;

/** Smallest global scale for which `blockScale * globalDecodeScale` is a normal float32 for every block scale. */
export const MIN_GLOBAL_DECODE_SCALE = 2 ** -117;

/** Bytes of a dense weight that are read at a time. */
const READ_BYTES = 8e6;

/** Bytes of an element, without scales. */
const ELEMENT_BYTES: Readonly<Record<WeightFormat, number>> = { f32: 4, bf16: 2, fp8: 1, nvfp4: 0.5 };

/** Shape of expert weights. */
export interface ExpertsShape {
  readonly numExperts: number;
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly format: WeightFormat;
}

/** Scales of an nvfp4 linear. */
export interface LinearScales {
  readonly parts: 1 | 2;
  /** Weight scales, [groups*parts]: alpha with float32 and BF16 inputs. */
  readonly alpha: Float32Array;
  /** Times the input scale, when it is a number: alpha of W4A4. */
  readonly alphaW4a4: Float32Array;
  readonly input: number | 'row' | null;
}

/** Index of the first byte of `sf[0, n)` that is no block scale (NaN or negative), or -1. */
export function findBadScale(sf: Uint8Array, n: number): number {
  const end = Math.min(n, sf.length);
  for (let i = 0; i < end; i++) if (sf[i]! >= 0x7f) return i;
  return -1;
}

/** The error for {@link findBadScale}. */
export function badScale(fn: string, arg: string, byte: number, index: number): ValueError {
  const hex = byte.toString(16).padStart(2, '0');
  return new ValueError(
    `${fn}: "${arg}" must hold E4M3 scales that are numbers of at least 0, got 0x${hex} at index ${index}`,
  );
}

/** Index of the first E4M3 code that is NaN, or -1. */
function findNaNCode(codes: Uint8Array): number {
  for (let i = 0; i < codes.length; i++) if ((codes[i]! & 0x7f) === 0x7f) return i;
  return -1;
}

function nameOf(fn: string, name: unknown = ''): string {
  if (typeof name === 'string') return name;
  throw new KindError(`${fn}: "name" must be a string, got ${typeof name}`);
}

function checkElements(fn: string, formula: string, size: number): void {
  if (size > MAX_ELEMENTS)
    throw new ShapeError(`${fn}: a weight must have at most 2^42 elements, ${formula} is ${size}`);
}

function checkParts(fn: string, n: number, parts: unknown): asserts parts is 1 | 2 {
  if (parts !== 1 && parts !== 2) throw new ValueError(`${fn}: "parts" must be one of 1, 2, got ${describe(parts)}`);
  if (n % parts !== 0) throw new ShapeError(`${fn}: "n" must be a multiple of parts = ${parts}, got ${n}`);
}

/** Throws unless the shape is one that experts can have. Returns it. */
export function checkExpertsShape(fn: string, shape: ExpertsShape): ExpertsShape {
  checkObject(fn, 'shape', shape);
  const { numExperts, n, k, parts, format } = shape;
  checkInteger(fn, 'numExperts', numExperts, 1, MAX_MATRICES);
  checkInteger(fn, 'n', n, 1);
  checkInteger(fn, 'k', k, 1);
  checkElements(fn, 'numExperts*n*k', numExperts * n * k);
  checkParts(fn, n, parts);
  checkOneOf(fn, 'format', format, FORMATS);
  if (format === 'nvfp4') checkMultiple(fn, 'k', k, 16);
  return { numExperts, n, k, parts, format };
}

/** Throws unless so many weights [n, k] of a format can be: the arguments of Backend.packedBytes. */
export function checkMatrices(fn: string, format: WeightFormat, matrices: number, n: number, k: number): void {
  checkInteger(fn, 'matrices', matrices, 1);
  checkExpertsShape(fn, { numExperts: 1, n, k, parts: 1, format });
  checkElements(fn, 'matrices*n*k', matrices * n * k);
}

/** Throws unless `got` has the codes and block scales of `rows` rows of k. */
function nvfp4Rows(where: string, { codes, sf }: Nvfp4Rows, formula: string, rows: number, k: number): Nvfp4Rows {
  checkKind(where, 'codes', codes, Uint8Array);
  checkKind(where, 'sf', sf, Uint8Array);
  checkLength(where, 'codes', codes, `${formula}*k/2`, (rows * k) / 2);
  checkLength(where, 'sf', sf, `${formula}*k/16`, (rows * k) / 16);
  const own = { codes: plainView(codes, Uint8Array), sf: plainView(sf, Uint8Array) };
  const bad = findBadScale(own.sf, own.sf.length);
  if (bad >= 0) throw badScale(where, 'sf', own.sf[bad]!, bad);
  return own;
}

/** Throws unless `got` has the codes and tile scales of `rows` rows of k. */
function fp8Rows(where: string, { codes, scales }: Fp8Rows, formula: string, rows: number, k: number): Fp8Rows {
  checkKind(where, 'codes', codes, Uint8Array);
  checkKind(where, 'scales', scales, Float32Array);
  checkLength(where, 'codes', codes, `${formula}*k`, rows * k);
  checkLength(where, 'scales', scales, `${formula}*ceil(k/128)`, rows * ceilDiv(k, 128));
  const own = { codes: plainView(codes, Uint8Array), scales: plainView(scales, Float32Array) };
  const nan = findNaNCode(own.codes);
  if (nan >= 0)
    throw new ValueError(`${where}: "codes" must not hold NaN, got 0x${own.codes[nan]!.toString(16)} at index ${nan}`);
  const bad = own.scales.findIndex((s) => !(s >= 0 && s < Infinity));
  if (bad >= 0)
    throw new ValueError(
      `${where}: "scales" must be finite numbers of at least 0, got ${own.scales[bad]} at index ${bad}`,
    );
  return own;
}

/** Takes `rows` rows of k in a format out of `got`, or throws; `formula` says where the number of rows comes from. */
function takeRows(
  where: string,
  format: WeightFormat,
  got: unknown,
  formula: string,
  rows: number,
  k: number,
): WeightRows {
  if (typeof got !== 'object' || got === null) throw new KindError(`${where}: must return an object`);
  if (format === 'nvfp4') return nvfp4Rows(where, got as Nvfp4Rows, formula, rows, k);
  if (format === 'fp8') return fp8Rows(where, got as Fp8Rows, formula, rows, k);
  const { data } = got as DenseRows;
  if (format === 'f32') checkKind(where, 'data', data, Float32Array);
  else checkKind(where, 'data', data, Uint16Array);
  checkLength(where, 'data', data, `${formula}*k`, rows * k);
  return {
    data:
      format === 'f32' ? plainView(data as Float32Array, Float32Array) : plainView(data as Uint16Array, Uint16Array),
  };
}

/** Checks the scales of an nvfp4 linear and forms its alphas. */
function linearScales(fn: string, n: number, groups: number, source: Nvfp4LinearSource): LinearScales {
  const { parts = 1, weightGlobalDecodeScale, inputGlobalDecodeScale: input = null } = source;
  checkParts(fn, n, parts);
  checkKind(fn, 'weightGlobalDecodeScale', weightGlobalDecodeScale, Float32Array);
  checkLength(fn, 'weightGlobalDecodeScale', weightGlobalDecodeScale, 'parts', parts);
  const weight = plainView(weightGlobalDecodeScale, Float32Array);
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
  return { parts, alpha, alphaW4a4, input: typeof input === 'number' ? Math.fround(input) : input };
}

/** A dense weight that may be packed. */
export interface TakenLinear {
  readonly name: string;
  readonly n: number;
  readonly k: number;
  readonly groups: number;
  readonly dtype: WeightFormat;
  /** Set for nvfp4. */
  readonly scales: LinearScales | null;
  /** All rows, where they came at once; else they are to be asked for, at most `most` of them at a time and never across groups. */
  readonly whole: WeightRows | null;
  readonly most: number;
  /** Rows `[row0, row0 + rows)` of groups*n. @throws what the source throws, and as {@link takeLinear} for rows that do not fit */
  readonly read: (row0: number, rows: number) => WeightRows;
}

/**
 * The source of a linear, checked.
 * @throws KindError, ShapeError, ValueError naming the field
 */
export function takeLinear(fn: string, given: LinearSource): TakenLinear {
  if (typeof given !== 'object' || given === null) throw new KindError(`${fn}: "source" must be a LinearSource`);
  const { name: label, n, k, groups = 1, dtype, data } = given;
  const { parts, weightGlobalDecodeScale, inputGlobalDecodeScale } = given as Nvfp4LinearSource;
  const name = nameOf(fn, label);
  checkInteger(fn, 'n', n, 1);
  checkInteger(fn, 'k', k, 1);
  checkInteger(fn, 'groups', groups, 1, MAX_MATRICES);
  checkElements(fn, 'groups*n*k', groups * n * k);
  checkOneOf(fn, 'dtype', dtype, FORMATS);
  if (dtype === 'nvfp4') checkMultiple(fn, 'k', k, 16);
  const own = { parts, weightGlobalDecodeScale, inputGlobalDecodeScale } as Nvfp4LinearSource;
  const scales = dtype === 'nvfp4' ? linearScales(fn, n, groups, own) : null;
  // f32 and bf16 come as bare arrays.
  const rowsOf = (got: unknown): unknown => (dtype === 'f32' || dtype === 'bf16' ? { data: got } : got);
  const whole = typeof data === 'function' ? null : takeRows(fn, dtype, rowsOf(data), 'groups*n', groups * n, k);
  return {
    ...{ name, n, k, groups, dtype, scales, whole },
    most: Math.max(1, Math.floor(READ_BYTES / (k * ELEMENT_BYTES[dtype]))),
    read(row0, rows) {
      if (whole !== null || typeof data !== 'function') return cutRows(whole!, row0, rows, groups * n);
      return takeRows(`${fn}: data(${row0}, ${rows})`, dtype, rowsOf(data(row0, rows)), 'rows', rows, k);
    },
  };
}

/** Rows `[row0, row0 + rows)` of `all`; views. */
function cutRows(source: WeightRows, row0: number, rows: number, all: number): WeightRows {
  const cut = <T extends Uint8Array | Uint16Array | Float32Array>(v: T): T =>
    v.subarray((row0 * v.length) / all, ((row0 + rows) * v.length) / all) as T;
  if ('sf' in source) return { codes: cut(source.codes), sf: cut(source.sf) };
  if ('scales' in source) return { codes: cut(source.codes), scales: cut(source.scales) };
  return { data: cut(source.data) };
}

/** Expert weights that may be packed. */
export interface TakenExperts {
  readonly name: string;
  readonly shape: ExpertsShape;
  readonly pool: ExpertPool | undefined;
  /** Rows of one part of one expert. @throws what the source throws, and as {@link takeExperts} for rows that do not fit */
  readonly read: (expert: number, part: number) => WeightRows;
}

/** The source of expert weights, checked. @throws KindError, ShapeError, ValueError naming the field */
export function takeExperts(fn: string, source: ExpertsSource): TakenExperts {
  if (typeof source !== 'object' || source === null) throw new KindError(`${fn}: "source" must be an ExpertsSource`);
  const { name, numExperts, n, k, parts = 1, format, pool, read } = source;
  const own = nameOf(fn, name);
  const shape = checkExpertsShape(fn, { numExperts, n, k, parts, format });
  checkFunction(fn, 'read', read);
  return {
    name: own,
    shape,
    pool,
    read(expert, part) {
      const got: unknown = read.call(source, expert, part);
      return takeRows(`${fn}: read(${expert}, ${part})`, format, got, 'n/parts', n / parts, k);
    },
  };
}
