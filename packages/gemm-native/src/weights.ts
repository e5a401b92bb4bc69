import { KindError } from '@megamoe/core';
import type { Engine, ExpertsShape, LinearShape, WeightBuilder } from './engine';
import type { SlotPool } from './pool';
import type { ExpertFormat, ExpertsSource, ExpertsWeight, LinearFormat, LinearWeight } from './types';

/** Storage that is let go of at most once; garbage collection frees what nobody disposes of. */
class Packed {
  readonly layout: string;
  #storage: object | null;

  constructor(
    private readonly engine: Engine,
    storage: object | null,
  ) {
    this.layout = engine.layout;
    this.#storage = storage;
  }

  disposed = false;

  /** Of a weight that holds its own and has not been disposed. */
  get storage(): object {
    return this.#storage!;
  }

  dispose(): void {
    if (this.#storage !== null) this.engine.release(this.#storage);
    this.#storage = null;
    this.disposed = true;
  }
}

/** Scales of an nvfp4 linear. */
export interface Nvfp4LinearScales {
  readonly parts: number;
  /** Weight scales, [groups*parts]: alpha with float32 activations. */
  readonly alpha: Float32Array;
  /** Times the input scale, when it is a number: alpha of W4A4. */
  readonly alphaW4a4: Float32Array;
  readonly input: number | 'row' | null;
}

/** What `packLinear` returns: a {@link LinearWeight} with the engine's storage. */
export class PackedLinearWeight extends Packed implements LinearWeight {
  constructor(
    readonly n: number,
    readonly k: number,
    readonly groups: number,
    readonly dtype: LinearFormat,
    readonly bytes: number,
    engine: Engine,
    storage: object,
    /** Set for nvfp4. */
    readonly nvfp4: Nvfp4LinearScales | null,
  ) {
    super(engine, storage);
    this.shape = { groups, n, k, parts: nvfp4?.parts ?? 1 };
  }

  /** Made once, because a step makes no objects. */
  readonly shape: LinearShape;

  get inputGlobalDecodeScale(): number | 'row' | null {
    return this.nvfp4?.input ?? null;
  }
}

/** What `packExperts` returns: an {@link ExpertsWeight} with the engine's storage, or with a pool that holds some of its experts. */
export class PackedExpertsWeight extends Packed implements ExpertsWeight, ExpertsShape {
  readonly numExperts: number;
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly format: ExpertFormat;
  readonly bytes: number;
  /** The pool's slot of each expert, or null; written by the pool only. */
  readonly resident: (object | null)[];
  #pool: SlotPool | null;

  constructor(
    { numExperts, n, k, parts, format }: ExpertsShape,
    engine: Engine,
    builder: WeightBuilder | null,
    pool: SlotPool | null = null,
    readonly read: ExpertsSource['read'] | null = null,
  ) {
    super(engine, builder?.storage ?? null);
    this.numExperts = numExperts;
    this.n = n;
    this.k = k;
    this.parts = parts;
    this.format = format;
    this.bytes = builder?.bytes ?? 0;
    this.#pool = pool;
    this.resident = new Array<object | null>(pool ? numExperts : 0).fill(null);
  }

  get pool(): SlotPool | null {
    return this.#pool;
  }

  override dispose(): void {
    super.dispose();
    this.#pool?.release(this);
    this.#pool = null;
  }
}

/** `w` as a weight that `engine` can read; throws KindError when it is none. */
export function linearWeight(fn: string, arg: string, w: unknown, engine: Engine): PackedLinearWeight {
  if (!(w instanceof PackedLinearWeight)) throw new KindError(`${fn}: "${arg}" must come from packLinear`);
  if (w.layout !== engine.layout)
    throw new KindError(`${fn}: "${arg}" was packed for "${w.layout}", but these kernels read "${engine.layout}"`);
  if (w.disposed) throw new KindError(`${fn}: "${arg}" has been disposed`);
  return w;
}

/** `w` as expert weights that `engine` can read; throws KindError when it is none. */
export function expertsWeight(fn: string, w: unknown, engine: Engine): PackedExpertsWeight {
  if (!(w instanceof PackedExpertsWeight)) throw new KindError(`${fn}: "w" must come from packExperts`);
  if (w.layout !== engine.layout)
    throw new KindError(`${fn}: "w" was packed for "${w.layout}", but these kernels read "${engine.layout}"`);
  if (w.disposed) throw new KindError(`${fn}: "w" has been disposed`);
  return w;
}
