import { E4M3_VALUES } from '@megamoe/core';
import {
  dequantizeNvfp4,
  groupedGemm,
  groupedGemmExact,
  linear,
  nvfp4RowDecodeScales,
  quantizeNvfp4,
} from '@megamoe/reference';
import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import type { Fp8Rows, Nvfp4Rows } from '../src/index';
import { BACKENDS, odd, poisoned, product } from './backends';

/** float32 sums of k terms: relative error below k * 2^-24 in the worst case, its root in practice. */
const NMSE = 1e-12;

/** Random FP8: every code but NaN, subnormals among them, and scales that change within a panel of four rows. */
function randomFp8(rows: number, k: number, seed: number): Fp8Rows & { values: Float32Array } {
  const r = seeded(seed);
  const codes = r.bytes(rows * k).map((c) => ((c & 0x7f) === 0x7f ? c ^ 0x40 : c));
  const tiles = Math.ceil(k / 128);
  const scales = Float32Array.from({ length: rows * tiles }, () => 0.01 * (0.5 + r.next()));
  const values = Float32Array.from(
    codes,
    (c, i) => E4M3_VALUES[c]! * scales[Math.floor(i / k) * tiles + Math.floor((i % k) / 128)]!,
  );
  return { codes, scales, values };
}

describe('FP8 linear', () => {
  // One, odd, tiles of 128 k and lines of 64 cut short, tiles of 2 and 3 rows, chunks of 1024 k, groups.
  it.each([
    [1, 1, 1, 1],
    [3, 5, 63, 2],
    [7, 9, 65, 1],
    [4, 8, 128, 1],
    [5, 130, 200, 3],
    [13, 6, 1100, 1],
    [9, 261, 33, 1],
  ] as const)('m=%i n=%i k=%i groups=%i', (m, n, k, groups) => {
    const source = randomFp8(groups * n, k, m + n + k);
    const x = seeded(k).floats(m * groups * k);
    const want = linear(x, source.values, { m, n, k, groups });
    for (const { kernels, name } of BACKENDS) {
      const w = kernels.packLinear({ n, k, groups, dtype: 'fp8', data: source });
      expect([w.dtype, w.groups, w.inputGlobalDecodeScale], name).toEqual(['fp8', groups, null]);
      const out = poisoned(m * groups * n);
      kernels.linear({ w, x: odd(x, NaN), rows: m, inputs: 'f32', out });
      expectClose(out, want, { nmse: NMSE, shape: [m, groups * n] });
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
    }
  });

  it.each(BACKENDS)('$name: one byte a weight, exact codes, read in pieces, as a table too', ({ kernels }) => {
    const [n, k] = [256, 1024];
    const codes = Uint8Array.from({ length: n * k }, (_, i) => (((i >> 10) & 0x7f) === 0x7f ? 0 : i >> 10));
    const scales = new Float32Array(n * 8).fill(0.5);
    let pieces = 0;
    const w = kernels.packLinear({
      n,
      k,
      dtype: 'fp8',
      data(row0, rows) {
        pieces += rows;
        return {
          codes: codes.subarray(row0 * k, (row0 + rows) * k),
          scales: scales.subarray(row0 * 8, (row0 + rows) * 8),
        };
      },
    });
    expect(pieces).toBe(n);
    expect(w.bytes).toBe(n * (k + 32)); // eight scales for each row
    const x = new Float32Array(k);
    x[77] = 3;
    const out = poisoned(n);
    kernels.linear({ w, x, rows: 1, inputs: 'f32', out });
    const want = Float32Array.from({ length: n }, (_, c) => ((c & 0x7f) === 0x7f ? 0 : 1.5 * E4M3_VALUES[c]!));
    expectBytes(out.map((v) => v + 0), want.map((v) => v + 0)); // prettier-ignore
    const row = poisoned(k);
    kernels.embed({ table: w, ids: Int32Array.of(200), rows: 1, repeat: 1, out: row });
    expectBytes(row, new Float32Array(k).fill(0.5 * E4M3_VALUES[200]!));
  });

  it.each(BACKENDS)('$name: experts', ({ kernels }) => {
    const [numExperts, n, k, rows] = [3, 10, 160, 9];
    const source = randomFp8(numExperts * n, k, 5);
    const a = seeded(6).floats(rows * k);
    const expertOffsets = Int32Array.of(4, 4, 9);
    const w = kernels.packExperts({
      ...{ numExperts, n, k, parts: 2, format: 'fp8' },
      read: (expert, part) => {
        const row = expert * n + (part * n) / 2;
        return {
          codes: source.codes.subarray(row * k, (row + n / 2) * k),
          scales: source.scales.subarray(row * 2, (row + n / 2) * 2),
        };
      },
    });
    const out = poisoned(rows * n);
    product(kernels, { w, rows: a, expertOffsets, inputs: 'f32', alpha: null, out });
    expectClose(out, groupedGemm(a, source.values, { n, k, expertOffsets }), { nmse: NMSE, shape: [rows, n] });
  });
});

/** A random NVFP4 linear of two parts with different scales. */
function randomNvfp4(groups: number, n: number, k: number, parts: 1 | 2) {
  const r = seeded(groups + n + k);
  const rows: Nvfp4Rows = { codes: r.bytes((groups * n * k) / 2), sf: r.scales((groups * n * k) / 16, true) };
  const weightGlobalDecodeScale = Float32Array.from({ length: parts }, () => 0.001 * (1 + r.next()));
  const scaleOf = (row: number): number => weightGlobalDecodeScale[Math.floor(((row % n) * parts) / n)]!;
  const globalDecodeScale = Float32Array.from({ length: groups * n }, (_, row) => scaleOf(row));
  const values = dequantizeNvfp4(rows, { m: groups * n, k, globalDecodeScale });
  return { rows, weightGlobalDecodeScale, values };
}

