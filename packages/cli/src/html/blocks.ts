import { markup, type Markup, type MarkupValue } from './markup';
import type { Tone } from './page';

/** A column of {@link dataTable}. */
export interface TableColumn {
  readonly name: string;
  /** Numbers stand to the right. */
  readonly right?: boolean;
  /** Never broken into lines. */
  readonly fixed?: boolean;
}

/** A row of {@link dataTable}: cells in the order of the columns, and how the row stands. */
export interface TableRow {
  readonly cells: readonly MarkupValue[];
  readonly tone?: Tone;
}

/** A table that scrolls sideways by itself where the screen is narrow. */
export function dataTable(label: string, columns: readonly TableColumn[], rows: readonly TableRow[]): Markup {
  const classOf = ({ right, fixed }: TableColumn): string => (right ? 'right' : fixed ? 'fixed' : 'text');
  return markup`<div class="scroll" tabindex="0" role="region" aria-label="${label}"><table>
<thead><tr>${columns.map((c) => markup`<th scope="col" class="${classOf(c)}">${c.name}</th>`)}</tr></thead>
<tbody>${rows.map(
    ({ cells, tone }) =>
      markup`<tr${tone && tone !== 'good' ? markup` class="${tone}"` : ''}>${cells.map((cell, i) => markup`<td class="${classOf(columns[i]!)}">${cell}</td>`)}</tr>
`,
  )}</tbody></table></div>`;
}

/** A cell of {@link heatTable}. */
export interface HeatCell {
  /** 0 (pale) to 1 (strong); `bad` stands out whatever its strength. */
  readonly strength: number;
  readonly bad?: boolean;
  /** What the cell says itself: a few characters. */
  readonly text: string;
  /** The whole story, shown on hover. */
  readonly detail: string;
}

/** A row of {@link heatTable}; a null cell: there is nothing to say. A row without cells is a heading. */
export interface HeatRow {
  readonly name: string;
  readonly cells?: readonly (HeatCell | null)[];
}

const STEPS = 5;

/** A heat map as a table: readable by eye, by screen reader and by copy and paste. The names of the rows stay in sight; `corner` says what the columns are. */
export function heatTable(label: string, corner: string, columns: readonly string[], rows: readonly HeatRow[]): Markup {
  const cell = (c: HeatCell | null): Markup => {
    if (!c) return markup`<td class="none" aria-label="none">\u00b7</td>`;
    const step = Math.min(STEPS - 1, Math.max(0, Math.floor(c.strength * STEPS)));
    return markup`<td class="${c.bad ? 'bad' : `h${step}`}" title="${c.detail}">${c.bad ? '\u2717 ' : ''}${c.text}</td>`;
  };
  return markup`<div class="scroll fit" tabindex="0" role="region" aria-label="${label}"><table class="heat">
<thead><tr><td>${corner}</td>${columns.map((c) => markup`<th scope="col">${c}</th>`)}</tr></thead>
<tbody>${rows.map(({ name, cells }) =>
    cells
      ? markup`<tr><th scope="row">${name}</th>${cells.map(cell)}</tr>
`
      : markup`<tr><th scope="rowgroup" class="group">${name}</th></tr>
`,
  )}</tbody></table></div>`;
}

/** The colours of a heat map, from pale to strong, with what the ends mean, and the colour of what is wrong. */
export function heatLegend(steps: readonly string[], bad?: string): Markup {
  return markup`<ul class="legend">${steps.map((text, i) => markup`<li><span class="swatch h${i}"></span>${text}</li>`)}${
    bad ? markup`<li><span class="swatch bad"></span>\u2717 ${bad}</li>` : ''
  }</ul>`;
}

/** Names of the series of a plot: `a`, `b`, `c` in their colours, `limit` as its dashed line. */
export function plotLegend(series: readonly (readonly ['a' | 'b' | 'c' | 'limit', string])[]): Markup {
  return markup`<ul class="legend">${series.map(([mark, text]) => markup`<li><span class="swatch ${mark}"></span>${text}</li>`)}</ul>`;
}

/** Small pictures side by side, as many in a row as fit. */
export function plotGrid(plots: readonly { readonly caption: MarkupValue; readonly plot: Markup }[]): Markup {
  return markup`<div class="plots">${plots.map(
    ({ caption, plot }) => markup`<figure><figcaption>${caption}</figcaption>${plot}</figure>
`,
  )}</div>`;
}

/** A plot wider than a phone, which scrolls sideways by itself. */
export function widePlot(label: string, plot: Markup): Markup {
  return markup`<div class="scroll bare" tabindex="0" role="region" aria-label="${label}">${plot}</div>`;
}

/** Remarks as a list; nothing when there are none. */
export function notes(items: readonly MarkupValue[]): Markup {
  return items.length === 0
    ? markup``
    : markup`<ul class="notes">${items.map((item) => markup`<li>${item}</li>`)}</ul>`;
}
