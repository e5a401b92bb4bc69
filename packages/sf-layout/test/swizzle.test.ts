import {
  createSfGeometry,
  rowMajor,
  SF_LAYOUTS,
  sfCoordinate,
  sfOffset,
  swizzleScales,
  unswizzleScales,
} from '@megamoe/sf-layout';
import type { SfGeometry, SfStrides } from '@megamoe/sf-layout';
import { expectBytes, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';

/** Swizzles one scale at a time through the offset map. */
function oracle(sf: Uint8Array, g: SfGeometry, strides: SfStrides = rowMajor(g)): Uint8Array {
  const out = new Uint8Array(g.allocationBytes);
  for (let o = 0; o < out.length; o++) {
    const { l, row, kSf, padding } = sfCoordinate(g, o);
    if (!padding) out[o] = sf[l * strides.l + row * strides.row + kSf * strides.kSf]!;
  }
  return out;
}

const SHAPES = SF_LAYOUTS.flatMap((layout) =>
  [
    { rows: 0, kSf: 4, l: 1 },
    { rows: 1, kSf: 1, l: 1 },
    { rows: 7, kSf: 3, l: 3 },
    { rows: 8, kSf: 4, l: 2 },
    { rows: 127, kSf: 8, l: 1 },
    { rows: 128, kSf: 4, l: 2 },
    { rows: 129, kSf: 12, l: 2 },
    { rows: 300, kSf: 5, l: 1 },
    { rows: 256, kSf: 192, l: 1 },
    { rows: 3, kSf: 0, l: 2 },
  ].map((shape) => ({ ...shape, layout })),
);

describe('swizzleScales and unswizzleScales', () => {
  it.each(SHAPES)('$layout $rows x $kSf x $l', (shape) => {
    const g = createSfGeometry(shape);
    const count = g.rows * g.kSf * g.l;
    const sf = seeded(5).bytes(count);
    const want = oracle(sf, g);
    const out = new Uint8Array(g.allocationBytes + 3).fill(0xcc);
    expect(swizzleScales(sf, g, out)).toBe(out);
    expectBytes(out.subarray(0, g.allocationBytes), want);
    expect([...out.subarray(g.allocationBytes)]).toEqual([0xcc, 0xcc, 0xcc]);
    expectBytes(swizzleScales(sf, g), want);

    const poisoned = want.map((byte, o) => (sfCoordinate(g, o).padding ? 0xcc : byte)); // padding must not be read
    const back = new Uint8Array(count + 2).fill(0xcc);
    expect(unswizzleScales(poisoned, g, back)).toBe(back);
    expectBytes(back.subarray(0, count), sf, [g.l, g.rows, g.kSf]);
    expect([...back.subarray(count)]).toEqual([0xcc, 0xcc]);
  });

  it.each(SF_LAYOUTS)('%s works on views at odd offsets', (layout) => {
    const g = createSfGeometry({ rows: 130, kSf: 8, layout });
    const bytes = seeded(6).bytes(130 * 8 + 1);
    const sf = bytes.subarray(1);
    const out = new Uint8Array(g.allocationBytes + 3).subarray(3);
    expectBytes(swizzleScales(sf, g, out), oracle(sf, g));
    expectBytes(unswizzleScales(out, g, new Uint8Array(130 * 8 + 1).subarray(1)), sf);
  });

  it.each(SF_LAYOUTS)('%s takes strides: scales stored [kSf, N], and rows with a gap', (layout) => {
    const g = createSfGeometry({ rows: 140, kSf: 6, l: 2, layout });
    const transposed = { row: 1, kSf: 140, l: 840 };
    const sf = seeded(7).bytes(1680);
    const swizzled = swizzleScales(sf, g, undefined, transposed);
    expectBytes(swizzled, oracle(sf, g, transposed));
    expect(swizzled[sfOffset(g, 2, 5, 1)]).toBe(sf[840 + 5 * 140 + 2]);
    expectBytes(unswizzleScales(swizzled, g, new Uint8Array(1680), transposed), sf);

    const gap = { row: 8, kSf: 1, l: 140 * 8 };
    const wide = seeded(8).bytes(2 * 140 * 8 - 2); // the last row ends with its last scale
    const again = swizzleScales(wide, g, undefined, gap);
    expectBytes(again, oracle(wide, g, gap));
    const back = new Uint8Array(wide.length).fill(0xcc);
    unswizzleScales(again, g, back, gap);
    expectBytes(
      back,
      wide.map((v, i) => (i % 8 < 6 ? v : 0xcc)), // the gap is not written
    );
  });

  it('moves words when rows have a stride that is a multiple of four', () => {
    const g = createSfGeometry({ rows: 260, kSf: 8 });
    const strides = { row: 12, kSf: 1, l: 0 };
    const sf = seeded(9).bytes(260 * 12);
    expectBytes(swizzleScales(sf, g, undefined, strides), oracle(sf, g, strides));
  });

  it('broadcasts with stride 0', () => {
    const g = createSfGeometry({ rows: 5, kSf: 4, l: 2 });
    const strides = { row: 0, kSf: 1, l: 0 };
    expectBytes(
      swizzleScales(Uint8Array.of(1, 2, 3, 4), g, undefined, strides),
      oracle(Uint8Array.of(1, 2, 3, 4), g, strides),
    );
  });

  it('says what is wrong', () => {
    const g = createSfGeometry({ rows: 3, kSf: 5, l: 2 });
    const sf = new Uint8Array(30);
    const floats = new Float32Array(30) as unknown as Uint8Array;
    expect(() => swizzleScales(sf.subarray(1), g)).toThrow(
      'swizzleScales: "sf" must hold at least (L-1)*strides.l + (rows-1)*strides.row + (kSf-1)*strides.kSf + 1 = 30 elements, got 29',
    );
    expect(() => swizzleScales(floats, g)).toThrow('swizzleScales: "sf" must be a Uint8Array, got Float32Array');
    expect(() => swizzleScales(sf, g, new Uint8Array(2047))).toThrow(
      'swizzleScales: "out" must hold at least allocationBytes = 2048 elements, got 2047',
    );
    expect(() => swizzleScales(sf, g, floats)).toThrow('swizzleScales: "out" must be a Uint8Array, got Float32Array');
    expect(() => swizzleScales(sf, g, undefined, { row: -5, kSf: 1, l: 15 })).toThrow(
      'swizzleScales: "strides.row" must be an integer at least 0, got -5',
    );
    expect(() => swizzleScales(sf, g, undefined, { row: 5, kSf: 0.5, l: 15 })).toThrow('"strides.kSf"');
    expect(() => swizzleScales(sf, g, undefined, { row: 5, kSf: 1, l: NaN })).toThrow('"strides.l"');
    expect(() => unswizzleScales(new Uint8Array(2047), g)).toThrow(
      'unswizzleScales: "sfSwizzled" must hold at least allocationBytes = 2048 elements, got 2047',
    );
    expect(() => unswizzleScales(floats, g)).toThrow('unswizzleScales: "sfSwizzled" must be a Uint8Array');
    expect(() => unswizzleScales(new Uint8Array(2048), g, sf.subarray(1))).toThrow('unswizzleScales: "sf" must hold');
  });

  it('reads a geometry and strides once, and takes arrays for what they are', () => {
    const g = createSfGeometry({ rows: 7, kSf: 3, l: 2 });
    const sf = seeded(5).bytes(42);
    let asked = 0;
    const changing = Object.defineProperty({ ...g }, 'l', { get: () => (asked++ === 0 ? 2 : 9) });
    expectBytes(swizzleScales(sf, changing), swizzleScales(sf, g));
    const strides = Object.defineProperty({ row: 3, kSf: 1, l: 21 }, 'row', { get: () => (asked++ === 1 ? 3 : 1) });
    expectBytes(swizzleScales(sf, g, undefined, strides), swizzleScales(sf, g));
    class Odd extends Uint8Array {
      override fill(): this {
        return this;
      }
    }
    const out = new Odd(g.allocationBytes).map(() => 9);
    expect(swizzleScales(sf, g, out)).toBe(out);
    expectBytes(Uint8Array.from(out), swizzleScales(sf, g));
  });

  it('ends at once on many matrices of nothing', () => {
    expect(swizzleScales(new Uint8Array(0), createSfGeometry({ rows: 0, kSf: 4, l: 2 ** 40 })).length).toBe(0);
  });
});
