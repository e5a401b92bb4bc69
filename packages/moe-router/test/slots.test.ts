import { seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  assignSlots,
  checkSlotOrder,
  countExperts,
  expertOfRow,
  isIdentitySlots,
  offsetsFromCounts,
  remapLocal,
} from '../src/index';

const POISON = -858993460;

function assign(topkIds: readonly number[], topk: number, numExperts: number) {
  const n = topkIds.length;
  const ids = Int32Array.from(topkIds);
  const expertOffsets = new Int32Array(numExperts + 2).fill(POISON);
  const slotToken = new Int32Array(n + 2).fill(POISON);
  const tokenSlots = new Int32Array(n + 2).fill(POISON);
  assignSlots(ids, n / topk, topk, numExperts, expertOffsets, slotToken, tokenSlots);
  for (const [array, end] of [
    [expertOffsets, numExperts],
    [slotToken, n],
    [tokenSlots, n],
  ] as const) {
    expect([...array.subarray(end)]).toEqual([POISON, POISON]); // capacity behind is left alone
  }
  return {
    expertOffsets: [...expertOffsets.subarray(0, numExperts)],
    slotToken: [...slotToken.subarray(0, n)],
    tokenSlots: [...tokenSlots.subarray(0, n)],
  };
}

describe('assignSlots', () => {
  it('sorts by expert, then token; offsets are ends without a leading zero', () => {
    expect(assign([1, 0, 1, 3, 0, 1], 2, 4)).toEqual({
      expertOffsets: [2, 5, 5, 6],
      slotToken: [0, 2, 0, 1, 2, 1],
      tokenSlots: [2, 0, 3, 5, 1, 4],
    });
  });
  it('gives the offsets of docs/field-notes.md F3: counts [4, 4, 0] -> [4, 8, 8]', () => {
    expect(assign([0, 1, 0, 1, 0, 1, 0, 1], 2, 3).expertOffsets).toEqual([4, 8, 8]);
  });
  it('masked ids get no slot', () => {
    expect(assign([-1, 1, -1, -1, 0, -1], 2, 2)).toEqual({
      expertOffsets: [1, 2],
      slotToken: [2, 0, -1, -1, -1, -1],
      tokenSlots: [-1, 1, -1, -1, 0, -1],
    });
    expect(assign([-1, -1], 1, 3)).toEqual({ expertOffsets: [0, 0, 0], slotToken: [-1, -1], tokenSlots: [-1, -1] });
  });
  it('zero tokens, one row, one expert for all', () => {
    expect(assign([], 2, 2)).toEqual({ expertOffsets: [0, 0], slotToken: [], tokenSlots: [] });
    expect(assign([4], 1, 5)).toEqual({ expertOffsets: [0, 0, 0, 0, 1], slotToken: [0], tokenSlots: [0] });
    expect(assign([1, 1, 1], 1, 2)).toEqual({ expertOffsets: [0, 3], slotToken: [0, 1, 2], tokenSlots: [0, 1, 2] });
  });
  it('keeps the places of a token that one expert got twice, as hash tables may say', () => {
    expect(assign([1, 1, 0, 1], 2, 2)).toEqual({ expertOffsets: [1, 4], slotToken: [1, 0, 0, 1], tokenSlots: [1, 2, 0, 3] }); // prettier-ignore
  });
  it('names token and place of a bad id, and writes nothing', () => {
    const out = new Int32Array(4).fill(POISON);
    expect(() => assignSlots(Int32Array.of(0, 1, 2, 0), 2, 2, 2, out, out, out)).toThrow(
      'assignSlots: "topkIds" must be in [-1, 2), got 2 at token 1, place 0',
    );
    expect(() => assignSlots(Int32Array.of(0, -2), 1, 2, 2, out, out, out)).toThrow('got -2 at token 0, place 1');
    expect([...out]).toEqual([POISON, POISON, POISON, POISON]);
  });
  it('checks capacities and kinds', () => {
    const i = (n: number): Int32Array => new Int32Array(n);
    expect(() => assignSlots(i(3), 2, 2, 2, i(2), i(4), i(4))).toThrow('"topkIds" must hold at least T*topk = 4 elements, got 3'); // prettier-ignore
    expect(() => assignSlots(i(4), 2, 2, 2, i(1), i(4), i(4))).toThrow('"expertOffsets" must hold at least E = 2 elements, got 1'); // prettier-ignore
    expect(() => assignSlots(i(4), 2, 2, 2, i(2), i(3), i(4))).toThrow('"slotToken" must hold at least T*topk = 4 elements, got 3'); // prettier-ignore
    expect(() => assignSlots(i(4), 2, 2, 2, i(2), i(4), i(3))).toThrow('"tokenSlots" must hold at least T*topk = 4 elements, got 3'); // prettier-ignore
    expect(() => assignSlots(i(4), 2, 0, 2, i(2), i(4), i(4))).toThrow('"topk" must be an integer at least 1, got 0');
    expect(() => assignSlots(i(4), NaN, 2, 2, i(2), i(4), i(4))).toThrow('"t" must be an integer at least 0, got NaN');
    expect(() => assignSlots(i(4), 2, 2, 2, [] as never, i(4), i(4))).toThrow('"expertOffsets" must be a Int32Array, got Array'); // prettier-ignore
  });
});

