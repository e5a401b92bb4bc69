import { philox4x32 as philox } from '@megamoe/core';
import { seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { createLogitsScan } from '../src/index';
import { ISAS, odd } from './backends';

const SCANS = [
  { name: 'js', scan: createLogitsScan({ backend: 'js' }) },
  ...ISAS.map((isa) => ({ name: isa as string, scan: createLogitsScan({ backend: 'native', isa }) })),
];

/** Lengths around a vector, a group of 32 vectors, and a vocabulary. */
const LENGTHS = [1, 2, 7, 8, 9, 31, 33, 255, 256, 257, 511, 512, 513, 1100, 5000, 40_001];

const x2 = (x: number): Float32Array => Float32Array.of(x, x);

describe.each(SCANS)('logit scans on $name', ({ name, scan }) => {
  it('says what it runs on', () => {
    expect(scan.isa).toBe(name);
  });

  it.each(LENGTHS)('answers by definition for %i logits', (n) => {
    const r = seeded(n);
    for (const kind of ['close', 'ties', 'masked', 'equal', 'zeros'] as const) {
      const x = r.floats(n, 20);
      if (kind === 'ties') for (let i = 0; i < n; i++) x[i] = r.int(9) - 4;
      if (kind === 'masked') for (let i = 0; i < n; i++) if (r.next() < 0.9) x[i] = -Infinity;
      if (kind === 'equal') x.fill(-2.5);
      if (kind === 'zeros') for (let i = 0; i < n; i++) x[i] = r.next() < 0.5 ? -0 : 0;
      const logits = odd(x, NaN); // a NaN in front and behind: nothing outside is read
      const sorted = x.slice().sort().reverse();
      expect(scan.argmax(logits, n)).toBe(x.indexOf(sorted[0]!));
      for (const k of new Set([1, 2, 5, 64, 300, n >> 1, n - 1, n])) {
        if (k < 1 || k > n) continue;
        const kth = sorted[k - 1]!;
        const none = new Int32Array(0);
        for (const temperature of [0.7, 3].map(Math.fround)) {
          const tied = x.filter((v) => Math.fround(v / temperature) >= Math.fround(kth / temperature)).length;
          expect(scan.top(logits, n, k, temperature, none, new Float32Array(9))).toBe(tied);
        }
        const want = [...x.keys()].filter((i) => x[i]! >= kth);
        const capacity = Math.min(want.length, 100);
        const ids = odd(new Int32Array(capacity).fill(-7), -7);
        const values = odd(new Float32Array(capacity).fill(NaN), NaN);
        expect(scan.top(logits, n, k, 1, ids, values)).toBe(want.length);
        expect([...ids]).toEqual(want.slice(0, capacity));
        expect([...values]).toEqual(want.slice(0, capacity).map((i) => x[i]));
        ids.fill(-7);
        values.fill(NaN);
        expect(scan.atLeast(logits, n, kth, ids, values)).toBe(want.length);
        expect([...ids]).toEqual(want.slice(0, capacity));
        expect([...values]).toEqual(want.slice(0, capacity).map((i) => x[i]));
        expect(new Int32Array(ids.buffer)[ids.length + 3]).toBe(-7);
      }
    }
  });

  it.each(LENGTHS)('finds whom a draw from %i logits may give, and few besides', (n) => {
    const r = seeded(n);
    const words = new Uint32Array(4);
    for (const kind of ['close', 'far', 'ties', 'masked', 'equal'] as const) {
      const x = r.floats(n, kind === 'far' ? 60 : 5);
      if (kind === 'ties') for (let i = 0; i < n; i++) x[i] = r.int(9) - 4;
      if (kind === 'masked') for (let i = 1; i < n; i++) if (r.next() < 0.9) x[i] = -Infinity;
      if (kind === 'equal') x.fill(-2.5);
      const logits = odd(x, NaN);
      for (const temperature of [1, 0.3, 40].map(Math.fround)) {
        const draw = Int32Array.from({ length: 4 }, () => r.int(2 ** 32) | 0);
        const [k0, k1, sequence, position] = [...draw] as [number, number, number, number];
        const top = Math.max(...x.map((v) => v / temperature));
        let [winner, best] = [-1, -1];
        for (let i = 0; i < n; i++) {
          if (i % 4 === 0) philox(i >>> 2, position, sequence, 0, k0, k1, words);
          const score = Math.exp(Math.fround(x[i]! / temperature) - top) / -Math.log((words[i & 3]! + 0.5) / 2 ** 32);
          if (score > best) [winner, best] = [i, score];
        }
        const ids = odd(new Int32Array(n).fill(-7), -7);
        const values = odd(new Float32Array(n).fill(NaN), NaN);
        const count = scan.mayWin(logits, n, temperature, draw, ids, values);
        const found = [...ids.subarray(0, count)];
        expect(found).toContain(winner);
        expect(count).toBeLessThan(8 + 4 * Math.log(n)); // those that were best for a while: ln(n) of them
        expect(found).toEqual([...found].sort((a, b) => a - b));
        expect([...values.subarray(0, count)]).toEqual(found.map((i) => x[i]));
        expect(count === n || ids[count] === -7).toBe(true);
        const js = new Int32Array(n);
        expect(SCANS[0]!.scan.mayWin(logits, n, temperature, draw, js, values)).toBe(count);
        expect(found).toEqual([...js.subarray(0, count)]);
        expect(scan.mayWin(logits, n, temperature, draw, ids.subarray(0, 1), values)).toBe(count);
      }
      x[n >> 1] = NaN;
      expect(scan.mayWin(x, n, 1, new Int32Array(4), new Int32Array(9), new Float32Array(9))).toBe(-1);
    }
    expect(scan.mayWin(x2(3e38), 1, 0.5, new Int32Array(4), new Int32Array(9), new Float32Array(9))).toBe(-1);
  });

  it.each(LENGTHS)('says which share of %i logits stands before one, with the bits of every other scan', (n) => {
    const r = seeded(n + 1);
    for (const kind of ['close', 'far', 'ties', 'masked'] as const) {
      const x = r.floats(n, kind === 'far' ? 60 : 5);
      if (kind === 'ties') for (let i = 0; i < n; i++) x[i] = r.int(9) - 4;
      if (kind === 'masked') for (let i = 1; i < n; i++) if (r.next() < 0.9) x[i] = -Infinity;
      const logits = odd(x, NaN);
      for (const temperature of [1, 0.3, 40].map(Math.fround)) {
        const scaled = x.map((v) => v / temperature);
        const most = Math.max(...scaled);
        for (const id of [0, r.int(n), scaled.indexOf(most)]) {
          let [all, before] = [0, 0];
          for (const [i, v] of scaled.entries()) {
            all += Math.exp(v - most);
            if (i !== id && v >= scaled[id]!) before += Math.exp(v - most);
          }
          const share = scan.massBefore(logits, n, temperature, id);
          expect(Math.abs(share - before / all)).toBeLessThan(1e-5);
          expect(SCANS[0]!.scan.massBefore(logits, n, temperature, id)).toBe(share);
        }
      }
      x[n >> 1] = NaN;
      expect(scan.massBefore(x, n, 1, 0)).toBe(-1);
    }
    expect(scan.massBefore(x2(3e38), 1, 0.5, 0)).toBe(-1);
  });

  it.each(LENGTHS)('finds NaN and +Infinity at any place of %i', (n) => {
    const x = seeded(n).floats(n);
    for (const at of new Set([0, n >> 1, n - 1])) {
      for (const bad of [NaN, Infinity]) {
        const y = x.slice();
        y[at] = bad;
        y[n - 1] = bad;
        expect(scan.argmax(y, n)).toBe(-1 - at);
        expect(scan.top(y, n, 1, 1, new Int32Array(1), new Float32Array(1))).toBe(-1);
      }
    }
  });

  it.each(LENGTHS)(
    'finds the first value that is not finite of %i, -Infinity too, in the part that is asked for',
    (n) => {
      const x = seeded(n).floats(n);
      x[0] = -3.4e38;
      expect(scan.firstNonFinite(odd(x, NaN), 0, n)).toBe(-1);
      for (const at of new Set([0, n >> 1, n - 1])) {
        for (const bad of [NaN, Infinity, -Infinity]) {
          const y = x.slice();
          y[at] = bad;
          y[n - 1] = bad;
          expect(scan.firstNonFinite(y, 0, n)).toBe(at);
          expect(scan.firstNonFinite(y, at, n)).toBe(at);
          expect(scan.firstNonFinite(y, 0, at)).toBe(-1);
          expect(scan.firstNonFinite(y, n, n)).toBe(-1);
        }
      }
    },
  );

  it('finds nothing above the largest, and all at -Infinity', () => {
    const x = Float32Array.of(1, -Infinity, 3);
    const ids = new Int32Array(3);
    const values = new Float32Array(3);
    expect(scan.atLeast(x, 3, 3.5, ids, values)).toBe(0);
    expect(scan.atLeast(x, 3, -Infinity, ids, values)).toBe(3);
    expect(scan.atLeast(x, 3, -Infinity, new Int32Array(0), values)).toBe(3);
    expect([...values]).toEqual([1, -Infinity, 3]);
    expect(scan.argmax(x, 2)).toBe(0);
  });

  it('counts what division rounds to the k-th, and says when that is far away', () => {
    const f = Math.fround;
    const below = (x: number, steps: number): number => {
      const word = Float32Array.of(x);
      new Int32Array(word.buffer)[0]! += x > 0 ? -steps : steps;
      return word[0]!;
    };
    const ids = new Int32Array(70);
    const values = new Float32Array(70);
    for (const kth of [10, -3.3, 1e-30].map(f)) {
      const x = Float32Array.from({ length: 70 }, (_, i) => below(kth, i));
      for (const t of [1, 3, 0.7, 1.9, 5].map(f)) {
        const want = x.filter((v) => f(v / t) === f(kth / t));
        expect(scan.top(x, 70, 1, t, ids, values)).toBe(want.length);
        expect([...values.subarray(0, want.length)]).toEqual([...want]);
      }
    }
    expect(scan.top(Float32Array.of(0, -(2 ** -148), -(2 ** -147)), 3, 1, 4, ids, values)).toBe(2); // 2^-150 rounds to zero
    expect(scan.top(Float32Array.of(3e38, 1), 2, 1, 0.5, ids, values)).toBe(-1);
    expect(scan.top(Float32Array.of(0, 1), 2, 2, f(1e6), ids, values)).toBe(-1);
  });

  it('refuses what it cannot scan', () => {
    const x = Float32Array.of(1, 2);
    const ids = new Int32Array(2);
    const values = new Float32Array(2);
    expect(() => scan.firstNonFinite(x, 0, 3)).toThrow('firstNonFinite: "logits" must hold at least end = 3 elements');
    expect(() => scan.firstNonFinite(x, 2, 1)).toThrow('firstNonFinite: "begin" must be an integer in [0, 1], got 2');
    expect(() => scan.argmax(x, 3)).toThrow('argmax: "logits" must hold at least n = 3 elements, got 2');
    expect(() => scan.argmax(x, 0)).toThrow('argmax: "n" must be an integer in [1, 2147483647], got 0');
    expect(() => scan.argmax([1] as unknown as Float32Array, 1)).toThrow('"logits" must be a Float32Array, got Array');
    expect(() => scan.top(x, 2, 0, 1, ids, values)).toThrow('top: "k" must be an integer in [1, 2], got 0');
    expect(() => scan.top(x, 2, 3, 1, ids, values)).toThrow('top: "k" must be an integer in [1, 2], got 3');
    expect(() => scan.top(x, 2, 1, 0, ids, values)).toThrow('top: "temperature" must be');
    expect(() => scan.atLeast(x, 2, NaN, ids, values)).toThrow('atLeast: "floor" must be');
    const draw = new Int32Array(4);
    expect(() => scan.mayWin(x, 2, 0, draw, ids, values)).toThrow('mayWin: "temperature" must be');
    expect(() => scan.mayWin(x, 2, 1, draw.subarray(1), ids, values)).toThrow('mayWin: "draw" must hold at least');
    expect(() => scan.massBefore(x, 2, 0, 0)).toThrow('massBefore: "temperature" must be');
    expect(() => scan.massBefore(x, 2, 1, 2)).toThrow('massBefore: "id" must be an integer in [0, 1], got 2');
    expect(() => scan.atLeast(x, 2, 0, values as unknown as Int32Array, values)).toThrow('"ids" must be a Int32Array');
    expect(() => scan.atLeast(x, 2, 0, ids, ids as unknown as Float32Array)).toThrow('"values" must be a Float32Array');
  });
});

it('createLogitsScan chooses as createGemmKernels does', () => {
  expect(createLogitsScan().isa).toBe(ISAS[0] ?? 'js');
  expect(() => createLogitsScan({ backend: 'cuda' as 'js' })).toThrow('createLogitsScan: "backend" must be one of');
  expect(() => createLogitsScan({ isa: 'mmx' as 'avx2' })).toThrow('createLogitsScan: "isa" must be one of');
});
