import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  dataTable,
  escapeMarkup,
  heatLegend,
  heatTable,
  histogramGrid,
  htmlPage,
  markup,
  notes,
  plotGrid,
  plotLegend,
  pointPlot,
  standaloneSvg,
  widePlot,
} from '../src/html/index';
import { expectOfflinePage, expectWellFormed } from './html-checks';
import { cli, TINY } from './support';

const EVIL = `</style><script>alert("x")</script>' & \u0001`;
const ESCAPED = '&lt;/style&gt;&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&#39; &amp; \ufffd';

const plot = pointPlot({
  label: EVIL,
  xName: 'layer',
  xRange: [0, 5],
  yName: 'error',
  yRange: [1e-3, 10],
  logarithmic: true,
  limit: 1,
  series: [
    {
      name: EVIL,
      mark: 'a',
      points: [
        { x: 0, y: 0, detail: EVIL },
        { x: 5, y: 100, bad: true, detail: 'over' },
      ],
    },
  ],
});
const grid = histogramGrid({
  label: 'scales',
  title: EVIL,
  binNames: ['2^-9', '1', '448'],
  xName: 'scale',
  rows: [{ name: EVIL, counts: [1, 0, 1_000_000], bad: [2] }],
});

const page = htmlPage({
  title: EVIL,
  verdict: { tone: 'bad', text: EVIL },
  facts: [[EVIL, EVIL]],
  command: EVIL,
  sections: [
    { heading: EVIL, note: EVIL, body: notes([EVIL, markup`<b>${EVIL}</b>`]) },
    {
      heading: 'Tables',
      body: [
        dataTable(EVIL, [{ name: EVIL }, { name: 'n', right: true }], [{ cells: [EVIL, 1], tone: 'bad' }]),
        heatTable(
          EVIL,
          EVIL,
          [EVIL],
          [{ name: 'group' }, { name: EVIL, cells: [{ strength: 0.5, text: EVIL, detail: EVIL }] }],
        ),
        heatLegend([EVIL], EVIL),
      ],
    },
    { heading: 'Plots', body: [plotGrid([{ caption: EVIL, plot }]), plotLegend([['a', EVIL]]), widePlot(EVIL, grid)] },
  ],
});

