import {
  checkSwizzled,
  createSfGeometry,
  SF_LAYOUTS,
  sfOffset,
  swizzleScales,
  unswizzleScales,
  verifySwizzle,
} from '@megamoe/sf-layout';
import type { SfGeometry, Swizzler } from '@megamoe/sf-layout';
import { seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';

const right: Swizzler = (sf, g) => swizzleScales(sf, g);
const back: Swizzler = (swizzled, g) => unswizzleScales(swizzled, g);

/** A swizzle whose offsets come from `map`, as a wrong kernel's would. */
const through =
  (map: (row: number, kSf: number, l: number) => number): Swizzler =>
  (sf, g) => {
    const out = new Uint8Array(g.allocationBytes);
    for (let i = 0; i < sf.length; i++) {
      const row = Math.floor(i / g.kSf);
      out[map(row % g.rows, i % g.kSf, Math.floor(row / g.rows))] = sf[i]!;
    }
    return out;
  };

describe('verifySwizzle', () => {
  it.each(SF_LAYOUTS)('%s passes on the right swizzle', (layout) => {
    for (const [rows, kSf, l] of [
      [0, 4, 1],
      [1, 1, 1],
      [130, 6, 2],
      [256, 300, 1], // more than 255^2 scales
    ] as const) {
      expect(
        verifySwizzle(right, createSfGeometry({ rows, kSf, l, layout }), { unswizzle: back, seed: 3 }),
      ).toBeUndefined();
    }
  });

  it('names the first scale in the wrong place, what stands there and where it went', () => {
    const g = createSfGeometry({ rows: 128, kSf: 4 });
    const swapped = through((row, kSf) => (row >> 5) * 128 + (row % 32) * 4 + kSf); // row-major tile
    const found = verifySwizzle(swapped, g)!;
    expect(found).toMatchObject({
      kind: 'value',
      l: 0,
      row: 1,
      kSf: 0,
      offset: 16,
      holds: { l: 0, row: 4, kSf: 0 },
      foundAt: 4,
    });
    expect(found.message).toMatch(
      /^scale \(l=0, row=1, kSf=0\) belongs at offset 16: want \d+, got \d+; that is scale \(l=0, row=4, kSf=0\); the wanted one stands at offset 4$/,
    );
  });

  it.each<[string, (g: SfGeometry) => Swizzler]>([
    ['left linear', () => (sf, g) => Uint8Array.from({ length: g.allocationBytes }, (_, i) => sf[i] ?? 0)],
    [
      'M and K swapped',
      (g) => through((row, kSf, l) => sfOffset(g, (row & ~3) | (kSf % 4), (kSf & ~3) | (row % 4), l)),
    ],
    ['only k group 0', (g) => through((row, kSf, l) => sfOffset(g, row, kSf % 4, l))],
    [
      'swizzled once over all matrices',
      () => (sf, g) =>
        swizzleScales(
          sf,
          { ...createSfGeometry({ rows: g.rows * g.l, kSf: g.kSf }) },
          new Uint8Array(g.allocationBytes),
        ),
    ],
  ])('catches: %s', (_, make) => {
    const g = createSfGeometry({ rows: 132, kSf: 8, l: 2 });
    expect(verifySwizzle(make(g), g)?.kind).toBe('value');
  });

  it('catches two scales swapped even where random bytes agree', () => {
    const g = createSfGeometry({ rows: 2, kSf: 600, layout: 'linear' });
    const swapsEqual: Swizzler = (sf) => {
      const out = sf.slice();
      [out[0], out[700]] = [out[700]!, out[0]!];
      return out;
    };
    const found = [1, 2, 3].map((seed) => verifySwizzle(swapsEqual, g, { seed }));
    for (const f of found)
      expect(f).toMatchObject({ kind: 'value', row: 0, kSf: 0, offset: 0, holds: { row: 1, kSf: 100 }, foundAt: 700 });
  });

  it('catches padding that is not zero, and a short buffer', () => {
    const g = createSfGeometry({ rows: 127, kSf: 4 });
    const dirty: Swizzler = (sf) => {
      const out = swizzleScales(sf, g);
      out[511 - 3] = 9; // row 127, kSf 0
      return out;
    };
    const found = verifySwizzle(dirty, g);
    expect(found).toMatchObject({ kind: 'padding', row: 127, kSf: 0, offset: 508, got: 9, want: 0 });
    expect(found?.message).toMatch(/^padding byte at offset 508 \(l=0, row=127, kSf=0\) must be 0, got 9/);
    expect(verifySwizzle((sf) => sf, g)).toMatchObject({
      kind: 'length',
      got: 508,
      want: 512,
      message: 'buffer must have at least 512 bytes, got 508',
    });
  });

  it('catches an inverse that is wrong', () => {
    const g = createSfGeometry({ rows: 3, kSf: 4 });
    const found = verifySwizzle(right, g, { unswizzle: (s, shape) => back(s, shape).map((v, i) => (i === 9 ? 0 : v)) });
    expect(found).toMatchObject({ kind: 'round-trip', l: 0, row: 2, kSf: 1, offset: 33, got: 0 });
    expect(found?.message).toMatch(
      /^scale \(l=0, row=2, kSf=1\) did not come back: want \d+, got 0; it is right at offset 33$/,
    );
  });

  it('allows a swizzle that reuses its buffer', () => {
    const g = createSfGeometry({ rows: 140, kSf: 5 });
    const out = new Uint8Array(g.allocationBytes);
    expect(verifySwizzle((sf) => swizzleScales(sf, g, out), g, { unswizzle: back })).toBeUndefined();
  });

  it('refuses what is no swizzle', () => {
    const g = createSfGeometry({ rows: 1, kSf: 4 });
    expect(() => verifySwizzle(() => [] as unknown as Uint8Array, g)).toThrow(
      'verifySwizzle: "swizzle(...)" must be a Uint8Array, got Array',
    );
    expect(() => verifySwizzle(right, g, { unswizzle: () => null as unknown as Uint8Array })).toThrow(
      'verifySwizzle: "unswizzle(...)" must be a Uint8Array, got null',
    );
    expect(() => verifySwizzle(right, g, { seed: -1 })).toThrow(
      'verifySwizzle: "seed" must be an integer at least 0, got -1',
    );
  });
});

describe('checkSwizzled', () => {
  it('compares a buffer with its source, strides included', () => {
    const g = createSfGeometry({ rows: 10, kSf: 6, l: 2 });
    const strides = { row: 1, kSf: 10, l: 60 };
    const sf = seeded(4).bytes(120);
    const swizzled = swizzleScales(sf, g, undefined, strides);
    expect(checkSwizzled(swizzled, sf, g, strides)).toBeUndefined();
    expect(checkSwizzled(swizzled, sf, g)).toMatchObject({ kind: 'value', l: 0, row: 0, kSf: 1, offset: 1 });
    swizzled[sfOffset(g, 9, 5, 1)]! ^= 1;
    expect(checkSwizzled(swizzled, sf, g, strides)).toMatchObject({ kind: 'value', l: 1, row: 9, kSf: 5 });
  });

  it('says what is wrong', () => {
    const g = createSfGeometry({ rows: 10, kSf: 6 });
    expect(() => checkSwizzled(new Uint8Array(1023), new Uint8Array(60), g)).toThrow(
      'checkSwizzled: "sfSwizzled" must hold at least allocationBytes = 1024 elements, got 1023',
    );
    expect(() => checkSwizzled(new Uint8Array(1024), new Uint8Array(59), g)).toThrow('checkSwizzled: "sf" must hold');
  });
});
