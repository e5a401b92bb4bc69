/** How far one tensor is from another. `got` is judged, `want` is right. */
import { checkInteger, checkObject, describe, KindError, ShapeError, ValueError } from '@megamoe/core';
import { takeNumbers, takeShape } from './arguments';
import type { Numbers } from './numbers';

const f32 = new Float32Array(1);
const i32 = new Int32Array(f32.buffer);

/** What is judged and what is right, of one length. */
function takePair(
  fn: string,
  got: Numbers,
  want: Numbers,
  names: readonly [string, string] = ['got', 'want'],
): [Numbers, Numbers] {
  const own = takeNumbers(fn, names[0], got);
  return [own, takeNumbers(fn, names[1], want, [`${names[0]}.length`, own.length])];
}

/** Cosine of the angle between two vectors of one length: 1 for equal directions. Two zero vectors give 1, one zero vector gives 0. */
export function cosine(x: Numbers, y: Numbers): number {
  const [a, b] = takePair('cosine', x, y, ['a', 'b']);
  let ab = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    ab += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  return cosineOf(ab, aa, bb);
}

function cosineOf(ab: number, aa: number, bb: number): number {
  if (aa === 0 && bb === 0) return 1;
  if (aa === 0 || bb === 0) return 0;
  return ab / Math.sqrt(aa * bb); // one root, so that equal vectors give exactly 1; float32 values cannot overflow it
}

/** Normalised mean squared error: `sum((got - want)^2) / sum(want^2)`. 0 when equal; Infinity when `want` is zero and `got` is not. */
export function nmse(judged: Numbers, right: Numbers): number {
  const [got, want] = takePair('nmse', judged, right);
  let error = 0;
  let power = 0;
  for (let i = 0; i < got.length; i++) {
    const d = got[i]! - want[i]!;
    error += d * d;
    power += want[i]! * want[i]!;
  }
  return error === 0 ? 0 : error / power;
}

/** Largest absolute difference; NaN as soon as a difference is NaN. Equal infinities differ by 0. */
export function maxAbs(judged: Numbers, right: Numbers): number {
  const [got, want] = takePair('maxAbs', judged, right);
  let worst = 0;
  for (let i = 0; i < got.length; i++) {
    const d = difference(got[i]!, want[i]!);
    if (Number.isNaN(d)) return NaN;
    if (d > worst) worst = d;
  }
  return worst;
}

function difference(a: number, b: number): number {
  return a === b ? 0 : Math.abs(a - b);
}

/** Index of a float32 on the number line: neighbours differ by 1, both zeros are 0. */
function float32Index(x: number): number {
  f32[0] = x;
  const bits = i32[0]!;
  return bits < 0 ? -(bits & 0x7fffffff) : bits;
}

/**
 * How many float32 values lie between `a` and `b` (both first rounded to float32): 0 when equal (-0 equals +0), 1 for neighbours,
 * counted through zero when the signs differ. NaN when exactly one is NaN, 0 when both are.
 */
export function ulpDistance(a: number, b: number): number {
  if (typeof a !== 'number' || typeof b !== 'number')
    throw new KindError(`ulpDistance: takes two numbers, got ${describe(a)} and ${describe(b)}`);
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) && Number.isNaN(b) ? 0 : NaN;
  return Math.abs(float32Index(a) - float32Index(b));
}

/** Largest {@link ulpDistance} over all elements; NaN as soon as one is NaN. */
export function maxUlp(judged: Numbers, right: Numbers): number {
  const [got, want] = takePair('maxUlp', judged, right);
  let worst = 0;
  for (let i = 0; i < got.length; i++) {
    const d = ulpDistance(got[i]!, want[i]!);
    if (Number.isNaN(d)) return NaN;
    if (d > worst) worst = d;
  }
  return worst;
}

/** Coordinates of a flat row-major index in `shape`, outermost first. */
export function coordinatesOf(index: number, shape: readonly number[]): number[] {
  return coordinates(index, takeShape('coordinatesOf', 'shape', shape));
}

function coordinates(index: number, shape: readonly number[]): number[] {
  const volume = shape.reduce((a, b) => a * b, 1);
  checkInteger('coordinatesOf', 'index', index, 0, volume - 1);
  const at: number[] = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    at.unshift(index % shape[axis]!);
    index = Math.floor(index / shape[axis]!);
  }
  return at;
}

