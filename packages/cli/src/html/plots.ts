import { scaleLinear, scaleLog } from 'd3-scale';
import { markup, type Markup } from './markup';
import { PICTURE_STYLE } from './style';

/** A series of points of {@link pointPlot}; `mark` is its colour. */
export interface PointSeries {
  readonly name: string;
  readonly mark: 'a' | 'b' | 'c';
  readonly points: readonly {
    readonly x: number;
    readonly y: number;
    readonly bad?: boolean;
    readonly detail: string;
  }[];
}

/** What {@link pointPlot} draws. */
export interface PointPlot {
  /** Said to those who cannot see it. */
  readonly label: string;
  readonly width?: number;
  readonly height?: number;
  readonly xName: string;
  /** Whole numbers from..to, as layers. */
  readonly xRange: readonly [number, number];
  readonly yName: string;
  readonly yRange: readonly [number, number];
  /** Powers of ten on y; values at or below the range are drawn on its edge. */
  readonly logarithmic?: boolean;
  /** A dashed line: what must not be passed. */
  readonly limit?: number;
  readonly series: readonly PointSeries[];
}

const round = (x: number): string => x.toFixed(1).replace(/\.0$/, '');

/** A picture of `width` x `height`; `label` is its alternative text. */
function picture(
  width: number,
  height: number,
  label: string,
  body: Markup,
  wide?: { readonly least: number },
): Markup {
  // A wide picture grows with the page, but its text not beyond all measure, and scrolls before it shrinks to nothing.
  const style = wide && markup` style="min-width:${wide.least}px;max-width:${Math.round(width * 1.5)}px"`;
  return markup`<svg class="plot${wide ? ' wide' : ''}"${style} viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${label}">${body}</svg>`;
}

/** Points joined by a line, one series for each colour, over whole numbers on x. */
export function pointPlot(o: PointPlot): Markup {
  const { width = 280, height = 150, xRange, yRange, logarithmic = false, series, limit } = o;
  const [left, right, top, bottom] = [46, width - 10, 20, height - 32];
  const x = scaleLinear()
    .domain([xRange[0] - 0.5, xRange[1] + 0.5])
    .range([left, right]);
  const y = (logarithmic ? scaleLog() : scaleLinear()).domain(yRange).range([bottom, top]);
  const clamp = (v: number): number => Math.min(Math.max(v, yRange[0]), yRange[1]);
  const at = (p: { x: number; y: number }): [string, string] => [round(x(p.x)), round(y(clamp(p.y)))];
  // Fewer ticks than values when they would touch; d3 keeps them at round numbers.
  const xTicks = x.ticks(Math.min(xRange[1] - xRange[0] + 1, Math.floor(width / 36))).filter(Number.isInteger);
  const yTicks = logarithmic ? decades(yRange, 4) : y.ticks(4);
  return picture(
    width,
    height,
    o.label,
    markup`
${yTicks.map((t) => markup`<line class="grid" x1="${left}" x2="${right}" y1="${round(y(t))}" y2="${round(y(t))}"/><text class="soft" x="${left - 5}" y="${round(y(t) + 4)}" text-anchor="end">${tickText(t, logarithmic)}</text>`)}
${xTicks.map((t) => markup`<text class="soft" x="${round(x(t))}" y="${bottom + 14}" text-anchor="middle">${t}</text>`)}
<line class="frame" x1="${left}" x2="${right}" y1="${bottom}" y2="${bottom}"/>
<text class="soft" x="${right}" y="${height - 4}" text-anchor="end">${o.xName}</text><text class="soft" x="4" y="11">${o.yName}</text>
${limit === undefined ? '' : markup`<line class="limit" x1="${left}" x2="${right}" y1="${round(y(clamp(limit)))}" y2="${round(y(clamp(limit)))}"/>`}
${series.map(
  ({
    mark,
    points,
  }) => markup`<path class="thread ${mark}" d="${points.map((p, i) => `${i === 0 ? 'M' : 'L'}${at(p).join(' ')}`).join('')}"/>
${points.map((p) => {
  const [cx, cy] = at(p);
  return markup`<circle class="mark ${p.bad ? 'bad' : mark}" cx="${cx}" cy="${cy}" r="${p.bad ? 5 : 3}"><title>${p.detail}</title></circle>`;
})}`,
)}`,
  );
}

