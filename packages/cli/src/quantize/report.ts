import { dataTable, htmlPage, notes, plotGrid, pointPlot, type PointSeries } from '../html';
import { table } from '../table';
import type { ProjectionReport } from './measure';

/** Everything that a quantization has to tell. */
export interface QuantizeReport {
  readonly source: string;
  readonly out: string;
  readonly projections: readonly ProjectionReport[];
  /** Experts that calibration never reached, by `layer.projection`. */
  readonly unreached: Readonly<Record<string, readonly number[]>>;
  /** Matrices that stay as they are because their width is no multiple of 16. */
  readonly left: readonly string[];
  readonly bytes: number;
  readonly seconds: number;
}

const percent = (n: number, of: number): string => `${((100 * n) / Math.max(1, of)).toFixed(2)}%`;

/** The table of the terminal. */
export function reportTable(projections: readonly ProjectionReport[]): string {
  const columns = [
    'layer',
    'projection',
    'relative error',
    'worst cosine',
    'blocks',
    'saturated',
    'minimum',
    'zero',
    'inexact',
  ];
  return table(
    columns,
    projections.map((r) => [
      r.layer,
      r.projection,
      r.relativeError.toFixed(4),
      r.worstCosine.toFixed(5),
      r.blocks,
      r.saturatedScales,
      r.minimumScales,
      r.zeroScales,
      r.inexactBlocks,
    ]),
  );
}

/** The page of `--html`. */
export function reportPage(r: QuantizeReport, command: string): string {
  const names = [...new Set(r.projections.map((p) => p.projection))];
  const layers = r.projections.map((p) => p.layer);
  const xRange = [Math.min(...layers), Math.max(...layers)] as const;
  const worst = r.projections.reduce((a, b) => (b.relativeError > a.relativeError ? b : a));
  const saturated = r.projections.reduce((sum, p) => sum + p.saturatedScales, 0);
  const blocks = r.projections.reduce((sum, p) => sum + p.blocks, 0);
  const highest = Math.max(0.01, worst.relativeError * 1.15);
  const series = (name: string, value: (p: ProjectionReport) => number, unit: (v: number) => string): PointSeries[] => [
    {
      name,
      mark: 'a',
      points: r.projections
        .filter((p) => p.projection === name)
        .map((p) => ({ x: p.layer, y: value(p), detail: `layer ${p.layer}: ${unit(value(p))}` })),
    },
  ];
  const plots = (
    label: string,
    yName: string,
    top: number,
    value: (p: ProjectionReport) => number,
    unit: (v: number) => string,
  ) =>
    plotGrid(
      names.map((name) => ({
        caption: name,
        plot: pointPlot({
          label: `${label} of ${name} by layer`,
          xName: 'layer',
          xRange,
          yName,
          yRange: [0, top],
          series: series(name, value, unit),
        }),
      })),
    );
  const share = (p: ProjectionReport): number => (100 * p.saturatedScales) / Math.max(1, p.blocks);
  const mostSaturated = Math.max(0.01, ...r.projections.map(share)) * 1.15;
  const remarks = [
    ...Object.entries(r.unreached).map(
      ([where, experts]) =>
        `Calibration never reached experts ${experts.join(', ')} of ${where}: they get the projection's largest input_scale.`,
    ),
    ...r.left.map((name) => `${name} stays as it is: its width is no multiple of 16.`),
  ];
  return htmlPage({
    title: 'Quantization to NVFP4',
    verdict: {
      tone: worst.relativeError < 0.15 ? 'good' : 'warn',
      text: `Largest relative error ${worst.relativeError.toFixed(4)} (layer ${worst.layer}, ${worst.projection}), lowest cosine ${Math.min(...r.projections.map((p) => p.worstCosine)).toFixed(5)}.`,
    },
    facts: [
      ['From', r.source],
      ['To', r.out],
      ['Blocks of 16', blocks.toLocaleString('en')],
      ['Saturated scales', `${saturated.toLocaleString('en')} (${percent(saturated, blocks)})`],
      ['Read and written', `${(r.bytes / 1e6).toFixed(1)} MB in ${r.seconds.toFixed(1)} s`],
    ],
    sections: [
      {
        heading: 'Relative error',
        note: 'Norm of the difference over the norm of the original, all experts of a layer together. About 0.09 is what NVFP4 gives for normal numbers.',
        body: plots(
          'relative error',
          'error',
          highest,
          (p) => p.relativeError,
          (v) => v.toFixed(4),
        ),
      },
      {
        heading: 'Saturated block scales',
        note: 'Percent of the blocks whose scale is 448, the largest E4M3 number. The block of the largest weight always is one.',
        body: plots('saturated scales', '%', mostSaturated, share, (v) => `${v.toFixed(3)}%`),
      },
      {
        heading: 'All projections',
        note: 'Minimum: scale 2^-9. Inexact: MXFP4 blocks of 32 whose values the cast could not keep.',
        body: dataTable(
          'All projections',
          [
            { name: 'Layer', right: true },
            { name: 'Projection', fixed: true },
            ...['Relative error', 'Worst cosine', 'Blocks', 'Saturated', 'Minimum', 'Zero', 'Inexact'].map((name) => ({
              name,
              right: true,
            })),
          ],
          r.projections.map((p) => ({
            cells: [
              p.layer,
              p.projection,
              p.relativeError.toFixed(4),
              p.worstCosine.toFixed(5),
              ...[p.blocks, p.saturatedScales, p.minimumScales, p.zeroScales, p.inexactBlocks].map((n) =>
                n.toLocaleString('en'),
              ),
            ],
            ...(p.inexactBlocks > 0 ? { tone: 'warn' as const } : {}),
          })),
        ),
      },
      ...(remarks.length > 0 ? [{ heading: 'Remarks', body: notes(remarks) }] : []),
    ],
    command,
  });
}
