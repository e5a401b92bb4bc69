import { KindError } from '@megamoe/core';
import type { Engine, ExpertsShape } from './engine';
import type { ExpertFormat, ExpertsWeight, LinearWeight } from './types';

/** What `packLinear` returns: a {@link LinearWeight} with the engine's storage. */
export class PackedLinearWeight implements LinearWeight {
  constructor(
    readonly n: number,
    readonly k: number,
    readonly groups: number,
    readonly dtype: 'f32' | 'bf16',
    readonly bytes: number,
    readonly layout: string,
    readonly storage: object,
  ) {}
}

/** What `packExperts` returns: an {@link ExpertsWeight} with the engine's storage. */
export class PackedExpertsWeight implements ExpertsWeight, ExpertsShape {
  readonly numExperts: number;
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly format: ExpertFormat;

  constructor(
    { numExperts, n, k, parts, format }: ExpertsShape,
    readonly bytes: number,
    readonly layout: string,
    readonly storage: object,
  ) {
    this.numExperts = numExperts;
    this.n = n;
    this.k = k;
    this.parts = parts;
    this.format = format;
  }
}

/** `w` as a weight that `engine` can read; throws KindError when it is none. */
export function linearWeight(fn: string, arg: string, w: unknown, engine: Engine): PackedLinearWeight {
  if (!(w instanceof PackedLinearWeight)) throw new KindError(`${fn}: "${arg}" must come from packLinear`);
  if (w.layout !== engine.layout)
    throw new KindError(`${fn}: "${arg}" was packed for "${w.layout}", but these kernels read "${engine.layout}"`);
  return w;
}

/** `w` as expert weights that `engine` can read; throws KindError when it is none. */
export function expertsWeight(fn: string, w: unknown, engine: Engine): PackedExpertsWeight {
  if (!(w instanceof PackedExpertsWeight)) throw new KindError(`${fn}: "w" must come from packExperts`);
  if (w.layout !== engine.layout)
    throw new KindError(`${fn}: "w" was packed for "${w.layout}", but these kernels read "${engine.layout}"`);
  return w;
}
