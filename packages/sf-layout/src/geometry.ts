import {
  ceilDiv,
  checkInteger,
  checkKind,
  checkLength,
  checkObject,
  checkOneOf,
  newArray,
  roundUp,
  ShapeError,
} from '@megamoe/core';

/**
 * How block scales lie in memory.
 * - `128x4`: 512-byte tiles of 128 rows by 4 scale columns, tiles run along K first; what Blackwell's block-scaled MMA reads
 *   (CUTLASS `Sm1xxBlockScaledConfig`, FlashInfer `layout_128x4`, torchao `to_blocked`).
 * - `8x4`: 32-byte tiles of 8 rows by 4 scale columns, rows contiguous within a tile (FlashInfer and TensorRT-LLM
 *   `SWIZZLED_8x4`, for few rows).
 * - `linear`: row-major, no padding; what checkpoints store.
 */
export type SfLayout = '128x4' | '8x4' | 'linear';

/** All layouts. */
export const SF_LAYOUTS: readonly SfLayout[] = ['128x4', '8x4', 'linear'];

/** Elements along K that share one scale: 16 in NVFP4, 32 in the MX formats. */
export type SfVecSize = 16 | 32;

/** A shape to lay out: `l` matrices (default 1) of `rows` by `kSf` scales. */
export interface SfShape {
  readonly rows: number;
  readonly kSf: number;
  readonly l?: number;
  /** Default `128x4`. */
  readonly layout?: SfLayout;
}

/** A layout with everything derived from its shape; made by {@link createSfGeometry}. One scale is one byte. */
export interface SfGeometry {
  readonly layout: SfLayout;
  readonly rows: number;
  readonly kSf: number;
  readonly l: number;
  /** `rows` rounded up to whole tiles. */
  readonly rowsPad: number;
  /** `kSf` rounded up to whole tiles. */
  readonly kSfPad: number;
  /** Bytes of one matrix, padding included. */
  readonly batchStrideBytes: number;
  /** Bytes of all `l` matrices: what a buffer must hold. */
  readonly allocationBytes: number;
}

/** Where a byte of a buffer belongs. `padding` means that `row` or `kSf` lies outside the matrix (the byte must be 0). */
export interface SfCoordinate {
  readonly l: number;
  readonly row: number;
  readonly kSf: number;
  readonly padding: boolean;
}

/** Rows of one tile: each expert's rows are padded to a multiple of this. 1 for `linear`. */
export function rowsPerTile(layout: SfLayout): number {
  return tileRows('rowsPerTile', layout);
}

/** Rows of a tile of each layout. */
export const TILE_ROWS: Readonly<Record<SfLayout, number>> = { '128x4': 128, '8x4': 8, linear: 1 };

/** {@link rowsPerTile}, for errors of the function that was called. */
export function tileRows(fn: string, layout: SfLayout): number {
  checkOneOf(fn, 'layout', layout, SF_LAYOUTS);
  return TILE_ROWS[layout];
}

/** `kSf` rounded up to whole tiles (of 4 columns; `linear` has none). Throws `ValueError` on a negative or fractional `kSf`. */
export function padKSf(layout: SfLayout, kSf: number): number {
  checkOneOf('padKSf', 'layout', layout, SF_LAYOUTS);
  checkInteger('padKSf', 'kSf', kSf, 0);
  return paddedKSf(layout, kSf);
}

/** {@link padKSf} without checks. */
export function paddedKSf(layout: SfLayout, kSf: number): number {
  return layout === 'linear' ? kSf : roundUp(kSf, 4);
}

/**
 * Scale columns of `k` unpacked elements: `ceil(k / sfVecSize)`. Throws `ValueError` on anything but 16 or 32, or a negative
 * `k`.
 */
export function kSfOf(k: number, sfVecSize: SfVecSize = 16): number {
  checkInteger('kSfOf', 'k', k, 0);
  checkOneOf('kSfOf', 'sfVecSize', sfVecSize, [16, 32]);
  return ceilDiv(k, sfVecSize);
}

/** Derives sizes and strides of a layout. Throws `ValueError` on a negative or fractional shape or an unknown layout. */
export function createSfGeometry(shape: SfShape): SfGeometry {
  return geometryOf('createSfGeometry', shape);
}

/** {@link createSfGeometry}, for errors of the function that was called. */
export function geometryOf(fn: string, shape: SfShape): SfGeometry {
  checkObject(fn, 'shape', shape);
  const { rows, kSf, l = 1, layout = '128x4' } = shape;
  checkInteger(fn, 'rows', rows, 0);
  checkInteger(fn, 'kSf', kSf, 0);
  checkInteger(fn, 'l', l, 0);
  const rowsPad = roundUp(rows, tileRows(fn, layout));
  const kSfPad = paddedKSf(layout, kSf);
  const batchStrideBytes = rowsPad * kSfPad;
  checkInteger(fn, 'allocationBytes', batchStrideBytes * l, 0);
  return { layout, rows, kSf, l, rowsPad, kSfPad, batchStrideBytes, allocationBytes: batchStrideBytes * l };
}

