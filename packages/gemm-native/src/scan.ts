import { checkInteger, checkNumber, namedError } from '@megamoe/core';
import type { LogitsScan } from '@megamoe/core';
import { ARRAYS } from './checks';
import type { GemmAddon } from './addon';

/** The scans behind the checks. */
export type ScanEngine = LogitsScan;

/** The checks in front of a scan. */
export class CheckedScan implements LogitsScan {
  /** `js`, or the instruction set in use. */
  readonly isa: string;
  readonly #engine: ScanEngine;

  constructor(isa: string, engine: ScanEngine) {
    this.isa = isa;
    this.#engine = engine;
  }

  firstNonFinite(logits: Float32Array, begin: number, end: number): number {
    checkInteger('firstNonFinite', 'end', end, 0, 0x7fffffff);
    checkInteger('firstNonFinite', 'begin', begin, 0, end);
    ARRAYS.tensor('firstNonFinite', 'logits', logits, 'f32', 'end', end);
    return this.#engine.firstNonFinite(logits, begin, end);
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
    if (this.isa === 'js') checkApart('top', logits, n, ids, values);
    return this.#engine.top(logits, n, k, temperature, ids, values);
  }

  atLeast(logits: Float32Array, n: number, floor: number, ids: Int32Array, values: Float32Array): number {
    checkLogits('atLeast', logits, n);
    if (floor !== -Infinity) checkNumber('atLeast', 'floor', floor, -3.5e38, 3.5e38);
    checkFound('atLeast', ids, values);
    if (this.isa === 'js') checkApart('atLeast', logits, n, ids, values);
    return this.#engine.atLeast(logits, n, floor, ids, values);
  }

  mayWin(
    logits: Float32Array,
    n: number,
    temperature: number,
    draw: Int32Array,
    ids: Int32Array,
    values: Float32Array,
  ): number {
    checkLogits('mayWin', logits, n);
    checkNumber('mayWin', 'temperature', temperature, 2 ** -149, 3.5e38);
    ARRAYS.tensor('mayWin', 'draw', draw, 'i32', '4', 4);
    checkFound('mayWin', ids, values);
    if (this.isa === 'js') checkApart('mayWin', logits, n, ids, values, draw);
    return this.#engine.mayWin(logits, n, temperature, draw, ids, values);
  }

  massBefore(logits: Float32Array, n: number, temperature: number, id: number): number {
    checkLogits('massBefore', logits, n);
    checkNumber('massBefore', 'temperature', temperature, 2 ** -149, 3.5e38);
    checkInteger('massBefore', 'id', id, 0, n - 1);
    return this.#engine.massBefore(logits, n, temperature, id);
  }
}

function checkLogits(fn: string, logits: Float32Array, n: number): void {
  checkInteger(fn, 'n', n, 1, 0x7fffffff);
  ARRAYS.tensor(fn, 'logits', logits, 'f32', 'n', n);
}

function checkFound(fn: string, ids: Int32Array, values: Float32Array): void {
  ARRAYS.tensor(fn, 'ids', ids, 'i32', '0', 0);
  ARRAYS.tensor(fn, 'values', values, 'f32', '0', 0);
}

/** Throws when what is found would be written over what is read, or over each other. */
export function checkApart(
  fn: string,
  logits: Float32Array,
  n: number,
  ids: Int32Array,
  values: Float32Array,
  draw?: Int32Array,
): void {
  const count = Math.min(ids.length, values.length);
  const [from, to, also] = [
    ARRAYS.place('logits', logits, n),
    ARRAYS.place('ids', ids, count),
    ARRAYS.place('values', values, count),
  ];
  ARRAYS.apart(fn, to, from);
  ARRAYS.apart(fn, also, from);
  ARRAYS.apart(fn, to, also);
  if (draw === undefined) return;
  const read = ARRAYS.place('draw', draw, 4);
  ARRAYS.unshared(fn, read);
  ARRAYS.apart(fn, to, read);
  ARRAYS.apart(fn, also, read);
}

/** The scans of the addon with one instruction set. It compares addresses itself; see guard.ts. */
export function nativeScan(addon: GemmAddon, isa: number): ScanEngine {
  return {
    firstNonFinite(logits, begin, end) {
      return addon.scanFirstNonFinite(isa, logits, begin, end);
    },
    argmax(logits, n) {
      return addon.scanArgmax(isa, logits, n);
    },
    top(logits, n, k, temperature, ids, values) {
      try {
        return addon.scanTop(isa, logits, n, k, temperature, ids, values);
      } catch (error) {
        checkApart('top', logits, n, ids, values);
        throw namedError(error);
      }
    },
    atLeast(logits, n, floor, ids, values) {
      try {
        return addon.scanAtLeast(isa, logits, n, floor, ids, values);
      } catch (error) {
        checkApart('atLeast', logits, n, ids, values);
        throw namedError(error);
      }
    },
    mayWin(logits, n, temperature, draw, ids, values) {
      try {
        return addon.scanMayWin(isa, logits, n, temperature, draw, ids, values);
      } catch (error) {
        checkApart('mayWin', logits, n, ids, values, draw);
        throw namedError(error);
      }
    },
    massBefore(logits, n, temperature, id) {
      return addon.scanMassBefore(isa, logits, n, temperature, id);
    },
  };
}
