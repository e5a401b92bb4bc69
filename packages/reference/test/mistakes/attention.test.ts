import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { explainDump, type Dump } from '../../src/index';
import { attentionDump, PLANTS, type Case, type Plant } from './attention-planted';
import { bytes, floats } from './build';
import { expectAgrees, expectFirst, expectNothingSaid, isBlank } from './check';

const CASES: Case[] = [
  { s: 21, heads: 3, d: 12, ratio: 4, window: 6, c: 5, ropeDim: 8, seed: 1 },
  { s: 30, heads: 2, d: 16, ratio: 4, window: 4, c: 7, ropeDim: 16, selected: true, seed: 2 },
  { s: 150, heads: 1, d: 8, ratio: 128, window: 16, c: 1, ropeDim: 4, seed: 3 },
  { s: 40, heads: 2, d: 10, ratio: 0, window: 9, c: 0, ropeDim: 6, seed: 4 },
  { s: 17, heads: 2, d: 20, ratio: 4, window: 8, c: 4, ropeDim: 2, seed: 5 },
  { s: 3, heads: 2, d: 8, ratio: 4, window: 64, c: 0, ropeDim: 4, seed: 6 },
  { s: 1, heads: 4, d: 8, ratio: 0, window: 1, c: 0, ropeDim: 4, seed: 7 },
];

const out = (d: Dump): Buffer => Buffer.from(d.tensors.get('out')!.bytes);

describe('attention', () => {
  for (const c of CASES) {
    const name = JSON.stringify(c);
    it(`right outputs agree: ${name}`, () => {
      for (const stored of ['F32', 'BF16', 'F16'] as const)
        for (const how of ['float32', 'float64'] as const) expectAgrees(attentionDump(c, undefined, stored, how));
    });
    it.each([...PLANTS, [c.ratio ? 'yarn-missing' : 'yarn-on-window-layer', 'other-yarn'] as [string, Plant]])(
      `%s: ${name}`,
      (id, plant) => {
        for (const [stored, how] of [
          ['F32', 'float32'],
          ['F32', 'float64'],
          ['BF16', 'float64'],
          ['F16', 'float32'],
        ] as const) {
          const d = attentionDump(c, plant, stored, how);
          if (out(d).equals(out(attentionDump(c, undefined, stored, how)))) {
            expectAgrees(d);
            continue;
          }
          if (isBlank(d)) {
            expectNothingSaid(d); // no key is left
            continue;
          }
          if (c.s >= 17 && c.c !== 1) {
            expectFirst(d, id);
            continue;
          }
          // One entry, or hardly a token: what coincides must be named beside it.
          const e = explainDump(d);
          expect(
            e.mistakes.map((m) => m.id),
            JSON.stringify(e, null, 1),
          ).toContain(id);
        }
      },
    );
  }

  it('tells a window of 200 from one of 199 in BF16', () => {
    const c: Case = { s: 240, heads: 1, d: 16, ratio: 0, window: 200, c: 0, ropeDim: 8, seed: 8 };
    expectAgrees(attentionDump(c, undefined, 'BF16', 'float32'));
    expectFirst(attentionDump(c, 'short', 'BF16', 'float32'), 'attention-window-short');
    expectFirst(attentionDump(c, 'long', 'BF16', 'float32'), 'attention-window-long');
  });

  it('takes sinks that are infinite', () => {
    const c = CASES[0]!;
    const d = attentionDump(c, 'no-sink');
    expectAgrees({ ...d, tensors: new Map(d.tensors).set('in.sinks', floats([3], [-Infinity, -Infinity, -Infinity])) });
    const all = new Map(d.tensors).set('in.sinks', floats([3], [Infinity, Infinity, Infinity]));
    expectAgrees({ ...d, tensors: all.set('out', floats([c.s, 3, c.d], new Float32Array(c.s * 3 * c.d))) });
  });

  it('at random shapes', () => {
    const shape = fc
      .record({
        s: fc.integer({ min: 1, max: 24 }),
        heads: fc.integer({ min: 1, max: 2 }),
        d: fc.constantFrom(4, 6, 12),
        ratio: fc.constantFrom(0, 4),
        window: fc.integer({ min: 2, max: 30 }),
        ropeDim: fc.constantFrom(2, 4),
        selected: fc.boolean(),
        seed: fc.nat(1e6),
      })
      .map((c): Case => ({ ...c, c: c.ratio ? Math.floor(c.s / 4) : 0, selected: c.selected && c.ratio > 0 }));
    fc.assert(
      fc.property(shape, fc.constantFrom(...PLANTS), (c, [id, plant]) => {
        const right = attentionDump(c, undefined, 'F32', 'float32');
        expectAgrees(right);
        const d = attentionDump(c, plant, 'F32', 'float32');
        const e = explainDump(d);
        if (!e.agrees)
          expect(
            e.mistakes.map((m) => m.id),
            JSON.stringify({ c, e }),
          ).toContain(id);
        else {
          const [a, b] = [right, d].map((x) => new Float32Array(x.tensors.get('out')!.bytes.slice().buffer)) as [
            Float32Array,
            Float32Array,
          ];
          a.forEach((v, i) => expect(Math.abs(v - b[i]!)).toBeLessThan(1e-5)); // it changed nothing but rounding
        }
      }),
      { numRuns: 80, seed: 13 },
    );
  });

  it.each([
    [
      'in.kv_comp',
      floats([5, 11], new Float32Array(55)),
      /tensor "in.kv_comp": expected shape \[C, D\] = \[5, 12\], found \[5, 11\]/,
    ],
    [
      'in.selected',
      bytes([20, 5], new Uint8Array(100)),
      /tensor "in.selected": expected shape \[21, 5\], found \[20, 5\]/,
    ],
    ['in.sinks', floats([3], [NaN, 0, 0]), /tensor "in.sinks": an input must be finite, found NaN/],
  ])('refuses a bad %s', (name, tensor, message) => {
    const d = attentionDump(CASES[0]!);
    expect(() => explainDump({ ...d, tensors: new Map(d.tensors).set(name, tensor) })).toThrow(message);
  });
});