/** {@link sfOffset} without checks, for loops; `row` and `kSf` may lie in the padding. */
export function offsetOf(g: SfGeometry, row: number, kSf: number, l: number): number {
  if (g.layout === 'linear') return l * g.batchStrideBytes + row * g.kSf + kSf;
  const tile = g.layout === '128x4' ? 128 : 8;
  const inner = row % tile;
  const inTile = tile === 128 ? (inner % 32) * 16 + (inner >> 5) * 4 : inner * 4;
  // Multiply, never shift: offsets may pass 2^31. A row of tiles has tile * kSfPad bytes.
  return l * g.batchStrideBytes + (row - inner) * g.kSfPad + Math.floor(kSf / 4) * tile * 4 + inTile + (kSf % 4);
}

/**
 * The geometry that a caller passed, its numbers read once: what is checked is what is used. Throws unless they belong together, as those of
 * {@link createSfGeometry} do.
 */
export function takeGeometry(fn: string, g: SfGeometry): SfGeometry {
  checkObject(fn, 'geometry', g);
  const { rows, kSf, l, layout, batchStrideBytes, allocationBytes, rowsPad, kSfPad } = g;
  checkInteger(fn, 'geometry.rows', rows, 0);
  checkInteger(fn, 'geometry.kSf', kSf, 0);
  checkInteger(fn, 'geometry.l', l, 0);
  checkOneOf(fn, 'geometry.layout', layout, SF_LAYOUTS);
  const tile = TILE_ROWS[layout];
  const isOne =
    rowsPad === roundUp(rows, tile) &&
    kSfPad === paddedKSf(layout, kSf) &&
    batchStrideBytes === rowsPad * kSfPad &&
    allocationBytes === batchStrideBytes * l;
  if (!isOne)
    throw new ShapeError(`${fn}: "geometry" must come from createSfGeometry: its numbers do not belong together`);
  return { layout, rows, kSf, l, rowsPad, kSfPad, batchStrideBytes, allocationBytes };
}

/** Byte offset of one scale. Throws `ValueError` when the coordinate lies outside the matrix. */
export function sfOffset(geometry: SfGeometry, row: number, kSf: number, l = 0): number {
  const g = takeGeometry('sfOffset', geometry);
  checkInteger('sfOffset', 'row', row, 0, g.rows - 1);
  checkInteger('sfOffset', 'kSf', kSf, 0, g.kSf - 1);
  checkInteger('sfOffset', 'l', l, 0, g.l - 1);
  return offsetOf(g, row, kSf, l);
}

/** The inverse of {@link sfOffset}, for padding too. Throws `ValueError` when `offset` lies outside the allocation. */
export function sfCoordinate(geometry: SfGeometry, offset: number): SfCoordinate {
  const g = takeGeometry('sfCoordinate', geometry);
  checkInteger('sfCoordinate', 'offset', offset, 0, g.allocationBytes - 1);
  return coordinateOf(g, offset);
}

/** {@link sfCoordinate} without checks. */
export function coordinateOf(g: SfGeometry, offset: number): SfCoordinate {
  const l = Math.floor(offset / g.batchStrideBytes);
  const inBatch = offset - l * g.batchStrideBytes;
  if (g.layout === 'linear') return { l, row: Math.floor(inBatch / g.kSf), kSf: inBatch % g.kSf, padding: false };
  const tile = g.layout === '128x4' ? 128 : 8;
  const tileRow = Math.floor(inBatch / (tile * g.kSfPad));
  const inTileRow = inBatch - tileRow * tile * g.kSfPad;
  const inTile = inTileRow % (tile * 4);
  const inner = tile === 128 ? (inTile >> 4) + ((inTile >> 2) & 3) * 32 : inTile >> 2;
  const row = tileRow * tile + inner;
  const kSf = Math.floor(inTileRow / (tile * 4)) * 4 + (inTile & 3);
  return { l, row, kSf, padding: row >= g.rows || kSf >= g.kSf };
}

/**
 * Offsets of all scales in `[l][row][kSf]` order. Throws `ShapeError` when the allocation passes 2^32 bytes.
 * @param given [l * rows * kSf] u32, where the offsets go
 */
export function sfOffsetTable(geometry: SfGeometry, given?: Uint32Array): Uint32Array {
  const fn = 'sfOffsetTable';
  const g = takeGeometry(fn, geometry);
  const count = g.l * g.rows * g.kSf;
  if (g.allocationBytes > 2 ** 32) {
    throw new ShapeError(`sfOffsetTable: allocation must be at most 2^32 = ${2 ** 32} bytes, got ${g.allocationBytes}`);
  }
  const out = given ?? newArray(fn, 'out', Uint32Array, 'L*rows*kSf', count);
  checkKind(fn, 'out', out, Uint32Array);
  checkLength(fn, 'out', out, 'L*rows*kSf', count);
  let i = 0;
  for (let l = 0; l < g.l; l++) {
    for (let row = 0; row < g.rows; row++) {
      for (let kSf = 0; kSf < g.kSf; kSf++) out[i++] = offsetOf(g, row, kSf, l);
    }
  }
  return out;
}
