import { E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';
import { linear } from '@megamoe/reference';
import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { WeightRows } from '../src';
import { FusedMultiplyAdd } from '../src/js/bf16';
import { BACKENDS, bf16, odd, pack, poisoned, product } from './backends';
import type { Experts } from './backends';

function makeExperts(seed: number, numExperts: number, n: number, k: number, parts: 1 | 2): Experts {
  const r = seeded(seed);
  return {
    numExperts,
    n,
    k,
    parts,
    codes: r.bytes((numExperts * n * k) / 2),
    sf: r.scales((numExperts * n * k) / 16, true),
  };
}

/** The product in float64 of activations that have been rounded to BF16. */
function exactly(e: Experts, a: Float32Array, offsets: Int32Array, alpha: Float32Array): Float64Array {
  const { n, k, parts } = e;
  const rounded = bf16(a).values;
  const rows = offsets[offsets.length - 1]!;
  const out = new Float64Array(rows * n);
  for (let r = 0; r < rows; r++) {
    const expert = offsets.findIndex((end) => end > r);
    for (let c = 0; c < n; c++) {
      let sum = 0;
      for (let i = 0; i < k; i++) {
        const at = (expert * n + c) * k + i;
        const code = (e.codes[at >> 1]! >> ((at & 1) * 4)) & 15;
        sum += rounded[r * k + i]! * E2M1_VALUES[code]! * E4M3_VALUES[e.sf[at >> 4]!]!;
      }
      out[r * n + c] = alpha[expert * parts + Math.floor((c * parts) / n)]! * sum;
    }
  }
  return out;
}

const SHAPES: [number[], number, number, 1 | 2][] = [
  [[1], 1, 16, 1],
  [[0, 3, 0], 2, 16, 2],
  [[5, 0, 1], 31, 48, 1],
  [[17], 33, 32, 1],
  [[2, 16, 0, 1], 66, 160, 2],
  [[1, 9], 96, 336, 2],
];

describe('BF16 activations', () => {
  it.each(SHAPES)(
    'rows %j n=%i k=%i parts=%i: near the exact product, with the same bits on every backend',
    (counts, n, k, parts) => {
      const e = makeExperts(n + k, counts.length, n, k, parts);
      const r = seeded(k);
      let end = 0;
      const offsets = Int32Array.from(counts, (c) => (end += c));
      const a = r.floats(end * k);
      for (let i = 0; i < a.length; i += 7) a[i]! *= 2 ** (r.int(40) - 20);
      const alpha = r.floats(counts.length * parts);
      const want = exactly(e, a, offsets, alpha);
      const power = want.reduce((sum, v) => sum + v * v, 0);
      const results = BACKENDS.map(({ kernels }) => {
        const out = poisoned(end * n);
        product(kernels, {
          w: pack(kernels, e),
          rows: odd(a, NaN),
          expertOffsets: odd(offsets, 9).subarray(0, counts.length),
          inputs: 'bf16',
          alpha,
          out,
        });
        return out;
      });
      for (const out of results) {
        expectBytes(out, results[0]!, [end, n]);
        const error = out.reduce((sum, v, i) => sum + (v - want[i]!) ** 2, 0);
        expect(error).toBeLessThanOrEqual(1e-12 * power);
      }
    },
  );

  it.each(BACKENDS)(
    '$name: tiny activations are 0, large ones do not overflow early, NaN reaches its row alone',
    ({ kernels }) => {
      const [n, k] = [5, 32];
      const e: Experts = {
        numExperts: 1,
        n,
        k,
        parts: 1,
        codes: new Uint8Array((n * k) / 2).fill(0x22),
        sf: new Uint8Array((n * k) / 16).fill(0x38),
      };
      const a = new Float32Array(4 * k);
      a.fill(2 ** -101, 0, k);
      a.fill(2 ** -100, k, 2 * k);
      a.fill(2 ** 120, 2 * k, 3 * k);
      a.fill(1, 3 * k);
      a[3 * k + 9] = NaN;
      const out = poisoned(4 * n);
      product(kernels, {
        w: pack(kernels, e),
        rows: a,
        expertOffsets: Int32Array.of(4),
        inputs: 'bf16',
        alpha: Float32Array.of(1),
        out,
      });
      const rows = [0, 1, 2, 3].map((r) => out[r * n + n - 1]);
      expect(rows).toEqual([0, 2 ** -95, 2 ** 125, NaN]);
    },
  );

  it.each(BACKENDS)('$name: alpha is for nvfp4 weights alone', ({ kernels }) => {
    const dense = kernels.packExperts({
      numExperts: 1,
      n: 2,
      k: 16,
      format: 'f32',
      read: () => ({ data: new Float32Array(32) }),
    });
    expect(() => {
      product(kernels, {
        w: dense,
        rows: new Float32Array(16),
        expertOffsets: Int32Array.of(1),
        inputs: 'bf16',
        alpha: Float32Array.of(1),
        out: new Float32Array(2),
      });
    }).toThrow('groupedGemm: "alpha" must be null for f32 weights');
    const e = makeExperts(1, 1, 2, 16, 1);
    expect(() => {
      const w = pack(kernels, e);
      product(kernels, {
        w,
        rows: new Float32Array(16),
        expertOffsets: Int32Array.of(1),
        inputs: 'bf16',
        alpha: null,
        out: new Float32Array(2),
      });
    }).toThrow('groupedGemm: "alpha" must be a Float32Array');
  });
});

/** Where rows begin to be copied together, and more of them than are copied at once. */
const LINEARS: [number, number, number, number][] = [
  [1, 1, 1, 1],
  [2, 5, 17, 3],
  [7, 33, 128, 1],
  [8, 9, 1100, 2],
  [200, 6, 65, 1],
];

describe.each(BACKENDS)('linear with BF16 inputs, $name', ({ kernels }) => {
  it.each(LINEARS)('m=%i n=%i k=%i groups=%i: linear of rounded rows, each alone or with others', (m, n, k, groups) => {
    const r = seeded(m + k);
    const x = r.floats(m * groups * k);
    const tiles = Math.ceil(k / 128);
    const codes = r.bytes(groups * n * k).map((c) => ((c & 0x7f) === 0x7f ? 0 : c));
    const scales = r.floats(groups * n * tiles).map(Math.abs);
    const { values, bits } = bf16(r.floats(groups * n * k));
    const shape = { n, k, groups };
    const fp8 = Float32Array.from(
      codes,
      (c, i) => (c & 0x80 ? -1 : 1) * E4M3_VALUES[c & 0x7f]! * scales[Math.floor(i / k) * tiles + ((i % k) >> 7)]!,
    );
    for (const [w, of] of [
      [kernels.packLinear({ ...shape, dtype: 'bf16', data: bits }), values],
      [kernels.packLinear({ ...shape, dtype: 'f32', data: values }), values],
      [kernels.packLinear({ ...shape, dtype: 'fp8', data: { codes, scales } }), fp8],
    ] as const) {
      const out = poisoned(m * groups * n);
      kernels.linear({ w, x: odd(x, NaN), rows: m, inputs: 'bf16', out });
      expectClose(out, linear(bf16(x).values, of, { m, n, k, groups }), { nmse: 1e-12, shape: [m, groups * n] });
      for (let row = 0; row < m; row += 1 + (m >> 2)) {
        const one = poisoned(groups * n);
        kernels.linear({ w, x: x.slice(row * groups * k, (row + 1) * groups * k), rows: 1, inputs: 'bf16', out: one });
        expectBytes(one, out.subarray(row * groups * n, (row + 1) * groups * n));
      }
      if (groups > 1) continue;
      const expert = kernels.packExperts({ numExperts: 1, n, k, format: w.dtype, read: () => rowsOf(w.dtype) });
      const grouped = poisoned(m * n);
      product(kernels, {
        w: expert,
        rows: x,
        expertOffsets: Int32Array.of(m),
        inputs: 'bf16',
        alpha: null,
        out: grouped,
      });
      expectBytes(grouped, out);
    }
    function rowsOf(dtype: string): WeightRows {
      return dtype === 'fp8' ? { codes, scales } : { data: dtype === 'f32' ? values : bits };
    }
  });

  it('multiplies nvfp4 weights as groupedGemm does, bit for bit', () => {
    const [m, n, k] = [3, 10, 48];
    const e = makeExperts(5, 2, n, k, 1);
    const r = seeded(6);
    const x = r.floats(m * 2 * k);
    const w = kernels.packLinear({
      ...{ n, k, groups: 2, dtype: 'nvfp4', weightGlobalDecodeScale: Float32Array.of(0.25) },
      data: { codes: e.codes, sf: e.sf },
    });
    const out = poisoned(m * 2 * n);
    kernels.linear({ w, x, rows: m, inputs: 'bf16', out });
    const apart = (g: number): Float32Array =>
      Float32Array.from({ length: m * k }, (_, i) => x[(Math.floor(i / k) * 2 + g) * k + (i % k)]!);
    const grouped = poisoned(m * 2 * n);
    const offsets = Int32Array.of(m, 2 * m);
    product(kernels, {
      w: pack(kernels, e),
      rows: Float32Array.of(...apart(0), ...apart(1)),
      expertOffsets: offsets,
      inputs: 'bf16',
      alpha: Float32Array.of(0.25, 0.25),
      out: grouped,
    });
    const want = Float32Array.from({ length: m * 2 * n }, (_, i) => {
      const [row, c] = [Math.floor(i / (2 * n)), i % (2 * n)];
      return grouped[(Math.floor(c / n) * m + row) * n + (c % n)]!;
    });
    expectBytes(out, want);
  });

  it('refuses buffers that are too short or overlap, and does nothing for m = 0', () => {
    const w = kernels.packLinear({ n: 2, k: 2, dtype: 'f32', data: Float32Array.of(1, 2, 3, 4) });
    const call = (x: Float32Array, m: number, out: Float32Array) => (): void => {
      kernels.linear({ w, x, rows: m, inputs: 'bf16', out });
    };
    expect(call(new Float32Array(3), 2, new Float32Array(4))).toThrow(
      'linear: "x" must hold at least rows*w.groups*w.k = 4 elements, got 3',
    );
    expect(call(new Float32Array(4), 2, new Float32Array(3))).toThrow(
      'linear: "out" must hold at least rows*w.groups*w.n = 4 elements, got 3',
    );
    const both = new Float32Array(4);
    expect(call(both, 1, both.subarray(1))).toThrow('linear: "out" must not overlap "x"');
    const out = Float32Array.of(5);
    call(new Float32Array(0), 0, out)();
    expect([...out]).toEqual([5]);
  });
});

it('adds a product with one rounding', () => {
  const fma = new FusedMultiplyAdd();
  expect(fma.add(1 + 2 ** -7, 1 + 2 ** -7, -1)).toBe(2 ** -6 + 2 ** -14);
  expect(fma.add(3, 2, Infinity)).toBe(Infinity);
  // 1 + 2^-24 is a tie and goes to 1; anything more, however little, goes up, and anything less on the other side of 1 + 2^-23 down.
  expect(fma.add(2 ** -24, 1, 1)).toBe(1);
  expect(fma.add(1 + 2 ** -7, 2 ** -24, 1)).toBe(1 + 2 ** -23);
  expect(fma.add(2 ** -80, 2 ** -10, 1 + 2 ** -23)).toBe(1 + 2 ** -23);
  const odd24 = 2 ** 24 - 1;
  const floats = fc
    .tuple(fc.integer({ min: -odd24, max: odd24 }), fc.integer({ min: -40, max: 40 }))
    .map(([m, e]) => m * 2 ** e);
  const bfloats = fc
    .tuple(fc.integer({ min: -255, max: 255 }), fc.integer({ min: -40, max: 40 }))
    .map(([m, e]) => m * 2 ** e);
  fc.assert(
    fc.property(bfloats, bfloats, floats, (a, b, c) => {
      expect(fma.add(a, b, c)).toBe(exactFma(a, b, c));
    }),
    { numRuns: 3000, seed: 4 },
  );
});

/** a*b + c in integers of 2^-400, rounded to 24 bits, ties to even. */
function exactFma(a: number, b: number, c: number): number {
  const integer = (v: number, bits: number): bigint => {
    let shift = bits;
    let m = v;
    while (!Number.isInteger(m)) {
      m *= 2;
      shift--;
    }
    return BigInt(m) << BigInt(shift);
  };
  const sum = integer(a, 200) * integer(b, 200) + (integer(c, 200) << 200n);
  const magnitude = sum < 0n ? -sum : sum;
  const extra = BigInt(Math.max(0, magnitude.toString(2).length - 24));
  let kept = magnitude >> extra;
  const rest = magnitude - (kept << extra);
  const half = extra > 0n ? 1n << (extra - 1n) : 0n;
  if (extra > 0n && (rest > half || (rest === half && kept % 2n === 1n))) kept++;
  const value = Number(kept) * 2 ** (Number(extra) - 400);
  return sum < 0n ? -value : value;
}