/** Powers of ten in a range, at most about `count` of them. */
function decades([from, to]: readonly [number, number], count: number): number[] {
  const first = Math.ceil(Math.log10(from) - 1e-9);
  const last = Math.floor(Math.log10(to) + 1e-9);
  const step = Math.max(1, Math.ceil((last - first) / count));
  const ticks: number[] = [];
  for (let e = last; e >= first; e -= step) ticks.push(10 ** e);
  return ticks;
}

function tickText(t: number, logarithmic: boolean): string {
  if (!logarithmic) return String(Number(t.toPrecision(3)));
  const exponent = Math.round(Math.log10(t));
  return exponent >= -2 && exponent <= 3 ? String(Number(t.toPrecision(1))) : `1e${exponent}`;
}

/** A row of {@link histogramGrid}: how often each bin occurs. */
export interface HistogramRow {
  readonly name: string;
  readonly counts: readonly number[];
  /** Bins that are worth a look, as the saturated one. */
  readonly bad?: readonly number[];
  readonly mark?: 'a' | 'b' | 'c';
}

/** What {@link histogramGrid} draws. */
export interface HistogramGrid {
  readonly label: string;
  /** Written above; none where a heading says it. */
  readonly title?: string;
  /** Of its own units; as the bins need when absent. */
  readonly width?: number;
  readonly binNames: readonly string[];
  readonly xName: string;
  readonly rows: readonly HistogramRow[];
}

/** One small histogram a row, all over the same bins: where the values of each row lie, and which row is out of line. */
export function histogramGrid({ label, title, binNames, xName, rows, ...o }: HistogramGrid): Markup {
  const rowHeight = 26;
  const left = 12 + Math.max(30, ...rows.map((r) => 7 * r.name.length));
  const width = o.width ?? Math.min(680, Math.max(330, left + 10 + 44 * binNames.length));
  const [top, right] = [title === undefined ? 4 : 30, width - 10];
  const height = top + rows.length * rowHeight + 40;
  const cell = (right - left) / Math.max(1, binNames.length);
  const each = Math.max(1, Math.ceil((Math.max(...binNames.map((n) => n.length), 1) * 7 + 8) / cell));
  return picture(
    width,
    height,
    label,
    markup`${title !== undefined && markup`<text class="title" x="8" y="17">${title}</text>`}
${rows.map((row, r) => {
  const y0 = top + (r + 1) * rowHeight - 4;
  const total = row.counts.reduce((a, b) => a + b, 0);
  const tallest = scaleLinear()
    .domain([0, Math.max(1, ...row.counts)])
    .range([0, rowHeight - 6]);
  return markup`<text x="${left - 8}" y="${y0 - 4}" text-anchor="end">${row.name}</text><line class="grid" x1="${left}" x2="${right}" y1="${y0}" y2="${y0}"/>
${row.counts.map((n, i) => {
  if (n === 0) return '';
  const h = Math.max(1.5, tallest(n)); // what is there at all stays visible
  const tone = row.bad?.includes(i) ? 'bad' : (row.mark ?? 'a');
  return markup`<rect class="mark ${tone}" x="${round(left + i * cell + 0.5)}" width="${round(Math.max(1, cell - 1))}" y="${round(y0 - h)}" height="${round(h)}"><title>${row.name}, ${binNames[i]}: ${n} (${((100 * n) / total).toFixed(2)}%)</title></rect>`;
})}`;
})}
${binNames.map((name, i) => (i % each === 0 ? markup`<text class="soft" x="${round(left + (i + 0.5) * cell)}" y="${top + rows.length * rowHeight + 14}" text-anchor="middle">${name}</text>` : ''))}
<text class="soft" x="${right}" y="${height - 8}" text-anchor="end">${xName}</text>`,
    { least: Math.min(width, 560) },
  );
}

/** A picture as a file of its own, with its colours for light and dark. */
export function standaloneSvg(plot: Markup): string {
  return `${plot.text.replace('<svg ', '<svg xmlns="http://www.w3.org/2000/svg" ').replace('>', `><style>${PICTURE_STYLE.replaceAll('>', '&gt;')}</style>`)}\n`;
}
