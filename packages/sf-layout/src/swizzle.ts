import { checkApart, checkCapacity, checkInteger, checkKind, checkObject, newArray } from '@megamoe/core';
import { fromTiles, memoryOf, toTiles } from './copy';
import { takeGeometry, type SfGeometry } from './geometry';

/**
 * Strides of a linear array of scales, in bytes: scale (l, row, kSf) is at `l * strides.l + row * strides.row + kSf *
 * strides.kSf`. Say them whenever the array is not row-major `[l, rows, kSf]`: weight scales stored `[kSf, N]` have `{ row:
 * 1, kSf: N, l: kSf * N }`.
 */
export interface SfStrides {
  readonly row: number;
  readonly kSf: number;
  readonly l: number;
}

/** Strides of a row-major `[l, rows, kSf]` array. Throws `ValueError` on a negative or fractional shape. */
export function rowMajor(shape: { readonly rows: number; readonly kSf: number }): SfStrides {
  checkObject('rowMajor', 'shape', shape);
  const { rows, kSf } = shape;
  checkInteger('rowMajor', 'rows', rows, 0);
  checkInteger('rowMajor', 'kSf', kSf, 0);
  return { row: kSf, kSf: 1, l: rows * kSf };
}

/** The strides that a caller passed, each read once and checked; row-major where none are given. */
export function takeStrides(fn: string, given: SfStrides | undefined, g: SfGeometry): SfStrides {
  if (given === undefined) return { row: g.kSf, kSf: 1, l: g.rows * g.kSf };
  checkObject(fn, 'strides', given);
  const { row, kSf, l } = given;
  checkInteger(fn, 'strides.row', row, 0);
  checkInteger(fn, 'strides.kSf', kSf, 0);
  checkInteger(fn, 'strides.l', l, 0);
  return { row, kSf, l };
}

/** Checks that `sf` reaches to the last scale that strides address; gives how many bytes that takes. */
export function checkStrided(fn: string, sf: Uint8Array, g: SfGeometry, strides: SfStrides): number {
  checkKind(fn, 'sf', sf, Uint8Array);
  const empty = g.rows === 0 || g.kSf === 0 || g.l === 0;
  const last = (g.l - 1) * strides.l + (g.rows - 1) * strides.row + (g.kSf - 1) * strides.kSf;
  checkCapacity(fn, 'sf', sf, '(L-1)*strides.l + (rows-1)*strides.row + (kSf-1)*strides.kSf + 1', empty ? 0 : last + 1);
  return empty ? 0 : last + 1;
}

/**
 * Writes linear scales in the layout of `geometry`, padding zero. Whole rows move at once, four scales at a time where both
 * sides allow it. Throws `ShapeError` when an array is too short, `KindError`, `ValueError` on strides.
 * @param sf           linear scales, at `givenStrides` (row-major `[l, rows, kSf]` when left out)
 * @param given        the output, [allocationBytes] u8; may be longer, the rest is not written; must not overlap `sf`
 */
export function swizzleScales(
  sf: Uint8Array,
  geometry: SfGeometry,
  given?: Uint8Array,
  givenStrides?: SfStrides,
): Uint8Array {
  return swizzle('swizzleScales', sf, geometry, given, givenStrides);
}

/** {@link swizzleScales}, for errors of the function that was called. */
export function swizzle(
  fn: string,
  sf: Uint8Array,
  givenGeometry: SfGeometry,
  given?: Uint8Array,
  givenStrides?: SfStrides,
): Uint8Array {
  const geometry = takeGeometry(fn, givenGeometry);
  const strides = takeStrides(fn, givenStrides, geometry);
  const used = checkStrided(fn, sf, geometry, strides);
  const out = given ?? newArray(fn, 'out', Uint8Array, 'allocationBytes', geometry.allocationBytes);
  checkKind(fn, 'out', out, Uint8Array);
  checkCapacity(fn, 'out', out, 'allocationBytes', geometry.allocationBytes);
  checkApart(fn, 'out', out, 'sf', sf, geometry.allocationBytes, used);
  const { rows, kSf, layout } = geometry;
  const memory = memoryOf(sf);
  const tiles = memoryOf(out);
  for (let l = 0; l < (used === 0 ? 0 : geometry.l); l++) {
    const src = { memory, start: l * strides.l, rowStride: strides.row, kSfStride: strides.kSf };
    toTiles(src, rows, kSf, layout, tiles, l * geometry.batchStrideBytes);
  }
  return out;
}

/**
 * The inverse of {@link swizzleScales}: padding is not read, and bytes of the output that no stride addresses are not written.
 * Errors as there.
 * @param sfSwizzled [allocationBytes] u8; may be longer
 * @param given      the output: linear scales, written at `givenStrides` (row-major `[l, rows, kSf]` when left out)
 */
export function unswizzleScales(
  sfSwizzled: Uint8Array,
  givenGeometry: SfGeometry,
  given?: Uint8Array,
  givenStrides?: SfStrides,
): Uint8Array {
  const fn = 'unswizzleScales';
  const geometry = takeGeometry(fn, givenGeometry);
  const strides = takeStrides(fn, givenStrides, geometry);
  const sf = given ?? newArray(fn, 'sf', Uint8Array, 'L*rows*kSf', geometry.l * geometry.rows * geometry.kSf);
  const used = checkStrided(fn, sf, geometry, strides);
  checkKind(fn, 'sfSwizzled', sfSwizzled, Uint8Array);
  checkCapacity(fn, 'sfSwizzled', sfSwizzled, 'allocationBytes', geometry.allocationBytes);
  checkApart(fn, 'sf', sf, 'sfSwizzled', sfSwizzled, used, geometry.allocationBytes);
  const { rows, kSf, layout } = geometry;
  const memory = memoryOf(sf);
  const tiles = memoryOf(sfSwizzled);
  for (let l = 0; l < (used === 0 ? 0 : geometry.l); l++) {
    const dst = { memory, start: l * strides.l, rowStride: strides.row, kSfStride: strides.kSf };
    fromTiles(tiles, l * geometry.batchStrideBytes, rows, kSf, layout, dst);
  }
  return sf;
}
