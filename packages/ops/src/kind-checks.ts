import {
  checkAttached,
  checkCapacity,
  checkKind,
  checkPlacesApart,
  describe,
  isShared,
  KindError,
  placeOf,
  sameBuffer,
  ValueError,
} from '@megamoe/core';
import type { Memory, Place } from '@megamoe/core';
import type { Dtype, HandleName } from './kinds';
import type { HostArray } from './tensor';

/** What has a length. */
interface Lengthy {
  readonly length: number;
}

/** What the checks of the list ask of one side of the border: `fn` and `arg` are for messages. */
export interface KindChecks {
  /** Throws unless `v` is a tensor of `dtype` with at least `want` elements. */
  tensor(fn: string, arg: string, v: unknown, dtype: Dtype, formula: string, want: number): void;
  /** Throws that `v`, which is known to be a tensor of the right type, has not the `want` elements that it must. */
  tooShort(fn: string, arg: string, v: Lengthy, formula: string, want: number): void;
  /** Throws unless `v` is a usable handle. */
  handle(fn: string, arg: string, v: unknown, of: HandleName): void;
  /** Throws unless the first `n` values lie in `[min, below)`; nothing where values are out of reach. */
  indices(fn: string, arg: string, v: Int32Array, n: number, min: number, below: number): void;
  /** Rows of `width` elements that `v` holds, whole or not. Throws when its memory has gone. */
  rows(fn: string, arg: string, v: Memory & Lengthy, width: number): number;
  /** Throws unless `v` holds cumulative ends, the last at most `most`. */
  ends(fn: string, arg: string, v: Int32Array, most: number): void;
  /** Where the first `n` elements of `v` lie. */
  place(arg: string, v: Memory, n: number): Place;
  /** Throws when other threads can write there: indices must not change between their check and their use. */
  unshared(fn: string, at: Place): void;
  /** Throws when an output shares memory with another argument. */
  apart(fn: string, out: Place, other: Place): void;
  /** The same, but they may be the same memory, from its first element on. */
  apartOrSame(fn: string, out: Place, other: Place): void;
}

const ARRAYS = { f32: Float32Array, i32: Int32Array, u8: Uint8Array, bf16: Uint16Array, e4m3: Uint8Array } as const;

/** Throws unless the arguments came as an object. */
export function checkArguments(fn: string, a: unknown): void {
  if (typeof a === 'object' && a !== null) return;
  throw new KindError(`${fn}: takes one object with its arguments by name, got ${a === null ? 'null' : typeof a}`);
}

/** Throws unless `v` is a boolean. */
export function checkFlag(fn: string, arg: string, v: unknown): void {
  if (typeof v !== 'boolean') throw new KindError(`${fn}: "${arg}" must be a boolean, got ${typeof v}`);
}

/** Throws unless `v` is above 0, in float32 too. Infinity is fine. */
export function checkLimit(fn: string, arg: string, v: unknown): void {
  if (typeof v !== 'number' || !(v > 0))
    throw new ValueError(`${fn}: "${arg}" must be above 0 (Infinity for none), got ${describe(v)}`);
  if (Math.fround(v) === 0) throw new ValueError(`${fn}: "${arg}" must be above 0 in float32, got ${v}`);
}

/** Checks for typed arrays; `handle` is the kernels' own, who know what they made. */
export function arrayChecks(handle: KindChecks['handle']): KindChecks {
  return {
    handle,
    apart: checkPlacesApart,
    tensor(fn, arg, v, dtype, formula, want) {
      checkKind<HostArray>(fn, arg, v, ARRAYS[dtype]);
      checkCapacity(fn, arg, v, formula, want);
    },
    tooShort: checkCapacity,
    indices(fn, arg, v, n, min, below) {
      const end = Math.floor(below); // a last row that is not whole cannot be asked for
      for (let i = 0; i < n; i++) {
        const at = v[i]!;
        if (at < min || at >= end)
          throw new ValueError(`${fn}: "${arg}" must hold values in [${min}, ${end}), got ${at} at index ${i}`);
      }
    },
    rows(fn, arg, v, width) {
      checkAttached(fn, arg, v);
      return v.length / width;
    },
    ends(fn, arg, v, most) {
      let last = 0;
      for (let e = 0; e < v.length; e++) {
        const end = v[e]!;
        if (end < last) {
          throw new ValueError(
            `${fn}: "${arg}" must be cumulative ends (no leading zero, never falling), got ${end} after ${last} at index ${e}`,
          );
        }
        last = end;
      }
      if (last > most) throw new ValueError(`${fn}: "${arg}" must end at or below slots = ${most}, got ${last}`);
    },
    place: placeOf,
    unshared(fn, { arg, buffer }) {
      if (!isShared(buffer)) return;
      throw new KindError(
        `${fn}: "${arg}" must not lie in a SharedArrayBuffer: another thread could change it while it is read`,
      );
    },
    apartOrSame(fn, out, other) {
      if (out.begin === other.begin && sameBuffer(out.buffer, other.buffer)) return;
      checkPlacesApart(fn, out, other);
    },
  };
}
