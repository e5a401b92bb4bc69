import {
  createSfGeometry,
  kSfOf,
  padKSf,
  rowsPerTile,
  SF_LAYOUTS,
  sfCoordinate,
  sfOffset,
  sfOffsetTable,
} from '@megamoe/sf-layout';
import type { SfLayout, SfVecSize } from '@megamoe/sf-layout';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

/** The published formulas, written as they are published: docs/formats.md A4.1 for 128x4, FlashInfer's `[mTile, kTile, 8, 4]` for 8x4. */
const FORMULA: Record<SfLayout, (m: number, k: number, kSf: number) => number> = {
  '128x4': (m, k, kSf) =>
    Math.floor(m / 128) * (Math.ceil(kSf / 4) * 512) +
    Math.floor(k / 4) * 512 +
    (m % 32) * 16 +
    Math.floor((m % 128) / 32) * 4 +
    (k % 4),
  '8x4': (m, k, kSf) => ((Math.floor(m / 8) * Math.ceil(kSf / 4) + Math.floor(k / 4)) * 8 + (m % 8)) * 4 + (k % 4),
  linear: (m, k, kSf) => m * kSf + k,
};

const shape = fc.record({
  rows: fc.integer({ min: 1, max: 300 }),
  kSf: fc.integer({ min: 1, max: 20 }),
  l: fc.integer({ min: 1, max: 3 }),
  layout: fc.constantFrom(...SF_LAYOUTS),
});

describe('offsets', () => {
  it('follow the published formulas', () => {
    fc.assert(
      fc.property(shape, fc.nat(), fc.nat(), fc.nat(), ({ rows, kSf, l, layout }, a, b, c) => {
        const g = createSfGeometry({ rows, kSf, l, layout });
        const [row, k, batch] = [a % rows, b % kSf, c % l];
        expect(sfOffset(g, row, k, batch)).toBe(batch * g.batchStrideBytes + FORMULA[layout](row, k, kSf));
      }),
    );
  });

  it('have an inverse that covers the allocation, padding included, once', () => {
    fc.assert(
      fc.property(shape, (s) => {
        const g = createSfGeometry(s);
        const seen = new Set<number>();
        let valid = 0;
        const wrong: number[] = [];
        for (let o = 0; o < g.allocationBytes; o++) {
          const { l, row, kSf, padding } = sfCoordinate(g, o);
          seen.add((l * g.rowsPad + row) * g.kSfPad + kSf);
          const inside = row >= 0 && row < g.rowsPad && kSf >= 0 && kSf < g.kSfPad && l >= 0 && l < g.l;
          if (!inside || padding !== (row >= g.rows || kSf >= g.kSf)) wrong.push(o);
          if (padding) continue;
          valid++;
          if (sfOffset(g, row, kSf, l) !== o) wrong.push(o);
        }
        expect(wrong).toEqual([]);
        expect(seen.size).toBe(g.allocationBytes);
        expect(valid).toBe(g.l * g.rows * g.kSf);
      }),
      { numRuns: 25 },
    );
  });

  it('put rows 0, 32, 64, 96 of a 128x4 tile next to each other, and rows of an 8x4 tile', () => {
    const big = createSfGeometry({ rows: 128, kSf: 8 });
    expect([0, 1, 32, 96, 127].map((row) => sfOffset(big, row, 0))).toEqual([0, 16, 4, 12, 508]);
    expect(sfOffset(big, 0, 4)).toBe(512);
    const small = createSfGeometry({ rows: 9, kSf: 8, layout: '8x4' });
    expect([0, 1, 7, 8].map((row) => sfOffset(small, row, 0))).toEqual([0, 4, 28, 64]);
    expect(sfOffset(small, 0, 4)).toBe(32);
    expect(small.allocationBytes).toBe(16 * 8);
  });

  it('stay exact past 2^32', () => {
    const g = createSfGeometry({ rows: 2 ** 20, kSf: 2 ** 10, l: 8 });
    const last = sfOffset(g, 2 ** 20 - 1, 2 ** 10 - 1, 7);
    expect(last).toBe(2 ** 33 - 1);
    expect(sfCoordinate(g, last)).toEqual({ l: 7, row: 2 ** 20 - 1, kSf: 2 ** 10 - 1, padding: false });
    expect(() => sfOffsetTable(g, { length: 2 ** 33 } as Uint32Array)).toThrow(
      'sfOffsetTable: allocation must be at most 2^32 = 4294967296 bytes, got 8589934592',
    );
  });
});

