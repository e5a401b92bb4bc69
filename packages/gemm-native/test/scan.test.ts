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
        const kth = scan.kthLargest(logits, n, k);
        expect(kth + 0).toBe(sorted[k - 1]! + 0);
        const want = [...x.keys()].filter((i) => x[i]! >= kth);
        const capacity = Math.min(want.length, 100);
        const ids = odd(new Int32Array(capacity).fill(-7), -7);
        const values = odd(new Float32Array(capacity).fill(NaN), NaN);
        expect(scan.atLeast(logits, n, kth, ids, values)).toBe(want.length);
        expect([...ids]).toEqual(want.slice(0, capacity));
        expect([...values]).toEqual(want.slice(0, capacity).map((i) => x[i]));
        expect(new Int32Array(ids.buffer)[ids.length + 3]).toBe(-7);
      }
    }
  });

  it.each(LENGTHS)('finds NaN and +Infinity at any place of %i', (n) => {
    const x = seeded(n).floats(n);
    for (const at of new Set([0, n >> 1, n - 1])) {
      for (const bad of [NaN, Infinity]) {
        const y = x.slice();
        y[at] = bad;
        y[n - 1] = bad;
        expect(scan.argmax(y, n)).toBe(-1 - at);
        expect(scan.kthLargest(y, n, 1)).toBe(NaN);
      }
    }
  });

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

  it('refuses what it cannot scan', () => {
    const x = Float32Array.of(1, 2);
    const ids = new Int32Array(2);
    const values = new Float32Array(2);
    expect(() => scan.argmax(x, 3)).toThrow('argmax: "logits" must hold at least n = 3 elements, got 2');
    expect(() => scan.argmax(x, 0)).toThrow('argmax: "n" must be an integer in [1, 2147483647], got 0');
    expect(() => scan.argmax([1] as unknown as Float32Array, 1)).toThrow('"logits" must be a Float32Array, got Array');
    expect(() => scan.kthLargest(x, 2, 0)).toThrow('kthLargest: "k" must be an integer in [1, 2], got 0');
    expect(() => scan.kthLargest(x, 2, 3)).toThrow('kthLargest: "k" must be an integer in [1, 2], got 3');
    expect(() => scan.atLeast(x, 2, NaN, ids, values)).toThrow('atLeast: "floor" must be');
    expect(() => scan.atLeast(x, 2, 0, values as unknown as Int32Array, values)).toThrow('"ids" must be a Int32Array');
    expect(() => scan.atLeast(x, 2, 0, ids, ids as unknown as Float32Array)).toThrow('"values" must be a Float32Array');
  });
});

it('createLogitsScan chooses as createGemmKernels does', () => {
  expect(createLogitsScan().isa).toBe(ISAS.at(-1) ?? 'js');
  expect(() => createLogitsScan({ backend: 'cuda' as 'js' })).toThrow('createLogitsScan: "backend" must be one of');
  expect(() => createLogitsScan({ isa: 'neon' as 'avx2' })).toThrow('createLogitsScan: "isa" must be one of');
});
