import {
  checkApart,
  checkCapacity,
  checkInteger,
  checkKind,
  checkLength,
  checkObject,
  newArray,
  plainView,
  roundUp,
} from '@megamoe/core';
import { fromTiles, memoryOf, tileRowOffset, toTiles } from './copy';
import { geometryOf, paddedKSf, tileRows } from './geometry';
import type { SfLayout } from './geometry';
import { capacityRows, checkEndOffsets, firstEndAbove, paddedEnds } from './offsets';
import { swizzle } from './swizzle';
import type { SfStrides } from './swizzle';

/** Assembled scales of a grouped GEMM. */
export interface AssembledScales {
  /** u8: one swizzled matrix per expert, one after another. */
  readonly sfSwizzled: Uint8Array;
  /** [E] i32, cumulative padded ends: rows (2Dx3D) or scale columns (2Dx2D). */
  readonly sfOffsets: Int32Array;
}

/** Checks the array of padded ends, or makes it, and that nothing which is written overlaps what is read. */
function checkAssembly(
  fn: string,
  sf: Uint8Array,
  read: number,
  endsArg: string,
  ends: Int32Array,
  out: Uint8Array,
  bytes: number,
  given: Int32Array | undefined,
  check: typeof checkLength = checkLength,
): Int32Array {
  const sfOffsets = given ?? newArray(fn, 'sfOffsets', Int32Array, 'E', ends.length);
  checkKind(fn, 'sfOffsets', sfOffsets, Int32Array);
  check(fn, 'sfOffsets', sfOffsets, 'E', ends.length);
  checkApart(fn, 'out', out, 'sf', sf, bytes, read);
  checkApart(fn, 'out', out, endsArg, ends, bytes);
  checkApart(fn, 'out', out, 'sfOffsets', sfOffsets, bytes);
  checkApart(fn, 'sfOffsets', sfOffsets, 'sf', sf, ends.length, read);
  checkApart(fn, 'sfOffsets', sfOffsets, endsArg, ends);
  return sfOffsets;
}

/** Scale columns per row, and the layout (default `128x4`). */
export interface RaggedShape {
  readonly kSf: number;
  readonly layout?: SfLayout;
}

/**
 * The ragged side of a 2Dx3D grouped GEMM (activations): each expert's rows are padded to whole tiles and swizzled alone,
 * then concatenated; an expert without rows takes no space. Padding once at the end instead is wrong: the GEMM restarts its
 * scale tiles at every expert.
 *
 * Throws `ShapeError` on lengths, `ValueError` unless `expertOffsets` are ascending ends within `sf`.
 * @param sf            [R, kSf] linear; may be longer, rows from `expertOffsets[E-1]` on are not read
 * @param expertOffsets [E] i32, cumulative ends, no leading zero
 * @param out           u8, at least `paddedRows * kSfPad`; bytes behind that are not written
 * @param givenOffsets  the padded ends to write, [E] i32; apart from all else
 */
export function assembleScales2d3d(
  sf: Uint8Array,
  expertOffsets: Int32Array,
  shape: RaggedShape,
  out?: Uint8Array,
  givenOffsets?: Int32Array,
): AssembledScales {
  const fn = 'assembleScales2d3d';
  checkObject(fn, 'shape', shape);
  const { kSf, layout = '128x4' } = shape;
  checkInteger(fn, 'kSf', kSf, 1);
  checkKind(fn, 'sf', sf, Uint8Array);
  checkEndOffsets(fn, 'expertOffsets', expertOffsets, Math.floor(sf.length / kSf));
  const ends = paddedEnds(fn, expertOffsets, undefined, layout);
  const numExperts = expertOffsets.length;
  const kSfPad = paddedKSf(layout, kSf);
  const bytes = (ends[numExperts - 1] ?? 0) * kSfPad;
  const sfSwizzled = out ?? newArray(fn, 'out', Uint8Array, 'sfOffsets[E-1]*kSfPad', bytes);
  checkKind(fn, 'out', sfSwizzled, Uint8Array);
  checkCapacity(fn, 'out', sfSwizzled, 'sfOffsets[E-1]*kSfPad', bytes);
  const rows = expertOffsets[numExperts - 1] ?? 0;
  const sfOffsets = checkAssembly(
    fn,
    sf,
    rows * kSf,
    'expertOffsets',
    expertOffsets,
    sfSwizzled,
    bytes,
    givenOffsets,
    checkCapacity,
  );
  plainView(sfOffsets, Int32Array).set(ends);
  const memory = memoryOf(sf);
  const tiles = memoryOf(sfSwizzled);
  let row = 0;
  let padded = 0;
  for (let e = 0; e < numExperts; e++) {
    const end = expertOffsets[e]!;
    const src = { memory, start: row * kSf, rowStride: kSf, kSfStride: 1 };
    if (end > row) toTiles(src, end - row, kSf, layout, tiles, padded * kSfPad);
    row = end;
    padded = sfOffsets[e]!;
  }
  return { sfSwizzled, sfOffsets };
}

