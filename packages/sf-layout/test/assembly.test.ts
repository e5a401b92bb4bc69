import {
  assembleScales2d2d,
  assembleScales2d3d,
  assembleScales2d3dFixed,
  assembleScales3d,
  createSfGeometry,
  disassembleScales2d3d,
  paddedSfOffsets,
  raggedKSfOffsets,
  SF_LAYOUTS,
  sfCapacityRows,
  sfOffset,
  swizzleScales,
} from '@megamoe/sf-layout';
import type { SfLayout } from '@megamoe/sf-layout';
import { expectBytes, seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { firstEndAbove } from '../src/offsets';

/** Cumulative ends of counts. */
const ends = (counts: readonly number[]): Int32Array => {
  let sum = 0;
  return Int32Array.from(counts, (c) => (sum += c));
};

/** Each expert's rows swizzled alone, concatenated. */
function oracle2d3d(sf: Uint8Array, counts: readonly number[], kSf: number, layout: SfLayout): Uint8Array {
  let row = 0;
  const parts = counts.map((rows) => {
    const part = swizzleScales(sf.slice(row * kSf, (row + rows) * kSf), createSfGeometry({ rows, kSf, layout }));
    row += rows;
    return part;
  });
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

const COUNTS = [[], [0], [1], [4, 4, 0], [0, 0, 128], [129, 0, 3, 128, 0], [0, 5, 0], [257]];

describe.each(SF_LAYOUTS)('assembleScales2d3d %s', (layout) => {
  it.each(COUNTS.map((counts) => ({ counts })))('counts $counts', ({ counts }) => {
    for (const kSf of [1, 4, 7]) {
      const offsets = ends(counts);
      const rows = offsets.at(-1) ?? 0;
      const sf = seeded(11).bytes((rows + 2) * kSf); // two rows more than there are
      const want = oracle2d3d(sf, counts, kSf, layout);
      const { sfSwizzled, sfOffsets } = assembleScales2d3d(sf, offsets, { kSf, layout });
      expectBytes(sfSwizzled, want);
      const tile = { '128x4': 128, '8x4': 8, linear: 1 }[layout];
      expect([...sfOffsets]).toEqual([...ends(counts.map((c) => Math.ceil(c / tile) * tile))]);

      const out = new Uint8Array(want.length + 5).fill(0xcc);
      assembleScales2d3d(sf, offsets, { kSf, layout }, out);
      expectBytes(out.subarray(0, want.length), want);
      expect([...out.subarray(want.length)]).toEqual([0xcc, 0xcc, 0xcc, 0xcc, 0xcc]);

      expectBytes(disassembleScales2d3d(sfSwizzled, offsets, { kSf, layout }), sf.subarray(0, rows * kSf), [rows, kSf]);
      const back = new Uint8Array(rows * kSf + 1).fill(0xcc);
      disassembleScales2d3d(out, offsets, { kSf, layout }, back);
      expect(back.at(-1)).toBe(0xcc);
    }
  });

  it('gives the same at fixed capacity, with a zero tail', () => {
    for (const counts of COUNTS) {
      for (const spare of [0, 3]) {
        const offsets = ends(counts);
        const rows = (offsets.at(-1) ?? 0) + spare;
        const kSf = 5;
        const sf = seeded(12).bytes(rows * kSf);
        const want = oracle2d3d(sf, counts, kSf, layout);
        const capacity = sfCapacityRows(rows, counts.length, layout);
        const out = new Uint8Array(capacity * (layout === 'linear' ? 5 : 8)).fill(0xcc);
        const { sfSwizzled, sfOffsets } = assembleScales2d3dFixed(sf, offsets, { rows, kSf, layout }, out);
        expect(sfSwizzled).toBe(out);
        expectBytes(out.subarray(0, want.length), want);
        expect(out.subarray(want.length).every((b) => b === 0)).toBe(true);
        expectBytes(sfOffsets, paddedSfOffsets(offsets, undefined, layout));
        expectBytes(assembleScales2d3dFixed(sf, offsets, { rows, kSf, layout }).sfSwizzled, out);
        expectBytes(disassembleScales2d3d(out, offsets, { kSf, layout }), sf.subarray(0, (offsets.at(-1) ?? 0) * kSf));
      }
    }
  });
});

describe('fixed capacity', () => {
  it('holds any routing, and some routing needs it', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 300 }), { minLength: 1, maxLength: 8 }), (counts) => {
        const rows = counts.reduce((a, b) => a + b, 0);
        const needed = paddedSfOffsets(ends(counts)).at(-1)!;
        expect(needed).toBeLessThanOrEqual(sfCapacityRows(rows, counts.length));
      }),
    );
    // One row for all experts but the first, which gets the rest.
    for (const [rows, experts] of [
      [1, 1],
      [2, 1],
      [2, 8],
      [128, 2],
      [129, 2],
      [1000, 16],
    ] as const) {
      const others = Array.from({ length: Math.min(rows, experts) - 1 }, () => 1);
      const worst = paddedSfOffsets(ends([rows - others.length, ...others])).at(-1);
      expect(worst).toBe(sfCapacityRows(rows, experts));
    }
    expect(sfCapacityRows(0, 8)).toBe(0);
    expect(sfCapacityRows(5, 0)).toBe(0);
    expect(sfCapacityRows(9, 2, '8x4')).toBe(16);
    expect(sfCapacityRows(9, 2, 'linear')).toBe(9);
  });

  it('never reads outside on offsets that make no sense: those rows are zero', () => {
    const sf = new Uint8Array(4 * 4).fill(7);
    for (const offsets of [
      Int32Array.of(-5, 3),
      Int32Array.of(3, 1),
      Int32Array.of(100, 2_000_000_000),
      Int32Array.of(0, 9),
      Int32Array.of(2_147_483_647, -2_147_483_648),
    ]) {
      const { sfSwizzled, sfOffsets } = assembleScales2d3dFixed(sf, offsets, { rows: 4, kSf: 4 });
      expect(sfSwizzled.length).toBe(sfCapacityRows(4, 2) * 4);
      expect(sfSwizzled.every((b) => b === 0 || b === 7)).toBe(true);
      expect(sfSwizzled.filter((b) => b === 7).length).toBeLessThanOrEqual(16);
      expect(sfOffsets.every((o) => o >= 0 && o <= sfCapacityRows(4, 2))).toBe(true);
    }
  });
});

