import { checkCapacity, checkKind, ShapeError, ValueError } from '@megamoe/core';
import type { TypedArrayClass } from '@megamoe/core';

/** Smallest global scale for which `blockScale * globalDecodeScale` is a normal float32 for every block scale. */
export const MIN_GLOBAL_DECODE_SCALE = 2 ** -117;

/** Typed arrays that kernels take. */
type Buffer1D = Float32Array | Float64Array | Int32Array | Uint8Array;

/** Throws unless `v` is a `kind` of at least `want` elements. */
export function checkBuffer<T extends Buffer1D>(
  fn: string,
  arg: string,
  v: unknown,
  kind: TypedArrayClass<T>,
  formula: string,
  want: number,
): asserts v is T {
  checkKind(fn, arg, v, kind);
  checkCapacity(fn, arg, v, formula, want);
}

/** Throws ShapeError when the first `aUsed` elements of `a` and `bUsed` of `b` share memory. */
export function checkDisjoint(
  fn: string,
  aName: string,
  a: Buffer1D,
  aUsed: number,
  bName: string,
  b: Buffer1D,
  bUsed: number,
): void {
  if (a.buffer !== b.buffer) return;
  const aEnd = a.byteOffset + aUsed * a.BYTES_PER_ELEMENT;
  const bEnd = b.byteOffset + bUsed * b.BYTES_PER_ELEMENT;
  if (a.byteOffset < bEnd && b.byteOffset < aEnd) throw new ShapeError(`${fn}: "${aName}" must not overlap "${bName}"`);
}

/** Throws unless `offsets` are cumulative ends: integers that start at 0 or above and never fall. Returns the last, R. */
export function checkOffsets(fn: string, offsets: unknown): number {
  checkKind(fn, 'expertOffsets', offsets, Int32Array);
  let last = 0;
  for (let e = 0; e < offsets.length; e++) {
    const end = offsets[e]!;
    if (end < last)
      throw new ValueError(
        `${fn}: "expertOffsets" must be cumulative ends (no leading zero, never falling), got ${end} after ${last} at index ${e}`,
      );
    last = end;
  }
  return last;
}

/** Throws unless the first `n` entries of `v` lie in `[min, below)`. */
export function checkIndices(fn: string, arg: string, v: Int32Array, n: number, min: number, below: number): void {
  for (let i = 0; i < n; i++) {
    const index = v[i]!;
    if (index < min || index >= below)
      throw new ValueError(`${fn}: "${arg}" must hold values in [${min}, ${below}), got ${index} at index ${i}`);
  }
}

/** Throws unless `alpha[e*parts + part]` is finite for every expert that has rows. */
export function checkAlpha(fn: string, alpha: Float32Array, expertOffsets: Int32Array, parts: number): void {
  let start = 0;
  for (let e = 0; e < expertOffsets.length; e++) {
    const end = expertOffsets[e]!;
    if (end > start) {
      for (let p = 0; p < parts; p++) {
        const a = alpha[e * parts + p]!;
        if (!Number.isFinite(a))
          throw new ValueError(
            `${fn}: "alpha" of expert ${e}, part ${p} must be finite, got ${a} at index ${e * parts + p}`,
          );
      }
    }
    start = end;
  }
}

/** Throws unless `globalDecodeScale[e]` is usable for every expert that has rows. */
export function checkGlobalScales(fn: string, scales: Float32Array, expertOffsets: Int32Array): void {
  let start = 0;
  for (let e = 0; e < expertOffsets.length; e++) {
    const end = expertOffsets[e]!;
    const g = scales[e]!;
    if (end > start && !(g >= MIN_GLOBAL_DECODE_SCALE && g < Infinity))
      throw new ValueError(`${fn}: "globalDecodeScale" of expert ${e} must be finite and at least 2^-117, got ${g}`);
    start = end;
  }
}

/** Throws unless the first `n` entries of `rowScale` are finite. */
export function checkRowScale(fn: string, rowScale: Float32Array, n: number): void {
  for (let r = 0; r < n; r++) {
    if (!Number.isFinite(rowScale[r]!))
      throw new ValueError(`${fn}: "rowScale" must be finite, got ${rowScale[r]} at index ${r}`);
  }
}

/** Index of the first byte of `sf[0, n)` that is no block scale (NaN or negative), or -1. */
export function findBadScale(sf: Uint8Array, n: number): number {
  for (let i = 0; i < n; i++) if (sf[i]! >= 0x7f) return i;
  return -1;
}

/** Index of the first E4M3 code that is NaN, or -1. */
export function findNaNCode(codes: Uint8Array): number {
  for (let i = 0; i < codes.length; i++) if ((codes[i]! & 0x7f) === 0x7f) return i;
  return -1;
}

/** The error for {@link findBadScale}. */
export function badScale(fn: string, arg: string, byte: number, index: number): ValueError {
  const hex = byte.toString(16).padStart(2, '0');
  return new ValueError(
    `${fn}: "${arg}" must hold E4M3 scales that are numbers of at least 0, got 0x${hex} at index ${index}`,
  );
}

/** The error for a NaN or infinity found while staging. */
export function notFinite(fn: string, x: Float32Array, index: number): ValueError {
  return new ValueError(`${fn}: "x" must be finite, got ${x[index]} at index ${index}`);
}

/** The error for a SwiGLU that is NaN or infinite, found while staging: `index` counts in [R, i]. */
export function swigluNotFinite(fn: string, i: number, index: number): ValueError {
  const at = `row ${Math.floor(index / i)}, column ${index % i}`;
  return new ValueError(`${fn}: the SwiGLU of "gateUp" must be finite, got NaN or infinity at ${at}`);
}
