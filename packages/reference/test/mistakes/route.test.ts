import { seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { explainDump, type Dump } from '../../src/index';
import { dump, floats, ints, type Stored } from './build';
import { expectAgrees, expectFirst } from './check';

interface Case {
  t: number;
  e: number;
  topk: number;
  scoring: 'sqrtsoftplus' | 'softmax' | 'sigmoid';
  factor: number;
  hash?: boolean;
  start?: number;
  local?: number;
  seed: number;
}

type Plant =
  'no-bias' | 'biased' | 'raw' | 'no-factor' | 'leading' | 'left' | 'identity' | 'token-0' | 'global' | 'global-all';

interface Options {
  stored?: Stored;
  order?: 'best' | 'shuffled';
  extras?: boolean;
}

function routeDump(c: Case, plant?: Plant, { stored = 'F32', order = 'best', extras = true }: Options = {}): Dump {
  const { t, e, topk, hash = false, start = 0, local = e - start } = c;
  const r = seeded(c.seed);
  const logits = r.floats(t * e, 2);
  const bias = r.floats(e, 0.7);
  const table = Array.from({ length: t }, () => r.choose(e, topk)).flat();
  const ids: number[] = [];
  const weights: number[] = [];
  for (let token = 0; token < t; token++) {
    const row = Array.from(logits.subarray(token * e, (token + 1) * e));
    const total = row.reduce((a, x) => a + Math.exp(x), 0);
    const s = row.map(
      (x) =>
        ({
          sqrtsoftplus: Math.sqrt(Math.log(1 + Math.exp(x))),
          softmax: Math.exp(x) / total,
          sigmoid: 1 / (1 + Math.exp(-x)),
        })[c.scoring],
    );
    const by = s.map((x, i) => (plant === 'no-bias' ? x : x + bias[i]!));
    const picked: number[] = hash ? table.slice(token * topk, (token + 1) * topk) : [];
    while (picked.length < topk) {
      let best = -1;
      by.forEach((x, i) => {
        if (!picked.includes(i) && (best < 0 || x > by[best]!)) best = i;
      });
      picked.push(best);
    }
    const w = picked.map((i) => (plant === 'biased' ? s[i]! + bias[i]! : s[i]!));
    const sum = w.reduce((a, b) => a + b, 0);
    const pairs = picked.map((id, j) => ({
      id,
      w: (plant === 'raw' ? w[j]! : w[j]! / sum) * (plant === 'no-factor' ? 1 : c.factor),
    }));
    if (order === 'shuffled') pairs.reverse();
    for (const { id, w: weight } of pairs) {
      const mine = id >= start && id < start + local;
      const global = plant === 'global' || plant === 'global-all';
      ids.push(mine || plant === 'global-all' ? (global ? id : id - start) : 0);
      weights.push(mine || plant === 'global-all' ? weight : 0);
    }
  }
  const sharded = start > 0 || local < e;
  const slots: { e: number; token: number }[] = [];
  ids.forEach((id, at) => {
    if (weights[at] !== 0 || !sharded) slots.push({ e: id, token: Math.floor(at / topk) });
  });
  slots.sort((a, b) => a.e - b.e || a.token - b.token);
  const ends = Array.from({ length: sharded ? local : e }, (_, x) => slots.filter((s) => s.e <= x).length);
  let offsets = ends;
  if (plant === 'leading') offsets = [0, ...ends].slice(0, ends.length);
  if (plant === 'left') {
    const owner = slots.map((_, row) => ends.findIndex((end) => end >= row));
    offsets = ends.map((_, x) => owner.filter((o) => o <= x).length);
  }
  const slotToken = Array.from({ length: t * topk }, (_, s) => slots[s]?.token ?? 0);
  if (plant === 'identity') slotToken.forEach((_, s) => (slotToken[s] = topk === 1 ? s : s % t));
  if (plant === 'token-0') slotToken.fill(0);
  return dump(
    {
      op: 'route',
      topk,
      scoring: c.scoring,
      routed_scaling_factor: c.factor,
      ...(sharded ? { experts_start: start, n_local: local } : {}),
    },
    {
      'in.logits': floats([t, e], logits),
      'in.bias': hash ? undefined : floats([e], bias),
      'in.topk_ids': hash ? ints([t, topk], table) : undefined,
      'out.topk_ids': ints([t, topk], ids),
      'out.topk_weights': floats([t, topk], weights, stored),
      'out.expert_offsets': extras ? ints([ends.length], offsets) : undefined,
      'out.slot_token': extras ? ints([t * topk], slotToken) : undefined,
    },
  );
}

const CASES: Case[] = [
  { t: 9, e: 16, topk: 3, scoring: 'sqrtsoftplus', factor: 1.5, seed: 1 },
  { t: 1, e: 5, topk: 2, scoring: 'sigmoid', factor: 2.5, seed: 2 },
  { t: 33, e: 7, topk: 1, scoring: 'softmax', factor: 2, seed: 3 },
  { t: 12, e: 8, topk: 2, scoring: 'sqrtsoftplus', factor: 2.5, hash: true, seed: 4 },
  { t: 20, e: 12, topk: 4, scoring: 'sqrtsoftplus', factor: 2.5, start: 4, local: 4, seed: 5 },
];

const PLANTS: [string, Plant][] = [
  ['topk-without-bias', 'no-bias'],
  ['topk-weights-biased', 'biased'],
  ['topk-weights-unnormalised', 'raw'],
  ['routed-scale-missing', 'no-factor'],
  ['offsets-leading-zero', 'leading'],
  ['offsets-searchsorted-left', 'left'],
  ['slots-not-gathered', 'identity'],
  ['slots-all-token-0', 'token-0'],
  ['expert-ids-global', 'global'],
  ['expert-ids-global', 'global-all'],
];

const same = (a: Dump, b: Dump): boolean =>
  [...a.tensors].every(([name, { bytes }]) => Buffer.from(bytes).equals(Buffer.from(b.tensors.get(name)!.bytes)));

describe('route', () => {
  for (const c of CASES) {
    const name = JSON.stringify(c);
    it(`right outputs agree: ${name}`, () => {
      for (const stored of ['F32', 'BF16', 'F16'] as const)
        for (const order of ['best', 'shuffled'] as const)
          for (const extras of [true, false]) expectAgrees(routeDump(c, undefined, { stored, order, extras }));
    });
    // A hash layer has no bias.
    it.each(PLANTS.filter(([, plant]) => !c.hash || (plant !== 'biased' && plant !== 'no-bias')))(
      `%s (%s): ${name}`,
      (id, plant) => {
        for (const stored of ['F32', 'BF16'] as const) {
          const d = routeDump(c, plant, { stored });
          if (same(d, routeDump(c, undefined, { stored }))) expectAgrees(d);
          else if (c.t === 1) expect(explainDump(d).mistakes.map((m) => m.id)).toContain(id);
          else expectFirst(d, id);
        }
      },
    );
  }

  it('takes slots in any order within an expert, but no token twice', () => {
    const d = routeDump(CASES[0]!);
    const ends = new Int32Array(d.tensors.get('out.expert_offsets')!.bytes.slice().buffer);
    const slots = new Int32Array(d.tensors.get('out.slot_token')!.bytes.slice().buffer);
    const e = ends.findIndex((end, i) => end - (ends[i - 1] ?? 0) >= 2);
    const start = ends[e - 1] ?? 0;
    slots.subarray(start, ends[e]).reverse();
    const with_ = (s: Int32Array): Dump => ({
      ...d,
      tensors: new Map(d.tensors).set('out.slot_token', ints([s.length], s)),
    });
    const answer = explainDump(with_(slots));
    expect([answer.agrees, answer.notes.join().includes('order of slots')]).toEqual([true, true]);
    slots[start] = slots[start + 1]!;
    expect(explainDump(with_(slots)).agrees).toBe(false);
  });

  it('sends ties to the lowest expert, and lets near ties be', () => {
    const tie = (second: number, id: number): boolean =>
      explainDump(
        dump(
          { op: 'route', topk: 1, scoring: 'sigmoid', routed_scaling_factor: 1 },
          {
            'in.logits': floats([1, 3], [0.5, second, -1]),
            'in.bias': floats([3], [0, 0, 0]),
            'out.topk_ids': ints([1, 1], [id]),
            'out.topk_weights': floats([1, 1], [1]),
          },
        ),
      ).agrees;
    expect([tie(0.5, 0), tie(0.4999999, 1), tie(0.4, 1)]).toEqual([true, true, false]);
  });

  it('at random shapes', () => {
    const shape = fc.record({
      t: fc.integer({ min: 1, max: 20 }),
      e: fc.integer({ min: 2, max: 12 }),
      topk: fc.integer({ min: 1, max: 2 }),
      scoring: fc.constantFrom('sqrtsoftplus' as const, 'softmax' as const, 'sigmoid' as const),
      factor: fc.constantFrom(1, 1.5, 2.5),
      hash: fc.boolean(),
      seed: fc.nat(1e6),
    });
    fc.assert(
      fc.property(shape, fc.constantFrom(...PLANTS.slice(0, 8)), fc.boolean(), (c, [id, plant], extras) => {
        fc.pre(!c.hash || (plant !== 'biased' && plant !== 'no-bias')); // a hash layer has no bias
        const right = routeDump(c, undefined, { extras });
        expectAgrees(right);
        const d = routeDump(c, plant, { extras });
        const e = explainDump(d);
        if (same(d, right)) expect(e.agrees).toBe(true);
        else if (!e.agrees)
          expect(
            e.mistakes.map((m) => m.id),
            JSON.stringify({ c, e }),
          ).toContain(id);
        else if (plant === 'no-bias')
          expect(c.topk).toBe(c.e); // all are chosen, in another order
        else expect(['biased', 'raw']).toContain(plant); // one choice of weight 1 either way, but for rounding
      }),
      { numRuns: 200, seed: 17 },
    );
  });

  it.each([
    [{ topk: '17' }, /__metadata__ "topk": expected at most the 16 experts, found 17/],
    [{ scoring: 'relu' }, /__metadata__ "scoring": expected one of sqrtsoftplus, softmax, sigmoid, found "relu"/],
    [{ experts_start: '4', n_local: '13' }, /"n_local": expected at most 12 with experts_start 4, found 13/],
  ])('refuses %j', (change, message) => {
    const d = routeDump(CASES[0]!);
    expect(() => explainDump({ ...d, metadata: new Map([...d.metadata, ...Object.entries(change)]) })).toThrow(message);
  });

  it('refuses a dump with neither bias nor ids', () => {
    const d = routeDump(CASES[0]!);
    const tensors = new Map(d.tensors);
    tensors.delete('in.bias');
    expect(() => explainDump({ ...d, tensors })).toThrow(/expected in.bias \[E\], or in.topk_ids/);
  });
});
