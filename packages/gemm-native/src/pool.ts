import { checkInteger, KindError, ShapeError, ValueError } from '@megamoe/core';
import {
  checkExpertsShape,
  type ExpertPool,
  type ExpertPoolShape,
  type ExpertsShape,
  type WeightFormat,
} from '@megamoe/ops';
import type { Engine, EngineExperts, WeightBuilder } from './engine';
import type { ExpertSlots, ExpertTurn, PooledExperts } from './pool-parts';

/** Storage for one expert, and whose it holds. */
interface Slot {
  readonly builder: WeightBuilder;
  /** It, as an engine takes it. */
  readonly w: EngineExperts;
  owner: PooledExperts | null;
  expert: number;
}

/** What `createExpertPool` returns. Slots are made when they are first needed and then only refilled. */
export class SlotPool implements ExpertPool, ExpertSlots {
  readonly n: number;
  readonly k: number;
  readonly parts: number;
  readonly format: WeightFormat;
  readonly slots: number;
  readonly slotBytes: number;
  hits = 0;
  misses = 0;
  /** The shape of one slot. */
  private readonly slotShape: ExpertsShape;
  /** Ends of the one expert of a call, made once. */
  private readonly offsets = new Int32Array(1);
  /** Filled slots, least recently used first: a Set keeps the order of insertion. */
  private readonly filled = new Set<Slot>();
  private readonly empty: Slot[] = [];
  private disposed = false;
  /** Whether a call goes through experts, and so may be reading one by code of the caller's. */
  private isBusy = false;
  /** The slot that is being read into: neither filled nor empty. */
  private reading: Slot | null = null;
  readonly #isOne = true;
  /** Slots to make at most: fewer than `slots` once memory has been refused. */
  private most: number;

  constructor(
    private readonly engine: Engine,
    shape: ExpertPoolShape,
  ) {
    const fn = 'createExpertPool';
    if (typeof shape !== 'object' || shape === null) throw new KindError(`${fn}: "shape" must be an ExpertPoolShape`);
    const { n, k, parts = 1, format, slots } = shape;
    checkInteger(fn, 'slots', slots, 1);
    this.slotShape = checkExpertsShape(fn, { numExperts: 1, n, k, parts, format });
    [this.n, this.k, this.parts, this.format, this.slots] = [n, k, parts, format, slots];
    this.most = slots;
    this.slotBytes = engine.packedBytes(format, 1, n, k);
  }

  /** Whether it was made here: not an object that looks like one. */
  static is(v: unknown): v is SlotPool {
    try {
      return (v as SlotPool).#isOne !== undefined; // #isOne in v takes several times as long in a running model
    } catch {
      return false;
    }
  }

  get bytes(): number {
    return (this.filled.size + this.empty.length + (this.reading ? 1 : 0)) * this.slotBytes;
  }

  /** Throws unless experts of this shape go into this pool, for kernels of this engine. */
  checkFits(fn: string, shape: ExpertsShape, engine: Engine): void {
    this.checkAlive(fn);
    if (engine.layout !== this.engine.layout)
      throw new KindError(`${fn}: "pool" was made for "${this.engine.layout}", these kernels read "${engine.layout}"`);
    const text = (s: ExpertsShape): string =>
      `${s.format} [${s.n}, ${s.k}] in ${s.parts} part${s.parts === 1 ? '' : 's'}`;
    if (text(shape) === text(this.slotShape)) return;
    throw new ShapeError(`${fn}: "pool" holds experts of ${text(this.slotShape)}, not ${text(shape)}`);
  }

  eachExpert(w: PooledExperts, expertOffsets: Int32Array, work: (turn: ExpertTurn) => void): void {
    this.checkAlive('ExpertPool');
    if (this.isBusy)
      throw new ValueError(
        'groupedGemm: the pool of "w" is reading an expert: "read" must not multiply weights of the same pool',
      );
    this.isBusy = true;
    try {
      this.goThrough(w, expertOffsets, work);
    } finally {
      this.isBusy = false;
    }
  }

