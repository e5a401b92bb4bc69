import { errorText, findingText, shareOf, short, verdictText, type OpSummary } from '@megamoe/verify';
import { basename } from 'node:path';
import {
  breakable,
  dataTable,
  heatLegend,
  heatTable,
  htmlPage,
  markup,
  notes,
  plotGrid,
  plotLegend,
  pointPlot,
  type HeatCell,
  type HeatRow,
  type Markup,
  type TableRow,
} from '../html/index';
import { byOperation, coverageText, groupsOf, worstLayer, type VerifyReport } from './report';

const percent = (share: number): string =>
  share < 0.01 ? '<1%' : share < 9.995 ? `${Math.round(share * 100)}%` : `\u00d7${short(share)}`;

function heatCell(o: OpSummary | undefined): HeatCell | null {
  if (!o) return null;
  const share = shareOf(o.error, o.bound);
  const exact = o.error === 0 && o.passed;
  const text = exact ? '=' : !Number.isFinite(share) ? short(o.error) : percent(share);
  const detail = `${o.op}, layer ${o.layer}: ${errorText(o)}, at most ${short(o.bound)}; ${o.calls} calls, ${o.elements} elements`;
  // A thousandth of the bound is pale, the whole of it strong.
  return { strength: share === 0 ? 0 : (Math.log10(share) + 3) / 3, bad: !o.passed, text, detail };
}

function heatMap(r: VerifyReport): Markup {
  const layers = [...new Set(r.ops.flatMap((o) => (o.layer === null ? [] : [o.layer])))].sort((a, b) => a - b);
  const rows: HeatRow[] = [];
  for (const group of groupsOf(r.ops.filter((o) => o.layer !== null))) {
    rows.push({ name: group.name });
    for (const op of group.ops) {
      const cells = layers.map((layer) => heatCell(r.ops.find((o) => o.op === op && o.layer === layer)));
      rows.push({ name: op, cells });
    }
  }
  return heatTable('Error by layer and operation', 'layer', layers.map(String), rows);
}

/** Errors of one operation over the layers, as parts of the bound. */
function errorPlot(op: string, of: readonly OpSummary[], last: number): Markup {
  return pointPlot({
    label: `Error of ${op} by layer, as a part of its bound`,
    xName: 'layer',
    xRange: [0, last],
    yName: 'part of the bound',
    yRange: [1e-4, 10],
    logarithmic: true,
    limit: 1,
    series: [
      {
        name: op,
        mark: 'a',
        points: of.map((o) => ({
          x: o.layer!,
          y: Number.isFinite(shareOf(o.error, o.bound)) ? shareOf(o.error, o.bound) : 1e9,
          bad: !o.passed,
          detail: `layer ${o.layer}: ${errorText(o)}, at most ${short(o.bound)}`,
        })),
      },
    ],
  });
}

function detailRow({ op, of }: { op: string; of: readonly OpSummary[] }): TableRow {
  const worst = worstLayer(of);
  const most = (pick: (o: OpSummary) => number | null): number | null =>
    of.reduce<number | null>((m, o) => (pick(o) === null ? m : Math.max(m ?? 0, pick(o)!)), null);
  const cosines = of.flatMap((o) => (o.cosine === null ? [] : [o.cosine]));
  return {
    tone: of.every((o) => o.passed) ? 'good' : 'bad',
    cells: [
      markup`<code>${breakable(op)}</code>`,
      errorText(worst),
      worst.bound === 0 ? 'equal' : short(worst.bound),
      cosines.length === 0 ? '' : Math.min(...cosines).toFixed(9),
      short(most((o) => o.nmse)),
      short(most((o) => o.maxAbs)),
      short(most((o) => o.maxUlp)),
      most((o) => o.ulpFromExact) === null ? '' : short(most((o) => o.ulpFromExact)),
      worst.reason,
    ],
  };
}

/** The report as a page. */
export function reportHtml(r: VerifyReport, command: string): string {
  const last = Math.max(0, ...r.ops.map((o) => o.layer ?? 0));
  const plotted = byOperation(r.ops.filter((o) => o.layer !== null)).filter(({ of }) => of.some((o) => o.bound > 0));
  const columns = [
    { name: 'operation', fixed: true },
    { name: 'error', right: true },
    { name: 'at most', right: true },
    { name: 'cosine', right: true },
    { name: 'NMSE', right: true },
    { name: 'max abs', right: true },
    { name: 'max ulp', right: true },
    { name: 'ulp from exact', right: true },
    { name: 'why this bound' },
  ];
  return htmlPage({
    title: `Verification of ${basename(r.model)}`,
    verdict: { tone: r.passed ? 'good' : 'bad', text: verdictText(r, r.backend) },
    command,
    facts: [
      ['model', r.model],
      ['backend', r.backend],
      ['expert inputs', r.activations],
      ['tokens', `${r.coverage.promptTokens} prompt, ${r.coverage.decodedTokens} decoded`],
      ['operations', String(r.ops.length)],
      ['out of bound', String(r.findings.length)],
    ],
    sections: [
      ...(r.findings.length === 0
        ? []
        : [{ heading: 'Out of bound', note: 'In the order of the run.', body: notes(r.findings.map(findingText)) }]),
      {
        heading: 'Layers and operations',
        note: 'Largest error of each operation as a part of its bound. The reference was given the same inputs as the backend, so an error shows where it is made and nowhere else.',
        body: [
          heatLegend(['below 0.4% of the bound, or = (equal)', '2%', '6%', '25%', 'up to 100%'], 'out of bound'),
          heatMap(r),
        ],
      },
      {
        heading: 'Errors by layer',
        note: 'Operations that round. Those that are not shown copy, count or quantize, and have to be equal bit for bit.',
        body: [
          plotLegend([
            ['a', 'largest error'],
            ['limit', 'bound'],
          ]),
          plotGrid(
            plotted.map(({ op, of }) => ({
              caption: markup`<code>${breakable(op)}</code>`,
              plot: errorPlot(op, of, last),
            })),
          ),
        ],
      },
      {
        heading: 'All operations',
        note: 'The worst layer of each. A rounding is 2^-24 of the scale that the reason names; cosine, NMSE, max abs and ulp are plain.',
        body: dataTable('All operations', columns, byOperation(r.ops).map(detailRow)),
      },
      {
        heading: 'What the prompt reached',
        note: 'What it did not reach was not verified.',
        body: notes([...coverageText(r.coverage), ...r.coverage.gaps.map((g) => markup`<b>Not verified:</b> ${g}`)]),
      },
      ...(r.warnings.length === 0 ? [] : [{ heading: 'Warnings of the load', body: notes(r.warnings) }]),
    ],
  });
}
