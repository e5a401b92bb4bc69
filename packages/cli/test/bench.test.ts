import { addonInfos } from '@megamoe/model';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { appendHistory, parseHistory } from '../src/bench/history';
import { median } from '../src/bench/measure';
import { plotHistory } from '../src/bench/plot';
import { CountingSource, SyntheticSource, v4FlashConfig } from '../src/bench/synthetic';
import type { BenchRow } from '../src/bench/types';
import { cli, temporaryFolder } from './support';

const dir = temporaryFolder();
const native = addonInfos().every((info) => info.loaded);

afterEach(() => void vi.unstubAllEnvs());

async function rows(...argv: string[]): Promise<BenchRow[]> {
  const { code, out, err } = await cli('bench', '--quick', '--json', ...argv);
  expect(err).not.toMatch(/error/i);
  expect(code, err).toBe(0);
  return JSON.parse(out) as BenchRow[];
}

/** What every row must be. */
function checkRow(row: BenchRow): void {
  expect(Object.keys(row).slice(0, 7)).toEqual(['name', 'shape', 'threads', 'median', 'unit', 'ceiling', 'fraction']);
  for (const text of [row.name, row.shape, row.unit]) expect(text).toMatch(/\S/);
  for (const x of [row.threads, row.median, row.ceiling, row.fraction]) {
    expect(Number.isFinite(x) && x > 0, JSON.stringify(row)).toBe(true);
  }
  expect(row.fraction).toBeCloseTo(row.median / row.ceiling, 10);
}

const KERNELS = [
  'ceiling-read',
  'ceiling-copy',
  'w4a4-gemv',
  'w4a4-gemm',
  'w4a16-gemv',
  'w4a16-gemm',
  'w4a32-gemm',
  'moe',
  'linear-bf16',
  'quantize',
  'swizzle-hot',
  'swizzle-cold',
  'sampling',
  'attend-decode',
  'attend-prefill',
  'hyper-connections',
  'rms-norm',
  'tiny-decode',
  'tiny-prefill',
];

describe('megamoe bench --quick --json', () => {
  it.runIf(native)('measures everything on the addons, for each number of threads', async () => {
    const all = await rows('--threads', '1,2', '--backend', 'cpu');
    all.forEach(checkRow);
    expect([...new Set(all.map((r) => r.name))]).toEqual(expect.arrayContaining(KERNELS));
    const keys = all.map((r) => `${r.name} ${r.shape} ${r.threads}`);
    expect(new Set(keys).size).toBe(keys.length);
    const of = (name: string): number[] => all.filter((r) => r.name === name).map((r) => r.threads);
    expect(of('w4a4-gemv')).toEqual([1, 2]);
    expect(of('sampling')).toEqual([1]); // works on one thread
  });

  it('measures everything without the addons, on one thread', async () => {
    vi.stubEnv('MEGAMOE_DISABLE_NATIVE', '1');
    const all = await rows('--threads', '1,2');
    all.forEach(checkRow);
    expect([...new Set(all.map((r) => r.name))]).toEqual(expect.arrayContaining(KERNELS));
    expect(all.every((r) => r.threads === 1)).toBe(true);
  });

  it('takes rows whose name or shape holds the filter', async () => {
    const named = await rows('--filter', 'rms-norm', '--threads', '1');
    expect(named.map((r) => r.name)).toEqual(['rms-norm']);
    const shaped = await rows('--filter', 'm=8 ', '--threads', '1');
    expect(shaped.map((r) => r.name)).toEqual([
      'w4a4-gemm',
      'linear-bf16',
      'linear-bf16-bf16',
      'linear-fp8-bf16',
      'linear-fp8',
    ]);
  });
});

it('prints a table for people, keeps a history and draws it', async () => {
  const [csv, svg] = [join(dir, 'history.csv'), join(dir, 'history.svg')];
  const args = ['bench', '--quick', '--filter', 'rms-norm', '--threads', '1', '--csv', csv];
  const first = await cli(...args);
  expect(first.out).toMatch(/^name +shape +threads +median +unit +ceiling +fraction/);
  const second = await cli(...args, '--plot', svg);
  expect(second.code).toBe(0);
  const history = parseHistory(readFileSync(csv, 'utf8'));
  expect(history).toHaveLength(2);
  expect(history[0]).toMatchObject({ name: 'rms-norm', unit: 'GB/s', threads: 1 });
  expect(history[0]!.date).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  expect(history[0]!.runtime).toContain(`node ${process.versions.node}`);
  const picture = readFileSync(svg, 'utf8');
  expect(picture).toMatch(/^<svg .*<\/svg>\n$/s);
  expect(picture.match(/<circle/g)).toHaveLength(1); // the earlier run
});

