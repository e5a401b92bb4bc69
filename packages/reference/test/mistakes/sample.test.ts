/** Outputs too large to be computed twice: what is wrong about a whole row, column or head is met wherever it stands. */
import { describe, expect, it } from 'vitest';
import { FLOAT32 } from '../../src/mistakes/levels';
import { floatProblem } from '../../src/mistakes/problem';
import type { Cost } from '../../src/mistakes/sample';
import type { Judged, Problem } from '../../src/mistakes/types';

const [M, N, HEADS] = [320, 200, 8];
const right = (row: number, column: number): number => 1 + ((row * 31 + column * 17) % 64) / 64;

/** A computation that would take long, of an output that `wrong` has changed. */
function problemOf(cost: Cost, wrong: (row: number, column: number, value: number) => number): Problem {
  const data = Float32Array.from({ length: M * N }, (_, at) => {
    const [row, column] = [Math.floor(at / N), at % N];
    return wrong(row, column, right(row, column));
  });
  return floatProblem({
    output: { name: 'out', dtype: 'F32', shape: [M / HEADS, HEADS, N], data },
    ...{ m: M, n: N, inner: HEADS, cost, candidates: [] },
    right: ({ rows, columns }) => ({
      want: Float64Array.from({ length: rows.length * columns.length }, (_, at) =>
        right(rows[Math.floor(at / columns.length)]!, columns[at % columns.length]!),
      ),
      noise: new Float64Array(rows.length * columns.length),
    }),
  });
}

const judged = (p: Problem): Judged => p.right.judge('full', FLOAT32);

/** Costs at which columns, rows, and rows beyond one of each position are not all computed. */
const COLUMNS: Cost = { perRow: 1, perElement: 3e4 };
const ROWS: Cost = { perRow: 1.5e7, perElement: 1 };
const POSITIONS: Cost = { perRow: 1e8, perElement: 1 };

describe('a sampled output', () => {
  it('is smaller than the output, and no element is compared twice', () => {
    for (const cost of [COLUMNS, ROWS, POSITIONS]) {
      const seen = new Set<number>();
      const p = problemOf(cost, (_, __, v) => v);
      const q = floatProblem({
        output: { name: 'out', dtype: 'F32', shape: [M, N], data: new Float32Array(M * N) }, // right, so that all samples are computed
        ...{ m: M, n: N, inner: HEADS, cost, candidates: [] },
        right: ({ rows, columns }) => {
          for (const row of rows)
            for (const column of columns) {
              expect(seen.has(row * N + column)).toBe(false);
              seen.add(row * N + column);
            }
          return {
            want: new Float64Array(rows.length * columns.length),
            noise: new Float64Array(rows.length * columns.length),
          };
        },
      });
      expect(judged(q).compared).toBe(seen.size);
      expect(judged(p)).toMatchObject({ tier: 'tight', outside: 0 });
      expect(judged(p).compared).toBeLessThan(M * N);
    }
    expect(problemOf(COLUMNS, (_, __, v) => v).coverage!()).toBe('every row and every column');
    expect(problemOf(POSITIONS, (_, __, v) => v).coverage!()).toMatch(/^\d+ of 320 rows and every column$/);
  });

  it('meets every column', () => {
    for (const cost of [COLUMNS, ROWS, POSITIONS])
      for (let c = 0; c < N; c++)
        expect(judged(problemOf(cost, (_, column, v) => (column === c ? -v : v))).tier).toBe('no');
  });

  it('meets every row where that can be afforded', () => {
    for (const cost of [COLUMNS, ROWS])
      for (let r = 0; r < M; r++) expect(judged(problemOf(cost, (row, _, v) => (row === r ? -v : v))).tier).toBe('no');
  });

  it('meets every head and every position', () => {
    const dear: Cost[] = [POSITIONS, { perRow: 1.4e8, perElement: 1 }];
    for (let h = 0; h < HEADS; h++)
      for (const cost of dear)
        expect(judged(problemOf(cost, (row, _, v) => (row % HEADS === h ? -v : v))).tier).toBe('no');
    for (let s = 0; s < M / HEADS; s++)
      expect(judged(problemOf(POSITIONS, (row, _, v) => (Math.floor(row / HEADS) === s ? -v : v))).tier).toBe('no');
  });

  it.each([
    ['zeros', () => 0],
    ['NaN', () => NaN],
    ['garbage', (_: number, column: number) => 1e4 + column],
    ['the row before again', (row: number, column: number) => right(row - 1, column)],
  ])('meets a row that is unlike the others, however dear: %s', (_, wrong) => {
    for (let r = 1; r < M; r += 13) {
      const p = problemOf({ perRow: 3e8, perElement: 1 }, (row, column, v) => (row === r ? wrong(row, column) : v));
      expect(judged(p).tier, `row ${r}`).toBe('no');
    }
  });
});