describe('offsets', () => {
  it('pads ends, and may do so in place', () => {
    const offsets = Int32Array.of(4, 8, 8);
    expect([...paddedSfOffsets(offsets)]).toEqual([128, 256, 256]);
    expect([...paddedSfOffsets(offsets, undefined, '8x4')]).toEqual([8, 16, 16]);
    expect(paddedSfOffsets(offsets, offsets)).toBe(offsets);
    expect([...offsets]).toEqual([128, 256, 256]);
  });

  it('finds experts by searchsorted right', () => {
    const offsets = Int32Array.of(0, 4, 8, 8, 9);
    expect(Array.from({ length: 11 }, (_, row) => firstEndAbove(offsets, row))).toEqual([
      1, 1, 1, 1, 2, 2, 2, 2, 4, 5, 5,
    ]);
    expect(firstEndAbove(new Int32Array(0), 0)).toBe(0);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 12 }), fc.nat(40), (counts, row) => {
        const o = [...ends(counts)];
        const first = o.findIndex((end) => end > row);
        expect(firstEndAbove(ends(counts), row)).toBe(first < 0 ? o.length : first);
      }),
    );
  });

  it('counts scale columns of a ragged reduction', () => {
    expect([...raggedKSfOffsets(Int32Array.of(16, 16, 49, 50))]).toEqual([1, 1, 4, 5]);
    expect([...raggedKSfOffsets(Int32Array.of(32, 65), 32)]).toEqual([1, 3]);
  });
});

describe('assembleScales3d', () => {
  it('swizzles each expert alone', () => {
    const [numExperts, n, kSf] = [3, 130, 6];
    const sf = seeded(13).bytes(numExperts * n * kSf);
    const out = assembleScales3d(sf, { numExperts, n, kSf });
    const one = createSfGeometry({ rows: n, kSf });
    for (let e = 0; e < numExperts; e++) {
      const part = swizzleScales(sf.slice(e * n * kSf, (e + 1) * n * kSf), one);
      expectBytes(out.subarray(e * one.allocationBytes, (e + 1) * one.allocationBytes), part);
    }
    expect(out.length).toBe(3 * 256 * 8);
  });

  it('takes the strides of [E, kSf, N]', () => {
    const [numExperts, n, kSf] = [2, 9, 4];
    const rowMajorSf = seeded(14).bytes(numExperts * n * kSf);
    const transposed = new Uint8Array(rowMajorSf.length);
    for (let e = 0; e < numExperts; e++) {
      for (let r = 0; r < n; r++) {
        for (let c = 0; c < kSf; c++) transposed[(e * kSf + c) * n + r] = rowMajorSf[(e * n + r) * kSf + c]!;
      }
    }
    const out = new Uint8Array(2 * 16 * 4).fill(0xcc);
    assembleScales3d(transposed, { numExperts, n, kSf, layout: '8x4' }, out, { row: 1, kSf: n, l: kSf * n });
    expectBytes(out, assembleScales3d(rowMajorSf, { numExperts, n, kSf, layout: '8x4' }));
  });
});

