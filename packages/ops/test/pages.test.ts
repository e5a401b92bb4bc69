import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkLayerSpec,
  filledRows,
  firstLiveRow,
  pageBytes,
  pageKindsOf,
  PAGE_KINDS,
  PagePool,
  PAGES,
  REWIND_TOKENS,
  sequenceBytes,
  SequencePages,
  visibleEntries,
  type LayerSpec,
  type PageKind,
  type PageMemory,
} from '../src/index';

/** Memory whose rows hold one number each. */
class Rows implements PageMemory {
  readonly rows = new Map<PageKind, number[]>(PAGE_KINDS.map((kind) => [kind, []]));

  grow(kind: PageKind, pages: number): void {
    const rows = this.rows.get(kind)!;
    while (rows.length < pages * PAGES[kind].rows) rows.push(NaN);
  }

  copyPage(kind: PageKind, from: number, to: number, rows: number): void {
    const all = this.rows.get(kind)!;
    const per = PAGES[kind].rows;
    for (let i = 0; i < rows; i++) all[to * per + i] = all[from * per + i]!;
  }
}

/** A sequence, and what each of its rows should hold: nothing is shared here, and nothing is given back. */
interface Twin {
  readonly pages: SequencePages;
  /** The longest that it has been. */
  most: number;
  readonly rows: Map<PageKind, number[]>;
}

const at = ({ pages }: Twin, kind: PageKind, row: number): number => {
  const { first, ids } = pages.list(kind);
  const per = PAGES[kind].rows;
  return ids[Math.floor(row / per) - first]! * per + (row % per);
};

let stamp = 0;

/** Writes tokens up to `end` as a step does: rows of tokens, and entries that become full. */
function write(memory: Rows, twin: Twin, end: number, keeps: boolean): void {
  for (const kind of twin.pages.pool.kinds) {
    for (let row = filledRows(kind, twin.pages.length); row < filledRows(kind, end); row++) {
      memory.rows.get(kind)![at(twin, kind, row)] = ++stamp;
      if (keeps) twin.rows.get(kind)![row] = stamp;
    }
  }
}

/** What queries from the twin's length on, or after a rewind, can read is what was written. */
function expectRows(memory: Rows, twin: Twin, window: number): void {
  const { length, shortest } = twin.pages;
  for (const kind of twin.pages.pool.kinds) {
    const first = firstLiveRow(kind, Math.max(shortest, length - REWIND_TOKENS), window);
    for (let row = first; row < filledRows(kind, length); row++) {
      expect(memory.rows.get(kind)![at(twin, kind, row)], `${kind} row ${row}`).toBe(twin.rows.get(kind)![row]);
    }
  }
}

/** Each page is held as often as lists have it, and no other is in use. */
function expectCounts(pool: PagePool, twins: readonly Twin[]): void {
  for (const kind of pool.kinds) {
    const held = twins.flatMap(({ pages }) => pages.list(kind).ids);
    for (const id of new Set(held)) expect(pool.holders(kind, id)).toBe(held.filter((other) => other === id).length);
    expect(pool.counts[kind]!.used).toBe(new Set(held).size);
  }
}