const routing = fc
  .record({ numExperts: fc.integer({ min: 1, max: 6 }), topk: fc.integer({ min: 1, max: 4 }) })
  .chain(({ numExperts, topk }) =>
    fc.record({
      numExperts: fc.constant(numExperts),
      topk: fc.constant(topk),
      ids: fc
        .array(fc.array(fc.integer({ min: -1, max: numExperts - 1 }), { minLength: topk, maxLength: topk }), {
          maxLength: 12,
        })
        .map((rows) => rows.flat()),
    }),
  );

it('a slot order is a stable sort, its inverse is its inverse, every helper agrees with it', () => {
  fc.assert(
    fc.property(routing, ({ numExperts, topk, ids }) => {
      const got = assign(ids, topk, numExperts);
      const choices = ids.map((e, i) => ({ e, i })).filter(({ e }) => e >= 0);
      const sorted = choices.sort((a, b) => a.e - b.e || a.i - b.i);
      const rows = sorted.length;
      expect(got.slotToken).toEqual(ids.map((_, slot) => (slot < rows ? Math.floor(sorted[slot]!.i / topk) : -1)));
      sorted.forEach(({ i }, slot) => expect(got.tokenSlots[i]).toBe(slot));
      expect(got.tokenSlots.filter((slot) => slot < 0).length).toBe(ids.length - rows);
      const offsets = Int32Array.from(got.expertOffsets);
      sorted.forEach(({ e }, slot) => expect(expertOfRow(offsets, slot)).toBe(e));

      const counts = new Int32Array(numExperts).fill(POISON);
      countExperts(Int32Array.from(ids), ids.length / topk, topk, numExperts, counts);
      expect([...counts]).toEqual(Array.from(counts, (_, e) => ids.filter((x) => x === e).length));
      const ends = new Int32Array(numExperts).fill(POISON);
      offsetsFromCounts(counts, numExperts, ends);
      expect([...ends]).toEqual(got.expertOffsets);

      const [t, a, b] = [ids.length / topk, Int32Array.from(got.slotToken), Int32Array.from(got.tokenSlots)];
      checkSlotOrder(Int32Array.from(ids), t, topk, numExperts, offsets, a, b);
      expect(isIdentitySlots(a, rows)).toBe(a.subarray(0, rows).every((token, slot) => token === slot));
    }),
    { seed: 2, numRuns: 500 },
  );
});

describe('countExperts and offsetsFromCounts', () => {
  it('count what is not masked', () => {
    const counts = new Int32Array(4).fill(POISON);
    countExperts(Int32Array.of(2, 0, 2, -1), 2, 2, 3, counts);
    expect([...counts]).toEqual([1, 0, 2, POISON]);
    offsetsFromCounts(counts, 3, counts); // in place
    expect([...counts]).toEqual([1, 1, 3, POISON]);
  });
  it('refuse bad counts', () => {
    const out = new Int32Array(2).fill(POISON);
    expect(() => offsetsFromCounts(Int32Array.of(1, -1), 2, out)).toThrow('offsetsFromCounts: "counts" must not be negative, got -1 at expert 1'); // prettier-ignore
    expect(() => offsetsFromCounts(Int32Array.of(2 ** 31 - 1, 1), 2, out)).toThrow('"counts" must add up to at most 2147483647 rows, got 2147483648'); // prettier-ignore
    expect(() => offsetsFromCounts(Int32Array.of(1), 2, out)).toThrow(
      '"counts" must hold at least E = 2 elements, got 1',
    );
    expect(() => countExperts(Int32Array.of(5), 1, 1, 2, out)).toThrow('countExperts: "topkIds" must be in [-1, 2), got 5 at token 0, place 0'); // prettier-ignore
    expect([...out]).toEqual([POISON, POISON]);
  });
});

