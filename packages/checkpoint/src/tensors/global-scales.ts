import { checkOneOf, describe, KindError } from '@megamoe/core';
import { MIN_INPUT_SCALE } from '@megamoe/nvfp4-quant';
import { implausibleGlobalScale } from './plausible';

/** Last names of the global scales of NVFP4 modules. */
export const GLOBAL_SCALE_KEYS = [
  'weight_scale_2',
  'input_scale',
  'weight_global_scale',
  'input_global_scale',
] as const;

/** Last name of a global scale. */
export type GlobalScaleKey = (typeof GLOBAL_SCALE_KEYS)[number];

/** What a stored global scale means. */
export type GlobalScale =
  /** The multiplier that it is or stands for; `inverted` says why it looks inverted. */
  | { readonly decode: number; readonly inverted: string | undefined }
  /** An input scale of an expert that no calibration token reached. */
  | { readonly absent: true }
  /** A number that it cannot be: what was expected. */
  | { readonly want: string };

/**
 * The rules of global scales, for those who read them and for those who only look. A scale of inputs that nothing can be staged with is absent: 0,
 * infinite, denormal or otherwise below 2^-117, as it stands or turned over (`input_global_scale` divides, so 2688/0 is the same fact as
 * `input_scale` 0). A scale of weights must be finite and above 0.
 */
export function globalScaleOf(key: GlobalScaleKey, value: number): GlobalScale {
  checkOneOf('globalScaleOf', 'key', key, GLOBAL_SCALE_KEYS);
  if (typeof value !== 'number') throw new KindError(`globalScaleOf: "value" must be a number, got ${describe(value)}`);
  const isDivisor = key === 'weight_global_scale' || key === 'input_global_scale';
  const decode = isDivisor ? Math.fround(1 / value) : value;
  if (key === 'input_scale' || key === 'input_global_scale') {
    if (!(value >= 0)) return { want: 'a finite number above 0' };
    if (!(decode >= MIN_INPUT_SCALE && decode < Infinity)) return { absent: true };
  } else if (!(value > 0 && value < Infinity && decode > 0 && decode < Infinity)) {
    return { want: isDivisor ? 'a finite number above 0 with a finite inverse' : 'a finite number above 0' };
  }
  return { decode, inverted: implausibleGlobalScale(key, value) };
}