/** Relative luminance of #rrggbb (WCAG 2). */
function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const c = parseInt(hex.slice(at, at + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

describe('pages', () => {
  it('escape every value, wherever it stands', () => {
    expect(escapeMarkup(EVIL)).toBe(ESCAPED);
    expect(page).not.toContain('<script');
    expect(page.match(/<\/style>/g)).toHaveLength(1); // its own
    // title, h1, verdict, 2 facts, footer, heading, note, 2 notes, table 3, heat 5, legends 3, plots: label, point, caption, grid 4
    expect(page.split(ESCAPED).length - 1).toBeGreaterThanOrEqual(26);
  });

  it('are whole, load nothing and have both colour schemes', () => {
    expectOfflinePage(page);
  });

  it.each(['light', 'dark'])('have readable colours in %s', (scheme) => {
    const rule = (scheme === 'light' ? /:root\{([^}]*)\}/ : /dark\)\{:root\{([^}]*)\}/).exec(page)![1]!;
    const colours = new Map([...rule.matchAll(/--([\w-]+):(#\w{6})/g)].map((m) => [m[1]!, luminance(m[2]!)]));
    const contrast = (a: string, b: string): number => {
      const [x, y] = [colours.get(a)!, colours.get(b)!];
      return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    };
    for (const text of ['ink', 'soft', 'accent', 'good', 'bad', 'warn'])
      for (const ground of ['page', 'panel'])
        expect(contrast(text, ground), `${text} on ${ground}`).toBeGreaterThan(4.5);
    for (const tone of ['good', 'bad', 'warn']) {
      expect(contrast(tone, `${tone}-soft`), tone).toBeGreaterThan(4.5);
      expect(contrast('ink', `${tone}-soft`), tone).toBeGreaterThan(4.5);
    }
    for (const step of [0, 1, 2, 3, 4]) expect(contrast('heat-ink', `heat${step}`), `heat${step}`).toBeGreaterThan(4.5);
    for (const mark of ['accent', 'second', 'third', 'bad', 'warn'])
      expect(contrast(mark, 'page'), mark).toBeGreaterThan(3);
  });

  it('say by a sign, not by colour alone, what is wrong', () => {
    const table = heatTable(
      't',
      'x',
      ['0'],
      [{ name: 'op', cells: [{ strength: 1, bad: true, text: '9', detail: '' }, null] }],
    );
    expect(table.text).toContain('\u2717 9');
    expect(table.text).toContain('aria-label="none"');
  });

  it('put strengths into steps, their ends included', () => {
    const steps = [0, 0.199, 0.2, 0.99, 1, 7, -1].map(
      (strength) =>
        heatTable('t', 'x', ['0'], [{ name: 'op', cells: [{ strength, text: '', detail: '' }] }]).text.match(
          /class="(h\d)"/,
        )?.[1],
    );
    expect(steps).toEqual(['h0', 'h0', 'h1', 'h4', 'h4', 'h4', 'h0']);
  });
});

describe('plots', () => {
  it('keep points inside the frame: what is off the scale lies on its edge', () => {
    const circles = [...plot.text.matchAll(/<circle class="mark (\w+)" cx="([\d.]+)" cy="([\d.]+)"/g)];
    expect(circles.map((c) => c[1])).toEqual(['a', 'bad']);
    expect(circles.map((c) => Number(c[3]))).toEqual([118, 20]); // bottom for 0, top for 100
    expect(plot.text).toContain('class="limit"');
    expect(plot.text).not.toContain('NaN');
  });

  it('place a linear value where it belongs', () => {
    const { text } = pointPlot({
      label: 'l',
      xName: 'x',
      xRange: [3, 3],
      yName: 'y',
      yRange: [0, 1],
      series: [{ name: 's', mark: 'b', points: [{ x: 3, y: 0.5, detail: '' }] }],
    });
    expect(text).toContain('cx="158" cy="69"'); // the middle of [46, 270] and of [118, 20]
  });

  it('show a bin of one count beside one of a million', () => {
    const heights = [...grid.text.matchAll(/<rect [^>]*height="([\d.]+)"/g)].map((m) => Number(m[1]));
    expect(heights).toEqual([1.5, 20]);
    expect(grid.text).toContain('class="mark bad"');
  });

  it('stand alone as files with both colour schemes', () => {
    const svg = standaloneSvg(grid);
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" class="plot wide"/);
    expect(svg).toContain('prefers-color-scheme:dark');
    expectWellFormed(svg);
  });

  it('draw nothing without rows or ranges', () => {
    expectWellFormed(histogramGrid({ label: '', title: '', binNames: [], xName: '', rows: [] }).text);
  });
});

it('verify has no --memory, which it would not keep to', async () => {
  expect(await cli('verify', '--memory', '1G')).toMatchObject({
    code: 2,
    err: expect.stringContaining("unknown option '--memory'"),
  });
});

it.each([
  ['inspect', [TINY], '--html'],
  ['inspect', [TINY], '--svg'],
  ['quantize', ['--in', TINY, '--out', 'nowhere', '--layers', 'all'], '--html'],
  ['verify', [], '--html'],
] as const)('%s says before the work that a file of it cannot be written', async (command, args, option) => {
  const missing = join(TINY, 'no', 'such');
  const { code, out, err } = await cli(command, ...args, option, join(missing, 'page'));
  expect([code, out]).toEqual([2, '']);
  expect(err).toContain(`There is no folder ${missing}.`);
  expect((await cli(command, ...args, option, TINY)).err).toContain('That is a folder.');
  const empty = await cli(command, ...args, option, '');
  expect([empty.code, empty.out]).toEqual([2, '']);
  expect(empty.err).toContain('"": cannot be written: the path is empty.');
});
