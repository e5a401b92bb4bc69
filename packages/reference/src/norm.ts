import { checkNumber } from '@megamoe/core';
import { result, takeNumbers, takeOptional, takeSizes } from './arguments';
import type { Numbers } from './numbers';

/** Shape of {@link rmsNorm}. */
export interface NormShape {
  readonly m: number;
  readonly d: number;
  readonly eps: number;
}

/** Each of M rows of D: `x / sqrt(mean(x^2) + eps)`, times `weight` [D] unless it is null. */
export function rmsNorm(values: Numbers, weights: Numbers | null, shape: NormShape): Float64Array {
  const fn = 'rmsNorm';
  const { m, d } = takeSizes(fn, 'shape', shape, 'm', 'd');
  const { eps } = shape;
  checkNumber(fn, 'eps', eps, 0);
  const x = takeNumbers(fn, 'x', values, ['M*D', m * d]);
  const weight = takeOptional(fn, 'weight', weights, ['D', d]);
  const out = result(fn, 'M*D', m * d);
  if (d === 0) return out;
  for (let r = 0; r < m; r++) {
    let sum = 0;
    for (let c = 0; c < d; c++) sum += x[r * d + c]! ** 2;
    const rms = Math.sqrt(sum / d + eps);
    for (let c = 0; c < d; c++) out[r * d + c] = (x[r * d + c]! / rms) * (weight ? weight[c]! : 1);
  }
  return out;
}