describe('NVFP4 linear', () => {
  it.each([
    [1, 1, 16, 1, 1],
    [3, 34, 48, 1, 2],
    [1, 9, 80, 3, 1],
    [5, 33, 64, 4, 1],
    [11, 6, 128, 2, 2],
  ] as const)('m=%i n=%i k=%i groups=%i parts=%i', (m, n, k, groups, parts) => {
    const { rows, weightGlobalDecodeScale, values } = randomNvfp4(groups, n, k, parts);
    const x = seeded(m).floats(m * groups * k);
    const source = { n, k, groups, parts, dtype: 'nvfp4', weightGlobalDecodeScale, data: rows } as const;
    const wantFloat = linear(x, values, { m, n, k, groups });
    // What the grouped product of [groups, M, K] would give, brought back to [M, groups, N].
    const apart = (i: number): number => (i % m) * groups + Math.floor(i / m);
    const byGroup = Float32Array.from({ length: x.length }, (_, i) => x[apart(Math.floor(i / k)) * k + (i % k)]!);
    const expertOffsets = Int32Array.from({ length: groups }, (_, g) => (g + 1) * m);
    const exact = (input: number | 'row'): Float64Array => {
      const scales = input === 'row' ? nvfp4RowDecodeScales(byGroup, { m: m * groups, k }) : input;
      const { codes, sf } = quantizeNvfp4(byGroup, { m: m * groups, k, globalDecodeScale: scales });
      const alpha = Float32Array.from(
        { length: groups * parts },
        (_, i) => weightGlobalDecodeScale[i % parts]! * (input === 'row' ? 1 : Math.fround(input)),
      );
      const got = groupedGemmExact({
        n,
        k,
        parts,
        aCodes: codes,
        aSf: sf,
        bCodes: rows.codes,
        bSf: rows.sf,
        expertOffsets,
        alpha,
      });
      const out = new Float64Array(m * groups * n);
      for (let i = 0; i < m * groups; i++)
        for (let c = 0; c < n; c++)
          out[apart(i) * n + c] = got[i * n + c]! * (input === 'row' ? (scales as Float64Array)[i]! : 1);
      return out;
    };
    let first: Float32Array[] | undefined;
    for (const { kernels, name } of BACKENDS) {
      const w = kernels.packLinear({ ...source, inputGlobalDecodeScale: 0.002 });
      const dynamic = kernels.packLinear({ ...source, inputGlobalDecodeScale: 'row' });
      expect([w.inputGlobalDecodeScale, dynamic.inputGlobalDecodeScale, w.dtype], name).toEqual([
        Math.fround(0.002),
        'row',
        'nvfp4',
      ]);
      const out = poisoned(m * groups * n);
      kernels.linear({ w, x: odd(x, NaN), rows: m, inputs: 'f32', out });
      expectClose(out, wantFloat, { nmse: NMSE, shape: [m, groups * n] });
      const w4a4 = [w, dynamic].map((weight, i) => {
        const got = poisoned(m * groups * n);
        kernels.linear({ w: weight, x: odd(x, NaN), rows: m, inputs: 'nvfp4', out: got });
        // Sums over k <= 128 fit float32; what is left is the rounding of alpha and of the row's scale.
        expectClose(got, exact(i === 0 ? 0.002 : 'row'), { nmse: 1e-13, shape: [m, groups * n] });
        return got;
      });
      // W4A4 has the same bits everywhere, and for a row alone.
      first ??= w4a4;
      w4a4.forEach((got, i) => expectBytes(got, first![i]!));
      for (let row = 0; row < m; row++) {
        for (const [weight, all, inputs] of [
          [w, out, 'f32'],
          [w, w4a4[0]!, 'nvfp4'],
          [dynamic, w4a4[1]!, 'nvfp4'],
        ] as const) {
          const one = poisoned(groups * n);
          const own = x.slice(row * groups * k, (row + 1) * groups * k);
          kernels.linear({ w: weight, x: own, rows: 1, inputs, out: one });
          expectBytes(one, all.subarray(row * groups * n, (row + 1) * groups * n));
        }
      }
    }
  });

  it.each(BACKENDS)('$name reads in pieces, keeps the source apart, and does nothing for m = 0', ({ kernels }) => {
    const { rows, weightGlobalDecodeScale, values } = randomNvfp4(2, 8, 32, 1);
    const data = (row0: number, count: number): Nvfp4Rows => ({
      codes: rows.codes.slice(row0 * 16, (row0 + count) * 16),
      sf: rows.sf.slice(row0 * 2, (row0 + count) * 2),
    });
    const w = kernels.packLinear({
      n: 8,
      k: 32,
      groups: 2,
      dtype: 'nvfp4',
      weightGlobalDecodeScale,
      inputGlobalDecodeScale: 'row',
      data,
    });
    weightGlobalDecodeScale.fill(9);
    const x = seeded(1).floats(64);
    const out = poisoned(16);
    kernels.linear({ w, x, rows: 1, inputs: 'f32', out });
    expectClose(out, linear(x, values, { m: 1, n: 8, k: 32, groups: 2 }), { nmse: NMSE });
    const untouched = Float32Array.of(5);
    kernels.linear({ w, x: new Float32Array(0), rows: 0, inputs: 'f32', out: untouched });
    kernels.linear({ w, x: new Float32Array(0), rows: 0, inputs: 'nvfp4', out: untouched });
    expect([...untouched]).toEqual([5]);
  });
});