/**
 * The inverse of {@link assembleScales2d3d} (and of the fixed-capacity form). Errors as there.
 * @param sfSwizzled    u8, at least `paddedRows * kSfPad`
 * @param expertOffsets [E] i32, cumulative ends
 * @param sf            [R, kSf] linear; may be longer
 */
export function disassembleScales2d3d(
  sfSwizzled: Uint8Array,
  expertOffsets: Int32Array,
  shape: RaggedShape,
  sf?: Uint8Array,
): Uint8Array {
  const fn = 'disassembleScales2d3d';
  checkObject(fn, 'shape', shape);
  const { kSf, layout = '128x4' } = shape;
  checkInteger(fn, 'kSf', kSf, 1);
  checkKind(fn, 'sfSwizzled', sfSwizzled, Uint8Array);
  const sfOffsets = paddedEnds(fn, expertOffsets, undefined, layout);
  const numExperts = expertOffsets.length;
  const kSfPad = paddedKSf(layout, kSf);
  const rows = numExperts === 0 ? 0 : expertOffsets[numExperts - 1]!;
  const out = sf ?? newArray(fn, 'sf', Uint8Array, 'R*kSf', rows * kSf);
  checkKind(fn, 'sf', out, Uint8Array);
  checkCapacity(fn, 'sf', out, 'R*kSf', rows * kSf);
  checkCapacity(fn, 'sfSwizzled', sfSwizzled, 'sfOffsets[E-1]*kSfPad', (sfOffsets[numExperts - 1] ?? 0) * kSfPad);
  checkApart(fn, 'sf', out, 'sfSwizzled', sfSwizzled, rows * kSf, (sfOffsets[numExperts - 1] ?? 0) * kSfPad);
  checkApart(fn, 'sf', out, 'expertOffsets', expertOffsets, rows * kSf);
  const memory = memoryOf(out);
  const tiles = memoryOf(sfSwizzled);
  let row = 0;
  let padded = 0;
  for (let e = 0; e < numExperts; e++) {
    const end = expertOffsets[e]!;
    fromTiles(tiles, padded * kSfPad, end - row, kSf, layout, {
      memory,
      start: row * kSf,
      rowStride: kSf,
      kSfStride: 1,
    });
    row = end;
    padded = sfOffsets[e]!;
  }
  return out;
}

/** Shape of {@link assembleScales2d3dFixed}: `rows` is the capacity of `sf`, in rows, whatever the routing. */
export interface FixedShape extends RaggedShape {
  readonly rows: number;
}

/**
 * {@link assembleScales2d3d} with sizes that depend on capacities only, as a captured graph needs it: no value of
 * `expertOffsets` decides a length, nothing is read back, and every byte of the output is written (padding and unused tail
 * zero). Each destination row finds its expert by searchsorted right in the padded ends: one thread per row on a device.
 * Offsets that do not ascend within `[0, rows]` cannot throw there and do not here: rows that they place outside `sf` are
 * zero.
 *
 * Throws `ShapeError` on lengths, `ValueError` on the shape.
 * @param sf            [rows, kSf] linear; only the first `expertOffsets[E-1]` rows count
 * @param expertOffsets [E] i32, cumulative ends
 * @param out           [sfCapacityRows(rows, E) * kSfPad] u8, exactly
 * @param givenOffsets  the padded ends to write, [E] i32; apart from all else
 */
