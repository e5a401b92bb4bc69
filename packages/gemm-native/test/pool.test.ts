import { expectBytes, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import type { DenseRows, WeightFormat, ExpertPool, ExpertsWeight, GemmKernels, Nvfp4Rows } from '../src/index';
import type { Engine } from '../src/engine';
import { createJsEngine } from '../src/js/engine';
import { checkedKernels } from '../src/kernels';
import { BACKENDS, bf16, poisoned, product } from './backends';

const E = 5;
const N = 34; // not a whole number of panels
const K = 80; // nor of superblocks
/** Rows of each expert: an empty one, one row, more than a tile. */
const COUNTS = [3, 0, 1, 11, 2];
const ENDS = Int32Array.of(3, 3, 4, 15, 17);
const ROWS = 17;

/** Random experts of a format, read part by part; `reads` lists what was asked for. */
function experts(
  format: WeightFormat,
  seed: number,
): { read: (e: number, p: number) => Nvfp4Rows | DenseRows; reads: number[] } {
  const r = seeded(seed);
  const rows = N / 2;
  const parts = Array.from({ length: 2 * E }, (): Nvfp4Rows | DenseRows => {
    if (format === 'nvfp4') return { codes: r.bytes((rows * K) / 2), sf: r.scales((rows * K) / 16, true) };
    const { bits, values } = bf16(r.floats(rows * K));
    return { data: format === 'bf16' ? bits : values };
  });
  const reads: number[] = [];
  return { reads, read: (e, p) => (reads.push(e), parts[2 * e + p]!) };
}

const shape = (format: WeightFormat) => ({ n: N, k: K, parts: 2, format }) as const;

/** Every grouped product that takes weights of a format. */
const PRODUCTS: [string, WeightFormat, (k: GemmKernels, w: ExpertsWeight, out: Float32Array) => void][] = (() => {
  const r = seeded(5);
  const [codes, sf, a] = [r.bytes((ROWS * K) / 2), r.scales((ROWS * K) / 16, true), r.floats(ROWS * K)];
  const [alpha, rowScale] = [r.floats(2 * E), r.floats(ROWS)];
  return [
    ['W4A4', 'nvfp4', (k, w, out) => product(k, { w, codes, sf, expertOffsets: ENDS, alpha, rowScale: null, out })],
    [
      'W4A4 with row scales',
      'nvfp4',
      (k, w, out) => product(k, { w, codes, sf, expertOffsets: ENDS, alpha, rowScale, out }),
    ],
    ['W4A16', 'nvfp4', (k, w, out) => product(k, { w, rows: a, expertOffsets: ENDS, inputs: 'f32', alpha, out })],
    [
      'BF16 activations',
      'nvfp4',
      (k, w, out) => product(k, { w, rows: a, expertOffsets: ENDS, inputs: 'bf16', alpha, out }),
    ],
    [
      'bf16 weights',
      'bf16',
      (k, w, out) => product(k, { w, rows: a, expertOffsets: ENDS, inputs: 'f32', alpha: null, out }),
    ],
    [
      'f32 weights',
      'f32',
      (k, w, out) => product(k, { w, rows: a, expertOffsets: ENDS, inputs: 'f32', alpha: null, out }),
    ],
  ];
})();

const ALONE = BACKENDS.filter((b) => !/x5$/.test(b.name));

it('stays smaller where memory is refused, and gives the same results', () => {
  const engine = createJsEngine();
  let allowed = 3;
  let made = 0;
  const frugal: Engine = {
    ...engine,
    createWeight(f, matrices, n, k) {
      if (matrices === 1 && made >= allowed) throw new Error('createWeight: cannot allocate');
      made += matrices === 1 ? 1 : 0;
      return engine.createWeight(f, matrices, n, k);
    },
    release: () => void made--,
  };
  const kernels = checkedKernels(frugal);
  const [, format, product] = PRODUCTS[0]!;
  const want = poisoned(ROWS * N);
  product(kernels, kernels.packExperts({ numExperts: E, ...shape(format), read: experts(format, 1).read }), want);
  const pool = kernels.createExpertPool({ ...shape(format), slots: E });
  const w = kernels.packExperts({ numExperts: E, ...shape(format), read: experts(format, 1).read, pool });
  for (let again = 0; again < 2; again++) {
    const got = poisoned(ROWS * N);
    product(kernels, w, got);
    expectBytes(got, want, [ROWS, N]);
    expect([made, pool.bytes]).toEqual([2, 2 * pool.slotBytes]); // one of three was given back
  }
  allowed = 0;
  const none = kernels.createExpertPool({ ...shape(format), slots: E });
  const stuck = kernels.packExperts({ numExperts: E, ...shape(format), read: experts(format, 1).read, pool: none });
  expect(() => product(kernels, stuck, poisoned(ROWS * N))).toThrow('createWeight: cannot allocate');
});

describe.each(ALONE)('a pool of experts on $name', ({ kernels }) => {
  const pooled = (format: WeightFormat, slots: number, seed = 1) => {
    const pool = kernels.createExpertPool({ ...shape(format), slots });
    const source = experts(format, seed);
    const w = kernels.packExperts({ numExperts: E, ...shape(format), read: source.read, pool });
    return { pool, w, reads: source.reads };
  };
  const run = (w: ExpertsWeight, ends: Int32Array, pick = 0): Float32Array => {
    const r = seeded(3);
    const rows = ends.at(-1)!;
    const out = poisoned(rows * N);
    const [codes, sf] = [r.bytes((rows * K) / 2), r.scales((rows * K) / 16, true)];
    product(kernels, {
      w,
      codes,
      sf,
      expertOffsets: ends,
      alpha: new Float32Array(2 * E).fill(1 + pick),
      rowScale: null,
      out,
    });
    return out;
  };
  /** Ends when one expert has the only row. */
  const only = (e: number): Int32Array => Int32Array.from({ length: E }, (_, i) => (i >= e ? 1 : 0));

  it.each(PRODUCTS)('%s: the bits of packed weights, with room for 1, 2 and all experts', (_, format, product) => {
    const want = poisoned(ROWS * N);
    product(kernels, kernels.packExperts({ numExperts: E, ...shape(format), read: experts(format, 1).read }), want);
    for (const slots of [1, 2, E]) {
      const { pool, w, reads } = pooled(format, slots);
      expect([w.bytes, pool.bytes, reads.length]).toEqual([0, 0, 0]); // nothing is read before it is needed
      for (let again = 0; again < 3; again++) {
        const got = poisoned(ROWS * N);
        product(kernels, w, got);
        expectBytes(got, want, [ROWS, N]);
      }
      expect(pool.bytes).toBe(Math.min(slots, COUNTS.filter((c) => c > 0).length) * pool.slotBytes);
      expect(reads).not.toContain(1); // no rows, not read
    }
  });
  it('keeps what was used last, and counts', () => {
    const { pool, w, reads } = pooled('nvfp4', 2);
    for (const e of [0, 2, 0, 3, 0, 2]) run(w, only(e));
    expect(reads).toEqual([0, 0, 2, 2, 3, 3, 2, 2]); // both parts of: 0, 2, (0 is there), 3 for 2, (0 is there), 2 for 3
    expect([pool.hits, pool.misses]).toEqual([2, 4]);
  });
  it('serves the experts that are there first: reading others cannot push them out before their turn', () => {
    const { pool, w } = pooled('nvfp4', 2);
    run(w, only(4));
    run(w, only(3));
    run(w, Int32Array.of(1, 2, 3, 4, 5)); // all: 3 and 4 hit although 0 comes before
    expect([pool.hits, pool.misses]).toEqual([2, 5]);
  });
  it('is shared by weights of one shape, which do not take each other for themselves', () => {
    const pool = kernels.createExpertPool({ ...shape('nvfp4'), slots: 3 });
    const [a, b] = [1, 2].map((seed) =>
      kernels.packExperts({ numExperts: E, ...shape('nvfp4'), read: experts('nvfp4', seed).read, pool }),
    );
    const [wantA, wantB] = [1, 2].map((seed) =>
      run(kernels.packExperts({ numExperts: E, ...shape('nvfp4'), read: experts('nvfp4', seed).read }), ENDS),
    );
    for (let i = 0; i < 2; i++) {
      expectBytes(run(a!, ENDS), wantA!, [ROWS, N]);
      expectBytes(run(b!, ENDS), wantB!, [ROWS, N]);
    }
    expect(pool.bytes).toBe(3 * pool.slotBytes);
    a!.dispose();
    expectBytes(run(b!, ENDS), wantB!, [ROWS, N]);
    expect(() => run(a!, ENDS)).toThrow('groupedGemm: "w" has been disposed');
    pool.dispose();
    pool.dispose();
    expect(() => run(b!, ENDS)).toThrow('ExpertPool: "pool" has been disposed');
    expect(pool.bytes).toBe(0);
  });
  it('a read that throws or gives bad data comes out, and leaves nothing half read behind', () => {
    const pool = kernels.createExpertPool({ ...shape('nvfp4'), slots: 1 });
    const good = experts('nvfp4', 1);
    let fail: 'no' | 'throw' | 'scale' | 'short' = 'no';
    const w = kernels.packExperts({
      ...{ numExperts: E, ...shape('nvfp4'), pool },
      read(e, p) {
        const rows = good.read(e, p) as Nvfp4Rows;
        if (p === 0 || fail === 'no') return rows;
        if (fail === 'throw') throw new Error('the disk is gone');
        if (fail === 'short') return { ...rows, codes: rows.codes.subarray(1) };
        return { ...rows, sf: Uint8Array.from(rows.sf, (b, i) => (i === 7 ? 0x7f : b)) };
      },
    });
    const want = run(w, only(2));
    for (const [how, message] of [
      ['throw', 'the disk is gone'],
      [
        'scale',
        'packExperts: read(3, 1): "sf" must hold E4M3 scales that are numbers of at least 0, got 0x7f at index 7',
      ],
      ['short', 'packExperts: read(3, 1): "codes" must have length n/parts*k/2 = 680, got 679'],
    ] as const) {
      fail = how;
      expect(() => run(w, only(3))).toThrow(message);
      fail = 'no';
      expectBytes(run(w, only(2)), want, [1, N]);
    }
    expect(pool.bytes).toBe(pool.slotBytes);
  });
  it('names a bad activation scale by its index among all rows', () => {
    const { w } = pooled('nvfp4', 1);
    const sf = new Uint8Array((ROWS * K) / 16).fill(0x38);
    sf[60] = 0xff;
    expect(() =>
      product(kernels, {
        w,
        codes: new Uint8Array((ROWS * K) / 2),
        sf,
        expertOffsets: ENDS,
        alpha: new Float32Array(2 * E),
        rowScale: null,
        out: poisoned(ROWS * N),
      }),
    ).toThrow('stageFrom: "sf" must hold E4M3 scales that are numbers of at least 0, got 0xff at index 60');
  });
  it('refuses what does not fit', () => {
    const make = (o: object): string => {
      try {
        kernels.createExpertPool({ ...shape('nvfp4'), slots: 1, ...o });
        return 'nothing';
      } catch (e) {
        return (e as Error).message;
      }
    };
    expect(make({ slots: 0 })).toMatch('createExpertPool: "slots" must be an integer at least 1, got 0');
    expect(make({ k: 24 })).toMatch('createExpertPool: "k" must be a multiple of 16, got 24');
    expect(make({ format: 'int4' })).toMatch(
      'createExpertPool: "format" must be one of nvfp4, fp8, bf16, f32, got int4',
    );
    const pool = kernels.createExpertPool({ ...shape('nvfp4'), slots: 1 });
    const pack = (o: object) => () =>
      kernels.packExperts({ numExperts: 1, ...shape('nvfp4'), read: experts('nvfp4', 1).read, pool, ...o });
    expect(pack({ n: 32 })).toThrow(
      'packExperts: "pool" holds experts of nvfp4 [34, 80] in 2 parts, not nvfp4 [32, 80] in 2 parts',
    );
    expect(pack({ pool: {} })).toThrow('packExperts: "pool" must come from createExpertPool');
    pool.dispose();
    expect(pack({})).toThrow('packExperts: "pool" has been disposed');
    const other = BACKENDS.find((b) => (b.name === 'js') !== (kernels.isa === 'js'));
    if (!other) return;
    const foreign: ExpertPool = other.kernels.createExpertPool({ ...shape('nvfp4'), slots: 1 });
    expect(pack({ pool: foreign })).toThrow(/packExperts: "pool" was made for "\w+", these kernels read "\w+"/);
  });
  it('tells the bytes that weights occupy, and disposes of them', () => {
    for (const format of ['nvfp4', 'bf16', 'f32'] as const) {
      const w = kernels.packExperts({ numExperts: E, ...shape(format), read: experts(format, 1).read });
      expect(w.bytes).toBe(kernels.packedBytes(format, E, N, K));
      w.dispose();
      w.dispose();
      expect(() =>
        product(kernels, {
          w,
          rows: new Float32Array(0),
          expertOffsets: new Int32Array(E),
          inputs: 'f32',
          alpha: null,
          out: new Float32Array(0),
        }),
      ).toThrow('groupedGemm: "w" has been disposed');
    }
    const linear = kernels.packLinear({ n: 5, k: 9, groups: 2, dtype: 'bf16', data: new Uint16Array(90) });
    expect(linear.bytes).toBe(kernels.packedBytes('bf16', 2, 5, 9));
    linear.dispose();
    expect(() =>
      kernels.linear({ w: linear, x: new Float32Array(18), rows: 1, inputs: 'f32', out: new Float32Array(10) }),
    ).toThrow('linear: "w" has been disposed');
    expect(() => kernels.packedBytes('nvfp4', 0, 1, 16)).toThrow('packedBytes: "matrices" must be an integer');
  });
});

it.each(BACKENDS)('$name refuses an output over the alphas, which later experts still need', ({ kernels }) => {
  const format = 'nvfp4';
  const { read } = experts(format, 3);
  const pool = kernels.createExpertPool({ ...shape(format), slots: 1 });
  const w = kernels.packExperts({ ...shape(format), numExperts: E, read, pool });
  const staged = kernels.createStaged({ slots: ROWS, k: K, inputs: ['f32'] });
  const common = { slots: ROWS, expertOffsets: ENDS, inputs: 'f32', globalDecodeScale: null, staged } as const;
  kernels.stage({ ...common, x: new Float32Array(ROWS * K), k: K, slotToken: null });
  const memory = new Float32Array(ROWS * N);
  // Within the rows of the last expert: no expert writes over its own alpha.
  const alpha = memory.subarray(16 * N, 16 * N + 2 * E);
  expect(() => kernels.groupedGemm({ w, staged, slots: ROWS, expertOffsets: ENDS, alpha, out: memory })).toThrow(
    'groupedGemm: "out" must not overlap "alpha"',
  );
});
