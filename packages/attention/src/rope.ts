import { checkInteger, checkNumber, checkObject, checkPositive, ShapeError, ValueError } from '@megamoe/core';
import type { RopeHandle, RopeSpec } from '@megamoe/ops';

/** Inverse frequencies of one rotary embedding. */
export class Rope implements RopeHandle {
  readonly #isOne = true;

  constructor(
    /** Rotated elements of a head, even; they are the last ones. */
    readonly ropeDim: number,
    /** [ropeDim/2] f32, one per interleaved pair. */
    readonly invFreq: Float32Array,
  ) {
    Object.freeze(this);
  }

  /** Whether it was made here: not an object that looks like one. */
  static is(v: unknown): v is Rope {
    try {
      return (v as Rope).#isOne !== undefined; // #isOne in v takes several times as long in a running model
    } catch {
      return false;
    }
  }
}

/** Dimension at which a head turns `rotations` times within the original context; plain doubles, as Python computes it. */
function correctionDim(rotations: number, ropeDim: number, theta: number, context: number): number {
  return (ropeDim * Math.log(context / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
}

/**
 * Inverse frequencies in the float32 steps of Hugging Face transformers (`compute_default_rope_parameters`,
 * `_compute_yarn_parameters` with truncate): `theta^(2i/ropeDim)` in f32, one f32 division, and for YaRN the f32 ramp between the
 * interpolated and the original frequency. The attention factor is 1 (docs/formats.md D2). Throws ShapeError for an odd `ropeDim`.
 */
export function createRope(spec: RopeSpec): Rope {
  checkObject('createRope', 'spec', spec);
  const { ropeDim, theta, yarn } = spec;
  checkInteger('createRope', 'ropeDim', ropeDim, 2, 2 ** 16);
  if (ropeDim % 2 !== 0) throw new ShapeError(`createRope: "ropeDim" must be a multiple of 2, got ${ropeDim}`);
  checkNumber('createRope', 'theta', theta, 1);
  const f = Math.fround;
  const half = ropeDim / 2;
  const invFreq = new Float32Array(half);
  const power = (i: number): number => f(Math.pow(f(theta), f((2 * i) / ropeDim)));
  if (!yarn) {
    for (let i = 0; i < half; i++) invFreq[i] = f(1 / power(i));
    return new Rope(ropeDim, invFreq);
  }
  const { factor, betaFast, betaSlow, originalMaxPositionEmbeddings: context } = yarn;
  checkNumber('createRope', 'yarn.factor', factor, 1);
  checkPositive('createRope', 'yarn.betaFast', betaFast);
  checkPositive('createRope', 'yarn.betaSlow', betaSlow);
  if (betaFast < betaSlow) {
    throw new ValueError(`createRope: "yarn.betaFast" must be at least betaSlow = ${betaSlow}, got ${betaFast}`);
  }
  checkInteger('createRope', 'yarn.originalMaxPositionEmbeddings', context, 1);
  if (theta === 1) throw new ValueError('createRope: "theta" must be above 1 with yarn, got 1');
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
    invFreq[i] = f(f(interpolated * f(1 - keep)) + f(extrapolated * keep));
  }
  return new Rope(ropeDim, invFreq);
}

/**
 * The row of one position at offset `at` of the tables: `cos[at + i] = cos(angle)`, `sin[at + i] = sin(angle)` with
 * `angle = f32(position * invFreq[i])`, each rounded to f32.
 */
export function fillRopeRow(invFreq: Float32Array, position: number, cos: Float32Array, sin: Float32Array, at: number) {
  for (let i = 0; i < invFreq.length; i++) {
    const angle = Math.fround(position * invFreq[i]!);
    cos[at + i] = Math.cos(angle);
    sin[at + i] = Math.sin(angle);
  }
}
