import { describe, KindError } from '@megamoe/core';
import { compareTensors, coordinatesOf, ulpDistance } from '@megamoe/reference';
import type { Judged, WorstElement } from './types';

const ROUNDING = 2 ** -24;

/** How far an output is from right. */
export interface Measured {
  /** In what the bound counts; Infinity for NaN, or infinity where a number belongs. */
  readonly error: number;
  readonly worst: WorstElement | null;
}

/** Measures an output by the metric of its bound. */
export function measure(judged: Judged): Measured {
  return judged.bound.metric === 'nmse' ? byNmse(judged) : byElement(judged);
}

function byNmse({ got, want, shape }: Judged): Measured {
  const { nonFinite, nmse, worst } = compareTensors(got, want, shape);
  return {
    error: nonFinite > 0 ? Infinity : nmse,
    worst: worst ? { index: worst.at, got: worst.got, want: worst.want } : null,
  };
}

function byElement({ got, want, shape, bound, scale }: Judged): Measured {
  let error = 0;
  let differing = 0;
  let at = -1;
  for (let i = 0; i < want.length; i++) {
    const [g, w] = [got[i]!, want[i]!];
    if (g === w || Object.is(g, w)) continue; // NaN is right where it follows from the inputs
    let e = 1;
    if (bound.metric === 'ulp') e = ulpDistance(g, w);
    else if (bound.metric === 'roundings') e = Math.abs(g - w) / (scale!(i) * ROUNDING);
    if (Number.isNaN(e)) e = Infinity;
    if (e > 0) differing++;
    if (e > error || (e > 0 && at < 0)) [error, at] = [e, i];
  }
  const worst = at < 0 ? null : { index: coordinatesOf(at, shape), got: got[at]!, want: want[at]! };
  return { error: bound.metric === 'mismatches' ? differing : error, worst };
}

/** Part of a bound that an error uses: 1 is the most; any error against a bound of 0 is infinite. */
export function shareOf(error: number, bound: number): number {
  if (typeof error !== 'number' || typeof bound !== 'number')
    throw new KindError(`shareOf: takes two numbers, got ${describe(error)} and ${describe(bound)}`);
  return error === 0 ? 0 : error / bound;
}

/** Distance of float32 results from exact ones, in ulp of the result. */
export function ulpFromExact(got: ArrayLike<number>, exact: ArrayLike<number>): number {
  let worst = 0;
  for (let i = 0; i < got.length; i++) {
    const magnitude = Math.max(Math.abs(exact[i]!), 2 ** -126);
    const ulp = 2 ** (Math.floor(Math.log2(magnitude)) - 23);
    worst = Math.max(worst, Math.abs(got[i]! - exact[i]!) / ulp);
  }
  return worst;
}

/** Euclidean length of `n` elements from `from` on. */
export function lengthOf(x: ArrayLike<number>, from: number, n: number): number {
  let sum = 0;
  for (let i = from; i < from + n; i++) sum += x[i]! * x[i]!;
  return Math.sqrt(sum);
}

/** Largest magnitude; 0 of nothing. */
export function largest(x: ArrayLike<number>): number {
  let max = 0;
  for (let i = 0; i < x.length; i++) max = Math.max(max, Math.abs(x[i]!));
  return max;
}
