import type { ExpertsShape, TakenExperts } from '@megamoe/ops';
import type { EngineExperts } from './engine';

/** Weights whose experts come and go in a pool. */
export interface PooledExperts extends ExpertsShape {
  /** The pool's slot of each expert, or null; written by the pool only. */
  readonly resident: (object | null)[];
  readonly read: TakenExperts['read'] | null;
  readonly disposed: boolean;
}

/** One expert of a call, with its rows `[start, end)`; good until the next one. */
export interface ExpertTurn {
  /** Weights of this one expert. */
  readonly w: EngineExperts;
  /** [1] ends of its rows, counted from `start`. */
  readonly expertOffsets: Int32Array;
  readonly expert: number;
  readonly start: number;
  readonly end: number;
  /** Whether it was read for this turn, by the caller's code. */
  readonly isRead: boolean;
}

/** What weights ask of the pool that holds their experts. */
export interface ExpertSlots {
  /**
   * Calls `work` for every expert of `w` that has rows, with its storage. Experts that are here come first, so that reading the others cannot
   * push them out before their turn; a row's result does not depend on the order. Reading runs code of the caller's: a pool that is at it
   * takes no second call, and what was disposed meanwhile is an error.
   */
  eachExpert(w: PooledExperts, expertOffsets: Int32Array, work: (turn: ExpertTurn) => void): void;
  /** Lets go of the experts of one weight; their slots are free for others. */
  release(w: PooledExperts): void;
}