describe('expertOfRow', () => {
  it('is searchsorted right: an end belongs to the next expert that has rows', () => {
    const offsets = Int32Array.of(0, 2, 2, 2, 5, 5);
    expect([0, 1, 2, 3, 4].map((row) => expertOfRow(offsets, row))).toEqual([1, 1, 4, 4, 4]);
    expect(expertOfRow(Int32Array.of(1), 0)).toBe(0);
  });
  it('equals a linear search', () => {
    const random = seeded(6);
    for (let i = 0; i < 50; i++) {
      let end = 0;
      const offsets = Int32Array.from({ length: 1 + random.int(20) }, () => (end += random.int(4)));
      for (let row = 0; row < end; row++) expect(expertOfRow(offsets, row)).toBe(offsets.findIndex((o) => o > row));
    }
  });
  it('refuses a row that no expert has', () => {
    expect(() => expertOfRow(Int32Array.of(2, 3), 3)).toThrow(
      'expertOfRow: "row" must be an integer in [0, rows = 3), got 3',
    );
    for (const row of [-1, 0.5, NaN]) expect(() => expertOfRow(Int32Array.of(2), row)).toThrow('"row" must be');
    expect(() => expertOfRow(new Int32Array(0), 0)).toThrow('[0, rows = 0), got 0');
  });
});

describe('isIdentitySlots', () => {
  it('reads the map, not the counts (docs/field-notes.md F15)', () => {
    expect(isIdentitySlots(Int32Array.of(0, 1, 2), 3)).toBe(true);
    expect(isIdentitySlots(Int32Array.of(1, 0, 2), 3)).toBe(false); // three rows, three tokens, and a gather is needed
    const { slotToken } = assign([2, 0, 1], 1, 3);
    expect(isIdentitySlots(Int32Array.from(slotToken), 3)).toBe(false);
    expect(isIdentitySlots(Int32Array.of(0, 1, 9), 2)).toBe(true); // rows past the last are not read
    expect(isIdentitySlots(new Int32Array(0), 0)).toBe(true);
  });
  it('checks its arguments', () => {
    expect(() => isIdentitySlots(Int32Array.of(0), 2)).toThrow(
      '"slotToken" must hold at least rows = 2 elements, got 1',
    );
    expect(() => isIdentitySlots(Int32Array.of(0), -1)).toThrow('"rows" must be an integer at least 0, got -1');
    expect(() => isIdentitySlots([0] as never, 1)).toThrow('"slotToken" must be a Int32Array, got Array');
  });
});

describe('checkSlotOrder', () => {
  const ids = [1, 0, 1, -1];
  const good = () => ({ ends: [1, 3], slotToken: [0, 0, 1, -1], tokenSlots: [1, 0, 2, -1] });
  const check = (change: (o: ReturnType<typeof good>) => void) => () => {
    const o = good();
    change(o);
    checkSlotOrder(Int32Array.from(ids), 2, 2, 2, Int32Array.from(o.ends), Int32Array.from(o.slotToken), Int32Array.from(o.tokenSlots)); // prettier-ignore
  };
  it('lets a permutation pass, in any order inside an expert', () => {
    expect(check(() => undefined)).not.toThrow();
    expect(
      check((o) => {
        o.tokenSlots = [2, 0, 1, -1];
        o.slotToken = [0, 1, 0, -1];
      }),
    ).not.toThrow();
  });
  it('names what is not one', () => {
    expect(check((o) => (o.tokenSlots[3] = 0))).toThrow('checkSlotOrder: token 1, place 1 is masked and must have slot -1, got 0'); // prettier-ignore
    expect(check((o) => (o.tokenSlots[0] = 0))).toThrow(
      'token 0, place 0 must have a slot of expert 1, in [1, 3), got 0',
    );
    expect(check((o) => (o.tokenSlots[2] = -1))).toThrow('token 1, place 0 must have a slot of expert 1, in [1, 3), got -1'); // prettier-ignore
    expect(check((o) => (o.slotToken[2] = 0))).toThrow('slot 2 must hold token 1, got 0'); // every token equal to token 0 (docs/field-notes.md F17)
    expect(check((o) => (o.tokenSlots[0] = 2))).toThrow('slot 2 must hold token 0, got 1');
    expect(check((o) => (o.ends = [1, 4]))).toThrow('4 rows for 3 choices');
    expect(check((o) => (o.ends = [1, 0]))).toThrow('"expertOffsets" must not decrease, got 0 after 1 at expert 1');
    expect(check((o) => (o.ends = [0, 1]))).toThrow('token 0, place 0 must have a slot of expert 1, in [0, 1), got 1'); // a leading zero (docs/field-notes.md F3)
    expect(check((o) => ((o.ends = [1, 9]), (o.tokenSlots[2] = 8)))).toThrow('in [1, 9), got 8');
    expect(() => checkSlotOrder(Int32Array.of(0, 0), 1, 2, 1, Int32Array.of(2), Int32Array.of(0, 0), Int32Array.of(1, 1))).toThrow('token 0, places 0 and 1 share slot 1'); // prettier-ignore
  });
});

