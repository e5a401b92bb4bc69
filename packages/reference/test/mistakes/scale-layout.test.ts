import { seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { explainDump } from '../../src/index';
import { bytes, dump, ints } from './build';
import { expectAgrees, expectFirst } from './check';
import { buffer, SCALE_IDS, type ScaleId } from './scale-planted';

type Side = 'rows' | '2d' | '3d';

interface Case {
  side: Side;
  counts: number[];
  kSf: number;
}

function layoutDump({ side, counts, kSf }: Case, out: Uint8Array, seed = 1, dtype: 'U8' | 'F8_E4M3' = 'U8') {
  const rows = counts.reduce((a, b) => a + b, 0);
  const sf = source(rows * kSf, seed);
  let end = 0;
  return dump(
    { op: 'scale_layout', side },
    {
      'in.sf': side === '3d' ? bytes([counts.length, counts[0]!, kSf], sf, dtype) : bytes([rows, kSf], sf, dtype),
      'in.expert_offsets':
        side === '2d'
          ? ints(
              [counts.length],
              counts.map((n) => (end += n)),
            )
          : undefined,
      'out.sf_swizzled': bytes([out.length], out),
    },
  );
}

const source = (n: number, seed: number): Uint8Array => seeded(seed).scales(n);
const planted = (id: ScaleId | undefined, { side, counts, kSf }: Case, seed = 1): Uint8Array =>
  buffer(id, source(counts.reduce((a, b) => a + b, 0) * kSf, seed), kSf, counts, side);

const CASES: Case[] = [
  { side: 'rows', counts: [130], kSf: 5 },
  { side: 'rows', counts: [33], kSf: 8 },
  { side: 'rows', counts: [256], kSf: 4 },
  { side: '2d', counts: [4, 0, 129, 0, 33], kSf: 6 },
  { side: '2d', counts: [0, 40, 0, 7], kSf: 3 },
  { side: '2d', counts: [130, 0, 128, 5], kSf: 12 },
  { side: '3d', counts: [40, 40, 40], kSf: 4 },
  { side: '3d', counts: [130, 130], kSf: 7 },
  { side: '3d', counts: [200, 200, 200], kSf: 2 },
];

describe('scale_layout', () => {
  for (const c of CASES) {
    const name = `${c.side} [${c.counts.join(' ')}] x ${c.kSf}`;
    it(`right bytes agree: ${name}`, () => {
      expectAgrees(layoutDump(c, planted(undefined, c)));
      expectAgrees(layoutDump(c, planted(undefined, c), 1, 'F8_E4M3'));
    });
    it.each(SCALE_IDS)(`%s: ${name}`, (id) => {
      const out = planted(id, c);
      const right = planted(undefined, c);
      // On these inputs the mistake is none: one matrix, no empty expert.
      if (id === 'scales-swizzled-globally' && c.side === 'rows') return expectAgrees(layoutDump(c, out));
      if (id === 'scales-empty-expert-padded' && !c.counts.includes(0)) return expectAgrees(layoutDump(c, out));
      expect(Buffer.compare(out, right)).not.toBe(0);
      expectFirst(layoutDump(c, out), id);
    });
  }

  it('tells a buffer with an empty trailing expert padded, whose bytes are right but too many', () => {
    const c: Case = { side: '2d', counts: [5, 0], kSf: 4 };
    expectFirst(layoutDump(c, planted('scales-empty-expert-padded', c)), 'scales-empty-expert-padded');
  });

  it('agrees when only zeros follow the right bytes, and says so', () => {
    const c: Case = { side: '2d', counts: [5, 9], kSf: 4 };
    const right = planted(undefined, c);
    const longer = new Uint8Array(right.length + 512);
    longer.set(right);
    const e = explainDump(layoutDump(c, longer));
    expect(e.agrees).toBe(true);
    expect(e.notes.join()).toMatch(/has 1536 where the right buffer has 1024/);
  });

  it('names padding that is not zero, and a mistake in a buffer of full length', () => {
    const c: Case = { side: '2d', counts: [5, 9], kSf: 3 };
    const right = planted(undefined, c);
    const dirty = right.slice();
    dirty[3] = 0x38; // row 0, scale column 3 of 3
    expectFirst(layoutDump(c, dirty), 'scales-padding-not-zero');
    const globally = new Uint8Array(right.length);
    globally.set(planted('scales-swizzled-globally', c));
    expectFirst(layoutDump(c, globally), 'scales-swizzled-globally');
  });

  it('says where a byte that no mistake explains comes from', () => {
    const c: Case = { side: '2d', counts: [0, 40, 0, 7], kSf: 6 };
    const out = planted(undefined, c);
    out[512 + 16 * 3 + 4 + 1]! ^= 0x11; // second k tile, row 3 + 32, k group 4 + 1
    const e = explainDump(layoutDump(c, out));
    expect([e.agrees, e.mistakes, e.right.outside]).toEqual([false, [], 1]);
    expect(e.nearest.length).toBeGreaterThan(0);
  });

  it('lists both of two mistakes that coincide', () => {
    // One scale per row of a single expert: linear and transposed are the same; swizzled, both differ from the right bytes.
    const c: Case = { side: 'rows', counts: [64], kSf: 1 };
    const out = planted('scales-left-linear', c);
    const e = explainDump(layoutDump(c, out));
    expect(e.mistakes.map((m) => m.id)).toContain('scales-left-linear');
  });

  it('holds at random shapes', () => {
    const shape = fc.record({
      side: fc.constantFrom<Side>('rows', '2d', '3d'),
      counts: fc.array(fc.integer({ min: 0, max: 150 }), { minLength: 1, maxLength: 4 }),
      kSf: fc.integer({ min: 1, max: 9 }),
      seed: fc.integer({ min: 1, max: 1e6 }),
    });
    fc.assert(
      fc.property(shape, fc.constantFrom(undefined, ...SCALE_IDS), ({ side, counts, kSf, seed }, id) => {
        const c: Case = {
          side,
          kSf,
          counts: side === '2d' ? counts : side === '3d' ? counts.map(() => counts[0]!) : [counts[0]!],
        };
        const out = planted(id, c, seed);
        const right = planted(undefined, c, seed);
        if (id === undefined || Buffer.compare(out, right) === 0) return expectAgrees(layoutDump(c, out, seed));
        const e = explainDump(layoutDump(c, out, seed));
        if (e.agrees) {
          expect(id).toBe('scales-swizzled-globally'); // zeros are all that is missing
          return;
        }
        expect(e.mistakes.map((m) => m.id)).toContain(id);
      }),
      { numRuns: 150, seed: 7 },
    );
  });
});
