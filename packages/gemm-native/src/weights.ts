import { KindError } from '@megamoe/core';
import type { ExpertsShape, ExpertsWeight, LinearScales, LinearWeight, TakenExperts, WeightFormat } from '@megamoe/ops';
import type { Engine, EngineExperts, EngineLinear, LinearShape, WeightBuilder } from './engine';
import type { ExpertSlots, PooledExperts } from './pool-parts';

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

  /** Whether it was made by a packer: not an object that looks like one. */
  static is(v: unknown): v is Packed {
    try {
      return (v as Packed).#storage !== undefined; // #storage in v takes several times as long in a running model
    } catch {
      return false;
    }
  }

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

/** What a linear is packed with. */
export interface PackedLinear {
  readonly name: string;
  readonly dtype: WeightFormat;
  readonly shape: LinearShape;
  readonly nvfp4: LinearScales | null;
}

/** What `packLinear` returns: a {@link LinearWeight} with the engine's storage. */
export class PackedLinearWeight extends Packed implements LinearWeight, EngineLinear {
  readonly name: string;
  readonly n: number;
  readonly k: number;
  readonly groups: number;
  readonly dtype: WeightFormat;
  readonly inputGlobalDecodeScale: number | 'row' | null;
  readonly bytes: number;
  readonly shape: LinearShape;
  readonly nvfp4: LinearScales | null;

  constructor(engine: Engine, { storage, bytes }: WeightBuilder, { name, dtype, shape, nvfp4 }: PackedLinear) {
    super(engine, storage);
    this.name = name;
    this.n = shape.n;
    this.k = shape.k;
    this.groups = shape.groups;
    this.dtype = dtype;
    this.inputGlobalDecodeScale = nvfp4?.input ?? null;
    this.bytes = bytes;
    this.shape = shape;
    this.nvfp4 = nvfp4;
  }
}

/** What `packExperts` returns: an {@link ExpertsWeight} with the engine's storage, or with a pool that holds some of its experts. */
export class PackedExpertsWeight extends Packed implements ExpertsWeight, EngineExperts, PooledExperts {
  readonly numExperts: number;
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly format: WeightFormat;
  readonly bytes: number;
  readonly resident: (object | null)[];
  #pool: ExpertSlots | null;

  constructor(
    engine: Engine,
    readonly name: string,
    { numExperts, n, k, parts, format }: ExpertsShape,
    builder: WeightBuilder | null,
    pool: ExpertSlots | null = null,
    readonly read: TakenExperts['read'] | null = null,
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

  get pool(): ExpertSlots | null {
    return this.#pool;
  }

  override dispose(): void {
    super.dispose();
    this.#pool?.release(this);
    this.#pool = null;
  }
}

/** Throws KindError unless `w` is a weight that `packLinear` made for a layout. */
export function checkLinearWeight(fn: string, arg: string, w: unknown, layout: string): void {
  if (!Packed.is(w) || !(w instanceof PackedLinearWeight))
    throw new KindError(`${fn}: "${arg}" must come from packLinear`);
  checkUsable(fn, arg, w, layout);
}

/** Throws KindError unless `w` is a weight that `packExperts` made for a layout. */
export function checkExpertsWeight(fn: string, arg: string, w: unknown, layout: string): void {
  if (!Packed.is(w) || !(w instanceof PackedExpertsWeight))
    throw new KindError(`${fn}: "${arg}" must come from packExperts`);
  checkUsable(fn, arg, w, layout);
}

function checkUsable(fn: string, arg: string, w: Packed, layout: string): void {
  if (w.layout !== layout)
    throw new KindError(`${fn}: "${arg}" was packed for "${w.layout}", but these kernels read "${layout}"`);
  if (w.disposed) throw new KindError(`${fn}: "${arg}" has been disposed`);
}
