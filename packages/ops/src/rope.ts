import { checkInteger, checkNumber, checkObject, checkPositive, ShapeError, ValueError } from '@megamoe/core';
import type { RopeSpec } from './handles';

/** Dimension at which a head turns `rotations` times within the original context; plain doubles, as Python computes it. */
function correctionDim(rotations: number, ropeDim: number, theta: number, context: number): number {
  return (ropeDim * Math.log(context / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
}

/**
 * Inverse frequencies [ropeDim/2], one per interleaved pair, in the float32 steps of Hugging Face transformers
 * (`compute_default_rope_parameters`, `_compute_yarn_parameters` with truncate): `theta^(2i/ropeDim)` in f32, one f32 division, and for YaRN
 * the f32 ramp between the interpolated and the original frequency. The attention factor is 1 (docs/formats.md D2).
 * @throws ShapeError for an odd `ropeDim`; ValueError, KindError for a spec that cannot be
 */
export function inverseFrequencies(fn: string, spec: RopeSpec): Float32Array {
  checkObject(fn, 'spec', spec);
  const { ropeDim, theta, yarn } = spec;
  checkInteger(fn, 'ropeDim', ropeDim, 2, 2 ** 16);
  if (ropeDim % 2 !== 0) throw new ShapeError(`${fn}: "ropeDim" must be a multiple of 2, got ${ropeDim}`);
  checkNumber(fn, 'theta', theta, 1);
  const f = Math.fround;
  const half = ropeDim / 2;
  const out = new Float32Array(half);
  const power = (i: number): number => f(Math.pow(f(theta), f((2 * i) / ropeDim)));
  if (!yarn) {
    for (let i = 0; i < half; i++) out[i] = f(1 / power(i));
    return out;
  }
  const { factor, betaFast, betaSlow, originalMaxPositionEmbeddings: context } = yarn;
  checkNumber(fn, 'yarn.factor', factor, 1);
  checkPositive(fn, 'yarn.betaFast', betaFast);
  checkPositive(fn, 'yarn.betaSlow', betaSlow);
  if (betaFast < betaSlow)
    throw new ValueError(`${fn}: "yarn.betaFast" must be at least betaSlow = ${betaSlow}, got ${betaFast}`);
  checkInteger(fn, 'yarn.originalMaxPositionEmbeddings', context, 1);
  if (theta === 1) throw new ValueError(`${fn}: "theta" must be above 1 with yarn, got 1`);
  const low = Math.max(Math.floor(correctionDim(betaFast, ropeDim, theta, context)), 0);
  let high = Math.min(Math.ceil(correctionDim(betaSlow, ropeDim, theta, context)), ropeDim - 1);
  if (low === high) high += 0.001; // transformers' guard against a division by zero
  const width = f(high - low);
  for (let i = 0; i < half; i++) {
    const p = power(i);
    const extrapolated = f(1 / p);
    const interpolated = f(1 / f(f(factor) * p));
    const ramp = Math.min(Math.max(f(f(i - f(low)) / width), 0), 1);
    const keep = f(1 - ramp);
    out[i] = f(f(interpolated * f(1 - keep)) + f(extrapolated * keep));
  }
  return out;
}
