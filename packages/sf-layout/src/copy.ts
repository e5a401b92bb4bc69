import { plainView, roundUp } from '@megamoe/core';
import { paddedKSf, TILE_ROWS } from './geometry';
import type { SfLayout } from './geometry';

/**
 * One matrix to move between a strided source and its tiles. Words are the same memory as 32-bit integers (four scales of a
 * row lie together on both sides), `null` when it is not aligned.
 */
export interface Memory {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array | null;
}

/** A {@link Memory} over `bytes`, as the engine sees them. */
export function memoryOf(given: Uint8Array): Memory {
  const bytes = plainView(given, Uint8Array);
  const aligned = bytes.byteOffset % 4 === 0;
  return { bytes, words: aligned ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2) : null };
}

/** Row-major or other position of a matrix' scales: element (row, kSf) is at `start + row * rowStride + kSf * kSfStride`. */
export interface Strided {
  readonly memory: Memory;
  readonly start: number;
  readonly rowStride: number;
  readonly kSfStride: number;
}

/** Writes `rows` by `kSf` scales as tiles to `out[start..)`, padding zero. */
export function toTiles(src: Strided, rows: number, kSf: number, layout: SfLayout, out: Memory, start: number): void {
  const tile = TILE_ROWS[layout];
  const kSfPad = paddedKSf(layout, kSf);
  if (kSf !== kSfPad || rows % tile !== 0) out.bytes.fill(0, start, start + roundUp(rows, tile) * kSfPad);
  const from = src.memory.bytes;
  const words = tile > 1 && wordPath(src, kSf, out, start);
  let row = 0;
  if (words && tile === 128) {
    for (; row + 128 <= rows; row += 128) {
      const s = (src.start + row * src.rowStride) / 4;
      fullTilesIn(src.memory.words!, s, src.rowStride / 4, out.words!, (start + row * kSf) / 4, kSf / 4);
    }
  }
  for (; row < rows; row++) {
    const o = start + tileRowOffset(row, tile, kSfPad);
    const s = src.start + row * src.rowStride;
    if (words) {
      for (let j = 0; j < kSf / 4; j++) out.words![o / 4 + j * tile] = src.memory.words![s / 4 + j]!;
    } else if (tile === 1) {
      for (let c = 0; c < kSf; c++) out.bytes[o + c] = from[s + c * src.kSfStride]!;
    } else {
      quadsIn(from, s, src.kSfStride, out.bytes, o, tile * 4, kSf);
    }
  }
}

/** The inverse of {@link toTiles}; padding is not read. */
export function fromTiles(
  tiles: Memory,
  start: number,
  rows: number,
  kSf: number,
  layout: SfLayout,
  dst: Strided,
): void {
  const tile = TILE_ROWS[layout];
  const kSfPad = paddedKSf(layout, kSf);
  const to = dst.memory.bytes;
  const words = tile > 1 && wordPath(dst, kSf, tiles, start);
  let row = 0;
  if (words && tile === 128) {
    for (; row + 128 <= rows; row += 128) {
      const d = (dst.start + row * dst.rowStride) / 4;
      fullTilesOut(tiles.words!, (start + row * kSf) / 4, kSf / 4, dst.memory.words!, d, dst.rowStride / 4);
    }
  }
  for (; row < rows; row++) {
    const o = start + tileRowOffset(row, tile, kSfPad);
    const d = dst.start + row * dst.rowStride;
    if (words) {
      for (let j = 0; j < kSf / 4; j++) dst.memory.words![d / 4 + j] = tiles.words![o / 4 + j * tile]!;
    } else if (tile === 1) {
      for (let c = 0; c < kSf; c++) to[d + c * dst.kSfStride] = tiles.bytes[o + c]!;
    } else {
      for (let c = 0; c < kSf; c++) to[d + c * dst.kSfStride] = tiles.bytes[o + (c >> 2) * tile * 4 + (c & 3)]!;
    }
  }
}

/** One row, byte by byte: the next four scales are `step` bytes on. */
function quadsIn(
  from: Uint8Array,
  s: number,
  stride: number,
  to: Uint8Array,
  o: number,
  step: number,
  kSf: number,
): void {
  let c = 0;
  for (; c + 4 <= kSf; c += 4, s += 4 * stride, o += step) {
    to[o] = from[s]!;
    to[o + 1] = from[s + stride]!;
    to[o + 2] = from[s + 2 * stride]!;
    to[o + 3] = from[s + 3 * stride]!;
  }
  for (; c < kSf; c++, s += stride, o++) to[o] = from[s]!;
}

/** One row of full 128x4 tiles, in words: rows r, r + 32, r + 64 and r + 96 are neighbours in a tile. */
function fullTilesIn(from: Uint32Array, s: number, rowStride: number, to: Uint32Array, o: number, count: number): void {
  const quarter = 32 * rowStride;
  for (let j = 0; j < count; j++) {
    for (let r = 0, a = s + j, b = o + j * 128; r < 32; r++, a += rowStride, b += 4) {
      to[b] = from[a]!;
      to[b + 1] = from[a + quarter]!;
      to[b + 2] = from[a + 2 * quarter]!;
      to[b + 3] = from[a + 3 * quarter]!;
    }
  }
}

/** The inverse of {@link fullTilesIn}. */
function fullTilesOut(
  from: Uint32Array,
  o: number,
  count: number,
  to: Uint32Array,
  d: number,
  rowStride: number,
): void {
  const quarter = 32 * rowStride;
  for (let j = 0; j < count; j++) {
    for (let r = 0, a = d + j, b = o + j * 128; r < 32; r++, a += rowStride, b += 4) {
      to[a] = from[b]!;
      to[a + quarter] = from[b + 1]!;
      to[a + 2 * quarter] = from[b + 2]!;
      to[a + 3 * quarter] = from[b + 3]!;
    }
  }
}

/** Offset of scale (row, 0) in its matrix: tiles run along K, a row's next four scales are `tile * 4` bytes on. */
export function tileRowOffset(row: number, tile: number, kSfPad: number): number {
  if (tile === 1) return row * kSfPad;
  const inner = row % tile;
  return (row - inner) * kSfPad + (tile === 128 ? (inner % 32) * 16 + (inner >> 5) * 4 : inner * 4);
}

/** Whether four scales at a time can be moved: unit stride and every row on a 4-byte boundary, on both sides. */
function wordPath(strided: Strided, kSf: number, tiles: Memory, start: number): boolean {
  return (
    strided.memory.words !== null &&
    tiles.words !== null &&
    strided.kSfStride === 1 &&
    (kSf | strided.rowStride | strided.start | start) % 4 === 0
  );
}
