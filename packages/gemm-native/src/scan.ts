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
   * The k largest of the first n, and all that tie with the k-th after a division: every i with
   * `fround(logits[i] / temperature) >= fround(kth / temperature)`, kth being the k-th largest, ties counted one each.
   * @param k           1 to n
   * @param temperature a float32 number above 0
   * @param ids         i32
   * @param values      f32, not divided
   * @returns how many there are; the first of them, as many as fit, are in `ids` and `values`, ids ascending. -1 when a NaN or +Infinity is
   *          among the logits, or when the quotients overflow or underflow.
   */
  top(logits: Float32Array, n: number, k: number, temperature: number, ids: Int32Array, values: Float32Array): number;
  /**
   * Every i of the first n with `logits[i] >= floor`, answered as by `top`.
   * @param floor a float32 number
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

  top(logits: Float32Array, n: number, k: number, temperature: number, ids: Int32Array, values: Float32Array): number {
    checkLogits('top', logits, n);
    checkInteger('top', 'k', k, 1, n);
    checkNumber('top', 'temperature', temperature, 2 ** -149, 3.5e38);
    checkFound('top', ids, values);
    return this.#engine.top(logits, n, k, temperature, ids, values);
  }

  atLeast(logits: Float32Array, n: number, floor: number, ids: Int32Array, values: Float32Array): number {
    checkLogits('atLeast', logits, n);
    if (floor !== -Infinity) checkNumber('atLeast', 'floor', floor, -3.5e38, 3.5e38);
    checkFound('atLeast', ids, values);
    return this.#engine.atLeast(logits, n, floor, ids, values);
  }
}

function checkLogits(fn: string, logits: Float32Array, n: number): void {
  checkInteger(fn, 'n', n, 1, 0x7fffffff);
  checkBuffer(fn, 'logits', logits, Float32Array, 'n', n);
}

function checkFound(fn: string, ids: Int32Array, values: Float32Array): void {
  checkBuffer(fn, 'ids', ids, Int32Array, '0', 0);
  checkBuffer(fn, 'values', values, Float32Array, '0', 0);
}

/** The scans of the addon with one instruction set. */
export function nativeScan(addon: GemmAddon, isa: number): ScanEngine {
  return {
    argmax(logits, n) {
      return addon.scanArgmax(isa, logits, n);
    },
    top(logits, n, k, temperature, ids, values) {
      return addon.scanTop(isa, logits, n, k, temperature, ids, values);
    },
    atLeast(logits, n, floor, ids, values) {
      return addon.scanAtLeast(isa, logits, n, floor, ids, values);
    },
  };
}
