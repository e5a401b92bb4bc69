/** The scale mistakes of packages/cli/docs/dumps.md, written from its sentences, cell by cell, for the tests alone. */

export const SCALE_IDS = [
  'scales-swizzled-globally',
  'scales-empty-expert-padded',
  'scales-left-linear',
  'scales-swizzled-twice',
  'scales-mk-swapped',
  'scales-only-k-group-0',
  'scales-source-transposed',
] as const;

export type ScaleId = (typeof SCALE_IDS)[number];

const up = (n: number, to: number): number => Math.ceil(n / to) * to;

/** One padded matrix of `rows` x `cols` given by a function, in tiles of 128 x 4. */
export function tiles(rows: number, cols: number, at: (r: number, c: number) => number, swapped = false): number[] {
  const out: number[] = [];
  for (let tr = 0; tr < up(rows, 128); tr += 128)
    for (let tc = 0; tc < up(cols, 4); tc += 4)
      for (let r32 = 0; r32 < 32; r32++)
        for (let x = 0; x < 4; x++)
          for (let y = 0; y < 4; y++) {
            const [r4, c4] = swapped ? [y, x] : [x, y];
            const [r, c] = [tr + r4 * 32 + r32, tc + c4];
            out.push(r < rows && c < cols ? at(r, c) : 0);
          }
  return out;
}

/** The buffer, right (`undefined`) or with a mistake. `counts`: rows of each expert of sf [R, kSf]. */
export function buffer(
  id: ScaleId | undefined,
  sf: ArrayLike<number>,
  kSf: number,
  counts: readonly number[],
  side: 'rows' | '2d' | '3d',
): Uint8Array {
  const total = counts.reduce((a, b) => a + b, 0);
  if (id === 'scales-swizzled-globally') return Uint8Array.from(tiles(total, kSf, (r, c) => sf[r * kSf + c]!));
  const out: number[] = [];
  let first = 0;
  for (const n of counts) {
    const from = first;
    let at = (r: number, c: number): number => sf[(from + r) * kSf + c]!;
    if (id === 'scales-source-transposed')
      at = side === '3d' ? (r, c) => sf[from * kSf + c * n + r]! : (r, c) => sf[c * total + from + r]!;
    if (id === 'scales-only-k-group-0') at = (r, c) => (c === 0 ? sf[(from + r) * kSf]! : 0);
    if (id === 'scales-empty-expert-padded' && n === 0) out.push(...new Array<number>(128 * up(kSf, 4)).fill(0));
    else if (id === 'scales-left-linear') {
      for (let r = 0; r < up(n, 128); r++)
        for (let c = 0; c < up(kSf, 4); c++) out.push(r < n && c < kSf ? at(r, c) : 0);
    } else if (id === 'scales-swizzled-twice') {
      const once = tiles(n, kSf, at);
      for (const byte of tiles(up(n, 128), up(kSf, 4), (r, c) => once[r * up(kSf, 4) + c]!)) out.push(byte);
    } else for (const byte of tiles(n, kSf, at, id === 'scales-mk-swapped')) out.push(byte);
    first += n;
  }
  return Uint8Array.from(out);
}

/** What a kernel reads of a buffer: tiles at the padded starts, zero past the end. [R, kSf] */
export function kernelReads(buf: Uint8Array, kSf: number, counts: readonly number[]): Uint8Array {
  const out: number[] = [];
  let base = 0;
  for (const n of counts) {
    for (let r = 0; r < n; r++)
      for (let c = 0; c < kSf; c++) {
        const tile = Math.floor(r / 128) * (up(kSf, 4) / 4) + Math.floor(c / 4);
        out.push(buf[base + tile * 512 + (r % 32) * 16 + (Math.floor(r / 32) % 4) * 4 + (c % 4)] ?? 0);
      }
    base += up(n, 128) * up(kSf, 4);
  }
  return Uint8Array.from(out);
}
