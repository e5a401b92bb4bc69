import { dequantizeNvfp4, groupedGemm, linear } from '@megamoe/reference';
import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { BACKENDS, bf16, odd, pack, poisoned, product } from './backends';
import type { Experts } from './backends';

/** float32 sums of k terms: relative error below k * 2^-24 in the worst case, its root in practice. */
const NMSE = 1e-12;

/** m, n, k, groups: one, odd, tile edges (lanes, panels of 4 weight rows, tiles of 3 and 6 rows, chunks of 1024 k, blocks of 256 weight rows). */
const SHAPES: [number, number, number, number][] = [
  [1, 1, 1, 1],
  [2, 3, 5, 2],
  [3, 8, 16, 1],
  [5, 9, 17, 3],
  [7, 31, 33, 1],
  [17, 20, 100, 8],
  [4, 65, 512, 1],
  [6, 6, 1025, 1],
  [13, 5, 1100, 2],
  [9, 261, 33, 1],
];

/** Bytes of a dense weight as the addon packs it: panels of 4 rows, rows of whole cache lines. */
const paddedBytes = (matrices: number, n: number, k: number, size: number): number =>
  matrices * Math.ceil(n / 4) * 4 * Math.ceil((k * size) / 64) * 64;

describe('linear', () => {
  for (const [m, n, k, groups] of SHAPES) {
    const r = seeded(m + n + k);
    const source = bf16(r.floats(groups * n * k));
    const x = r.floats(m * groups * k);
    const want = linear(x, source.values, { m, n, k, groups });
    describe.each(BACKENDS)(`$name m=${m} n=${n} k=${k} groups=${groups}`, ({ kernels }) => {
      it.each(['f32', 'bf16'] as const)('%s matches the reference', (dtype) => {
        const data = dtype === 'f32' ? source.values : source.bits;
        const w = kernels.packLinear({ n, k, groups, dtype, data });
        const bytes = kernels.backend === 'js' ? data.byteLength : paddedBytes(groups, n, k, data.BYTES_PER_ELEMENT);
        expect({ n: w.n, k: w.k, groups: w.groups, dtype: w.dtype, bytes: w.bytes }).toEqual({
          n,
          k,
          groups,
          dtype,
          bytes,
        });
        const out = poisoned(m * groups * n);
        kernels.linear({ w, x: odd(x, NaN), rows: m, inputs: 'f32', out });
        expectClose(out, want, { nmse: NMSE, shape: [m, groups * n] });
      });
      it('gives each row the bits that it has alone', () => {
        const w = kernels.packLinear({ n, k, groups, dtype: 'bf16', data: source.bits });
        const out = poisoned(m * groups * n);
        kernels.linear({ w, x, rows: m, inputs: 'f32', out });
        for (let row = 0; row < m; row++) {
          const one = poisoned(groups * n);
          kernels.linear({
            w,
            x: odd(x.slice(row * groups * k, (row + 1) * groups * k), NaN),
            rows: 1,
            inputs: 'f32',
            out: one,
          });
          expectBytes(one, out.subarray(row * groups * n, (row + 1) * groups * n));
        }
      });
    });
  }

  it.each(BACKENDS)('$name lets NaN through, keeps the source apart, and does nothing for m = 0', ({ kernels }) => {
    const data = Float32Array.of(1, 2, 3, 4);
    const w = kernels.packLinear({ n: 2, k: 2, dtype: 'f32', data });
    data.fill(9);
    const out = poisoned(4);
    kernels.linear({ w, x: Float32Array.of(1, 1, NaN, 1), rows: 2, inputs: 'f32', out });
    expect([...out]).toEqual([3, 7, NaN, NaN]);
    const untouched = Float32Array.of(5);
    kernels.linear({ w, x: new Float32Array(0), rows: 0, inputs: 'f32', out: untouched });
    expect([...untouched]).toEqual([5]);
  });
});

