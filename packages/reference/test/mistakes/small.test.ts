/** rope, residual_mix and penalty. */
import { seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { explainDump, type Dump } from '../../src/index';
import { dump, floats, ints, sum, type Stored } from './build';
import { expectAgrees, expectFirst } from './check';
import { angles, YARN } from './rope-planted';

const STORED: Stored[] = ['F32', 'BF16', 'F16'];

describe('rope', () => {
  interface Case {
    d: number;
    ropeDim: number;
    theta: number;
    layer: 'window' | 'compressed';
    positions: number[];
    yarn?: boolean;
  }
  type Plant = 'half' | 'leading' | 'no-yarn' | 'yarn' | 'back';
  const CASES: Case[] = [
    { d: 40, ropeDim: 16, theta: 10000, layer: 'window', positions: [0, 1, 2, 77], yarn: true },
    { d: 64, ropeDim: 64, theta: 160000, layer: 'compressed', positions: [5, 4000, 99999], yarn: true },
    { d: 24, ropeDim: 8, theta: 160000, layer: 'compressed', positions: [300], yarn: true },
    { d: 10, ropeDim: 6, theta: 500, layer: 'window', positions: [3, 9] },
  ];
  function ropeDump(c: Case, plant?: Plant, stored: Stored = 'F32', exact = true): Dump {
    const { d, ropeDim, positions } = c;
    const x = seeded(d).floats(positions.length * d);
    const yarn = (c.layer === 'compressed' && plant !== 'no-yarn') || plant === 'yarn';
    const out = Float64Array.from(x);
    positions.forEach((p, s) => {
      const turn = angles(p, ropeDim, c.theta, yarn && c.yarn ? YARN : undefined, exact);
      turn.forEach((angle, i) => {
        const base = s * d + (plant === 'leading' ? 0 : d - ropeDim);
        const [i0, i1] = plant === 'half' ? [base + i, base + i + ropeDim / 2] : [base + 2 * i, base + 2 * i + 1];
        const sin = plant === 'back' ? -Math.sin(angle) : Math.sin(angle);
        out[i0] = x[i0]! * Math.cos(angle) - x[i1]! * sin;
        out[i1] = x[i1]! * Math.cos(angle) + x[i0]! * sin;
      });
    });
    return dump(
      { op: 'rope', rope_dim: ropeDim, rope_theta: c.theta, layer: c.layer, ...(c.yarn ? { yarn: YARN } : {}) },
      {
        'in.x': floats([positions.length, d], x),
        'in.positions': ints([positions.length], positions),
        out: floats([positions.length, d], out, stored),
      },
    );
  }
  for (const c of CASES) {
    it(`right outputs agree: ${JSON.stringify(c)}`, () => {
      for (const stored of STORED)
        for (const exact of [true, false]) expectAgrees(ropeDump(c, undefined, stored, exact));
    });
    it.each([
      ['rope-half-split', 'half'],
      ['rope-leading-dims', 'leading'],
      ['rope-backwards', 'back'],
      ['yarn-missing', 'no-yarn'],
      ['yarn-on-window-layer', 'yarn'],
    ] as const)(`%s: ${JSON.stringify(c)}`, (id, plant) => {
      for (const stored of STORED) {
        const d = ropeDump(c, plant, stored);
        const same = Buffer.from(d.tensors.get('out')!.bytes).equals(
          ropeDump(c, undefined, stored).tensors.get('out')!.bytes,
        );
        if (same) expectAgrees(d);
        else expectFirst(d, id);
      }
    });
  }
  it.each([
    [{ rope_dim: 7 }, /__metadata__ "rope_dim": expected an even number, at most D = 40, found 7/],
    [{ rope_dim: undefined }, /__metadata__ "rope_dim": expected an integer, at least 0, found nothing/],
    [{ layer: 'sliding' }, /__metadata__ "layer": expected one of window, compressed, found "sliding"/],
    [{ yarn: '{"factor": -1}' }, /"factor" must be a number above 0, found -1/],
    [{ yarn: 'yes' }, /expected the JSON object of config.json's rope_scaling, found string/],
  ])('refuses %j', (change, message) => {
    const d = ropeDump(CASES[0]!);
    const metadata = new Map(d.metadata);
    for (const [k, v] of Object.entries(change))
      if (v === undefined) metadata.delete(k);
      else metadata.set(k, String(v));
    expect(() => explainDump({ ...d, metadata })).toThrow(message);
  });
});

describe('residual_mix', () => {
  type Plant = 'transposed' | 'halved';
  function mixDump(
    s: number,
    hc: number,
    d: number,
    plant?: Plant,
    stored: Stored = 'F32',
    how: 'float32' | 'float64' = 'float64',
  ): Dump {
    const r = seeded(s * 100 + hc * 10 + d);
    const [streams, out] = [r.floats(s * hc * d, 4), r.floats(s * d, 2)];
    const post = Float32Array.from({ length: s * hc }, () => 2 / (1 + Math.exp(-r.normal())));
    const comb = Float32Array.from({ length: s * hc * hc }, () => r.next() / hc);
    const mixed: number[] = [];
    for (let t = 0; t < s; t++)
      for (let k = 0; k < hc; k++)
        for (let c = 0; c < d; c++) {
          const terms = [(post[t * hc + k]! / (plant === 'halved' ? 2 : 1)) * out[t * d + c]!];
          for (let j = 0; j < hc; j++) {
            const at = plant === 'transposed' ? k * hc + j : j * hc + k;
            terms.push(comb[t * hc * hc + at]! * streams[(t * hc + j) * d + c]!);
          }
          mixed.push(sum(terms, how));
        }
    return dump(
      { op: 'residual_mix' },
      {
        'in.streams': floats([s, hc, d], streams),
        'in.out': floats([s, d], out),
        'in.post': floats([s, hc], post),
        'in.comb': floats([s, hc, hc], comb),
        'out.streams': floats([s, hc, d], mixed, stored),
      },
    );
  }
  it.each([
    [1, 4, 16],
    [7, 4, 33],
    [5, 2, 5],
    [3, 1, 8],
  ])('S %i hc %i D %i', (s, hc, d) => {
    for (const stored of STORED)
      for (const how of ['float32', 'float64'] as const) {
        expectAgrees(mixDump(s, hc, d, undefined, stored, how));
        expectFirst(mixDump(s, hc, d, 'halved', stored, how), 'residual-post-halved');
        if (hc > 1) expectFirst(mixDump(s, hc, d, 'transposed', stored, how), 'residual-comb-transposed');
      }
  });
});

describe('penalty', () => {
  type Plant = 'no-prompt' | 'no-output' | 'no-output-repetition' | 'sign' | 'prompt-counted';
  interface Case {
    v: number;
    prompt: number[];
    output: number[];
    r: number;
    p: number;
    f: number;
    masked?: number[];
  }
  function penaltyDump(c: Case, plant?: Plant, stored: Stored = 'F32', single = true): Dump {
    const f = single ? Math.fround : (x: number) => x;
    const raw = seeded(c.v).floats(c.v, 5);
    for (const id of c.masked ?? []) raw[id] = -Infinity;
    const out = Float64Array.from(raw, (x, id) => {
      const [a, b] = [c.prompt.includes(id), c.output.includes(id)];
      const hit = (a && plant !== 'no-prompt') || (b && !plant?.startsWith('no-output'));
      let y = x;
      if (hit) y = y > 0 || plant === 'sign' ? f(y / f(c.r)) : f(y * f(c.r));
      const ids = plant === 'prompt-counted' ? [...c.prompt, ...c.output] : plant === 'no-output' ? [] : c.output;
      const n = ids.filter((o) => o === id).length;
      if (n > 0) y = f(f(y - f(f(c.f) * n)) - f(c.p));
      return y;
    });
    return dump(
      { op: 'penalty', repetition_penalty: c.r, presence_penalty: c.p, frequency_penalty: c.f },
      {
        'in.logits': floats([c.v], raw),
        'in.prompt_ids': ints([c.prompt.length], c.prompt),
        'in.output_ids': ints([c.output.length], c.output),
        'out.logits': floats([c.v], out, stored),
      },
    );
  }
  const CASES: Case[] = [
    { v: 50, prompt: [1, 2, 3, 3, 4], output: [5, 6, 5, 2], r: 1.3, p: 0.4, f: 0.2 },
    { v: 1000, prompt: [10, 20, 30, 40, 50, 60], output: [70, 80, 90, 100, 110, 70], r: 1.05, p: 0, f: 0 },
    { v: 4096, prompt: [0, 4095, 7, 8, 9], output: [9, 9, 9, 100, 200], r: 1.1, p: 0.5, f: 0, masked: [7, 300, 100] },
    { v: 30, prompt: [], output: [1, 2, 3, 4, 5], r: 1.2, p: 0.1, f: 0.3 },
  ];
  const PLANTS = [
    ['penalty-ignores-prompt', 'no-prompt'],
    ['penalty-ignores-output', 'no-output'],
    ['penalty-ignores-output', 'no-output-repetition'],
    ['penalty-sign', 'sign'],
    ['penalty-counts-prompt', 'prompt-counted'],
  ] as const;
  it.each(CASES)('%j', (c) => {
    for (const stored of STORED) {
      expectAgrees(penaltyDump(c, undefined, stored));
      expectAgrees(penaltyDump(c, undefined, stored, false));
      for (const [id, plant] of PLANTS) {
        const d = penaltyDump(c, plant, stored);
        const same = Buffer.from(d.tensors.get('out.logits')!.bytes).equals(
          penaltyDump(c, undefined, stored).tensors.get('out.logits')!.bytes,
        );
        if (same) expectAgrees(d);
        else expectFirst(d, id);
      }
    }
  });
  it('holds at random histories', () => {
    const ids = fc.array(fc.integer({ min: 0, max: 39 }), { maxLength: 12 });
    const penalties = {
      r: fc.constantFrom(1, 1.02, 1.5, 0.8),
      p: fc.constantFrom(0, 0.7),
      f: fc.constantFrom(0, 0.1, -0.3),
    };
    fc.assert(
      fc.property(
        fc.record({ v: fc.constantFrom(40, 41, 100), prompt: ids, output: ids, ...penalties }),
        fc.constantFrom(...PLANTS),
        (c, [id, plant]) => {
          expectAgrees(penaltyDump(c));
          const d = penaltyDump(c, plant);
          const e = explainDump(d);
          if (Buffer.from(d.tensors.get('out.logits')!.bytes).equals(penaltyDump(c).tensors.get('out.logits')!.bytes))
            expect(e.agrees).toBe(true);
          else expect(e.mistakes.map((m) => m.id)).toContain(id);
        },
      ),
      { numRuns: 200, seed: 11 },
    );
  });
  it('refuses ids outside the vocabulary and a penalty of zero', () => {
    expect(() => explainDump(penaltyDump({ ...CASES[0]!, prompt: [50] }))).toThrow(
      /"in.prompt_ids": expected ids in \[0, 49\], found 50 at index 0/,
    );
    expect(() => explainDump(penaltyDump({ ...CASES[0]!, r: 0 }))).toThrow(
      /"repetition_penalty": expected a number above 0, found 0/,
    );
  });
});

describe('any dump', () => {
  it('must say what it is', () => {
    expect(() => explainDump({ ...dump({}, {}), file: 'a.safetensors' })).toThrow(
      /a.safetensors: __metadata__ "op": expected one of scale_layout, quantize_nvfp4, /,
    );
    expect(() => explainDump(dump({ op: 'gemm' }, {}))).toThrow(/found "gemm"/);
  });
});
