import { E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';
import { groupedGemmExact, maxUlp } from '@megamoe/reference';
import { expectBytes, seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BACKENDS, odd, pack, poisoned, product } from './backends';
import type { Experts } from './backends';

interface Case extends Experts {
  readonly rows: number;
  readonly aCodes: Uint8Array;
  readonly aSf: Uint8Array;
  readonly expertOffsets: Int32Array;
  readonly alpha: Float32Array;
  readonly rowScale: Float32Array | null;
}

function makeCase(seed: number, counts: number[], n: number, k: number, parts: 1 | 2, dynamic: boolean): Case {
  const r = seeded(seed);
  const numExperts = counts.length;
  let end = 0;
  const expertOffsets = Int32Array.from(counts, (c) => (end += c));
  return {
    numExperts,
    n,
    k,
    parts,
    codes: r.bytes((numExperts * n * k) / 2),
    sf: r.scales((numExperts * n * k) / 16, true),
    rows: end,
    aCodes: r.bytes((end * k) / 2),
    aSf: r.scales((end * k) / 16, true),
    expertOffsets,
    alpha: r.floats(numExperts * parts, 0.01),
    rowScale: dynamic ? r.floats(end) : null,
  };
}

/** docs/numerics.md N4 word by word: integer block dot, exact product with the scales, one float32 addition per block. */
function byDefinition(c: Case): Float32Array {
  const { n, k, parts } = c;
  const value = (codes: Uint8Array, i: number): number => E2M1_VALUES[(codes[i >> 1]! >> ((i & 1) * 4)) & 15]!;
  const out = new Float32Array(c.rows * n);
  for (let r = 0; r < c.rows; r++) {
    const e = c.expertOffsets.findIndex((end) => end > r);
    for (let col = 0; col < n; col++) {
      const b = (e * n + col) * k;
      let acc = 0;
      for (let block = 0; block < k; block += 16) {
        let dot = 0;
        for (let i = block; i < block + 16; i++) dot += value(c.aCodes, r * k + i) * value(c.codes, b + i);
        const scales = E4M3_VALUES[c.aSf[(r * k + block) / 16]!]! * E4M3_VALUES[c.sf[(b + block) / 16]!]!;
        expect(Math.fround(dot * scales)).toBe(dot * scales);
        acc = Math.fround(acc + dot * scales);
      }
      const v = Math.fround(c.alpha[e * parts + Math.floor(col / (n / parts))]! * acc);
      out[r * n + col] = c.rowScale ? Math.fround(v * c.rowScale[r]!) : v;
    }
  }
  return out;
}

function run(kernels: (typeof BACKENDS)[number]['kernels'], c: Case): Float32Array {
  const out = poisoned(c.rows * c.n);
  const w = pack(kernels, c);
  product(kernels, {
    w,
    codes: odd(c.aCodes, 0xcc),
    sf: odd(c.aSf, 0xff),
    expertOffsets: odd(c.expertOffsets, 7).subarray(0, c.numExperts),
    alpha: c.alpha,
    rowScale: c.rowScale,
    out,
  });
  return out;
}

/** Rows per expert, N, K, parts: 1, odd, panel edges (32 columns, 16 rows), empty experts, one block. */
const SHAPES: [number[], number, number, 1 | 2][] = [
  [[1], 1, 16, 1],
  [[0, 3, 0], 2, 16, 2],
  [[5, 0, 1], 31, 48, 1],
  [[17], 33, 32, 1],
  [[2, 16, 0, 1], 66, 160, 2],
  [[0, 0, 33], 96, 64, 2],
  [[1, 1, 1, 1], 130, 272, 2],
];

describe('W4A4', () => {
  for (const [counts, n, k, parts] of SHAPES) {
    for (const dynamic of [false, true]) {
      const c = makeCase(n * 7 + k, counts, n, k, parts, dynamic);
      const want = byDefinition(c);
      it.each(BACKENDS)(
        `$name has the bits of docs/numerics.md N4: [${counts}] n=${n} k=${k} rowScale=${dynamic}`,
        (b) => {
          expectBytes(run(b.kernels, c), want, [c.rows, n]);
        },
      );
    }
  }

  it('has the same bits for a row alone and among 512, on every backend', () => {
    const c = makeCase(3, [512], 40, 64, 2, true);
    const all = run(BACKENDS[0]!.kernels, c);
    for (const { kernels } of BACKENDS) {
      expectBytes(run(kernels, c), all, [512, 40]);
      for (const r of [0, 15, 16, 255, 511]) {
        const one: Case = {
          ...c,
          rows: 1,
          aCodes: c.aCodes.slice(r * 32, (r + 1) * 32),
          aSf: c.aSf.slice(r * 4, (r + 1) * 4),
          expertOffsets: Int32Array.of(1),
          rowScale: c.rowScale!.slice(r, r + 1),
        };
        expectBytes(run(kernels, one), all.subarray(r * 40, (r + 1) * 40));
      }
    }
  });

  it('is the same on every backend for any shape and any distribution of rows', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 6 }),
        fc.constantFrom(1 as const, 2 as const),
        fc.integer(),
        (counts, half, blocks, parts, seed) => {
          const c = makeCase(seed, counts, half * parts, blocks * 16, parts, seed % 2 === 0);
          const want = run(BACKENDS[0]!.kernels, c);
          for (const { kernels } of BACKENDS.slice(1)) expectBytes(run(kernels, c), want, [c.rows, c.n]);
        },
      ),
      { numRuns: 60, seed: 5 },
    );
  });

  it.each(BACKENDS)('$name writes R rows and nothing else', ({ kernels }) => {
    const c = makeCase(9, [2, 1], 33, 32, 1, false);
    const out = new Float32Array(3 * 33 + 10).fill(7);
    product(kernels, {
      w: pack(kernels, c),
      codes: c.aCodes,
      sf: c.aSf,
      expertOffsets: c.expertOffsets,
      alpha: c.alpha,
      rowScale: null,
      out,
    });
    expectBytes(out.subarray(99), new Float32Array(10).fill(7));
    expectBytes(out.subarray(0, 99), byDefinition(c));
  });

  it.each(BACKENDS)('$name does nothing for zero rows', ({ kernels }) => {
    const c = makeCase(9, [0, 0], 33, 32, 1, false);
    const out = Float32Array.of(5);
    product(kernels, {
      w: pack(kernels, c),
      codes: c.aCodes,
      sf: c.aSf,
      expertOffsets: c.expertOffsets,
      alpha: c.alpha.fill(NaN),
      rowScale: null,
      out,
    });
    expect([...out]).toEqual([5]);
  });

  it.each(BACKENDS)('$name: the largest values do not overflow, -0 and zero scales give 0', ({ kernels }) => {
    const k = 4096;
    const full: Case = {
      ...makeCase(1, [1], 1, k, 1, false),
      codes: new Uint8Array(k / 2).fill(0x77),
      sf: new Uint8Array(k / 16).fill(0x7e),
      aCodes: new Uint8Array(k / 2).fill(0xff),
      aSf: new Uint8Array(k / 16).fill(0x7e),
      alpha: Float32Array.of(1),
    };
    expect([...run(kernels, full)]).toEqual([-36 * 448 * 448 * k]);
    expect([...run(kernels, { ...full, aCodes: full.aCodes.fill(0x88) })]).toEqual([0]);
    expect([...run(kernels, { ...full, sf: full.sf.fill(0) })]).toEqual([0]);
  });

  it('stays within a stated distance of the exact answer', () => {
    // Per block one float32 addition: at most half an ulp of the largest partial sum. Where terms cancel, the same error is many ulp
    // of a small result, so the error is measured in ulp of the sum of magnitudes.
    for (const k of [16, 256, 4096]) {
      const c = makeCase(k, [4, 4], 32, k, 2, false);
      const exactArgs = {
        n: 32,
        k,
        parts: 2,
        aCodes: c.aCodes,
        aSf: c.aSf,
        expertOffsets: c.expertOffsets,
        alpha: c.alpha,
      };
      const exact = groupedGemmExact({ ...exactArgs, bCodes: c.codes, bSf: c.sf });
      const magnitudes = groupedGemmExact({
        ...exactArgs,
        alpha: c.alpha.map(Math.abs),
        aCodes: c.aCodes.map((b) => b & 0x77),
        bCodes: c.codes.map((b) => b & 0x77),
        bSf: c.sf,
      });
      for (const { kernels } of BACKENDS) {
        const got = run(kernels, c);
        if (k === 16) expect(maxUlp(got, exact)).toBe(0); // one block: a single rounding, in the product with alpha
        let worst = 0;
        for (let i = 0; i < got.length; i++) {
          if (magnitudes[i] === 0) {
            expect(Math.abs(got[i]!) + Math.abs(exact[i]!)).toBe(0);
            continue;
          }
          const ulp = 2 ** (Math.floor(Math.log2(magnitudes[i]!)) - 23);
          worst = Math.max(worst, Math.abs(got[i]! - exact[i]!) / ulp);
        }
        expect(worst).toBeLessThan(k === 16 ? 0.5 : k === 256 ? 1.5 : 4); // measured 0, 1 and 2
      }
    }
  });
});