export function assembleScales2d3dFixed(
  sf: Uint8Array,
  expertOffsets: Int32Array,
  shape: FixedShape,
  out?: Uint8Array,
  givenOffsets?: Int32Array,
): AssembledScales {
  const fn = 'assembleScales2d3dFixed';
  checkObject(fn, 'shape', shape);
  const { rows, kSf, layout = '128x4' } = shape;
  checkInteger(fn, 'rows', rows, 0);
  checkInteger(fn, 'kSf', kSf, 1);
  checkKind(fn, 'sf', sf, Uint8Array);
  checkKind(fn, 'expertOffsets', expertOffsets, Int32Array);
  checkCapacity(fn, 'sf', sf, 'rows*kSf', rows * kSf);
  const numExperts = expertOffsets.length;
  const tile = tileRows(fn, layout);
  const capacity = capacityRows(rows, numExperts, tile);
  const kSfPad = paddedKSf(layout, kSf);
  const sfSwizzled = out ?? newArray(fn, 'out', Uint8Array, 'sfCapacityRows(rows, E)*kSfPad', capacity * kSfPad);
  checkKind(fn, 'out', sfSwizzled, Uint8Array);
  checkLength(fn, 'out', sfSwizzled, 'sfCapacityRows(rows, E)*kSfPad', capacity * kSfPad);
  const used = [rows * kSf, capacity * kSfPad] as const;
  const sfOffsets = checkAssembly(fn, sf, used[0], 'expertOffsets', expertOffsets, sfSwizzled, used[1], givenOffsets);
  let padded = 0;
  for (let e = 0; e < numExperts; e++) {
    const count = Math.max(0, expertOffsets[e]! - (e === 0 ? 0 : expertOffsets[e - 1]!));
    padded = Math.min(padded + roundUp(count, tile), capacity);
    sfOffsets[e] = padded;
  }
  const step = tile === 1 ? 4 : tile * 4;
  for (let p = 0; p < capacity; p++) {
    const e = firstEndAbove(sfOffsets, p);
    const local = p - (e === 0 ? 0 : sfOffsets[e - 1]!);
    const row = (e === 0 ? 0 : expertOffsets[e - 1]!) + local;
    const valid = e < numExperts && row >= 0 && row < rows && row < expertOffsets[e]!;
    const o = tileRowOffset(p, tile, kSfPad);
    for (let c = 0; c < kSfPad; c++) {
      sfSwizzled[o + (c >> 2) * step + (c & 3)] = valid && c < kSf ? sf[row * kSf + c]! : 0;
    }
  }
  return { sfSwizzled, sfOffsets };
}

/** Shape of {@link assembleScales3d}. */
export interface WeightScalesShape {
  readonly numExperts: number;
  readonly n: number;
  readonly kSf: number;
  readonly layout?: SfLayout;
}

/**
 * The weight side of a 2Dx3D grouped GEMM: each expert's `[N, kSf]` scales swizzled alone, `roundUp(N, 128) * roundUp(kSf,
 * 4)` bytes apart. Errors as `swizzleScales`.
 * @param sf      [E, N, kSf] linear, or at `strides` (stored `[E, kSf, N]`: `{ row: 1, kSf: N, l: kSf * N }`)
 * @param out     [E * nPad * kSfPad] u8; may be longer
 */
