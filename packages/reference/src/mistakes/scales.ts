/** Swizzled block scales as mistakes leave them, and what a kernel that reads them rightly gets. */
import { ceilDiv, roundUp } from '@megamoe/core';

/** Rows `[start, start + rows)` of a linear scale matrix that are padded and swizzled together: one expert's. */
export interface Block {
  readonly start: number;
  readonly rows: number;
}

/** A linear scale matrix [R, kSf] and its blocks. */
export interface ScaleSource {
  readonly sf: Uint8Array;
  readonly kSf: number;
  readonly blocks: readonly Block[];
  /** Weights [E, N, kSf]: every block has the same rows, and a transposed source is one per expert. */
  readonly weights: boolean;
}

/** A buffer that a mistake leaves. */
export interface WrongBuffer {
  readonly id: string;
  readonly rank: 0 | 1;
  readonly reading: string;
  /** Made anew at each call: for a real layer's weights it is large. */
  readonly buffer: () => Uint8Array;
}

/** Offset of a scale in its 512-byte tile. */
type InTile = (row: number, column: number) => number;

const RIGHT: InTile = (row, column) => (row & 31) * 16 + ((row >> 5) & 3) * 4 + (column & 3);
const SWAPPED: InTile = (row, column) => (row & 31) * 16 + (column & 3) * 4 + ((row >> 5) & 3);
const COLUMN_MAJOR: InTile = (row, column) => (column & 3) * 128 + (row & 127);

/** Blocks of ragged experts from cumulative ends. */
export function raggedBlocks(ends: ArrayLike<number>): Block[] {
  return Array.from({ length: ends.length }, (_, e) => {
    const start = e === 0 ? 0 : ends[e - 1]!;
    return { start, rows: ends[e]! - start };
  });
}

/** Blocks of weights [E, N]. */
export function weightBlocks(experts: number, n: number): Block[] {
  return Array.from({ length: experts }, (_, e) => ({ start: e * n, rows: n }));
}

/** Rows of all blocks, padded to 128 each. */
function paddedRows(blocks: readonly Block[]): number {
  return blocks.reduce((sum, { rows }) => sum + roundUp(rows, 128), 0);
}

type Source = (row: number, column: number) => number;

/** Swizzles rows that `source` gives, block by block; `emptyRows` for a block without rows. */
function swizzle(blocks: readonly Block[], kSf: number, source: Source, inTile = RIGHT, emptyRows = 0): Uint8Array {
  const kTiles = ceilDiv(kSf, 4);
  const padded = (rows: number): number => (rows === 0 ? emptyRows : roundUp(rows, 128));
  const out = new Uint8Array(blocks.reduce((sum, { rows }) => sum + padded(rows), 0) * kTiles * 4);
  let base = 0;
  for (const { start, rows } of blocks) {
    for (let row = 0; row < rows; row++) {
      const tileRow = base + Math.floor(row / 128) * kTiles * 512;
      for (let k = 0; k < kSf; k++) out[tileRow + (k >> 2) * 512 + inTile(row, k)] = source(start + row, k);
    }
    base += padded(rows) * kTiles * 4;
  }
  return out;
}

const rowMajor =
  (sf: Uint8Array, kSf: number): Source =>
  (row, k) =>
    sf[row * kSf + k]!;

/** The right swizzle. */
export function rightBuffer({ sf, kSf, blocks }: ScaleSource): Uint8Array {
  return swizzle(blocks, kSf, rowMajor(sf, kSf));
}

/** What a kernel finds for each scale when it reads `buffer` where the right swizzle has it; past the end it finds zero. [R, kSf] */
export function readBuffer(buffer: Uint8Array, { sf, kSf, blocks }: ScaleSource): Uint8Array {
  const out = new Uint8Array(sf.length);
  const kTiles = ceilDiv(kSf, 4);
  let base = 0;
  for (const { start, rows } of blocks) {
    for (let row = 0; row < rows; row++) {
      const tileRow = base + Math.floor(row / 128) * kTiles * 512;
      for (let k = 0; k < kSf; k++) {
        out[(start + row) * kSf + k] = buffer[tileRow + (k >> 2) * 512 + RIGHT(row, k)] ?? 0;
      }
    }
    base += roundUp(rows, 128) * kTiles * 4;
  }
  return out;
}

/** Where byte `offset` of the right buffer comes from: block, row in it and scale column; undefined in padding. */
export function originOf(
  offset: number,
  { kSf, blocks }: ScaleSource,
): { e: number; row: number; k: number } | undefined {
  const kTiles = ceilDiv(kSf, 4);
  let base = 0;
  for (let e = 0; e < blocks.length; e++) {
    const { rows } = blocks[e]!;
    const bytes = roundUp(rows, 128) * kTiles * 4;
    if (offset < base + bytes) {
      const at = offset - base;
      const tile = Math.floor(at / 512);
      const row = Math.floor(tile / kTiles) * 128 + Math.floor((at % 512) / 16) + Math.floor((at % 16) / 4) * 32;
      const k = (tile % kTiles) * 4 + (at % 4);
      return row < rows && k < kSf ? { e, row, k } : undefined;
    }
    base += bytes;
  }
  return undefined;
}

