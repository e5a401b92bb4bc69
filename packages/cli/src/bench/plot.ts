import type { HistoryRow } from './history';

const LEFT = 430;
const WIDTH = 420;
const RIGHT = 230;
const ROW = 18;
const TOP = 56;

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** Three digits, without an exponent. */
export function threeDigits(x: number): string {
  if (x === 0) return '0';
  return Math.abs(x) >= 100 ? x.toFixed(0) : x.toPrecision(3);
}

/**
 * A picture of a history: for each row the newest fraction of its ceiling as a bar, its target as a line, and earlier fractions as
 * dots. Rows whose target is a most show the part of it that is used.
 */
export function plotHistory(history: readonly HistoryRow[]): string {
  const series = new Map<string, HistoryRow[]>();
  for (const row of history) {
    if (/^(gpu-)?ceiling-/.test(row.name)) continue; // always 1
    const key = `${row.name} ${row.shape} ${row.threads}`;
    series.set(key, [...(series.get(key) ?? []), row]);
  }
  const newest = history.reduce((a, b) => (b.date > a ? b.date : a), '');
  const last = history.find((row) => row.date === newest);
  const height = TOP + series.size * ROW + 12;
  const lines: string[] = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${LEFT + WIDTH + RIGHT}" height="${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    `<text x="12" y="20" font-size="14">Fraction of the machine's limit, measured in the same run</text>`,
    `<text x="12" y="36" fill="#666">${escape(last ? `newest: ${last.date}, ${last.commit || 'no commit'}, ${last.machine}, ${last.runtime}` : '')}</text>`,
  ];
  for (let tenth = 0; tenth <= 12; tenth += 2) {
    const x = LEFT + (tenth / 12) * WIDTH;
    lines.push(`<line x1="${x}" y1="${TOP - 4}" x2="${x}" y2="${height - 8}" stroke="#ddd"/>`);
    lines.push(`<text x="${x}" y="${TOP - 8}" text-anchor="middle" fill="#666">${tenth / 10}</text>`);
  }
  let y = TOP;
  for (const rows of series.values()) {
    lines.push(...seriesLines(rows, y));
    y += ROW;
  }
  return `${lines.join('\n')}\n</svg>\n`;
}

function seriesLines(rows: readonly HistoryRow[], y: number): string[] {
  const row = rows.at(-1)!;
  const { target, atMost } = row;
  // A most is drawn as its used part, and of a time without a target what its floor is of it, so that every bar may be compared with 1
  // or with its target.
  const isTime = ['us', 'ms'].includes(row.unit) && target === undefined;
  const shown = (r: HistoryRow): number =>
    atMost && target ? r.fraction / target : isTime ? 1 / r.fraction : r.fraction;
  const x = (fraction: number): number => LEFT + (Math.min(Math.max(fraction, 0), 1.2) / 1.2) * WIDTH;
  const met = target === undefined ? undefined : atMost ? row.fraction <= target : row.fraction >= target;
  const colour = met === undefined ? '#7a9cc6' : met ? '#4c9f70' : '#d08a3e';
  const mark = target === undefined ? undefined : atMost ? 1 : target;
  const value = `${threeDigits(row.median)} ${row.unit} = ${row.fraction.toFixed(2)}${target === undefined ? '' : ` (${atMost ? 'at most' : 'target'} ${target})`}`;
  const label = `${row.name}  ${row.shape}  x${row.threads}`;
  const out = [
    `<text x="${LEFT - 8}" y="${y + 12}" text-anchor="end"${label.length > 68 ? ' font-size="9"' : ''}>${escape(label)}</text>`,
    `<rect x="${LEFT}" y="${y + 3}" width="${(x(shown(row)) - LEFT).toFixed(1)}" height="11" fill="${colour}"/>`,
  ];
  if (mark !== undefined)
    out.push(
      `<line x1="${x(mark).toFixed(1)}" y1="${y + 1}" x2="${x(mark).toFixed(1)}" y2="${y + 16}" stroke="#000" stroke-width="1.5"/>`,
    );
  for (const earlier of rows.slice(0, -1))
    out.push(`<circle cx="${x(shown(earlier)).toFixed(1)}" cy="${y + 8.5}" r="2" fill="#000" fill-opacity="0.35"/>`);
  out.push(`<text x="${LEFT + WIDTH + 8}" y="${y + 12}" fill="#333">${escape(value)}</text>`);
  return out;
}