describe.each(SF_LAYOUTS)('assembleScales2d2d %s', (layout) => {
  it.each([[[4, 4]], [[0, 5, 0, 3]], [[1]], [[0]], [[]], [[9, 1, 4]]])('columns %j', (columns) => {
    for (const rows of [0, 1, 9, 130]) {
      const kSfOffsets = ends(columns);
      const total = kSfOffsets.at(-1) ?? 0;
      const sf = seeded(15).bytes(rows * total);
      let start = 0;
      const chunks = columns.flatMap((kSf) => {
        const slice = Uint8Array.from(
          { length: rows * kSf },
          (_, i) => sf[Math.floor(i / kSf) * total + start + (i % kSf)]!,
        );
        start += kSf;
        return [...swizzleScales(slice, createSfGeometry({ rows, kSf, layout }))];
      });
      const { sfSwizzled, sfOffsets } = assembleScales2d2d(sf, kSfOffsets, { rows, layout });
      expectBytes(sfSwizzled, chunks);
      expect([...sfOffsets]).toEqual([...ends(columns.map((c) => (layout === 'linear' ? c : Math.ceil(c / 4) * 4)))]);
      const out = new Uint8Array(chunks.length + 1).fill(0xcc);
      assembleScales2d2d(sf, kSfOffsets, { rows, layout }, out);
      expectBytes(out, [...chunks, 0xcc]);
    }
  });
});

it('2Dx2D chunks are not a column slice of one wide swizzled matrix', () => {
  const sf = seeded(16).bytes(256 * 8);
  const { sfSwizzled } = assembleScales2d2d(sf, Int32Array.of(4, 8), { rows: 256 });
  const wide = createSfGeometry({ rows: 256, kSf: 8 });
  expect(sfSwizzled[512]).toBe(sf[128 * 8]); // row 128 of expert 0 follows its row 127
  expect(sfOffset(wide, 128, 0)).toBe(1024);
});

it('allocates no buffers when given its outputs', () => {
  const offsets = Int32Array.of(40, 40, 300);
  const sf = seeded(17).bytes(300 * 8);
  const sfOffsets = new Int32Array(3);
  const out = new Uint8Array(sfCapacityRows(300, 3) * 8);
  const run = (): void => {
    assembleScales2d3d(sf, offsets, { kSf: 8 }, out, sfOffsets);
    assembleScales2d3dFixed(sf, offsets, { rows: 300, kSf: 8 }, out, sfOffsets);
  };
  run();
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 50; i++) run();
  expect(process.memoryUsage().arrayBuffers).toBeLessThan(before + out.length);
});

