import { E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';
import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import {
  dequantizeNvfp4,
  type ExactGemm,
  expertOfRow,
  groupedGemm,
  groupedGemmByBlocks,
  groupedGemmExact,
  roundToFloat32,
} from '../src/index';

describe('roundToFloat32', () => {
  it('agrees with Math.fround wherever float64 is exact', () => {
    const random = seeded(1);
    for (let i = 0; i < 5000; i++) {
      const mantissa = Math.floor((random.next() - 0.5) * 2 ** 53);
      const exponent = random.int(330) - 220;
      expect(roundToFloat32(BigInt(mantissa), exponent)).toBe(Math.fround(mantissa * 2 ** exponent));
    }
  });
  it('breaks ties to even and carries', () => {
    expect(roundToFloat32(0x1000001n, 0)).toBe(0x1000000);
    expect(roundToFloat32(0x1000003n, 0)).toBe(0x1000004);
    expect(roundToFloat32(0x1ffffffn, 0)).toBe(0x2000000);
    expect(roundToFloat32(-0x1000003n, 0)).toBe(-0x1000004);
  });
  it('is not rounded twice: just above a tie, far below float64 precision', () => {
    expect(roundToFloat32((0x1000001n << 80n) + 1n, -80)).toBe(0x1000002);
    expect(roundToFloat32((0x1000003n << 80n) - 1n, -80)).toBe(0x1000002);
  });
  it('has subnormals, underflow and overflow', () => {
    expect(roundToFloat32(1n, -149)).toBe(2 ** -149);
    expect(roundToFloat32(1n, -150)).toBe(0);
    expect(roundToFloat32(3n, -151)).toBe(2 ** -149);
    expect(roundToFloat32(1n, 128)).toBe(Infinity);
    expect(roundToFloat32(-0xffffffn, 105)).toBe(-Infinity);
    expect(roundToFloat32(0n, 500)).toBe(0);
  });
});

interface Sizes {
  counts: number[];
  n: number;
  k: number;
  parts?: number;
  rowScale?: boolean;
}

function problem({ counts, n, k, parts = 1, rowScale = false }: Sizes, seed: number): ExactGemm {
  const random = seeded(seed);
  const experts = counts.length;
  const expertOffsets = Int32Array.from(counts, (_, e) => counts.slice(0, e + 1).reduce((a, b) => a + b, 0));
  const rows = expertOffsets[experts - 1] ?? 0;
  return {
    n,
    k,
    parts,
    aCodes: random.bytes((rows * k) / 2),
    aSf: random.scales((rows * k) / 16, true),
    bCodes: random.bytes((experts * n * k) / 2),
    bSf: random.scales((experts * n * k) / 16, true),
    expertOffsets,
    alpha: random.floats(experts * parts, 1e-3),
    rowScale: rowScale ? random.floats(rows, 1e-2) : null,
  };
}

/** The definition with one BigInt product per element: every value is an integer times 2^-10. */
function naive(g: ExactGemm, row: number, column: number): number {
  const integer = (codes: Uint8Array, sf: Uint8Array, r: number, c: number): bigint => {
    const byte = codes[(r * g.k + c) >> 1]!;
    const code = c % 2 === 0 ? byte & 15 : byte >> 4;
    return BigInt(E2M1_VALUES[code]! * 2) * BigInt(E4M3_VALUES[sf[(r * g.k + c - (c % 16)) / 16]!]! * 512);
  };
  const e = expertOfRow(g.expertOffsets, row);
  let sum = 0n;
  for (let c = 0; c < g.k; c++) sum += integer(g.aCodes, g.aSf, row, c) * integer(g.bCodes, g.bSf, e * g.n + column, c);
  const parts = g.parts ?? 1;
  const alpha = Math.fround(g.alpha[e * parts + Math.floor(column / (g.n / parts))]!);
  // A float32 above 2^-60 is an integer times 2^-90.
  const scaled = (x: number): bigint => BigInt(x * 2 ** 90);
  return roundToFloat32(sum * scaled(alpha) * scaled(g.rowScale ? Math.fround(g.rowScale[row]!) : 1), -20 - 180);
}

const SIZES: Sizes[] = [
  { counts: [1], n: 1, k: 16 },
  { counts: [0, 3, 0, 2], n: 5, k: 48 },
  { counts: [2, 1], n: 6, k: 32, parts: 2 },
  { counts: [4], n: 3, k: 1024, rowScale: true },
  { counts: [1, 0, 1], n: 4, k: 528, parts: 2, rowScale: true },
];

describe.each(SIZES)('grouped GEMM %o', (sizes) => {
  const g = problem(sizes, 5);
  const rows = sizes.counts.reduce((a, b) => a + b, 0);
  it('is the definition, bit for bit', () => {
    const want = Float32Array.from({ length: rows * g.n }, (_, i) => naive(g, Math.floor(i / g.n), i % g.n));
    expectBytes(groupedGemmExact(g), want, [rows, g.n]);
  });
  it('by blocks: its float64 sum rounds to the exact answer, its rule stays within half an ulp of the sum per block', () => {
    const { rounded, exact } = groupedGemmByBlocks(g);
    const want = groupedGemmExact(g);
    expectBytes(Float32Array.from(exact), want, [rows, g.n]); // random data: none lies on a tie to 2^-45
    const one = { ...g, n: 1, k: 16, parts: 1, rowScale: null, expertOffsets: [1], alpha: [1] };
    const alone = { ...one, aCodes: g.aCodes.subarray(0, 8), aSf: g.aSf.subarray(0, 1) };
    const single = { ...alone, bCodes: g.bCodes.subarray(0, 8), bSf: g.bSf.subarray(0, 1) };
    expectBytes(groupedGemmByBlocks(single).rounded, groupedGemmExact(single)); // one block: nothing is rounded
    expectClose(rounded, want, { nmse: 1e-10 }); // at most 66 roundings of 2^-24 in partial sums that cancel little
  });
  it('agrees with float64 on dequantized operands', () => {
    const a = dequantizeNvfp4({ codes: g.aCodes, sf: g.aSf }, { m: rows, k: g.k, globalDecodeScale: 1 });
    const m = g.expertOffsets.length * g.n;
    const b = dequantizeNvfp4({ codes: g.bCodes, sf: g.bSf }, { m, k: g.k, globalDecodeScale: 1 });
    const want = groupedGemm(a, b, g).map((v, i) => v * (g.rowScale ? g.rowScale[Math.floor(i / g.n)]! : 1));
    expectClose(groupedGemmExact(g), want, { nmse: 1e-14 }); // one float32 rounding: (2^-24)^2 = 4e-15
  });
});

it('survives cancellation that float32 cannot', () => {
  // 6 * 448 squared, minus the same, plus 0.5 * 2^-9 squared.
  const k = 48;
  const codes = (first: number[]): Uint8Array => {
    const out = new Uint8Array(k / 2);
    first.forEach((code, block) => (out[block * 8] = code));
    return out;
  };
  const problem: ExactGemm = {
    n: 1,
    k,
    aCodes: codes([7, 7, 1]),
    bCodes: codes([7, 15, 1]),
    aSf: Uint8Array.of(0x7e, 0x7e, 1),
    bSf: Uint8Array.of(0x7e, 0x7e, 1),
    expertOffsets: [1],
    alpha: [1],
  };
  expect(groupedGemmExact(problem)[0]).toBe(2 ** -20);
  // By blocks, the last one is added after the first two have cancelled; put it in between and float32 loses it.
  expect(groupedGemmByBlocks(problem).rounded[0]).toBe(2 ** -20);
  const between = {
    ...problem,
    aCodes: codes([7, 1, 7]),
    bCodes: codes([7, 1, 15]),
    aSf: Uint8Array.of(0x7e, 1, 0x7e),
  };
  const { rounded, exact } = groupedGemmByBlocks({ ...between, bSf: between.aSf });
  expect([rounded[0], exact[0]]).toEqual([0, 2 ** -20]);
});

it('is exact past 2^53', () => {
  // 127 blocks at the largest value, 1.2e14 units each, then one of a single unit.
  const blocks = 128;
  const codes = new Uint8Array(blocks * 8).fill(0x77);
  codes.fill(0, (blocks - 1) * 8).set([1], (blocks - 1) * 8);
  const sf = new Uint8Array(blocks).fill(0x7e);
  sf[blocks - 1] = 1;
  const bCodes = Uint8Array.from([...codes, ...codes].map((byte, i) => (i < codes.length - 8 ? byte | 0x88 : byte)));
  const shape = { k: blocks * 16, aCodes: codes, aSf: sf, expertOffsets: [1] };
  const positive = groupedGemmExact({ ...shape, n: 1, bCodes: codes, bSf: sf, alpha: [1] })[0]!;
  expect(positive).toBe(Math.fround(127 * 16 * 36 * 448 * 448)); // what is lost is below half an ulp
  // The same with its negative behind it: only the two small products stay.
  const twice = { aCodes: Uint8Array.from([...codes, ...codes]), aSf: Uint8Array.from([...sf, ...sf]) };
  const got = groupedGemmExact({ ...shape, ...twice, k: 2 * shape.k, n: 1, bCodes, bSf: twice.aSf, alpha: [1] });
  expect(got[0]).toBe(2 * 2 ** -20);
});

describe('errors', () => {
  const g = problem({ counts: [2, 1], n: 4, k: 32, parts: 2, rowScale: true }, 9);
  it.each<[Partial<ExactGemm>, string]>([
    [{ k: 24 }, '"k" must be a multiple of 16, got 24'],
    [{ parts: 3 }, '"n" must be a multiple of 3, got 4'],
    [{ parts: 0 }, '"parts" must be an integer at least 1, got 0'],
    [{ aCodes: new Uint8Array(3) }, '"aCodes" must have length R*K/2 = 48, got 3'],
    [{ aSf: new Uint8Array(3) }, '"aSf" must have length R*K/16 = 6, got 3'],
    [{ bCodes: new Uint8Array(3) }, '"bCodes" must have length E*N*K/2 = 128, got 3'],
    [{ bSf: new Uint8Array(3) }, '"bSf" must have length E*N*K/16 = 16, got 3'],
    [{ alpha: [1] }, '"alpha" must have length E*parts = 4, got 1'],
    [{ alpha: [1, 1, NaN, 1] }, '"alpha" must be finite, got NaN at index 2'],
    [{ rowScale: [1] }, '"rowScale" must have length R = 3, got 1'],
    [{ rowScale: [1, Infinity, 1] }, '"rowScale" must be finite'],
    [{ expertOffsets: [3, 1] }, '"expertOffsets[1]" must be an integer at least 3, got 1'],
    [{ aSf: new Uint8Array(6).fill(0x7f, 4, 5) }, '"aSf" holds NaN (0x7F) at index 4'],
    [{ bSf: new Uint8Array(16).fill(0xff, 1, 2) }, '"bSf" holds NaN (0x7F) at index 1'],
  ])('%o', (change, message) => expect(() => groupedGemmExact({ ...g, ...change })).toThrow(message));
  it('no experts, no rows', () => {
    const none = {
      aCodes: new Uint8Array(0),
      aSf: new Uint8Array(0),
      bCodes: new Uint8Array(0),
      bSf: new Uint8Array(0),
    };
    expect(groupedGemmExact({ ...none, n: 4, k: 16, expertOffsets: [], alpha: [] }).length).toBe(0);
  });
});
