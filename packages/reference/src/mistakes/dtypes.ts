/** The dtypes of float outputs: their steps, and rounding to them. */
import { decodeBf16, encodeBf16 } from '@megamoe/core';

/** Element types of a float output. */
export type FloatDtype = 'F32' | 'BF16' | 'F16';

/** A step relative to a power of two, and the smallest number. */
export const DTYPES: Readonly<Record<FloatDtype, { step: number; smallest: number }>> = {
  F32: { step: 2 ** -23, smallest: 2 ** -149 },
  BF16: { step: 2 ** -7, smallest: 2 ** -133 },
  F16: { step: 2 ** -10, smallest: 2 ** -24 },
};

function roundF16(x: number): number {
  const a = Math.abs(x);
  if (!(a < 65520)) return Number.isNaN(x) ? NaN : Math.sign(x) * Infinity;
  const step = 2 ** (Math.max(Math.floor(Math.log2(a)), -14) - 10);
  const q = a / step;
  const floor = Math.floor(q);
  const rest = q - floor;
  return Math.sign(x) * (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor) * step;
}

/** `x` rounded to `dtype`, nearest, ties to even; overflow becomes infinity. */
export function roundTo(dtype: FloatDtype, x: number): number {
  return dtype === 'F32' ? Math.fround(x) : dtype === 'BF16' ? decodeBf16(encodeBf16(x)) : roundF16(x);
}

/** Distance of the numbers of `dtype` around `x`. */
export function stepOf(dtype: FloatDtype, x: number): number {
  const { step, smallest } = DTYPES[dtype];
  const a = Math.abs(x);
  return a > 0 && a < Infinity ? Math.max(smallest, 2 ** Math.floor(Math.log2(a)) * step) : smallest;
}

/** The narrowest dtype that every element of `data` is a number of, when it is narrower than float32. */
export function narrowest(data: Float32Array): FloatDtype | undefined {
  return (['BF16', 'F16'] as const).find((dtype) => data.every((x) => Number.isNaN(x) || roundTo(dtype, x) === x));
}