/** One element that differs. */
export interface Mismatch {
  readonly index: number;
  /** Coordinates in the shape given, else `[index]`. */
  readonly at: readonly number[];
  readonly got: number;
  readonly want: number;
}

/** What {@link firstMismatch} lets pass, and the shape for its coordinates. */
export interface MismatchOptions {
  /** Absolute difference that still counts as equal (default 0: `Object.is`, so -0 and +0 differ). */
  readonly tolerance?: number;
  readonly shape?: readonly number[];
}

/** The first element where `got` and `want` differ by more than `tolerance`, or undefined. A NaN equals only a NaN. */
export function firstMismatch(judged: Numbers, right: Numbers, options: MismatchOptions = {}): Mismatch | undefined {
  const fn = 'firstMismatch';
  checkObject(fn, 'options', options);
  const { tolerance = 0, shape: given } = options;
  const [got, want] = takePair(fn, judged, right);
  if (typeof tolerance !== 'number' || !(tolerance >= 0))
    throw new ValueError(`${fn}: "tolerance" must be a number of at least 0, got ${describe(tolerance)}`);
  const shape = takeFullShape(fn, given ?? [got.length], got.length);
  for (let i = 0; i < got.length; i++) {
    const g = got[i]!;
    const w = want[i]!;
    if (Object.is(g, w) || (tolerance > 0 && difference(g, w) <= tolerance)) continue;
    return { index: i, at: coordinates(i, shape), got: g, want: w };
  }
  return undefined;
}

function takeFullShape(fn: string, given: readonly number[], length: number): number[] {
  const shape = takeShape(fn, 'shape', given);
  const volume = shape.reduce((a, b) => a * b, 1);
  if (volume === length) return shape;
  throw new ShapeError(`${fn}: "shape" [${shape.join(', ')}] holds ${volume} elements, the tensors have ${length}`);
}

/** Summary of {@link compareTensors}. */
export interface Comparison {
  readonly shape: readonly number[];
  readonly cosine: number;
  readonly nmse: number;
  readonly maxAbs: number;
  readonly maxUlp: number;
  /** Elements that are the same float32 value (-0 and +0 are). */
  readonly equal: number;
  /** Elements that are NaN or infinite in one tensor and not the same in the other. */
  readonly nonFinite: number;
  /** The element with the largest absolute difference (a non-finite mismatch comes first); undefined when all are equal. */
  readonly worst: Mismatch | undefined;
}

/**
 * All metrics at once. Elements that are not finite are left out of cosine, NMSE, maxAbs and maxUlp and counted in `nonFinite`
 * unless both tensors hold the same one.
 */
export function compareTensors(judged: Numbers, right: Numbers, given?: readonly number[]): Comparison {
  const fn = 'compareTensors';
  const [got, want] = takePair(fn, judged, right);
  const shape = given === undefined ? [got.length] : takeFullShape(fn, given, got.length);
  // One pass and no copies: verification spends much of its time here.
  let [ab, aa, bb, error, power, largest, ulps] = [0, 0, 0, 0, 0, 0, 0];
  let nonFinite = 0;
  let equal = 0;
  let worstAt = -1;
  let worstBy = 0;
  for (let i = 0; i < got.length; i++) {
    const a = got[i]!;
    const b = want[i]!;
    const ulp = ulpDistance(a, b);
    if (ulp === 0) equal++;
    let d = Infinity;
    if (Number.isFinite(a) && Number.isFinite(b)) {
      d = Math.abs(a - b);
      ab += a * b;
      aa += a * a;
      bb += b * b;
      error += d * d;
      power += b * b;
      if (d > largest) largest = d;
      if (ulp > ulps) ulps = ulp;
    } else if (Object.is(a, b)) d = 0;
    else nonFinite++;
    if (d > worstBy) [worstBy, worstAt] = [d, i];
  }
  const worst =
    worstAt < 0
      ? undefined
      : { index: worstAt, at: coordinates(worstAt, shape), got: got[worstAt]!, want: want[worstAt]! };
  return {
    shape,
    cosine: cosineOf(ab, aa, bb),
    nmse: error === 0 ? 0 : error / power,
    maxAbs: largest,
    maxUlp: ulps,
    equal,
    nonFinite,
    worst,
  };
}