describe('PagePool and SequencePages', () => {
  it('whatever is done, sequences read what they wrote, share what they can and leak nothing', () => {
    const act = fc.record({
      act: fc.constantFrom('step', 'step', 'fail', 'rewind', 'clone', 'dispose', 'create'),
      which: fc.nat(7),
      n: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 200 })),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 150 }), fc.array(act, { maxLength: 60 }), (window, acts) => {
        const memory = new Rows();
        const pool = new PagePool(PAGE_KINDS, window, memory);
        const twins: Twin[] = [];
        const create = (pages: SequencePages, from?: Twin): void => {
          const rows = new Map(PAGE_KINDS.map((kind) => [kind, [...(from?.rows.get(kind) ?? [])]]));
          twins.push({ pages, most: from?.most ?? 0, rows });
        };
        create(new SequencePages(pool));
        for (const { act: what, which, n } of acts) {
          const twin = twins[which % Math.max(1, twins.length)];
          if (what === 'create' || twin === undefined) {
            if (twins.length < 8) create(new SequencePages(pool));
            continue;
          }
          const { pages } = twin;
          const end = pages.length + n;
          if (what === 'step' || what === 'fail') {
            pages.reserve(end);
            expect(pages.isReserved(end)).toBe(true);
            for (const kind of PAGE_KINDS) {
              for (let row = filledRows(kind, pages.length); row < filledRows(kind, end); row++) {
                expect(pool.holders(kind, Math.floor(at(twin, kind, row) / PAGES[kind].rows))).toBe(1);
              }
            }
            write(memory, twin, end, what === 'step');
            if (what === 'step') {
              pages.commit(end);
              twin.most = Math.max(twin.most, end);
              for (const kind of PAGE_KINDS) {
                const live = firstLiveRow(kind, Math.max(0, end - REWIND_TOKENS), window);
                const given = `${kind}: pages that no token needs are given back`;
                expect(pages.list(kind).first, given).toBeGreaterThanOrEqual(Math.floor(live / PAGES[kind].rows));
              }
            }
          }
          if (what === 'rewind') {
            expect(pages.shortest).toBeLessThanOrEqual(Math.max(0, twin.most - REWIND_TOKENS));
            pages.rewind(Math.max(pages.shortest, pages.length - n));
          }
          if (what === 'clone' && twins.length < 8) create(pages.clone(), twin);
          if (what === 'dispose') {
            pages.dispose();
            twins.splice(twins.indexOf(twin), 1);
          }
          expectCounts(pool, twins);
          for (const one of twins) expectRows(memory, one, window);
        }
        for (const { pages } of twins) pages.dispose();
        expectCounts(pool, []);
      }),
      { numRuns: 60, seed: 1 },
    );
  });

  it('firstLiveRow is the least row that any later query reads', () => {
    fc.assert(
      fc.property(fc.nat(1500), fc.integer({ min: 1, max: 300 }), (length, window) => {
        const later = Array.from({ length: 400 }, (_, i) => length + i);
        const least = (rows: readonly number[]): number => Math.max(0, Math.min(...rows));
        expect(firstLiveRow('window', length, window)).toBe(least(later.map((p) => p - window + 1)));
        // A window that closes with the token at p reads all its tokens, and with overlap those of the window before it.
        const closing = (ratio: number): number[] => later.filter((p) => (p + 1) % ratio === 0);
        expect(firstLiveRow('open4', length, window)).toBe(least(closing(4).map((p) => p - 7)));
        expect(firstLiveRow('open128', length, window)).toBe(least(closing(128).map((p) => p - 127)));
        expect(firstLiveRow('entries4', length, window)).toBe(0);
        expect(firstLiveRow('entries128', length, window)).toBe(0);
      }),
      { seed: 2 },
    );
  });

  it('missing counts what reserve takes: pages that are not there, and copies of those that others hold', () => {
    const memory = new Rows();
    const pool = new PagePool(['window', 'entries4'], 8, memory);
    const pages = new SequencePages(pool);
    expect(['window', 'entries4'].map((kind) => pages.missing(kind as PageKind, 65))).toEqual([2, 1]);
    expect(pages.missing('entries4', 3)).toBe(0);
    pages.reserve(65);
    pages.commit(65);
    const copy = pages.clone();
    expect([copy.missing('window', 66), copy.missing('window', 129), copy.missing('entries4', 67), copy.missing('entries4', 68)]).toEqual([1, 2, 0, 1]); // prettier-ignore
    const used = pool.counts['window']!.used;
    copy.reserve(129);
    expect(pool.counts['window']!.used - used).toBe(2);
    expect(copy.missing('window', 129)).toBe(0);
  });

  it('a full pool says so, gives nothing away, and goes on when pages come back', () => {
    const pool = new PagePool(['window'], 8, new Rows(), { window: 3 });
    const [a, b] = [new SequencePages(pool), new SequencePages(pool)];
    a.reserve(128);
    a.commit(128);
    expect(pool.available('window')).toBe(1);
    expect(() => b.reserve(100)).toThrow(
      'PagePool: all 3 pages of kind window are in use; dispose of sequences, or allow more KV memory',
    );
    expect([b.length, b.pages]).toEqual([0, 1]); // what it has taken it keeps for the next try
    a.dispose();
    b.reserve(100);
    expect(pool.counts).toEqual({ window: { used: 2, capacity: 3 } });
  });

  it('memory that cannot be doubled grows page by page, to the last', () => {
    const sizes: number[] = [];
    const room = 11;
    const grow = (_: PageKind, pages: number): void => {
      if (pages > room) throw new Error('no memory');
      sizes.push(pages);
    };
    const pool = new PagePool(['window'], 8, { grow, copyPage: () => undefined });
    for (let i = 0; i < room; i++) expect(pool.take('window')).toBe(i);
    expect(sizes).toEqual([4, 8, 9, 10, 11]);
    expect(() => pool.take('window')).toThrow('no memory');
    expect(pool.counts.window).toEqual({ used: 11, capacity: 11 });
    pool.drop('window', 3);
    expect(pool.take('window')).toBe(3);
  });

  it('memory that cannot grow leaves the pool as it was', () => {
    const memory = new Rows();
    let fails = true;
    const pool = new PagePool(['window'], 8, {
      grow: (kind, pages) => {
        if (fails) throw new RangeError('no memory');
        memory.grow(kind, pages);
      },
      copyPage: (kind, from, to, rows) => memory.copyPage(kind, from, to, rows),
    });
    const pages = new SequencePages(pool);
    expect(() => pages.reserve(1)).toThrow('no memory');
    expect(pool.counts).toEqual({ window: { used: 0, capacity: 0 } });
    fails = false;
    pages.reserve(1);
    expect(pool.counts).toEqual({ window: { used: 1, capacity: 4 } });
  });

  it('open makes pages for what later tokens need, and those alone', () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.nat(200), fc.integer({ min: 1, max: 150 }), (length, back, window) => {
        const pool = new PagePool(PAGE_KINDS, window, new Rows());
        const pages = new SequencePages(pool);
        const from = Math.max(0, length - back);
        pages.open(length, from);
        expect(pages.length).toBe(length);
        // As short as all that is needed is there, and no shorter: other rows of its pages hold nothing.
        const needs = (n: number): boolean =>
          PAGE_KINDS.every((kind) => firstLiveRow(kind, n, window) >= firstLiveRow(kind, from, window));
        const { shortest } = pages;
        expect([shortest <= from, needs(shortest), shortest > 0 && needs(shortest - 1)]).toEqual([true, true, false]);
        expect(pages.clone().shortest).toBe(shortest);
        for (const kind of PAGE_KINDS) {
          const per = PAGES[kind].rows;
          const { first, ids } = pages.list(kind);
          const live = firstLiveRow(kind, from, window);
          expect(first).toBe(Math.floor(live / per));
          expect(ids.length).toBe(Math.max(0, Math.ceil(filledRows(kind, length) / per) - first));
        }
        pages.reserve(length + 1);
        pages.commit(length + 1);
      }),
      { numRuns: 60, seed: 3 },
    );
    const pages = new SequencePages(new PagePool(['window'], 8, new Rows()));
    pages.reserve(1);
    expect(() => pages.open(5)).toThrow('SequencePages.open: the sequence must be empty');
  });

  it('refuses what cannot be', () => {
    const pool = new PagePool(['window'], 8, new Rows());
    const pages = new SequencePages(pool);
    pages.reserve(300);
    pages.commit(300);
    expect(pages.shortest).toBe(3 * 64 + 7); // 300 - 64 - 7 = 229 lies in page 3
    expect(() => pages.rewind(198)).toThrow(
      'SequencePages.rewind: "length" must be at least 199: what tokens before that need has been given back, got 198; clone the sequence at a point to come back to',
    );
    expect(() => pages.rewind(301)).toThrow('SequencePages.rewind: "length" must be an integer in [0, 300], got 301');
    expect(() => pages.commit(299)).toThrow('SequencePages.commit: "end" must be an integer at least 300, got 299');
    expect(() => pages.list('open4')).toThrow('SequencePages.list: no pages of kind open4; there are window');
    expect(() => pool.take('open4')).toThrow('PagePool.take: no pages of kind open4; there are window');
    expect(() => new PagePool(['window'], 0, new Rows())).toThrow('PagePool: "window" must be an integer in [1, 1073741824], got 0'); // prettier-ignore
    pages.dispose();
    pages.dispose();
    expect([pages.disposed, pages.length, pages.pages]).toEqual([true, 0, 0]);
    for (const [name, call] of Object.entries({
      reserve: () => pages.reserve(1),
      commit: () => pages.commit(0),
      rewind: () => pages.rewind(0),
      clone: () => pages.clone(),
      open: () => pages.open(1),
    })) {
      expect(call).toThrow(`SequencePages.${name}: the sequence has been disposed`);
    }
  });
});

