import { swizzleSf128x4 } from '@megamoe/reference';
import { expectBytes, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { swizzleScales128x4 } from '../src/index';
import { odd } from './backends';

/** One, odd, tile edges in both directions, a real layer (4096 x 7168/16), and one that is stored past the caches. */
const SHAPES = [
  [0, 0],
  [0, 4],
  [1, 1],
  [3, 5],
  [31, 16],
  [32, 17],
  [33, 15],
  [127, 4],
  [128, 4],
  [129, 12],
  [200, 448],
  [513, 33],
  [256, 256],
] as const;

describe.each(['auto', 'js'] as const)('swizzleScales128x4, backend %s', (backend) => {
  it.each(SHAPES)('is the reference for %i x %i, at odd offsets, padding zero', (rows, kSf) => {
    const sf = odd(seeded(rows + kSf).bytes(rows * kSf), 0xcc);
    const size = Math.ceil(rows / 128) * 128 * Math.ceil(kSf / 4) * 4;
    for (const threads of [1, 2, 5]) {
      const out = odd(new Uint8Array(size).fill(0xcc), 0xaa, 5);
      expect(swizzleScales128x4(sf, { rows, kSf, backend, threads }, out)).toBe(out);
      expectBytes(out, swizzleSf128x4(sf, { rows, kSf }));
      expect([...new Uint8Array(out.buffer, 0, 5)]).toEqual([0xaa, 0xaa, 0xaa, 0xaa, 0xaa]);
    }
  });
  it('refuses what does not fit', () => {
    const sf = new Uint8Array(64);
    expect(() => swizzleScales128x4(sf, { rows: 5, kSf: 16, backend })).toThrow(
      /"sf" must hold at least rows\*kSf = 80 elements, got 64/,
    );
    expect(() => swizzleScales128x4(sf, { rows: 4, kSf: 16, backend }, new Uint8Array(9))).toThrow(
      /"out" must hold at least .* = 2048/,
    );
    expect(() => swizzleScales128x4(sf, { rows: -1, kSf: 16, backend })).toThrow(
      /"rows" must be an integer in \[0, 1099511627776\], got -1/,
    );
    expect(() => swizzleScales128x4(sf, { rows: 1, kSf: 16, threads: 0, backend })).toThrow(/"threads"/);
    const one = new Uint8Array(4096);
    expect(() => swizzleScales128x4(one, { rows: 4, kSf: 16, backend }, one)).toThrow(/overlap/);
  });
});

it('large outputs, which are stored past the caches, are the same bytes', () => {
  const [rows, kSf] = [128 * 800, 256];
  const sf = Uint8Array.from({ length: rows * kSf }, (_, i) => (i * 2654435761) >>> 24);
  expect(
    Buffer.compare(swizzleScales128x4(sf, { rows, kSf }), swizzleScales128x4(sf, { rows, kSf, backend: 'js' })),
  ).toBe(0);
});