describe('errors', () => {
  const sf = new Uint8Array(40);
  const floats = new Float32Array(8);
  const u8 = floats as unknown as Uint8Array;
  const i32 = floats as unknown as Int32Array;
  it.each([
    [
      'assembleScales2d3d: "kSf" must be an integer at least 1, got 0',
      () => assembleScales2d3d(sf, Int32Array.of(1), { kSf: 0 }),
    ],
    ['assembleScales2d3d: "sf" must be a Uint8Array', () => assembleScales2d3d(u8, Int32Array.of(1), { kSf: 4 })],
    ['assembleScales2d3d: "expertOffsets" must be a Int32Array', () => assembleScales2d3d(sf, i32, { kSf: 4 })],
    [
      'assembleScales2d3d: "expertOffsets" must hold ascending ends in [0, 10], got 11 after 4 at index 1',
      () => assembleScales2d3d(sf, Int32Array.of(4, 11), { kSf: 4 }),
    ],
    [
      'assembleScales2d3d: "expertOffsets" must hold ascending ends in [0, 10], got 3 after 4 at index 1',
      () => assembleScales2d3d(sf, Int32Array.of(4, 3), { kSf: 4 }),
    ],
    [
      'assembleScales2d3d: "expertOffsets" must hold ascending ends in [0, 10], got -1 after 0 at index 0',
      () => assembleScales2d3d(sf, Int32Array.of(-1), { kSf: 4 }),
    ],
    [
      'assembleScales2d3d: "out" must hold at least sfOffsets[E-1]*kSfPad = 512 elements, got 511',
      () => assembleScales2d3d(sf, Int32Array.of(4), { kSf: 4 }, new Uint8Array(511)),
    ],
    [
      'assembleScales2d3d: "sfOffsets" must hold at least E = 2 elements, got 1',
      () => assembleScales2d3d(sf, Int32Array.of(4, 5), { kSf: 4 }, undefined, new Int32Array(1)),
    ],
    [
      'disassembleScales2d3d: "sfSwizzled" must hold at least sfOffsets[E-1]*kSfPad = 512 elements, got 40',
      () => disassembleScales2d3d(sf, Int32Array.of(4), { kSf: 4 }),
    ],
    [
      'disassembleScales2d3d: "sf" must hold at least R*kSf = 16 elements, got 15',
      () => disassembleScales2d3d(sf, Int32Array.of(4), { kSf: 4 }, new Uint8Array(15)),
    ],
    [
      'assembleScales2d3dFixed: "sf" must hold at least rows*kSf = 44 elements, got 40',
      () => assembleScales2d3dFixed(sf, Int32Array.of(4), { rows: 11, kSf: 4 }),
    ],
    [
      'assembleScales2d3dFixed: "out" must have length sfCapacityRows(rows, E)*kSfPad = 512, got 513',
      () => assembleScales2d3dFixed(sf, Int32Array.of(4), { rows: 10, kSf: 4 }, new Uint8Array(513)),
    ],
    [
      'assembleScales2d3dFixed: "sfOffsets" must have length E = 1, got 2',
      () => assembleScales2d3dFixed(sf, Int32Array.of(4), { rows: 10, kSf: 4 }, undefined, new Int32Array(2)),
    ],
    [
      'assembleScales2d3dFixed: "rows" must be an integer at least 0, got -1',
      () => assembleScales2d3dFixed(sf, Int32Array.of(4), { rows: -1, kSf: 4 }),
    ],
    [
      'assembleScales2d3dFixed: "expertOffsets" must be a Int32Array',
      () => assembleScales2d3dFixed(sf, i32, { rows: 1, kSf: 4 }),
    ],
    [
      'assembleScales2d2d: "sf" must have length rows*kSfOffsets[E-1] = 39, got 40',
      () => assembleScales2d2d(sf, Int32Array.of(13), { rows: 3 }),
    ],
    [
      'assembleScales2d2d: "kSfOffsets" must hold ascending ends',
      () => assembleScales2d2d(sf, Int32Array.of(10, 4), { rows: 10 }),
    ],
    [
      'assembleScales2d2d: "out" must hold at least rowsPad*sfOffsets[E-1] = 512 elements, got 0',
      () => assembleScales2d2d(sf, Int32Array.of(4), { rows: 10 }, new Uint8Array(0)),
    ],
    [
      'assembleScales2d2d: "sfOffsets" must have length E = 1, got 0',
      () => assembleScales2d2d(sf, Int32Array.of(4), { rows: 10 }, undefined, new Int32Array(0)),
    ],
    [
      'assembleScales3d: "n" must be an integer at least 0, got -1',
      () => assembleScales3d(sf, { numExperts: 1, n: -1, kSf: 1 }),
    ],
    ['raggedKSfOffsets: "sfVecSize" must be one of 16, 32, got 8', () => raggedKSfOffsets(Int32Array.of(1), 8 as 16)],
    ['raggedKSfOffsets: "expertOffsets" must hold ascending ends', () => raggedKSfOffsets(Int32Array.of(2, 1))],
    ['sfCapacityRows: "rows" must be an integer at least 0, got 1.5', () => sfCapacityRows(1.5, 1)],
    ['sfCapacityRows: "numExperts" must be an integer at least 0, got -1', () => sfCapacityRows(1, -1)],
  ])('%s', (message, run) => expect(run).toThrow(message));
});
