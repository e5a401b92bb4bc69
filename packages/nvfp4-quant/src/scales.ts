import {
  checkInteger,
  checkKind,
  checkPositive,
  describe,
  E2M1_MAX,
  E4M3_MAX,
  ShapeError,
  ValueError,
} from '@megamoe/core';

declare const direction: unique symbol;

/**
 * A float32 that multiplies after decoding: `x = e2m1 * (e4m3 * globalDecodeScale)`. About `amax / 2688`, so usually far
 * below 1. ModelOpt stores it as `weight_scale_2` and `input_scale`. Make one with {@link globalDecodeScale}, {@link
 * globalDecodeScaleFromAmax} or {@link toGlobalDecodeScale}.
 */
export type GlobalDecodeScale = number & { readonly [direction]: 'decode' };

/**
 * A float32 that multiplies before rounding, the inverse of {@link GlobalDecodeScale}: about `2688 / amax`, so usually far
 * above 1. compressed-tensors stores it as `weight_global_scale` and `input_global_scale`, FlashInfer calls it `global_sf`.
 * Make one with {@link globalEncodeScale}, {@link compressedTensorsGlobalScale} or {@link toGlobalEncodeScale}.
 */
export type GlobalEncodeScale = number & { readonly [direction]: 'encode' };

/** Largest magnitude that one global scale of 1 can hold: E2M1's 6 times E4M3's 448. */
export const NVFP4_RANGE = E2M1_MAX * E4M3_MAX;

/**
 * Smallest global decode scale that inputs can be staged with: below it a block scale times the global one is no normal float32. An `input_scale`
 * below it belongs to an expert that no calibration token reached (2688 times it is 1.6e-32).
 */
export const MIN_INPUT_SCALE = 2 ** -117;

/** The smallest positive float32, a subnormal. */
const FLOAT32_TINY = 2 ** -149;

/** The float32 nearest to `v`; throws {@link ValueError} unless that is positive and finite. */
function positiveFloat32(fn: string, v: number): number {
  checkPositive(fn, 'value', v);
  const rounded = Math.fround(v);
  checkPositive(fn, 'value', rounded);
  return rounded;
}

/**
 * Says that `value` (a ModelOpt `weight_scale_2` or `input_scale`, rounded to float32) is a decode scale. Throws `ValueError`
 * unless it is positive and finite.
 */
export function globalDecodeScale(value: number): GlobalDecodeScale {
  return positiveFloat32('globalDecodeScale', value) as GlobalDecodeScale;
}

/**
 * Says that `value` (a compressed-tensors `weight_global_scale`, rounded to float32) is an encode scale. Throws `ValueError`
 * unless it is positive and finite.
 */
export function globalEncodeScale(value: number): GlobalEncodeScale {
  return positiveFloat32('globalEncodeScale', value) as GlobalEncodeScale;
}

/**
 * `1 / scale`, one float32 division: how checkpoint converters turn a divisor into a multiplier. The round trip may differ in
 * the last bit, so keep the number that the checkpoint stores and derive the other once. Throws `ValueError` when the inverse
 * is no positive finite float32.
 */
export function toGlobalDecodeScale(scale: GlobalEncodeScale): GlobalDecodeScale {
  checkPositive('toGlobalDecodeScale', 'scale', scale);
  return positiveFloat32('toGlobalDecodeScale', 1 / Math.fround(scale)) as GlobalDecodeScale;
}

/** `1 / scale`, one float32 division; see {@link toGlobalDecodeScale}. */
export function toGlobalEncodeScale(scale: GlobalDecodeScale): GlobalEncodeScale {
  checkPositive('toGlobalEncodeScale', 'scale', scale);
  return positiveFloat32('toGlobalEncodeScale', 1 / Math.fround(scale)) as GlobalEncodeScale;
}

/** Throws {@link ValueError} unless `amax` is a finite number of at least zero; gives it rounded to float32. */
function checkAmax(fn: string, amax: number): number {
  const rounded = typeof amax === 'number' ? Math.fround(amax) : NaN;
  if (rounded >= 0 && rounded < Infinity) return rounded;
  throw new ValueError(`${fn}: "amax" must be a finite number of at least 0, got ${describe(amax)}`);
}

/**
 * ModelOpt's rule, `amax / (6 * 448)`, one float32 division. `amax` 0 (nothing but zeros) gives 1, under which every code is
 * 0; an `amax` so small that the quotient would be 0 gives the smallest positive float32. Throws `ValueError` when `amax` is
 * negative, NaN or infinite.
 */
export function globalDecodeScaleFromAmax(amax: number): GlobalDecodeScale {
  const a = checkAmax('globalDecodeScaleFromAmax', amax);
  if (a === 0) return 1 as GlobalDecodeScale;
  return Math.max(Math.fround(a / NVFP4_RANGE), FLOAT32_TINY) as GlobalDecodeScale;
}

/**
 * compressed-tensors' rule, `448 * 6 / amax`, one float32 division; where that is not finite (`amax` 0 or below about 8e-36)
 * the scale is 1. Throws `ValueError` when `amax` is negative, NaN or infinite.
 */
export function compressedTensorsGlobalScale(amax: number): GlobalEncodeScale {
  const scale = Math.fround(NVFP4_RANGE / checkAmax('compressedTensorsGlobalScale', amax));
  return (Number.isFinite(scale) ? scale : 1) as GlobalEncodeScale;
}

/**
 * `aGlobalDecodeScale * bGlobalDecodeScale` in float32: the `alpha` of a GEMM epilogue. Never fold it into E4M3 block scales,
 * that rounds twice. Throws `ValueError` when the product is no positive finite float32.
 */
export function gemmAlpha(a: GlobalDecodeScale, b: GlobalDecodeScale): number {
  checkPositive('gemmAlpha', 'a', a);
  checkPositive('gemmAlpha', 'b', b);
  return positiveFloat32('gemmAlpha', Math.fround(a) * Math.fround(b));
}

/**
 * A guess at what a stored global scale means: decode scales of trained weights and activations lie far below 1, encode
 * scales far above. `unclear` within [1/16, 16]. Only for warnings: names in the checkpoint decide, a wrong direction gives
 * garbage without an error.
 */
export function likelyDirection(value: number): 'decode' | 'encode' | 'unclear' {
  checkPositive('likelyDirection', 'value', value);
  return value < 1 / 16 ? 'decode' : value > 16 ? 'encode' : 'unclear';
}

/**
 * The largest `|x[i]|` of the first `given` values (all of them when left out); 0 for none. Throws `ValueError` naming the
 * index of the first NaN or infinity.
 */
export function amaxOf(x: Float32Array, given?: number): number {
  checkKind('amaxOf', 'x', x, Float32Array);
  const count = given ?? x.length;
  checkInteger('amaxOf', 'count', count, 0);
  if (count > x.length) throw new ShapeError(`amaxOf: "count" must be at most x.length = ${x.length}, got ${count}`);
  checkAllFinite('amaxOf', x, count);
  let amax = 0;
  for (let i = 0; i < count; i++) {
    const a = Math.abs(x[i]!);
    if (a > amax) amax = a;
  }
  return amax;
}

/** Throws {@link ValueError} that names the index of the first NaN or infinity among the first `count` values of `x`. */
export function checkAllFinite(fn: string, x: Float32Array, count: number): void {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += x[i]! * 0; // stays 0 until a NaN or an infinity makes it NaN: no branch in the loop
  if (sum === 0) return;
  for (let i = 0; i < count; i++) {
    if (!Number.isFinite(x[i])) throw new ValueError(`${fn}: "x" must be finite, got ${x[i]} at index ${i}`);
  }
}