describe('embed', () => {
  it.each(BACKENDS)('$name copies rows, repeated', ({ kernels }) => {
    const source = bf16(seeded(1).floats(7 * 5));
    const ids = odd(Int32Array.of(6, 0, 6), 99);
    const want = [...ids].flatMap((id) => [0, 1, 2].flatMap(() => [...source.values.subarray(id * 5, id * 5 + 5)]));
    for (const [dtype, data] of [
      ['f32', source.values],
      ['bf16', source.bits],
    ] as const) {
      const out = poisoned(3 * 3 * 5);
      kernels.embed({ table: kernels.packLinear({ n: 7, k: 5, dtype, data }), ids, rows: 3, repeat: 3, out });
      expectBytes(out, want);
    }
  });
});

describe('groupedGemm', () => {
  const counts = [3, 0, 17, 1];
  const expertOffsets = Int32Array.of(3, 3, 20, 21);
  const [numExperts, n, k, rows] = [counts.length, 70, 48, 21];
  const r = seeded(12);
  const a = r.floats(rows * k);

  it.each(BACKENDS)('$name W4A16 matches the reference', ({ kernels }) => {
    for (const parts of [1, 2] as const) {
      const e: Experts = {
        numExperts,
        n,
        k,
        parts,
        codes: r.bytes((numExperts * n * k) / 2),
        sf: r.scales((numExperts * n * k) / 16, true),
      };
      const alpha = r.floats(numExperts * parts);
      const values = dequantizeNvfp4(e, { m: numExperts * n, k, globalDecodeScale: 1 });
      const want = groupedGemm(a, values, { n, k, expertOffsets, alpha, parts });
      const out = poisoned(rows * n);
      product(kernels, { w: pack(kernels, e), rows: odd(a, NaN), expertOffsets, inputs: 'f32', alpha, out });
      expectClose(out, want, { nmse: NMSE, shape: [rows, n] });
    }
  });

  it.each(BACKENDS)('$name bf16 and f32 experts match the reference', ({ kernels }) => {
    const source = bf16(seeded(13).floats(numExperts * n * k));
    const want = groupedGemm(a, source.values, { n, k, expertOffsets });
    for (const [format, data] of [
      ['f32', source.values],
      ['bf16', source.bits],
    ] as const) {
      for (const parts of [1, 2] as const) {
        const size = (n / parts) * k;
        const w = kernels.packExperts({
          numExperts,
          n,
          k,
          parts,
          format,
          read: (expert, part) => ({
            data: data.slice((expert * parts + part) * size, (expert * parts + part + 1) * size),
          }),
        });
        const bytes =
          kernels.backend === 'js' ? data.byteLength : paddedBytes(numExperts, n, k, data.BYTES_PER_ELEMENT);
        expect(w.bytes).toBe(bytes);
        const out = poisoned(rows * n);
        product(kernels, { w, rows: a, expertOffsets, inputs: 'f32', alpha: null, out });
        expectClose(out, want, { nmse: NMSE, shape: [rows, n] });
      }
    }
  });

  it('gives each row the bits that it has alone', () => {
    const e: Experts = { numExperts: 1, n, k, parts: 1, codes: r.bytes((n * k) / 2), sf: r.scales((n * k) / 16) };
    const alpha = Float32Array.of(0.3);
    for (const { kernels } of BACKENDS) {
      const w = pack(kernels, e);
      const out = poisoned(rows * n);
      product(kernels, { w, rows: a, expertOffsets: Int32Array.of(rows), inputs: 'f32', alpha, out });
      for (const row of [0, 15, 16, 20]) {
        const one = poisoned(n);
        product(kernels, {
          w,
          rows: a.subarray(row * k),
          expertOffsets: Int32Array.of(1),
          inputs: 'f32',
          alpha,
          out: one,
        });
        expectBytes(one, out.subarray(row * n, (row + 1) * n));
      }
    }
  });
});
