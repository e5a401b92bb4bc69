import { checkInteger, checkNumber } from '@megamoe/core';
import { checkBuffer } from './checks';
import type { GemmAddon } from './native-engine';

/**
 * Passes over the logits of one sequence, for a sampler: exact and the same on every backend. Logits may hold -Infinity; the signs of
 * zeros mean nothing.
 */
export interface LogitsScan {
  /** `js`, or the instruction set in use. */
  readonly isa: string;
  /**
   * Index of the largest of the first n, ties to the lowest index.
   * @returns -1 - i when `logits[i]` is the first NaN or +Infinity
   */
  argmax(logits: Float32Array, n: number): number;
  /**
   * The k-th largest of the first n, 1 <= k <= n, ties counted one each.
   * @returns NaN when a NaN or +Infinity is among them
   */
  kthLargest(logits: Float32Array, n: number, k: number): number;
  /**
   * How many of the first n are at least `floor`. The first of them, as many as fit, go to `ids` and `values`, ids ascending.
   * @param floor a float32 number
   * @param ids    i32
   * @param values f32
   */
  atLeast(logits: Float32Array, n: number, floor: number, ids: Int32Array, values: Float32Array): number;
}

/** The scans behind the checks. */
export type ScanEngine = Omit<LogitsScan, 'isa'>;

/** The checks in front of a scan. */
export class CheckedScan implements LogitsScan {
  readonly isa: string;
  readonly #engine: ScanEngine;

  constructor(isa: string, engine: ScanEngine) {
    this.isa = isa;
    this.#engine = engine;
  }

  argmax(logits: Float32Array, n: number): number {
    checkLogits('argmax', logits, n);
    return this.#engine.argmax(logits, n);
  }

  kthLargest(logits: Float32Array, n: number, k: number): number {
    checkLogits('kthLargest', logits, n);
    checkInteger('kthLargest', 'k', k, 1, n);
    return this.#engine.kthLargest(logits, n, k);
  }

  atLeast(logits: Float32Array, n: number, floor: number, ids: Int32Array, values: Float32Array): number {
    checkLogits('atLeast', logits, n);
    if (floor !== -Infinity) checkNumber('atLeast', 'floor', floor, -3.5e38, 3.5e38);
    checkBuffer('atLeast', 'ids', ids, Int32Array, '0', 0);
    checkBuffer('atLeast', 'values', values, Float32Array, '0', 0);
    return this.#engine.atLeast(logits, n, floor, ids, values);
  }
}

function checkLogits(fn: string, logits: Float32Array, n: number): void {
  checkInteger(fn, 'n', n, 1, 0x7fffffff);
  checkBuffer(fn, 'logits', logits, Float32Array, 'n', n);
}

/** The scans of the addon with one instruction set. */
export function nativeScan(addon: GemmAddon, isa: number): ScanEngine {
  return {
    argmax(logits, n) {
      return addon.scanArgmax(isa, logits, n);
    },
    kthLargest(logits, n, k) {
      return addon.scanKthLargest(isa, logits, n, k);
    },
    atLeast(logits, n, floor, ids, values) {
      return addon.scanAtLeast(isa, logits, n, floor, ids, values);
    },
  };
}
