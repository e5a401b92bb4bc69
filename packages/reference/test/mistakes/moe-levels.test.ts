/** Mixtures that round between their products, as layers of separate kernels do: right at their level, and mistakes named there. */
import { describe, expect, it } from 'vitest';
import { explainDump, type Dump } from '../../src/index';
import { expectAgrees, expectNothingSaid, isBlank } from './check';
import { MOE_PLANTS, moeDump, type MoeCase, type MoePlant, type MoeRounds } from './moe-planted';

const CASES: MoeCase[] = [
  { t: 9, h: 80, i: 48, experts: 5, topk: 2, limit: 7, seed: 1 },
  { t: 14, h: 64, i: 96, experts: 3, topk: 1, limit: 2000, start: 2, total: 7, seed: 2 },
  { t: 5, h: 48, i: 32, experts: 6, topk: 3, limit: 200, float: true, start: 1, total: 8, seed: 3 },
];

/** Ways of kernels to round, by the name of the level. */
const ROUNDS: [string, MoeRounds][] = [
  ['bf16:gate-up', { to: 'BF16', gateUp: true }],
  ['fp16:silu+hidden', { to: 'F16', silu: true, hidden: true }],
  ['bf16:down', { to: 'BF16', down: true }],
  ['fp16:hidden+weighted', { to: 'F16', hidden: true, weighted: true }],
  ['bf16:gate-up+silu+hidden+down', { to: 'BF16', gateUp: true, silu: true, hidden: true, down: true }],
];

const out = (d: Dump): Buffer => Buffer.from(d.tensors.get('out')!.bytes);
const applies = (c: MoeCase, { of, l2, saturated }: MoePlant): boolean =>
  !c.float || (of !== 'activations' && !l2 && !saturated);

describe('moe_nvfp4 that rounds on its way', () => {
  CASES.forEach((c, shape) => {
    const name = JSON.stringify(c);
    const rights = ROUNDS.map(([, rounds]) => moeDump(c, {}, 'F32', 'float32', rounds));
    it.each(ROUNDS.map(([level, rounds], at) => ({ level, rounds, at })))(`$level agrees: ${name}`, (_) => {
      const { level, rounds, at } = _;
      expectAgrees(rights[at]!);
      // What is rounded more may be the same: a gate that is cut off, or with NVFP4 most of what a hidden row loses.
      if (c.float)
        expect(level.split(/[:+]/)).toEqual(expect.arrayContaining(explainDump(rights[at]!).level.split(/[:+]/)));
      for (const stored of ['BF16', 'F16'] as const) expectAgrees(moeDump(c, {}, stored, 'float32', rounds));
    });
    const plants = MOE_PLANTS.flatMap(([id, plant], n) => (applies(c, plant) ? [{ id, plant, n }] : []));
    it.each(plants)(`$id $plant: ${name}`, ({ id, plant, n }) => {
      // Two of the ways for each shape, so that every mistake meets every way.
      ROUNDS.forEach(([level, how], at) => {
        if ((at + n + 2 * shape) % ROUNDS.length > 1) return;
        const overflows = plant.alpha !== undefined || plant.unclamped; // in FP16
        const rounds: MoeRounds = overflows ? { ...how, to: 'BF16' } : how;
        const d = moeDump(c, plant, 'F32', 'float32', rounds);
        if (out(d).equals(out(overflows ? moeDump(c, {}, 'F32', 'float32', rounds) : rights[at]!)))
          return plant.saturated ? undefined : expectAgrees(d);
        if (isBlank(d)) return expectNothingSaid(d);
        const e = explainDump(d);
        const shown = JSON.stringify([level, { ...e, nearest: e.nearest.map((m) => [m.id, m.cosine]) }], null, 1);
        const coincide = e.mistakes.some(
          (m) => m.id === id && m.evidence.includes(`coincides with ${e.mistakes[0]!.id}`),
        );
        expect(e.mistakes[0]?.id === id || coincide, shown).toBe(true);
      });
    });
  });
});
