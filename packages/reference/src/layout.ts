/**
 * The scale-factor layout of FP4 tensor cores, written as CUTLASS writes it: a shape and a stride for every mode of the coordinate
 * (`Sm1xxBlockScaledConfig` of sm100_blockscaled_layout.hpp), not as one formula.
 *
 * ```text
 * row       = f0 + 32 f1 + 128 f2          modes (32, 4, tiles)          strides (16, 4, tile row)
 * k element = f3 + vec f4 + 4 vec f5       modes (vec, 4, tiles)         strides (0, 1, 512)
 * ```
 * All elements of a block share one byte, hence the stride 0 of f3. Tiles of 512 bytes run along k first.
 */
import { checkInteger, newArray } from '@megamoe/core';
import { takeBytes, takeNumbers, takeSizes } from './arguments';
import { rowsOf } from './slots';

const TILE_ROWS = 128;
const TILE_BYTES = 512;

interface Mode {
  readonly shape: number;
  readonly stride: number;
}

/** Splits `coordinate` over the modes, innermost first, and adds up coordinate times stride. The last mode is unbounded. */
function offsetOf(coordinate: number, modes: readonly Mode[]): number {
  let offset = 0;
  modes.forEach(({ shape, stride }, i) => {
    const inner = i + 1 < modes.length;
    offset += (inner ? coordinate % shape : coordinate) * stride;
    if (inner) coordinate = Math.floor(coordinate / shape);
  });
  return offset;
}

/** Tiles of a scale matrix [rows, kSf]. */
function tiles(rows: number, kSf: number): { rowTiles: number; kTiles: number } {
  return { rowTiles: Math.ceil(rows / TILE_ROWS), kTiles: Math.ceil(kSf / 4) };
}

/** Bytes of one swizzled matrix: rows padded to 128, scale columns to 4. */
export function sfBytes128x4(rows: number, kSf: number): number {
  checkInteger('sfBytes128x4', 'rows', rows, 0);
  checkInteger('sfBytes128x4', 'kSf', kSf, 0);
  const { rowTiles, kTiles } = tiles(rows, kSf);
  return rowTiles * kTiles * TILE_BYTES;
}

/** Byte offset of the scale of `row` and scale column `column` in a matrix with `kSf` scale columns. */
export function sfOffset128x4(row: number, column: number, kSf: number): number {
  checkInteger('sfOffset128x4', 'row', row, 0);
  checkInteger('sfOffset128x4', 'kSf', kSf, 1);
  checkInteger('sfOffset128x4', 'column', column, 0, kSf - 1);
  const vec = 16; // any: f3 has stride 0
  const rowModes = [
    { shape: 32, stride: 16 },
    { shape: 4, stride: 4 },
    { shape: Infinity, stride: tiles(0, kSf).kTiles * TILE_BYTES },
  ];
  const kModes = [
    { shape: vec, stride: 0 },
    { shape: 4, stride: 1 },
    { shape: Infinity, stride: TILE_BYTES },
  ];
  return offsetOf(row, rowModes) + offsetOf(column * vec, kModes);
}

/** Lays a row-major scale matrix [rows, kSf] out in 128x4 tiles; padding is 0. */
export function swizzleSf128x4(bytes: Uint8Array, shape: { readonly rows: number; readonly kSf: number }): Uint8Array {
  const fn = 'swizzleSf128x4';
  const { rows, kSf } = takeSizes(fn, 'shape', shape, 'rows', 'kSf');
  const sf = takeBytes(fn, 'sf', bytes, ['rows*kSf', rows * kSf]);
  const out = newArray(fn, 'result', Uint8Array, 'rows*kSf, padded', sfBytes128x4(rows, kSf));
  if (out.length === 0) return out;
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < kSf; column++) out[sfOffset128x4(row, column, kSf)] = sf[row * kSf + column]!;
  return out;
}

/**
 * The scales of ragged expert rows: each expert's rows [start, end) are padded to 128 and swizzled alone, the blocks stand one after
 * the other, an expert without rows has none. sf [R, kSf], expertOffsets [E] cumulative ends.
 */
export function assembleSf128x4(
  bytes: Uint8Array,
  shape: { readonly kSf: number; readonly expertOffsets: ArrayLike<number> },
): Uint8Array {
  const fn = 'assembleSf128x4';
  const { kSf } = takeSizes(fn, 'shape', shape, 'kSf');
  const expertOffsets = takeNumbers(fn, 'expertOffsets', shape.expertOffsets);
  const rows = rowsOf(fn, expertOffsets);
  const sf = takeBytes(fn, 'sf', bytes, ['R*kSf', rows * kSf]);
  if (kSf === 0) return new Uint8Array(0);
  const blocks: Uint8Array[] = [];
  for (let e = 0; e < expertOffsets.length; e++) {
    const start = e === 0 ? 0 : expertOffsets[e - 1]!;
    const end = expertOffsets[e]!;
    blocks.push(swizzleSf128x4(sf.subarray(start * kSf, end * kSf), { rows: end - start, kSf }));
  }
  return Uint8Array.from(blocks.flatMap((block) => Array.from(block)));
}