describe('wrong arguments', () => {
  it.each([
    [['--threads', '0'], /numbers from 1 to 256/],
    [['--threads', '1,x'], /numbers from 1 to 256/],
    [['--shape', 'v5'], /Allowed choices are v4-flash, tiny/],
    [['--layers', '1'], /from 2 to 61/],
    [['--experts', '5'], /from 6 to 1024/],
    [['--isa', 'mmx'], /Allowed choices are auto/],
    [['--backend', 'metal'], /Allowed choices are auto, js, cpu, cuda/],
    [['--filter', 'no-such-row'], /matches nothing; there are: ceiling-read/],
    [['extra'], /too many arguments/],
  ])('%j is a usage error', async (argv, message) => {
    const { code, out, err } = await cli('bench', '--quick', ...argv);
    expect(err).toMatch(message);
    expect(code).toBe(2);
    expect(out).toBe('');
  });

  it('a history of another kind is left alone, and nothing is measured', async () => {
    const file = join(dir, 'other.csv');
    writeFileSync(file, 'a,b\n1,2\n');
    const { code, err } = await cli('bench', '--quick', '--filter', 'rms-norm', '--csv', file);
    expect(code).toBe(2);
    expect(err).toMatch(/other columns; expected date,commit/);
    expect(readFileSync(file, 'utf8')).toBe('a,b\n1,2\n');
    expect(existsSync(`${file}.svg`)).toBe(false);
  });
});

describe('history', () => {
  const origin = { date: '2026-01-02T03:04:05Z', commit: 'abc', machine: 'A "fast" one, x2', runtime: 'node 20' };
  const row: BenchRow = {
    name: 'sampling',
    shape: 'vocab=8',
    threads: 1,
    median: 123.456789,
    unit: 'us',
    ceiling: 50,
    fraction: 2.46913578,
    target: 3,
    atMost: true,
  };

  it('comes back as it was written, to five digits', () => {
    const plain: BenchRow = {
      name: 'other',
      shape: 'vocab=8',
      threads: 1,
      median: 123.456789,
      unit: 'us',
      ceiling: 50,
      fraction: 2.46913578,
    };
    const text = appendHistory(appendHistory('', origin, [row]), origin, [plain]);
    expect(text.split('\n')).toHaveLength(4);
    expect(parseHistory(text)).toEqual([
      { ...origin, ...row, median: 123.46, fraction: 2.4691 },
      { ...origin, ...plain, median: 123.46, fraction: 2.4691 },
    ]);
  });

  it('draws what is reached in one colour and what is not in another', () => {
    const bars = (r: BenchRow): string[] =>
      [...plotHistory(parseHistory(appendHistory('', origin, [r]))).matchAll(/height="11" fill="(#\w+)"/g)].map(
        (m) => m[1]!,
      );
    const [met] = bars(row);
    const [missed] = bars({ ...row, fraction: 3.1 });
    const [open] = bars({ ...row, target: undefined } as unknown as BenchRow);
    expect(new Set([met, missed, open]).size).toBe(3);
    expect(bars({ ...row, atMost: undefined, fraction: 3.1 } as unknown as BenchRow)).toEqual([met]);
    expect(bars({ ...row, name: 'ceiling-read' })).toEqual([]); // always 1
  });
});

it('counts the weights that a step reads', () => {
  const config = {
    ...v4FlashConfig({ layers: 2, experts: 8, vocab: 32, context: 64, dense: 'bf16', floatInputs: 'f32' }),
    hiddenSize: 32,
    moeIntermediateSize: 16,
  };
  const source = new CountingSource(new SyntheticSource(config));
  source.linear('embed', 32, 32);
  expect(source.count).toMatchObject({ bytes: 2048, activeBytes: 0, denseElements: 0 });
  source.linearRows('head', 32, 32, 0, 0);
  source.linearRows('head', 32, 32, 0, 20);
  source.linearRows('head', 32, 32, 20, 12);
  expect(source.count).toMatchObject({ bytes: 4096, activeBytes: 2048, denseElements: 0, headElements: 1024 });
  for (let e = 0; e < 8; e++) source.expert(0, e, 'w1');
  source.expert(0, 0, 'w1'); // asked again: not counted again
  expect(source.count.bytes - 4096).toBe(8 * 16 * 32 * (9 / 16));
  expect(source.count.activeBytes - 2048).toBeCloseTo(6 * 16 * 32 * (9 / 16), 6);
  expect(source.count.expertElements).toBeCloseTo(6 * 16 * 32, 6);
  source.vector('norm.weight', 32);
  expect(source.count.bytes).toBe(4096 + 8 * 288 + 128);
});

it('takes the middle', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
});
