import { sfCoordinate, sfOffset, type SfGeometry } from '@megamoe/sf-layout';

/** A scale factor by the element it belongs to. */
export interface ChosenScale {
  readonly row: number;
  /** Element along K. */
  readonly k: number;
  /** Its scale column. */
  readonly column: number;
}

/** Bytes of a tile and of a line of the picture. */
const TILES = {
  '128x4': { bytes: 512, line: 16, rows: 128 },
  '8x4': { bytes: 32, line: 4, rows: 8 },
  linear: { bytes: 0, line: 16, rows: 1 },
} as const;

const CELL = { width: 62, height: 17 };
/** One colour for each 32 rows of a tile: neighbours in memory come from rows 32 apart. */
const COLOURS = ['#8ecae6', '#ffd166', '#a7d7a0', '#f4a6a0'];
const PADDING = '#e5e5e5';

/** Where the chosen scale lies, step by step. */
export function placeOf(g: SfGeometry, { row, k, column }: ChosenScale): string[] {
  const offset = sfOffset(g, row, column);
  const lines = [`row ${row}, k ${k}: scale column ${column}, byte ${offset} of ${g.allocationBytes}`];
  const { bytes, rows } = TILES[g.layout];
  if (bytes === 0) return [...lines, `linear: ${row} * ${g.kSf} + ${column} = ${offset}`];
  const base = Math.floor(offset / bytes) * bytes;
  const inTile =
    g.layout === '128x4'
      ? `(${row} % 32) * 16 + (${row} / 32 % 4) * 4 + ${column} % 4`
      : `(${row} % 8) * 4 + ${column} % 4`;
  return [
    ...lines,
    `tile (${Math.floor(row / rows)}, ${Math.floor(column / 4)}) starts at byte ${base}, in it ${inTile} = ${offset - base}`,
  ];
}

/**
 * A picture of the tile that holds the chosen scale, as it lies in memory: lines of 16 bytes (8x4: 4), each byte with the row and scale
 * column it belongs to, padding grey, the chosen byte framed.
 */
export function tileSvg(g: SfGeometry, chosen: ChosenScale): string {
  const { bytes, line } = TILES[g.layout];
  const offset = sfOffset(g, chosen.row, chosen.column);
  const size = bytes || 256; // linear has no tiles: 16 lines around the byte
  const base = bytes ? Math.floor(offset / bytes) * bytes : Math.max(0, (Math.floor(offset / line) - 8) * line);
  const count = Math.min(size, g.batchStrideBytes - base);
  const [left, top] = [70, 84];
  const texts = placeOf(g, chosen);
  const longest = Math.max(...texts.map((text) => text.length));
  const width = Math.max(left + line * CELL.width + 16, 24 + longest * 7);
  const height = top + Math.ceil(count / line) * CELL.height + 20;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="10">`,
    '<rect width="100%" height="100%" fill="#ffffff"/>',
    `<text x="12" y="20" font-size="13" font-weight="bold">${g.layout}, ${g.rows} rows x ${g.kSf} scales</text>`,
    ...texts.map((text, i) => `<text x="12" y="${39 + i * 16}" font-size="12">${text}</text>`),
  ];
  for (let i = 0; i < line; i++) {
    parts.push(
      `<text x="${left + (i + 0.5) * CELL.width}" y="${top - 5}" text-anchor="middle" fill="#666666">+${i}</text>`,
    );
  }
  let frame = '';
  for (let i = 0; i < count; i++) {
    const { row, kSf, padding } = sfCoordinate(g, base + i);
    const x = left + (i % line) * CELL.width;
    const y = top + Math.floor(i / line) * CELL.height;
    if (i % line === 0) {
      parts.push(`<text x="${left - 6}" y="${y + 12}" text-anchor="end" fill="#666666">${base + i}</text>`);
    }
    const fill = padding ? PADDING : COLOURS[Math.floor((row % 128) / 32)]!;
    const label = padding ? '0' : `${row}, ${kSf}`;
    parts.push(
      `<rect x="${x}" y="${y}" width="${CELL.width}" height="${CELL.height}" fill="${fill}" stroke="#ffffff"/>`,
      `<text x="${x + CELL.width / 2}" y="${y + 12}" text-anchor="middle"${padding ? ' fill="#999999"' : ''}>${label}</text>`,
    );
    if (base + i === offset) {
      frame = `<rect x="${x}" y="${y}" width="${CELL.width}" height="${CELL.height}" fill="none" stroke="#c1121f" stroke-width="3"/>`;
    }
  }
  return `${[...parts, frame].join('\n')}\n</svg>\n`;
}