  private goThrough(w: PooledExperts, expertOffsets: Int32Array, work: (turn: ExpertTurn) => void): void {
    const resident = w.resident as (Slot | null)[];
    const pending: number[] = [];
    let start = 0;
    for (let e = 0; e < expertOffsets.length; e++) {
      const end = expertOffsets[e]!;
      const slot = resident[e];
      if (end > start && slot) {
        this.hits++;
        this.filled.delete(slot);
        this.filled.add(slot);
        work(this.turn(slot, e, start, end, false));
      } else if (end > start) pending.push(e);
      start = end;
    }
    for (const e of pending) {
      const first = e === 0 ? 0 : expertOffsets[e - 1]!;
      work(this.turn(this.fill(w, e), e, first, expertOffsets[e]!, true));
    }
  }

  private turn({ w }: Slot, expert: number, start: number, end: number, isRead: boolean): ExpertTurn {
    this.offsets[0] = end - start;
    return { w, expertOffsets: this.offsets, expert, start, end, isRead };
  }

  release(w: PooledExperts): void {
    for (const slot of this.filled) if (slot.owner === w) this.vacate(slot);
  }

  dispose(): void {
    if (this.disposed) return;
    for (const slot of [...this.filled]) this.vacate(slot);
    for (const { builder } of this.empty.splice(0)) this.engine.release(builder.storage);
    this.disposed = true;
  }

  private checkAlive(fn: string): void {
    if (this.disposed) throw new KindError(`${fn}: "pool" has been disposed`);
  }

  private vacate(slot: Slot): void {
    if (slot.owner) slot.owner.resident[slot.expert] = null;
    slot.owner = null;
    this.filled.delete(slot);
    this.empty.push(slot);
  }

  /**
   * Makes a slot. Where the system refuses the memory, the pool stays smaller and gives some back, so that other allocations do not fail
   * next; false then.
   */
  private grow(): boolean {
    try {
      const builder = this.engine.createWeight(this.format, 1, this.n, this.k);
      this.empty.push({ builder, w: { ...this.slotShape, storage: builder.storage }, owner: null, expert: -1 });
      return true;
    } catch (error) {
      if (this.filled.size === 0) throw error;
      const less = Math.max(1, Math.floor(this.filled.size / 8));
      for (let i = 0; i < less && this.filled.size > 1; i++) this.vacate(this.filled.values().next().value!);
      for (const { builder } of this.empty.splice(0)) this.engine.release(builder.storage);
      this.most = this.filled.size;
      return false;
    }
  }

  /** Reads and packs an expert into a free slot, a new one, or that of the expert that was used longest ago. */
  private fill(w: PooledExperts, expert: number): Slot {
    this.misses++;
    if (this.empty.length === 0) {
      if (this.filled.size >= this.most || !this.grow()) this.vacate(this.filled.values().next().value!);
    }
    // Until it is whole it is nobody's: a read that throws leaves nothing half done behind, and one that calls back finds it in no list.
    const slot = this.empty.pop()!;
    this.reading = slot;
    const rows = this.n / this.parts;
    try {
      for (let p = 0; p < this.parts; p++) {
        const part = w.read!(expert, p);
        this.checkAlive('packExperts: read');
        if (w.disposed) throw new KindError('packExperts: read: the weight has been disposed while an expert was read');
        slot.builder.put(0, p * rows, rows, part);
      }
    } catch (error) {
      if (this.disposed) this.engine.release(slot.builder.storage);
      else this.empty.push(slot);
      throw error;
    } finally {
      this.reading = null;
    }
    slot.owner = w;
    slot.expert = expert;
    w.resident[expert] = slot;
    this.filled.add(slot);
    return slot;
  }
}

/** `pool` as one that these kernels can use; throws KindError when it is none. */
export function slotPool(fn: string, pool: unknown, shape: ExpertsShape, engine: Engine): SlotPool {
  if (!SlotPool.is(pool)) throw new KindError(`${fn}: "pool" must come from createExpertPool`);
  pool.checkFits(fn, shape, engine);
  return pool;
}
