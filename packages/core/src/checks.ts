import { describe } from './arrays';
import { KindError, ShapeError, ValueError } from './errors';

/** A size for people: where it comes from and what it is, or the number alone when it comes from nowhere. */
const sized = (formula: string, n: number): string => (formula === String(n) ? formula : `${formula} = ${n}`);

/** What came in place of a number: a text in quotes, or `5` would be said to be no integer. */
const notNumber = (v: unknown): string => (typeof v === 'string' ? JSON.stringify(v) : describe(v));

/** The length of an array; throws {@link KindError} for what has none. */
function lengthOf(fn: string, arg: string, v: ArrayLike<unknown>): number {
  let length: unknown;
  try {
    ({ length } = v);
  } catch {
    // null, or something that pretends
  }
  if (typeof length === 'number') return length;
  throw new KindError(`${fn}: "${arg}" must be an array, got ${describe(v)}`);
}

/** Throws {@link ShapeError} unless `v.length === want`; `formula` says where the number comes from, as in `M*K/16`. */
export function checkLength(fn: string, arg: string, v: ArrayLike<unknown>, formula: string, want: number): void {
  const length = lengthOf(fn, arg, v);
  if (length === want) return;
  throw new ShapeError(`${fn}: "${arg}" must have length ${sized(formula, want)}, got ${length}`);
}

/** Throws {@link ShapeError} unless `v.length >= want`: for buffers of fixed capacity. */
export function checkCapacity(fn: string, arg: string, v: ArrayLike<unknown>, formula: string, want: number): void {
  const length = lengthOf(fn, arg, v);
  if (length >= want) return;
  throw new ShapeError(`${fn}: "${arg}" must hold at least ${sized(formula, want)} elements, got ${length}`);
}

/** Throws {@link ShapeError} unless `v` is a positive multiple of `of`, or zero. */
export function checkMultiple(fn: string, arg: string, v: number, of: number): void {
  if (Number.isSafeInteger(v) && v >= 0 && v % of === 0) return;
  throw new ShapeError(`${fn}: "${arg}" must be a multiple of ${of}, got ${notNumber(v)}`);
}

/** Throws {@link ValueError} unless `v` is an integer in `[min, max]`. */
export function checkInteger(fn: string, arg: string, v: number, min: number, max = Number.MAX_SAFE_INTEGER): void {
  if (Number.isInteger(v) && v >= min && v <= max) return;
  const range = max === Number.MAX_SAFE_INTEGER ? `at least ${min}` : `in [${min}, ${max}]`;
  throw new ValueError(`${fn}: "${arg}" must be an integer ${range}, got ${notNumber(v)}`);
}

/** Throws {@link ValueError} unless `v` is a finite number in `[min, max]`. */
export function checkNumber(fn: string, arg: string, v: number, min = -Infinity, max = Infinity): void {
  if (typeof v === 'number' && Number.isFinite(v) && v >= min && v <= max) return;
  throw new ValueError(`${fn}: "${arg}" must be a finite number in [${min}, ${max}], got ${notNumber(v)}`);
}

/** Throws {@link ValueError} unless `v` is a finite number above zero, as every scale must be. */
export function checkPositive(fn: string, arg: string, v: number): void {
  if (typeof v === 'number' && v > 0 && v < Infinity) return;
  throw new ValueError(`${fn}: "${arg}" must be a finite number above 0, got ${notNumber(v)}`);
}

/** Throws {@link ValueError} that names the index of the first NaN or infinity in `v`. */
export function checkFinite(fn: string, arg: string, v: ArrayLike<number>): void {
  const length = lengthOf(fn, arg, v);
  for (let i = 0; i < length; i++) {
    if (!Number.isFinite(v[i]))
      throw new ValueError(`${fn}: "${arg}" must be finite, got ${describe(v[i])} at index ${i}`);
  }
}

/** Throws {@link ValueError} unless `v` is one of `choices`. */
export function checkOneOf<T extends string | number>(
  fn: string,
  arg: string,
  v: unknown,
  choices: readonly T[],
): asserts v is T {
  if ((choices as readonly unknown[]).includes(v)) return;
  throw new ValueError(`${fn}: "${arg}" must be one of ${choices.join(', ')}, got ${describe(v)}`);
}

/** Throws {@link KindError} unless `v` is a string. */
export function checkString(fn: string, arg: string, v: unknown): asserts v is string {
  if (typeof v !== 'string') throw new KindError(`${fn}: "${arg}" must be a string, got ${describe(v)}`);
}

/** Throws {@link KindError} unless `v` is a function. */
export function checkFunction(fn: string, arg: string, v: unknown): void {
  if (typeof v !== 'function') throw new KindError(`${fn}: "${arg}" must be a function, got ${describe(v)}`);
}

/** Throws {@link KindError} unless `v` is a signal that can be asked. */
export function checkSignal(fn: string, arg: string, v: unknown): asserts v is AbortSignal {
  if (!(v instanceof AbortSignal)) throw new KindError(`${fn}: "${arg}" must be an AbortSignal, got ${describe(v)}`);
}

/** `ceil(a / b)` for non-negative integers. */
export function ceilDiv(a: number, b: number): number {
  if (typeof a !== 'number' || typeof b !== 'number')
    throw new KindError(`ceilDiv: takes two numbers, got ${describe(a)} and ${describe(b)}`);
  return Math.floor((a + b - 1) / b);
}

/** The smallest multiple of `b` that is at least `a`. */
export function roundUp(a: number, b: number): number {
  if (typeof a !== 'number' || typeof b !== 'number')
    throw new KindError(`roundUp: takes two numbers, got ${describe(a)} and ${describe(b)}`);
  return ceilDiv(a, b) * b;
}
