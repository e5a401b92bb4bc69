import { sfOffset, type SfGeometry } from '@megamoe/sf-layout';

const CELL = { width: 40, height: 14 };
const MAX_ROWS = 128;
const MAX_COLUMNS = 12;
/** One colour for each 32 rows of a tile: neighbours in memory come from rows 32 apart. */
const COLOURS = ['#8ecae6', '#ffd166', '#a7d7a0', '#f4a6a0'];

/** A picture of the first tile rows of batch 0: each scale factor in its (row, k) place with its byte offset. */
export function layoutSvg(g: SfGeometry): string {
  const rows = Math.min(g.rows, MAX_ROWS);
  const columns = Math.min(g.kSf, MAX_COLUMNS);
  const [left, top] = [60, 44];
  const width = left + columns * CELL.width + 16;
  const height = top + rows * CELL.height + 16;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="9">`,
    '<rect width="100%" height="100%" fill="#ffffff"/>',
    `<text x="8" y="16" font-size="12">${g.layout}, ${g.rows} rows x ${g.kSf} scales: byte offsets</text>`,
  ];
  for (let c = 0; c < columns; c++) {
    parts.push(`<text x="${left + (c + 0.5) * CELL.width}" y="${top - 6}" text-anchor="middle">k ${c}</text>`);
  }
  for (let r = 0; r < rows; r++) {
    const y = top + r * CELL.height;
    parts.push(`<text x="${left - 6}" y="${y + 10}" text-anchor="end">row ${r}</text>`);
    for (let c = 0; c < columns; c++) {
      const x = left + c * CELL.width;
      const fill = COLOURS[Math.floor((r % 128) / 32)]!;
      parts.push(
        `<rect x="${x}" y="${y}" width="${CELL.width}" height="${CELL.height}" fill="${fill}" stroke="#ffffff"/>`,
        `<text x="${x + CELL.width / 2}" y="${y + 10}" text-anchor="middle">${sfOffset(g, r, c)}</text>`,
      );
    }
  }
  return `${parts.join('\n')}\n</svg>\n`;
}