export function assembleScales3d(
  sf: Uint8Array,
  shape: WeightScalesShape,
  out?: Uint8Array,
  strides?: SfStrides,
): Uint8Array {
  const fn = 'assembleScales3d';
  checkObject(fn, 'shape', shape);
  const { numExperts, n, kSf, layout = '128x4' } = shape;
  checkInteger(fn, 'numExperts', numExperts, 0);
  checkInteger(fn, 'n', n, 0);
  return swizzle(fn, sf, geometryOf(fn, { rows: n, kSf, l: numExperts, layout }), out, strides);
}

/** Shape of {@link assembleScales2d2d}: `rows` of M or N, which every expert has in full. */
export interface RaggedKShape {
  readonly rows: number;
  readonly layout?: SfLayout;
}

/**
 * Either side of a 2Dx2D grouped GEMM, whose reduction is ragged (weight gradients): expert `e` owns scale columns
 * `[kSfOffsets[e-1], kSfOffsets[e])` of a row-major matrix. Each expert's columns are padded to 4, its rows to 128, and
 * swizzled alone into a flat chunk at `sfOffsets[e-1] * rowsPad`: the chunk is contiguous, no column slice of one wide
 * swizzled matrix. An expert without columns takes no space. `sfOffsets` are the padded column ends.
 *
 * Throws `ShapeError` on lengths, `ValueError` unless `kSfOffsets` are ascending ends.
 * @param sf         [rows, kSfOffsets[E-1]] linear
 * @param kSfOffsets [E] i32, cumulative ends in scale columns (`raggedKSfOffsets` makes them from element counts)
 * @param out        u8, at least `rowsPad * sfOffsets[E-1]`; bytes behind that are not written
 * @param givenOffsets the padded ends to write, [E] i32; apart from all else
 */
export function assembleScales2d2d(
  sf: Uint8Array,
  kSfOffsets: Int32Array,
  shape: RaggedKShape,
  out?: Uint8Array,
  givenOffsets?: Int32Array,
): AssembledScales {
  const fn = 'assembleScales2d2d';
  checkObject(fn, 'shape', shape);
  const { rows, layout = '128x4' } = shape;
  checkInteger(fn, 'rows', rows, 0);
  checkKind(fn, 'sf', sf, Uint8Array);
  checkKind(fn, 'kSfOffsets', kSfOffsets, Int32Array);
  const numExperts = kSfOffsets.length;
  checkEndOffsets(fn, 'kSfOffsets', kSfOffsets, 2 ** 31 - 1 - 4 * numExperts);
  const kSfTotal = numExperts === 0 ? 0 : kSfOffsets[numExperts - 1]!;
  checkLength(fn, 'sf', sf, 'rows*kSfOffsets[E-1]', rows * kSfTotal);
  const rowsPad = roundUp(rows, tileRows(fn, layout));
  let padded = 0;
  const ends = Int32Array.from({ length: numExperts }, (_, e) => {
    return (padded += paddedKSf(layout, kSfOffsets[e]! - (e === 0 ? 0 : kSfOffsets[e - 1]!)));
  });
  const bytes = rowsPad * padded;
  const sfSwizzled = out ?? newArray(fn, 'out', Uint8Array, 'rowsPad*sfOffsets[E-1]', bytes);
  checkKind(fn, 'out', sfSwizzled, Uint8Array);
  checkCapacity(fn, 'out', sfSwizzled, 'rowsPad*sfOffsets[E-1]', bytes);
  const sfOffsets = checkAssembly(fn, sf, sf.length, 'kSfOffsets', kSfOffsets, sfSwizzled, bytes, givenOffsets);
  plainView(sfOffsets, Int32Array).set(ends);
  const memory = memoryOf(sf);
  const tiles = memoryOf(sfSwizzled);
  for (let e = 0; e < numExperts; e++) {
    const start = e === 0 ? 0 : kSfOffsets[e - 1]!;
    const kSf = kSfOffsets[e]! - start;
    const src = { memory, start, rowStride: kSfTotal, kSfStride: 1 };
    if (kSf > 0) toTiles(src, rows, kSf, layout, tiles, (e === 0 ? 0 : sfOffsets[e - 1]!) * rowsPad);
  }
  return { sfSwizzled, sfOffsets };
}
