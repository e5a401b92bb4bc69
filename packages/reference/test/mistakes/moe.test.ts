import { describe, expect, it } from 'vitest';
import { explainDump, type Dump } from '../../src/index';
import { floats, type Stored } from './build';
import { expectAgrees, expectNothingSaid, isBlank } from './check';
import { MOE_PLANTS, moeDump, type MoeCase, type MoePlant } from './moe-planted';

const CASES: MoeCase[] = [
  { t: 9, h: 80, i: 48, experts: 5, topk: 2, limit: 7, seed: 1 },
  { t: 14, h: 64, i: 96, experts: 3, topk: 1, limit: 10, start: 2, total: 7, seed: 2 },
  { t: 5, h: 48, i: 32, experts: 6, topk: 3, limit: 2, float: true, start: 1, total: 8, seed: 3 },
  { t: 1, h: 160, i: 16, experts: 2, topk: 1, limit: 10, seed: 4 },
];

const rights = new Map<string, Buffer>();

/** The right output of a case, remembered. */
function rightOut(c: MoeCase, stored: Stored): Buffer {
  const key = JSON.stringify([c, stored]);
  let bytes = rights.get(key);
  if (!bytes) rights.set(key, (bytes = out(moeDump(c, {}, stored, 'float32'))));
  return bytes;
}

const out = (d: Dump): Buffer => Buffer.from(d.tensors.get('out')!.bytes);
const applies = (c: MoeCase, { of, l2, saturated }: MoePlant): boolean =>
  !c.float || (of !== 'activations' && !l2 && !saturated);

describe('moe_nvfp4', () => {
  for (const c of CASES) {
    const name = JSON.stringify(c);
    it(`right outputs agree: ${name}`, () => {
      for (const stored of ['F32', 'BF16', 'F16'] as const)
        for (const how of ['float32', 'float64'] as const) expectAgrees(moeDump(c, {}, stored, how));
    });
    it.each(MOE_PLANTS.filter(([, plant]) => applies(c, plant)))(`%s %j: ${name}`, (id, plant) => {
      const stored: Stored = plant.unclamped ? 'BF16' : 'F32';
      const d = moeDump(c, plant, stored, 'float32');
      if (out(d).equals(rightOut(c, stored))) return plant.saturated ? undefined : expectAgrees(d);
      if (isBlank(d)) return expectNothingSaid(d);
      const e = explainDump(d);
      const shown = JSON.stringify({ ...e, nearest: e.nearest.map((m) => [m.id, m.cosine, m.evidence]) }, null, 1);
      expect(e.agrees, shown).toBe(false);
      const coincide = e.mistakes.some(
        (m) => m.id === id && m.evidence.includes(`coincides with ${e.mistakes[0]!.id}`),
      );
      expect(e.mistakes[0]?.id === id || coincide, shown).toBe(true);
      if (c === CASES[0] && !plant.scale)
        expect(
          e.mistakes.map((m) => m.id),
          shown,
        ).toEqual([id]);
    });
  }

  it('says that nothing known explains noise', () => {
    const d = moeDump(CASES[0]!);
    const data = new Float32Array(out(d).buffer.slice(0)).slice(0, 720);
    const e = explainDump({
      ...d,
      tensors: new Map(d.tensors).set(
        'out',
        floats(
          [9, 80],
          data.map((_, i) => Math.sin(i)),
        ),
      ),
    });
    expect([e.agrees, e.mistakes.length, e.nearest.length]).toEqual([false, 0, 5]);
  });

  it('counts a mistake that changes nothing on this input as near nothing', () => {
    // Whole tiles of scale rows: one matrix or each expert's own are the same swizzle. A limit that no value reaches.
    const d = moeDump({ t: 3, h: 128, i: 128, experts: 2, topk: 1, limit: 1e6, float: true, seed: 6 });
    const tensors = new Map(d.tensors).set(
      'out',
      floats(
        [3, 128],
        Array.from({ length: 384 }, (_, i) => Math.cos(i)),
      ),
    );
    const e = explainDump({ ...d, tensors });
    expect(e.mistakes).toEqual([]);
    expect(e.nearest.length).toBe(5);
    const ids = e.nearest.map(({ id }) => id);
    expect(ids).not.toContain('scales-swizzled-globally');
    expect(ids).not.toContain('swiglu-unclamped');
    for (const m of e.nearest) {
      expect(m.rightCosine).toBeCloseTo(e.right.cosine, 9); // everything is compared, so on the same elements
      expect(m.cosine).not.toBe(m.rightCosine);
    }
  });

  it('refuses one input scale without the other, and bad scales', () => {
    const d = moeDump(CASES[0]!);
    const tensors = new Map(d.tensors);
    tensors.delete('in.w2_input_scale');
    expect(() => explainDump({ ...d, tensors })).toThrow(
      /tensor "in.w2_input_scale": expected shape \[E\], as in.w13_input_scale is given/,
    );
    expect(() =>
      explainDump({ ...d, tensors: new Map(d.tensors).set('in.w2_input_scale', floats([5], [1, 1, 0, 1, 1])) }),
    ).toThrow(/expected scales above 0, found 0 at index 2/);
    expect(() => explainDump({ ...d, tensors: new Map(d.tensors).set('in.w3_sf', floats([1], [1])) })).toThrow(
      /tensor "in.w3_sf": expected U8 or F8_E4M3 or I8, found F32/,
    );
  });
});
