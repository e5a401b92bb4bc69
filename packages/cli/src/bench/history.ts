import { UsageError } from '../errors';
import type { BenchRow } from './types';

/** Where a row was measured. */
export interface BenchOrigin {
  /** ISO 8601, UTC, to the second. */
  readonly date: string;
  /** Commit of the working folder, with `+` when files differ from it; empty outside a repository. */
  readonly commit: string;
  /** Processor model and how many processors. */
  readonly machine: string;
  /** Node and the kernels in use. */
  readonly runtime: string;
}

/** A row of the history. */
export type HistoryRow = BenchOrigin & Omit<BenchRow, 'atMost'> & { readonly atMost?: boolean };

const COLUMNS = [
  'date',
  'commit',
  'machine',
  'runtime',
  'name',
  'shape',
  'threads',
  'median',
  'unit',
  'ceiling',
  'fraction',
  'target',
] as const;

const HEADER = COLUMNS.join(',');

/** Names whose target is a most. */
const MOST_TARGET = '<=';

const quoted = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const short = (x: number): string => String(Number(x.toPrecision(5)));

/** The text of a history with rows added. A new history starts with its header. */
export function appendHistory(before: string, origin: BenchOrigin, rows: readonly BenchRow[]): string {
  if (before !== '' && before.split('\n', 1)[0] !== HEADER)
    throw new UsageError(`bench: the file of --csv has other columns; expected ${HEADER}`);
  const lines = rows.map((row) => {
    const target = row.target === undefined ? '' : `${row.atMost ? MOST_TARGET : ''}${row.target}`;
    const { date, commit, machine, runtime } = origin;
    const { name, shape, threads, median, unit, ceiling, fraction } = row;
    return [
      date,
      commit,
      machine,
      runtime,
      name,
      shape,
      String(threads),
      short(median),
      unit,
      short(ceiling),
      short(fraction),
      target,
    ]
      .map(quoted)
      .join(',');
  });
  const start = before === '' ? `${HEADER}\n` : before.endsWith('\n') ? before : `${before}\n`;
  return `${start}${lines.map((line) => `${line}\n`).join('')}`;
}

/** Fields of one line; quotes as in RFC 4180. */
function fields(line: string): string[] {
  const out: string[] = [];
  for (const [, whole, inner] of line.matchAll(/(?:^|,)("((?:[^"]|"")*)"|[^,]*)/g)) {
    out.push(inner === undefined ? whole! : inner.replaceAll('""', '"'));
  }
  return out;
}

/** Reads a history, oldest row first. */
export function parseHistory(text: string): HistoryRow[] {
  const [header, ...lines] = text.split('\n').filter((line) => line !== '');
  if (header === undefined) return [];
  if (header !== HEADER) throw new UsageError(`bench: the file of --csv has other columns; expected ${HEADER}`);
  return lines.map((line) => {
    const cells = fields(line);
    const at = (name: (typeof COLUMNS)[number]): string => cells[COLUMNS.indexOf(name)] ?? '';
    const atMost = at('target').startsWith(MOST_TARGET);
    const target = at('target').replace(MOST_TARGET, '');
    return {
      date: at('date'),
      commit: at('commit'),
      machine: at('machine'),
      runtime: at('runtime'),
      name: at('name'),
      shape: at('shape'),
      threads: Number(at('threads')),
      median: Number(at('median')),
      unit: at('unit'),
      ceiling: Number(at('ceiling')),
      fraction: Number(at('fraction')),
      ...(target === '' ? {} : { target: Number(target), atMost }),
    };
  });
}