/** The padded rows of every block laid out row-major, rows of `stride` bytes. */
function linear({ sf, kSf, blocks }: ScaleSource, stride: number, padRows: boolean): Uint8Array {
  const rowsOf = (rows: number): number => (padRows ? roundUp(rows, 128) : rows);
  const out = new Uint8Array(blocks.reduce((sum, { rows }) => sum + rowsOf(rows), 0) * stride);
  let base = 0;
  for (const { start, rows } of blocks) {
    for (let row = 0; row < rows; row++) {
      out.set(sf.subarray((start + row) * kSf, (start + row + 1) * kSf), (base + row) * stride);
    }
    base += rowsOf(rows);
  }
  return out;
}

/** Every buffer that a mistake leaves; those equal to the right one are no mistakes on this input. */
export function wrongBuffers(source: ScaleSource): WrongBuffer[] {
  const { sf, kSf, blocks, weights } = source;
  const rows = sf.length / Math.max(kSf, 1);
  const kSfPad = roundUp(kSf, 4);
  const right = rowMajor(sf, kSf);
  const all: WrongBuffer[] = [];
  const add = (id: string, rank: 0 | 1, reading: string, buffer: () => Uint8Array): void =>
    void all.push({ id, rank, reading, buffer });

  if (blocks.length > 1) add('scales-swizzled-globally', 0, '', () => swizzle([{ start: 0, rows }], kSf, right));
  if (blocks.some((block) => block.rows === 0)) {
    add('scales-empty-expert-padded', 0, '', () => swizzle(blocks, kSf, right, RIGHT, 128));
  }
  add('scales-left-linear', 0, '', () => linear(source, kSfPad, true));
  add('scales-left-linear', 1, 'scale columns not padded to 4', () => linear(source, kSf, true));
  add('scales-left-linear', 1, 'neither rows nor columns padded', () => linear(source, kSf, false));
  const padded = [{ start: 0, rows: paddedRows(blocks) }];
  add('scales-swizzled-twice', 0, '', () => swizzle(padded, kSfPad, rowMajor(swizzle(blocks, kSf, right), kSfPad)));
  add('scales-mk-swapped', 0, '', () => swizzle(blocks, kSf, right, SWAPPED));
  add('scales-mk-swapped', 1, 'the whole tile transposed', () => swizzle(blocks, kSf, right, COLUMN_MAJOR));
  const only = (keep: (k: number) => boolean) => (): Uint8Array =>
    swizzle(blocks, kSf, (row, k) => (keep(k) ? right(row, k) : 0));
  add(
    'scales-only-k-group-0',
    0,
    '',
    only((k) => k === 0),
  );
  add(
    'scales-only-k-group-0',
    1,
    'the first four k groups (one tile) are filled',
    only((k) => k < 4),
  );
  add(
    'scales-only-k-group-0',
    1,
    'the first k group of every tile is filled',
    only((k) => k % 4 === 0),
  );
  const whole: Source = (row, k) => sf[k * rows + row]!;
  const owner = new Int32Array(rows);
  blocks.forEach((block, e) => owner.fill(e, block.start, block.start + block.rows));
  const own: Source = (row, k) => {
    const block = blocks[owner[row]!]!;
    return sf[block.start * kSf + k * block.rows + (row - block.start)]!;
  };
  add('scales-source-transposed', 0, '', () => swizzle(blocks, kSf, weights ? own : whole));
  if (blocks.length > 1) {
    const reading = weights
      ? 'all experts read as one transposed matrix'
      : "each expert's rows read as a transposed matrix";
    add('scales-source-transposed', 1, reading, () => swizzle(blocks, kSf, weights ? whole : own));
  }
  return all;
}

/** True when two buffers hold the same bytes, the shorter one followed by zeros. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  const n = Math.max(a.length, b.length);
  for (let i = 0; i < n; i++) if ((a[i] ?? 0) !== (b[i] ?? 0)) return false;
  return true;
}

/** What the bytes of a buffer that a kernel got say about it. */
export function bufferEvidence(name: string, got: Uint8Array, source: ScaleSource): { ids: string[]; text: string } {
  const right = rightBuffer(source);
  if (sameBytes(got, right)) return { ids: [], text: `${name} is the right swizzle, byte for byte.` };
  let differ = 0;
  let first = -1;
  for (let i = 0; i < Math.max(got.length, right.length); i++) {
    if ((got[i] ?? 0) === (right[i] ?? 0)) continue;
    differ++;
    if (first < 0) first = i;
  }
  const from = originOf(first, source);
  const where = from ? `expert ${from.e}, row ${from.row}, k group ${from.k}` : 'padding';
  const ids = new Set<string>();
  for (const rank of [0, 1]) {
    if (ids.size > 0) break;
    for (const wrong of wrongBuffers(source))
      if (wrong.rank === rank && sameBytes(got, wrong.buffer())) ids.add(wrong.id);
  }
  const same = ids.size > 0 ? `; byte for byte it is ${[...ids].join(' or ')}` : '; it is no known mistake';
  return {
    ids: [...ids],
    text:
      `${name} (${got.length} bytes, right ${right.length}) differs from the right swizzle in ${differ} bytes, first at ${first} ` +
      `(${where}): has ${got[first] ?? 'nothing'}, right ${right[first] ?? 'nothing'}${same}.`,
  };
}
