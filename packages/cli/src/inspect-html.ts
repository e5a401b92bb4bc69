import { basename } from 'node:path';
import { breakable, dataTable, histogramGrid, htmlPage, markup, notes, widePlot, type Markup } from './html/index';
import type { InspectReport } from './inspect';

const grouped = (n: number): string => n.toLocaleString('en');

/** Where the scales of each layer and projection lie, by powers of two; `titled` where no heading says so. */
export function scalePicture({ health, dir }: InspectReport, titled: boolean): Markup {
  const exponents = health.rows.flatMap((r) => Object.keys(r.exponents).map(Number));
  const [from, to] = exponents.length === 0 ? [0, -1] : [Math.min(...exponents), Math.max(...exponents)];
  const bins = Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const label = `Block scales of ${basename(dir)} by layer`;
  return histogramGrid({
    ...(titled ? { title: label } : {}),
    ...{ label, binNames: bins.map((e) => `2^${e}`), xName: 'scale, up to the next power of two' },
    rows: health.rows
      .filter((r) => Object.keys(r.exponents).length > 0)
      .map((r) => ({
        name: r.module.replace(/^layers\./, '').replace('.ffn.experts.*', ''),
        counts: bins.map((e) => r.exponents[e] ?? 0),
        // 448 lies in the bin of 2^8: worth a look when it is full. The largest block of a matrix always is there.
        bad:
          r.format === 'nvfp4' && r.saturated - r.matrices > 0.01 * r.scales
            ? bins.flatMap((e, i) => (e === 8 ? [i] : []))
            : [],
      })),
  });
}

/** Most things that a sentence lists. */
const MOST_LISTED = 3;

/** What is wrong, in a sentence: what a load refuses, and what loads and makes garbage; undefined when nothing is. */
export function faultText({ scales, health }: InspectReport): string | undefined {
  const rows = health.rows.reduce((n, r) => n + r.nan, 0);
  const nan = Math.max(rows, scales.nanScales);
  const plain = health.nonFinite.filter((t) => t.nan > 0);
  const parts = [
    ...(nan > 0 ? [`${nan} block scale${nan === 1 ? ' is' : 's are'} NaN`] : []),
    ...(plain.length > 0 ? [`NaN in ${plain.map((t) => t.tensor).join(', ')}`] : []),
    ...health.refused.slice(0, MOST_LISTED),
    ...(health.refused.length > MOST_LISTED
      ? [`and ${health.refused.length - MOST_LISTED} more that a load refuses`]
      : []),
    ...health.garbage,
  ];
  return parts.length === 0 ? undefined : parts.join('; ');
}

const nonFiniteTexts = ({ health }: InspectReport): string[] =>
  health.nonFinite.map((t) => `${t.tensor}: ${t.nan} NaN, ${t.infinite} infinite`);

/** The report as a page. */
export function inspectHtml(r: InspectReport): string {
  const { health } = r;
  const fault = faultText(r);
  const odd = [...health.problems, ...r.warnings];
  const remarks = [...new Set([...health.refused, ...health.garbage, ...nonFiniteTexts(r), ...odd])];
  const right = (name: string): { name: string; right: true } => ({ name, right: true });
  return htmlPage({
    title: `Checkpoint ${basename(r.dir)}`,
    command: `megamoe inspect ${r.dir}`,
    verdict: fault
      ? { tone: 'bad', text: fault }
      : odd.length > 0
        ? { tone: 'warn', text: `No NaN; ${odd.length} remark${odd.length === 1 ? '' : 's'}` }
        : { tone: 'good', text: 'No NaN, and nothing odd.' },
    facts: [
      ['folder', r.dir],
      ['parameters', grouped(r.parameters)],
      ['bytes', grouped(r.bytes)],
      ['tensors', grouped(r.tensors)],
      ...(r.draft.layers === 0
        ? []
        : [
            [
              'draft layers (mtp.*)',
              `${r.draft.layers}, ${grouped(r.draft.tensors)} tensors, skipped when computing`,
            ] as const,
          ]),
    ],
    sections: [
      ...(remarks.length === 0
        ? []
        : [
            {
              heading: 'Remarks',
              body: notes(remarks),
            },
          ]),
      {
        heading: 'Block scales by layer',
        note: 'How many scales lie at each power of two. A row whose last bin is red has more than 1% of its scales at 448, the largest block of each matrix aside.',
        body: widePlot('Block scales by layer', scalePicture(r, false)),
      },
      {
        heading: 'Scales',
        body: dataTable(
          'Scales',
          [
            { name: 'module', fixed: true },
            { name: 'format', fixed: true },
            ...['scales', 'saturated', 'minimum', 'zero', 'NaN', 'global scale'].map(right),
          ],
          health.rows.map((s) => ({
            ...(s.nan > 0 ? { tone: 'bad' as const } : {}),
            cells: [
              ...[markup`<code>${breakable(s.module)}</code>`, s.format],
              ...[s.scales, s.saturated, s.minimum, s.zero, s.nan].map(grouped),
              s.globalScales ? `${s.globalScales.min.toPrecision(3)} to ${s.globalScales.max.toPrecision(3)}` : '',
            ],
          })),
        ),
      },
      {
        heading: 'Modules',
        body: dataTable(
          'Modules',
          [
            { name: 'module', fixed: true },
            { name: 'format', fixed: true },
            ...['count', 'shape', 'parameters', 'bytes'].map(right),
          ],
          r.modules.map((m) => ({
            cells: [
              ...[markup`<code>${breakable(m.module)}</code>`, m.format, grouped(m.count), `[${m.shape.join(', ')}]`],
              ...[grouped(m.parameters), grouped(Math.round(m.bytes))],
            ],
          })),
        ),
      },
    ],
  });
}
