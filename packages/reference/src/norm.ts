import { checkLength, checkNumber } from '@megamoe/core';
import type { Numbers } from './numbers';

/** Shape of {@link rmsNorm}. */
export interface NormShape {
  readonly m: number;
  readonly d: number;
  readonly eps: number;
}

/** Each of M rows of D: `x / sqrt(mean(x^2) + eps)`, times `weight` [D] unless it is null. */
export function rmsNorm(x: Numbers, weight: Numbers | null, { m, d, eps }: NormShape): Float64Array {
  checkLength('rmsNorm', 'x', x, 'M*D', m * d);
  if (weight) checkLength('rmsNorm', 'weight', weight, 'D', d);
  checkNumber('rmsNorm', 'eps', eps, 0);
  const out = new Float64Array(m * d);
  for (let r = 0; r < m; r++) {
    let sum = 0;
    for (let c = 0; c < d; c++) sum += x[r * d + c]! ** 2;
    const rms = Math.sqrt(sum / d + eps);
    for (let c = 0; c < d; c++) out[r * d + c] = (x[r * d + c]! / rms) * (weight ? weight[c]! : 1);
  }
  return out;
}
