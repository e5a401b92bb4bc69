/** Grouped products whose sums are rounded on their way: right at their level, and their mistakes named there. */
import { describe, expect, it } from 'vitest';
import { explainDump, type Dump } from '../../src/index';
import { expectAgrees, expectNothingSaid, isBlank } from './check';
import { GEMM_PLANTS, gemmDump, type GemmCase } from './gemm-planted';

const CASES: GemmCase[] = [
  { counts: [3, 0, 130, 9], n: 6, k: 192, seed: 1 },
  { counts: [0, 5, 0, 1], n: 33, k: 16 * 19, seed: 2 },
  { counts: [6, 0, 5], n: 140, k: 320, seed: 4 },
];

const ROUNDS = [
  ['bf16:product', { to: 'BF16', every: Infinity }],
  ['fp16:product', { to: 'F16', every: Infinity }],
  ['bf16:sum-64', { to: 'BF16', every: 64 }],
  ['fp16:sum-128', { to: 'F16', every: 128 }],
  ['bf16:sum-256', { to: 'BF16', every: 256 }],
] as const;

const out = (d: Dump): Buffer => Buffer.from(d.tensors.get('out')!.bytes);

describe('grouped_gemm_nvfp4 that rounds its sums', () => {
  CASES.forEach((c, shape) => {
    const name = `[${c.counts.join(' ')}] n ${c.n} k ${c.k}`;
    const applied = ROUNDS.filter(([, { every }]) => every === Infinity || every < c.k);
    const rights = applied.map(([, rounds]) => gemmDump(c, {}, { how: 'float32', rounds }));
    it(`right outputs agree: ${name}`, () => {
      applied.forEach(([level, rounds], at) => {
        expectAgrees(rights[at]!, level);
        for (const stored of ['BF16', 'F16'] as const)
          expectAgrees(gemmDump(c, {}, { how: 'float32', stored, rounds }));
      });
    });
    it.each(GEMM_PLANTS.map(([id, plant], n) => ({ id, plant, n })))(`$id $plant: ${name}`, ({ id, plant, n }) => {
      // Two of the ways for each shape, so that every mistake meets every way.
      applied.forEach(([level, rounds], at) => {
        if ((at + n + 2 * shape) % applied.length > 1) return;
        const d = gemmDump(c, plant, { how: 'float32', rounds });
        if (out(d).equals(out(rights[at]!))) return;
        if (isBlank(d)) return expectNothingSaid(d);
        const e = explainDump(d);
        const coincide = e.mistakes.some(
          (m) => m.id === id && m.evidence.includes(`coincides with ${e.mistakes[0]!.id}`),
        );
        expect(e.mistakes[0]?.id === id || coincide, JSON.stringify([level, e], null, 1)).toBe(true);
        if (shape === 0) expect(e.mistakes.map((m) => m.id)).toEqual([id]);
      });
    });
  });
});
