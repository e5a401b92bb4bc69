/**
 * Rotary positions. The frequencies and angles are float32 on purpose: Hugging Face computes them so, and at position 100 000 the
 * float32 rounding of `position * frequency` moves an angle by up to 0.004 rad. It belongs to the model as it was trained and
 * published, so the oracle follows it step by step. Cosine, sine and the rotation itself are float64.
 */
import { checkInteger, checkMultiple, checkObject, checkPositive, type YarnParameters } from '@megamoe/core';
import { takeNumbers, takeSizes } from './arguments';
import type { Numbers } from './numbers';

const f = Math.fround;

/** Arguments of {@link ropeFrequencies}. */
export interface RopeOptions {
  /** Number of rotated dims, even. */
  readonly ropeDim: number;
  readonly theta: number;
  readonly yarn?: YarnParameters | undefined;
}

/**
 * Inverse frequencies [ropeDim/2], float32 values: `theta^(-2i/ropeDim)`; with YaRN blended with the same divided by `factor`, along
 * a linear ramp between the dims that turn `betaFast` and `betaSlow` times within the original context.
 */
export function ropeFrequencies(options: RopeOptions): Float64Array {
  const fn = 'ropeFrequencies';
  const { ropeDim } = takeSizes(fn, 'options', options, 'ropeDim');
  checkInteger(fn, 'ropeDim', ropeDim, 0, MAX_ROPE_DIM);
  checkMultiple(fn, 'ropeDim', ropeDim, 2);
  const { theta, yarn: stretching } = options;
  checkPositive(fn, 'theta', theta);
  const yarn = stretching === undefined ? undefined : takeYarn(fn, stretching);
  const period = (i: number): number => f(theta ** f((2 * i) / ropeDim));
  if (!yarn) return Float64Array.from({ length: ropeDim / 2 }, (_, i) => f(1 / period(i)));

  // The dim (not rounded) that turns `rotations` times within the original context.
  const dimOf = (rotations: number): number =>
    (ropeDim * Math.log(yarn.originalMaxPositionEmbeddings / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const low = Math.max(Math.floor(dimOf(yarn.betaFast)), 0);
  let high = Math.min(Math.ceil(dimOf(yarn.betaSlow)), ropeDim - 1);
  if (high === low) high += 0.001;
  return Float64Array.from({ length: ropeDim / 2 }, (_, i) => {
    const ramp = Math.min(Math.max(f(f(i - low) / f(high - low)), 0), 1);
    const keep = f(1 - ramp); // 1: as trained; 0: stretched by factor
    const trained = f(1 / period(i));
    const stretched = f(1 / f(yarn.factor * period(i)));
    return f(f(stretched * f(1 - keep)) + f(trained * keep));
  });
}

const MAX_ROPE_DIM = 2 ** 20; // far beyond any head

/** YaRN's numbers, each read once. */
export function takeYarn(fn: string, yarn: YarnParameters): YarnParameters {
  checkObject(fn, 'yarn', yarn);
  const { factor, betaFast, betaSlow, originalMaxPositionEmbeddings } = yarn;
  for (const [arg, x] of Object.entries({ factor, betaFast, betaSlow, originalMaxPositionEmbeddings }))
    checkPositive(fn, `yarn.${arg}`, x);
  return { factor, betaFast, betaSlow, originalMaxPositionEmbeddings };
}

/** Arguments of {@link applyRope}. */
export interface RopeShape {
  /** [M] position of each row. */
  readonly positions: ArrayLike<number>;
  readonly heads: number;
  readonly d: number;
  /** From {@link ropeFrequencies}; its length is ropeDim/2. */
  readonly frequencies: Numbers;
  /** Rotate back (the conjugate). Default false. */
  readonly inverse?: boolean;
}

/**
 * Rotates the **last** ropeDim dims of every head of `x` [M, heads, D]: pairs of neighbours (2i, 2i+1) turn by
 * `fround(position * frequency[i])`. Returns a new array.
 */
export function applyRope(values: Numbers, shape: RopeShape): Float64Array {
  const fn = 'applyRope';
  const { heads, d } = takeSizes(fn, 'shape', shape, 'heads', 'd');
  const { inverse = false, positions: at, frequencies: turns } = shape;
  const positions = takeNumbers(fn, 'positions', at);
  const frequencies = takeNumbers(fn, 'frequencies', turns);
  const m = positions.length;
  const ropeDim = frequencies.length * 2;
  const x = takeNumbers(fn, 'x', values, ['M*heads*D', m * heads * d]);
  checkInteger(fn, 'ropeDim', ropeDim, 0, d);
  const out = new Float64Array(x);
  for (let row = 0; row < m; row++) {
    checkInteger(fn, `positions[${row}]`, positions[row]!, 0);
    for (let i = 0; i < frequencies.length; i++) {
      const angle = f(positions[row]! * frequencies[i]!);
      const cos = Math.cos(angle);
      const sin = inverse ? -Math.sin(angle) : Math.sin(angle);
      for (let h = 0; h < heads; h++) {
        const at = (row * heads + h + 1) * d - ropeDim + 2 * i;
        const a = x[at]!;
        const b = x[at + 1]!;
        out[at] = a * cos - b * sin;
        out[at + 1] = b * cos + a * sin;
      }
    }
  }
  return out;
}
