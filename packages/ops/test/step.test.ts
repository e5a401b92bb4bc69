import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { PAGE_KINDS, PagePool, PAGES, SequencePages, StepRows, type PageMemory } from '../src/index';

const MEMORY: PageMemory = { grow: () => undefined, copyPage: () => undefined };

describe('StepRows', () => {
  it('holds rows sequence by sequence, and finds any of their memory rows', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 150 }),
        fc.array(fc.record({ length: fc.nat(700), n: fc.integer({ min: 1, max: 20 }) }), { minLength: 1, maxLength: 10 }), // prettier-ignore
        (window, sequences) => {
          const pool = new PagePool(PAGE_KINDS, window, MEMORY);
          const rows = new StepRows(200, PAGE_KINDS);
          for (let round = 0; round < 2; round++) {
            rows.clear();
            const all = sequences.map(({ length, n }) => {
              const pages = new SequencePages(pool);
              pages.open(length);
              pages.reserve(length + n);
              return pages;
            });
            const ids = Array.from({ length: 50 }, (_, i) => 100 + i);
            sequences.forEach(({ n }, s) => expect(rows.add(all[s]!, ids, s, n)).toBe(s));
            const wanted = sequences.map((_, s) => {
              rows.want(rows.firstRow[s + 1]! - 1);
              return rows.firstRow[s + 1]! - 1;
            });
            const expected = sequences.flatMap(({ length, n }, s) =>
              Array.from({ length: n }, (_, j) => [100 + s + j, length + j, s]),
            );
            expect([rows.rows, rows.sequences, rows.wanted]).toEqual([expected.length, sequences.length, wanted.length]); // prettier-ignore
            expected.forEach((row, r) => expect([rows.ids[r], rows.positions[r], rows.rowSequence[r]]).toEqual(row));
            expect(Array.from(rows.wantedRows.subarray(0, rows.wanted))).toEqual(wanted);
            sequences.forEach(({ n }, s) => {
              expect(rows.tokensOf(s)).toBe(n);
              for (const kind of PAGE_KINDS) {
                const { first, ids: pages } = all[s]!.list(kind);
                const per = PAGES[kind].rows;
                for (let w = first * per; w < (first + pages.length) * per; w += 7) {
                  const row = pages[Math.floor(w / per) - first]! * per + (w % per);
                  expect(rows.memoryRow(kind, s, w)).toBe(row);
                }
              }
            });
            for (const pages of all) pages.dispose();
          }
        },
      ),
      { numRuns: 40, seed: 6 },
    );
  });

  it('lists the same pages as one that was never used, whatever became of its sequences meanwhile', () => {
    const act = fc.record({
      what: fc.constantFrom('step', 'step', 'step', 'rewind', 'clone', 'drop', 'swap', 'open', 'fail'),
      i: fc.nat(5),
      n: fc.integer({ min: 1, max: 90 }),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 70 }), fc.array(act, { maxLength: 40 }), (window, acts) => {
        const pool = new PagePool(PAGE_KINDS, window, MEMORY);
        const warm = new StepRows(600, PAGE_KINDS);
        const all = Array.from({ length: 4 }, () => new SequencePages(pool));
        const versions = new Map<number, readonly [SequencePages, string]>();
        for (const { what, i, n } of acts) {
          for (const p of all) {
            const lists = JSON.stringify(PAGE_KINDS.map((kind) => p.list(kind)));
            const known = versions.get(p.version) ?? [p, lists];
            versions.set(p.version, known);
            expect(known[0] === p && known[1] === lists, 'a version is one sequence and one state of its lists').toBe(
              true,
            );
          }
          const pages = all[i % all.length]!;
          if (what === 'rewind') pages.rewind(Math.max(pages.shortest, pages.length - n));
          else if (what === 'clone') all.push(pages.clone());
          else if (what === 'drop' && all.length > 1) all.splice(all.indexOf(pages), 1)[0]!.dispose();
          else if (what === 'swap') all.unshift(all.pop()!);
          else if (what === 'open') {
            const other = new SequencePages(pool);
            other.open(7 * n);
            all[i % all.length] = other;
          } else if (what === 'step' || what === 'fail') {
            const taken = what === 'step' ? all : all.slice(i % all.length);
            const cold = new StepRows(600, PAGE_KINDS);
            warm.clear();
            const ids = new Int32Array(n);
            for (const p of taken.slice(0, 6)) {
              p.reserve(p.length + n);
              for (const rows of [warm, cold]) rows.add(p, ids, 0, n);
            }
            for (const kind of PAGE_KINDS) {
              const [a, b] = [warm.pages.get(kind)!, cold.pages.get(kind)!];
              const s = cold.sequences;
              expect(a.offsets.subarray(0, s + 1)).toEqual(b.offsets.subarray(0, s + 1));
              expect(a.first.subarray(0, s)).toEqual(b.first.subarray(0, s));
              expect(a.ids.subarray(0, a.offsets[s])).toEqual(b.ids.subarray(0, b.offsets[s]));
            }
            if (what === 'step') for (const p of taken.slice(0, 6)) p.commit(p.length + n);
          }
        }
      }),
      { numRuns: 200, seed: 8 },
    );
  });

  it('refuses what does not fit, and is as it was', () => {
    const pool = new PagePool(['window'], 4, MEMORY);
    const pages = new SequencePages(pool);
    const rows = new StepRows(4, ['window']);
    expect(() => rows.add(pages, [1], 0, 1)).toThrow(
      'StepRows.add: pages for tokens up to 1 must be reserved first: call reserve(1) on the sequence',
    );
    pages.reserve(9);
    expect(() => rows.add(pages, [1, 2, 3, 4, 5], 0, 5)).toThrow('StepRows.add: the step holds maxRows = 4 rows, got 0 + 5'); // prettier-ignore
    expect(() => rows.add(pages, [], 0, 0)).toThrow('got 0 + 0');
    pages.commit(2);
    const copy = pages.clone();
    expect(() => rows.add(copy, [1], 0, 1)).toThrow('must be reserved first'); // its page is shared
    expect(() => new StepRows(4, ['window', 'open4']).add(pages, [1], 0, 1)).toThrow('must be reserved first');
    copy.reserve(3);
    expect(() => new StepRows(4, ['window', 'open4']).add(copy, [1], 0, 1)).toThrow('no pages of kind open4; there are window'); // prettier-ignore
    expect(() => rows.want(0)).toThrow('StepRows.want: "row" must be an integer in [0, -1], got 0');
    expect([rows.rows, rows.sequences, rows.wanted]).toEqual([0, 0, 0]);
    rows.add(copy, [1], 0, 1);
    for (let i = 0; i < 4; i++) rows.want(0);
    expect(() => rows.want(0)).toThrow('StepRows.want: every row is wanted already');
    expect(() => new StepRows(0, [])).toThrow('StepRows: "maxRows" must be an integer in [1, 65536], got 0');
  });

  it('makes no arrays when it is warm', () => {
    const pool = new PagePool(PAGE_KINDS, 4, MEMORY);
    const rows = new StepRows(8, PAGE_KINDS);
    const all = Array.from({ length: 8 }, () => new SequencePages(pool));
    const step = (): void => {
      rows.clear();
      for (const pages of all) {
        pages.reserve(pages.length + 1);
        rows.add(pages, [1], 0, 1);
      }
      for (const pages of all) pages.commit(pages.length + 1);
    };
    for (let i = 0; i < 200; i++) step();
    const made = vi.fn();
    const real = Int32Array;
    vi.stubGlobal(
      'Int32Array',
      new Proxy(real, {
        construct(target, args: [number]) {
          made();
          return new target(...args);
        },
      }),
    );
    try {
      step();
      expect(made).not.toHaveBeenCalled();
      expect(new Int32Array(1).length).toBe(1);
      expect(made).toHaveBeenCalled(); // the count works
    } finally {
      vi.unstubAllGlobals();
    }
  });
});
