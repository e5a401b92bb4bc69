import { checkString, describe, KindError } from '@megamoe/core';
import { likelyDirection } from '@megamoe/nvfp4-quant';

/** What the global scales of NVFP4 modules are called, and which way each works on decoding. */
const DIRECTIONS: Readonly<Record<string, 'decode' | 'encode'>> = {
  weight_scale_2: 'decode',
  input_scale: 'decode',
  weight_global_scale: 'encode',
  input_global_scale: 'encode',
};

/**
 * A sentence that says why a global scale looks inverted, or undefined when it does not. ModelOpt's scales multiply (`amax / 2688`, far below
 * 1), those of compressed-tensors divide (`2688 / amax`, far above 1); a writer that takes one for the other makes garbage that no check
 * of shapes can see. Values within [1/16, 16] are left alone.
 *
 * @param key   last part of the tensor's name: `weight_scale_2`, `input_scale`, `weight_global_scale` or `input_global_scale`
 * @param value the stored number
 */
export function implausibleGlobalScale(key: string, value: number): string | undefined {
  const fn = 'implausibleGlobalScale';
  checkString(fn, 'key', key);
  if (typeof value !== 'number') throw new KindError(`${fn}: "value" must be a number, got ${describe(value)}`);
  const direction = Object.hasOwn(DIRECTIONS, key) ? DIRECTIONS[key] : undefined;
  if (direction === undefined || !(value > 0 && value < Infinity)) return undefined;
  const likely = likelyDirection(value);
  if (likely === 'unclear' || likely === direction) return undefined;
  const amax = direction === 'decode' ? 2688 * value : 2688 / value;
  const [means, looks] = direction === 'decode' ? ['multiplies', 'divisor'] : ['divides', 'multiplier'];
  return `${key} ${means} on decoding; ${value} would mean a largest value of ${amax.toPrecision(3)}: it looks like a ${looks}`;
}