describe('layers', () => {
  const layers: LayerSpec[] = [
    { ratio: 0, window: 8, headDim: 6 },
    { ratio: 4, window: 8, headDim: 6, indexHeadDim: 2 },
    { ratio: 128, window: 8, headDim: 6 },
  ];

  it('say which pages there are', () => {
    expect(pageKindsOf(layers)).toEqual(PAGE_KINDS);
    expect(pageKindsOf(layers.slice(0, 1))).toEqual(['window']);
    expect(pageKindsOf(layers.slice(0, 2))).toEqual(['window', 'open4', 'entries4']);
    expect(pageKindsOf([layers[2]!])).toEqual(['window', 'open128', 'entries128']);
  });

  it('say how large pages and sequences are', () => {
    expect(PAGE_KINDS.map((kind) => pageBytes(kind, layers) / 4)).toEqual([
      64 * 3 * 6,
      64 * 2 * 2 * (6 + 2),
      64 * (6 + 2),
      64 * 2 * 6,
      16 * 6,
    ]);
    // Keys in BF16 take half; the indexer's and open windows are what they were.
    const halved = layers.map((layer) => ({ ...layer, kv: 'bf16' as const }));
    expect(PAGE_KINDS.map((kind) => pageBytes(kind, layers) - pageBytes(kind, halved))).toEqual([
      2 * 64 * 3 * 6,
      0,
      2 * 64 * 6,
      0,
      2 * 16 * 6,
    ]);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 90 }), (tokens, chunk) => {
        const pages = new SequencePages(new PagePool(PAGE_KINDS, 8, new Rows()));
        while (pages.length < tokens) {
          const end = Math.min(tokens, pages.length + chunk);
          pages.reserve(end);
          pages.commit(end);
        }
        const held = PAGE_KINDS.reduce((sum, kind) => sum + pages.list(kind).ids.length * pageBytes(kind, layers), 0);
        expect(sequenceBytes(tokens, layers)).toBe(held);
      }),
      { numRuns: 60, seed: 4 },
    );
  });

  it('are checked', () => {
    expect(() => checkLayerSpec('f', 'x', { ...layers[0]!, kv: 'f16' as 'bf16' })).toThrow('f: "x.kv" must be one of f32, bf16, got f16'); // prettier-ignore
    expect(() => checkLayerSpec('f', 'x', { ratio: 8 as 4, window: 1, headDim: 1 })).toThrow('f: "x.ratio" must be one of 0, 4, 128, got 8'); // prettier-ignore
    expect(() => checkLayerSpec('f', 'x', { ratio: 4, window: 1, headDim: 1 })).toThrow('f: "x.indexHeadDim" must be an integer in [1, 65536], got NaN'); // prettier-ignore
    expect(() => checkLayerSpec('f', 'x', { ratio: 0, window: 1, headDim: 1, indexHeadDim: 2 })).toThrow('f: "x.indexHeadDim" belongs to ratio 4 only, got 2 with ratio 0'); // prettier-ignore
  });
});

describe('visibleEntries', () => {
  it('counts an entry from the last token of its window on', () => {
    expect([0, 2, 3, 4, 6, 7, 11].map((t) => visibleEntries(t, 4))).toEqual([0, 0, 1, 1, 1, 2, 3]);
    expect([126, 127, 254, 255].map((t) => visibleEntries(t, 128))).toEqual([0, 1, 1, 2]);
    expect(visibleEntries(1000, 0)).toBe(0);
  });
  it('refuses what is no position', () => {
    expect(() => visibleEntries(-1, 4)).toThrow(
      'visibleEntries: "position" must be an integer in [0, 2147483646], got -1',
    );
    expect(() => visibleEntries(1, 0.5)).toThrow('"ratio"');
  });
});