describe('geometry', () => {
  it.each([
    { layout: '128x4', rows: 0, kSf: 4, rowsPad: 0, kSfPad: 4, bytes: 0 },
    { layout: '128x4', rows: 1, kSf: 1, rowsPad: 128, kSfPad: 4, bytes: 1024 },
    { layout: '128x4', rows: 129, kSf: 5, rowsPad: 256, kSfPad: 8, bytes: 4096 },
    { layout: '8x4', rows: 9, kSf: 1, rowsPad: 16, kSfPad: 4, bytes: 128 },
    { layout: 'linear', rows: 3, kSf: 5, rowsPad: 3, kSfPad: 5, bytes: 30 },
    { layout: '128x4', rows: 5, kSf: 0, rowsPad: 128, kSfPad: 0, bytes: 0 },
  ] as const)('$layout $rows x $kSf, l = 2', ({ layout, rows, kSf, rowsPad, kSfPad, bytes }) => {
    const g = createSfGeometry({ rows, kSf, l: 2, layout });
    expect(g).toEqual({
      layout,
      rows,
      kSf,
      l: 2,
      rowsPad,
      kSfPad,
      batchStrideBytes: bytes / 2,
      allocationBytes: bytes,
    });
    expect(padKSf(layout, kSf)).toBe(kSfPad);
    expect(sfOffsetTable(g).length).toBe(2 * rows * kSf);
  });

  it('counts scale columns', () => {
    expect([0, 1, 16, 17, 48].map((k) => kSfOf(k))).toEqual([0, 1, 1, 2, 3]);
    expect([32, 33].map((k) => kSfOf(k, 32))).toEqual([1, 2]);
    expect(SF_LAYOUTS.map(rowsPerTile)).toEqual([128, 8, 1]);
  });
});

describe('errors', () => {
  const g = createSfGeometry({ rows: 3, kSf: 5, l: 2 });
  it.each([
    ['createSfGeometry: "rows" must be an integer at least 0, got -1', () => createSfGeometry({ rows: -1, kSf: 1 })],
    ['createSfGeometry: "kSf" must be an integer at least 0, got 1.5', () => createSfGeometry({ rows: 1, kSf: 1.5 })],
    [
      'createSfGeometry: "l" must be an integer at least 0, got NaN',
      () => createSfGeometry({ rows: 1, kSf: 1, l: NaN }),
    ],
    [
      'createSfGeometry: "layout" must be one of 128x4, 8x4, linear, got 4x128',
      () => createSfGeometry({ rows: 1, kSf: 1, layout: '4x128' as SfLayout }),
    ],
    ['createSfGeometry: "allocationBytes" must be', () => createSfGeometry({ rows: 2 ** 40, kSf: 2 ** 20 })],
    ['rowsPerTile: "layout" must be one of', () => rowsPerTile('x' as SfLayout)],
    ['kSfOf: "k" must be an integer at least 0, got -16', () => kSfOf(-16)],
    ['kSfOf: "sfVecSize" must be one of 16, 32, got 64', () => kSfOf(64, 64 as SfVecSize)],
    ['sfOffset: "row" must be an integer in [0, 2], got 3', () => sfOffset(g, 3, 0)],
    ['sfOffset: "kSf" must be an integer in [0, 4], got 5', () => sfOffset(g, 0, 5)],
    ['sfOffset: "l" must be an integer in [0, 1], got 2', () => sfOffset(g, 0, 0, 2)],
    ['sfCoordinate: "offset" must be an integer in [0, 2047], got 2048', () => sfCoordinate(g, 2048)],
    ['sfOffsetTable: "out" must have length L*rows*kSf = 30, got 29', () => sfOffsetTable(g, new Uint32Array(29))],
  ])('%s', (message, run) => expect(run).toThrow(message));
});
