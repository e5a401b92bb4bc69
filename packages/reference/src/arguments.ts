/** How functions take their arguments: everything is read once, so that what is checked is what is used. */
import {
  checkInteger,
  checkKind,
  checkLength,
  checkObject,
  checkPositive,
  describe,
  KindError,
  newArray,
  plainView,
  type TypedArrayClass,
} from '@megamoe/core';
import type { Numbers } from './numbers';

const MAX_SIZE = 2 ** 31 - 1;

/** A length that an array must have, and the formula that it comes from. */
export type Want = readonly [formula: string, length: number];

/**
 * An array of numbers whose elements can be read at leisure: of a typed array a plain view, of everything else a copy.
 * @throws KindError for what is no array of numbers, ShapeError for another length than `want`
 */
export function takeNumbers(fn: string, arg: string, v: Numbers, want?: Want): Numbers {
  const kind = ArrayBuffer.isView(v) ? describe(v) : 'DataView';
  if (kind !== 'DataView' && !kind.startsWith('Big')) {
    const Class = (globalThis as unknown as Record<string, TypedArrayClass<Float64Array>>)[kind]!;
    checkKind(fn, arg, v, Class);
    const own = plainView(v, Class);
    if (want) checkLength(fn, arg, own, ...want);
    return own;
  }
  const length: unknown = typeof v === 'object' && v !== null && !ArrayBuffer.isView(v) ? lengthOf(v) : undefined;
  if (!Number.isSafeInteger(length) || (length as number) < 0)
    throw new KindError(`${fn}: "${arg}" must be an array of numbers, got ${describe(v)}`);
  const n = length as number;
  if (want) checkLength(fn, arg, { length: n }, ...want);
  const last = n > 0 ? elementOf(fn, arg, v, n - 1) : 0; // before memory is asked for: there may be fewer than it says
  const own = newArray(fn, arg, Float64Array, 'length', n);
  for (let i = 0; i < n - 1; i++) own[i] = elementOf(fn, arg, v, i);
  if (n > 0) own[n - 1] = last;
  return own;
}

/** An element, read without running anybody's code where `v` is no array: other arrays have been taken by then. */
function elementOf(fn: string, arg: string, v: Numbers, i: number): number {
  const x: unknown = Array.isArray(v) ? v[i] : Object.getOwnPropertyDescriptor(v, i)?.value;
  checkElement(fn, arg, x, i);
  return x;
}

function checkElement(fn: string, arg: string, x: unknown, i: number): asserts x is number {
  if (typeof x !== 'number')
    throw new KindError(`${fn}: "${arg}" must be an array of numbers, got ${describe(x)} at index ${i}`);
}

function lengthOf(v: Numbers): unknown {
  try {
    return v.length;
  } catch {
    return undefined; // something that pretends
  }
}

/** {@link takeNumbers}, or null for what is left out. */
export function takeOptional(fn: string, arg: string, v: Numbers | null | undefined, want?: Want): Numbers | null {
  return v === null || v === undefined ? null : takeNumbers(fn, arg, v, want);
}

/** A plain view of bytes. */
export function takeBytes(fn: string, arg: string, v: Uint8Array, want?: Want): Uint8Array {
  checkKind(fn, arg, v, Uint8Array);
  const own = plainView(v, Uint8Array);
  if (want) checkLength(fn, arg, own, ...want);
  return own;
}

/** Fields of an object that are sizes: integers in [0, 2^31). */
export function takeSizes<const K extends string>(
  fn: string,
  arg: string,
  shape: Readonly<Record<K, number>>,
  ...names: readonly K[]
): Record<K, number> {
  checkObject(fn, arg, shape);
  const own: Partial<Record<K, number>> = {};
  for (const name of names) {
    const n = shape[name];
    checkInteger(fn, name, n, 0, MAX_SIZE);
    own[name] = n;
  }
  return own as Record<K, number>;
}

/** Throws unless it is a number whose float32 is finite and above 0. */
export function checkScale(fn: string, arg: string, v: number): void {
  checkPositive(fn, arg, typeof v === 'number' ? Math.fround(v) : v);
}

/** {@link takeSizes} of sizes that are at least 1: an array cannot tell how many rows of nothing there are. */
export function takePositiveSizes<const K extends string>(
  fn: string,
  arg: string,
  shape: Readonly<Record<K, number>>,
  ...names: readonly K[]
): Record<K, number> {
  const own = takeSizes(fn, arg, shape, ...names);
  for (const name of names) checkInteger(fn, name, own[name], 1);
  return own;
}

/** A copy of a shape. */
export function takeShape(fn: string, arg: string, shape: readonly number[]): number[] {
  const own = Array.from(takeNumbers(fn, arg, shape));
  own.forEach((n, i) => checkInteger(fn, `${arg}[${i}]`, n, 0));
  return own;
}

/** Zeros for a result of `formula` = `length` numbers. @throws ShapeError where no memory can hold them */
export const result = (fn: string, formula: string, length: number): Float64Array =>
  newArray(fn, 'result', Float64Array, formula, length);
