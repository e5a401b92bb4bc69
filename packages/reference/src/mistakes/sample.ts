/**
 * What is compared of an output [M, N] that is too large to be computed twice. A grid of rows and columns in even distances, beside it
 * every column in some rows and every row in some columns, so that a structure that is wrong (a column, a row, a head) meets the
 * comparison wherever it stands; and what looks unlike the rest comes first. Samples are in the order of what they cost for what they
 * see: behind one that does not fit, the rest need not be computed.
 */
import type { Scope } from './types';

/** Rows and columns that are compared, each row in each column. */
export interface Sample {
  readonly rows: Int32Array;
  readonly columns: Int32Array;
}

/** Rows and columns that must be looked at. */
export interface Marks {
  readonly rows: Set<number>;
  readonly columns: Set<number>;
}

/** Sizes of an output. */
export interface Grid {
  readonly m: number;
  readonly n: number;
  /** So many rows that follow each other belong together: the heads of a position. */
  readonly inner: number;
}

/** What computing a sample costs, in multiplications. */
export interface Cost {
  readonly perRow: number;
  readonly perElement: number;
}

const BUDGET: Readonly<Record<Scope, number>> = { full: 1.5e9, screen: 2.5e7, probe: 1e6 };

/** What seeing every row may cost beside the grid. */
const COVER = 6e9;

/** A level that is another shows in a few rows, in nearly every element. */
const PROBED_ROWS = 6;

/** Rows in which every column is compared, and columns in which every row is. */
const FEW = 4;

const range = (n: number): Int32Array => Int32Array.from({ length: n }, (_, i) => i);

/** `count` of the indices below `n`: those of `first`, the last, then others in even distances, each time another of `inner`. */
function spread(n: number, count: number, first: Iterable<number> = [], inner = 1): Int32Array {
  if (count >= n) return range(n);
  const chosen = new Set<number>();
  const preferred = [...first];
  const share = Math.max(1, Math.floor(count / 2));
  for (let i = 0; i < share && i < preferred.length; i++) {
    chosen.add(preferred[Math.floor(((i + 0.5) * preferred.length) / Math.min(share, preferred.length))]!);
  }
  if (chosen.size < count) chosen.add(n - 1);
  for (let i = 0; chosen.size < count && i < count; i++) {
    const at = Math.floor((i * n) / count);
    chosen.add(at - (at % inner) + ((at + i) % inner));
  }
  for (let i = 0; chosen.size < count; i++) chosen.add(i);
  return Int32Array.from(chosen).sort();
}

/** Samples of an output within the budget of `scope`, without an element twice; rows and columns of `first` come first. */
export function samplesOf(scope: Scope, { m, n, inner }: Grid, { perRow, perElement }: Cost, first?: Marks): Sample[] {
  const budget = BUDGET[scope];
  const fewColumns = perRow >= n * perElement && perRow <= budget ? n : Math.min(n, 96);
  const most = scope === 'probe' ? Math.min(m, PROBED_ROWS) : m;
  const count = Math.max(1, Math.min(most, Math.floor(budget / (perRow + fewColumns * perElement))));
  const width = Math.max(fewColumns, Math.min(n, Math.floor((budget / count - perRow) / perElement)));
  const main: Sample = { rows: spread(m, count, first?.rows, inner), columns: spread(n, width, first?.columns) };
  const samples = [main];
  if (scope !== 'full') return samples;
  const few = (of: Int32Array): Int32Array => spread(of.length, FEW).map((at) => of[at]!);
  const without = (all: Int32Array, some: Int32Array): Int32Array => {
    const there = new Set(some);
    return all.filter((at) => !there.has(at));
  };
  const columns = without(range(n), main.columns);
  if (columns.length > 0) samples.push({ rows: few(main.rows), columns });
  const rows = coverOf(without(range(m), main.rows), { m, n, inner }, Math.floor(COVER / (perRow + FEW * perElement)));
  if (rows.length > 0) samples.push({ rows, columns: few(range(n)) });
  return samples;
}

/** The rows `left`; when they are too many, of each group one, each time another, and of each place in a group one. */
function coverOf(left: Int32Array, { m, inner }: Grid, most: number): Int32Array {
  if (left.length <= most) return left;
  if (inner === 1) return spread(left.length, most).map((at) => left[at]!);
  const groups = m / inner;
  const place = (i: number): number => (i % groups) * inner + (i % inner);
  const wanted = new Set(Array.from(spread(Math.max(groups, inner), most), place));
  return left.filter((row) => wanted.has(row));
}

/** How much of an output samples meet, in words. */
export function coverage({ m, n }: Grid, samples: readonly Sample[]): string {
  const met = (of: 'rows' | 'columns', all: number): string => {
    const count = new Set(samples.flatMap((sample) => [...sample[of]])).size;
    return count === all ? `every ${of.slice(0, -1)}` : `${count} of ${all} ${of}`;
  };
  return `${met('rows', m)} and ${met('columns', n)}`;
}

/** Larger or smaller than the median by this, a row or column looks unlike the others. */
const UNLIKE = 8;

function unlike(sizes: Float64Array): Set<number> {
  const median = sizes.slice().sort()[sizes.length >> 1]!;
  const is = (size: number): boolean => !(size <= median * UNLIKE && size >= median / UNLIKE); // true for NaN
  return new Set([...sizes.keys()].filter((at) => is(sizes[at]!)));
}

/** Rows and columns that look unlike the others: not finite, much larger or smaller (zeros), and rows that repeat the one before. */
export function standouts(data: Float32Array, { m, n }: Grid): Marks {
  const rows = new Float64Array(m);
  const columns = new Float64Array(n);
  const repeated = new Set<number>();
  for (let r = 0; r < m; r++) {
    let same = r > 0;
    for (let c = 0; c < n; c++) {
      const v = data[r * n + c]!;
      rows[r]! += Math.abs(v);
      columns[c]! += Math.abs(v);
      if (same && v !== data[(r - 1) * n + c]) same = false;
    }
    if (same) repeated.add(r);
  }
  return { rows: new Set([...unlike(rows), ...repeated]), columns: unlike(columns) };
}