describe('remapLocal', () => {
  const remap = (ids: number[], first: number, nLocal: number, nonLocal?: 'clamp' | 'mask') => {
    const outIds = new Int32Array(ids.length + 1).fill(POISON);
    const outWeights = new Float32Array(ids.length + 1).fill(NaN);
    const weights = Float32Array.from(ids, (_, i) => i + 1);
    remapLocal(Int32Array.from(ids), weights, ids.length, 1, first, nLocal, outIds, outWeights, nonLocal);
    expect([outIds.at(-1), outWeights.at(-1)]).toEqual([POISON, NaN]);
    return { ids: [...outIds.subarray(0, -1)], weights: [...outWeights.subarray(0, -1)] };
  };
  it('subtracts the first id, gives the rest weight zero and an id that can be addressed', () => {
    expect(remap([47, 48, 95, 96, 383, 0, -1], 48, 48)).toEqual({
      ids: [0, 0, 47, 47, 47, 0, 0],
      weights: [0, 2, 3, 0, 0, 0, 0],
    });
  });
  it('or masks it, so that it gets no row', () => {
    expect(remap([47, 48, 95, 96, -1], 48, 48, 'mask')).toEqual({ ids: [-1, 0, 47, -1, -1], weights: [0, 2, 3, 0, 0] });
  });
  it('a rank that starts at 0 does not take -1 for its own', () => {
    expect(remap([-1, 0, 1, 2], 0, 2)).toEqual({ ids: [0, 0, 1, 1], weights: [0, 2, 3, 0] });
    expect(remap([-1, 0], 0, 1, 'mask')).toEqual({ ids: [-1, 0], weights: [0, 2] });
  });
  it('every choice is kept by exactly one rank, on any split', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 11 }), { maxLength: 20 }),
        fc.constantFrom(1, 2, 3, 4, 6, 12),
        (ids, nLocal) => {
          const sum = new Float32Array(ids.length);
          for (let first = 0; first < 12; first += nLocal) {
            const clamped = remap(ids, first, nLocal);
            const masked = remap(ids, first, nLocal, 'mask');
            expect(masked.weights).toEqual(clamped.weights);
            ids.forEach((e, i) => {
              sum[i]! += clamped.weights[i]!;
              const mine = e >= first && e < first + nLocal;
              expect(masked.ids[i]).toBe(mine ? e - first : -1);
              expect(clamped.ids[i]! >= 0 && clamped.ids[i]! < nLocal).toBe(true);
            });
          }
          expect([...sum]).toEqual(ids.map((_, i) => i + 1));
        },
      ),
      { seed: 1 },
    );
  });
  it('works in place, on zero tokens, and checks its arguments', () => {
    const ids = Int32Array.of(3, 4);
    const weights = Float32Array.of(1, 2);
    remapLocal(ids, weights, 1, 2, 4, 2, ids, weights);
    expect([[...ids], [...weights]]).toEqual([[0, 0], [0, 2]]); // prettier-ignore
    expect(remap([], 0, 1)).toEqual({ ids: [], weights: [] });
    expect(() => remap([0, -2], 0, 1)).toThrow('remapLocal: "topkIds" must be at least -1, got -2 at token 1, place 0');
    expect(() => remap([0], -1, 1)).toThrow('"firstExpert" must be an integer in [0, 2147483647], got -1');
    expect(() => remap([0], 0, 0)).toThrow('"nLocal" must be an integer in [1, 2147483647], got 0');
    expect(() => remap([0], 0, 1, 'drop' as never)).toThrow('"nonLocal" must be one of clamp, mask, got drop');
    expect(() => remapLocal(ids, weights, 2, 2, 0, 1, ids, weights)).toThrow('"topkIds" must hold at least T*topk = 4 elements, got 2'); // prettier-ignore
    expect(() => remapLocal(ids, weights, 1, 2, 0, 1, ids, new Float32Array(1))).toThrow('"localWeights" must hold at least T*topk = 2 elements, got 1'); // prettier-ignore
  });
});
