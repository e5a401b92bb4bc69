import { E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';
import { nvfp4GlobalDecodeScale, quantizeNvfp4, nvfp4RowDecodeScales, swiglu } from '@megamoe/reference';
import { expectBytes, seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stagedArrays } from '../src/index';
import type { Staged } from '../src/index';
import type { HostStaged } from '../src/staged';
import { BACKENDS, bytes, golden, odd, poisonedStaged, product, pack, poisoned, stageNvfp4 } from './backends';

interface QuantizeGolden {
  rows: number;
  k: number;
  globalDecodeScale: number;
  bf16: string;
  codes: string;
  sf: string;
}

/** Rows of very different magnitudes, with zero blocks, exact ties and negative zeros among them. */
function activations(seed: number, rows: number, k: number): Float32Array {
  const r = seeded(seed);
  const x = r.floats(rows * k);
  for (let row = 0; row < rows; row++) {
    const size = 2 ** (r.int(24) - 12);
    for (let i = row * k; i < (row + 1) * k; i++) x[i]! *= size;
    if (row % 3 === 0) x.fill(0, row * k, row * k + 16);
    if (row % 4 === 1)
      for (let i = 0; i < 16; i++) x[row * k + i] = [0.25, -0.75, 1.25, 1.75, 2.5, -3.5, 5, 6][i % 8]! * size;
    if (row % 5 === 2) x[row * k + 3] = -0;
  }
  return x;
}

describe.each(BACKENDS)('staging on $name', ({ kernels }) => {
  it.each([
    [0, 16],
    [1, 16],
    [7, 96],
    [130, 272],
  ])('says what %i rows of %i lost, as the definition does to the last digits of float64', (m, k) => {
    const x = odd(activations(m + k, m, k), NaN);
    const g = m === 0 ? 1 : nvfp4GlobalDecodeScale(x);
    const { codes, sf } = quantizeNvfp4(x, { m, k, globalDecodeScale: g });
    const y = Float64Array.from({ length: m * k }, (_, i) => {
      const byte = codes[i >> 1]!;
      return E2M1_VALUES[i % 2 === 0 ? byte & 15 : byte >> 4]! * Math.fround(E4M3_VALUES[sf[i >> 4]!]! * g);
    });
    const sums = new Float64Array(3 * m + 2).fill(7);
    kernels.nvfp4Loss({
      ...{ x, rows: m, k, globalDecodeScale: g, codes: odd(codes, 0xcc), sf: odd(sf, 0xcc) },
      sums: sums.subarray(1, 1 + 3 * m),
    });
    expect([sums[0], sums.at(-1)]).toEqual([7, 7]);
    for (let row = 0; row < m; row++) {
      const of = (f: (x: number, y: number) => number): number =>
        y.subarray(row * k, row * k + k).reduce((sum, v, i) => sum + f(x[row * k + i]!, v), 0);
      const want = [of((a, b) => (b - a) ** 2), of((a) => a * a), of((_, b) => b * b)];
      // Sums of k terms without sign in another order: at most k roundings.
      want.forEach((w, i) => {
        expect(Math.abs(sums[1 + 3 * row + i]! - w)).toBeLessThanOrEqual(k * 2 ** -52 * w);
      });
    }
  });

  it('gives the codes and scales that PyTorch wrote into the golden checkpoint', () => {
    const g = golden<QuantizeGolden>('quantize.json');
    const bits = new Uint16Array(bytes(g.bf16).buffer);
    const x = new Float32Array(Uint32Array.from(bits, (b) => b << 16).buffer);
    const globalDecodeScale = Float32Array.of(g.globalDecodeScale);
    const { codes, sf } = stageNvfp4(kernels, { x, k: g.k, globalDecodeScale });
    expectBytes(sf, bytes(g.sf), [g.rows, g.k / 16]);
    expectBytes(codes, bytes(g.codes), [g.rows, g.k / 2]);
  });

  it.each([
    [1, 16],
    [4, 48],
    [33, 160],
  ])('quantizes %i tokens of %i by expert, gathered, byte for byte as the reference', (tokens, k) => {
    const r = seeded(tokens + k);
    const x = activations(k, tokens, k);
    const experts = 5;
    const rows = tokens * 2;
    const slotToken = Int32Array.from({ length: rows }, () => r.int(tokens));
    const cuts = Array.from({ length: experts - 1 }, () => r.int(rows + 1)).sort((a, b) => a - b);
    const expertOffsets = Int32Array.from([...cuts, rows]);
    const scales = Float32Array.from({ length: experts }, () => 2 ** (r.int(16) - 12) * (1 + r.next()));
    const { codes, sf } = stageNvfp4(kernels, {
      ...{ x: odd(x, NaN), k, slotToken, expertOffsets, globalDecodeScale: scales },
    });
    const gathered = Float32Array.from({ length: rows * k }, (_, i) => x[slotToken[Math.floor(i / k)]! * k + (i % k)]!);
    const perRow = Float32Array.from({ length: rows }, (_, i) => scales[expertOffsets.findIndex((end) => end > i)]!);
    const want = quantizeNvfp4(gathered, { m: rows, k, globalDecodeScale: perRow });
    expectBytes(sf, want.sf, [rows, k / 16]);
    expectBytes(codes, want.codes, [rows, k / 2]);
  });

  it('quantizes rows with their own scales, byte for byte as the reference', () => {
    const [rows, k] = [40, 96];
    const x = activations(2, rows, k);
    x.fill(0, 5 * k, 6 * k);
    const { codes, sf, rowScale } = stageNvfp4(kernels, { x, k });
    const scales = nvfp4RowDecodeScales(x, { m: rows, k });
    expectBytes(rowScale!, scales);
    expect(rowScale![5]).toBe(1);
    const want = quantizeNvfp4(x, { m: rows, k, globalDecodeScale: scales });
    expectBytes(sf, want.sf, [rows, k / 16]);
    expectBytes(codes, want.codes, [rows, k / 2]);
    const again = stageNvfp4(kernels, { x, k, slotToken: Int32Array.of(7, 5), expertOffsets: Int32Array.of(2) });
    expectBytes(again.rowScale!, [rowScale![7]!, 1]);
  });

  it('divides truly and rounds to float32 at every step: values on the edge between two codes or two scales', () => {
    const [rows, k] = [400, 32];
    const r = seeded(21);
    const x = new Float32Array(rows * k);
    const scales = Float32Array.from({ length: rows }, () => 2 ** (r.int(20) - 10) * (1 + r.next()));
    const ties = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5];
    for (let row = 0; row < rows; row++) {
      const g = scales[row]!;
      // First block: one value that makes the scale byte, and ties of codes; the quotient is a tie or its neighbour.
      const step = Math.fround(E4M3_VALUES[8 + r.int(0x70)]! * g);
      for (let i = 0; i < 16; i++) x[row * k + i] = i === 0 ? 6 * step : ties[i % 7]! * step * (i % 2 ? 1 : -1);
      // Second block: the amax puts the scale between two bytes.
      const byte = 8 + r.int(0x70);
      x[row * k + 16] = ((E4M3_VALUES[byte]! + E4M3_VALUES[byte + 1]!) / 2) * Math.fround(6 * g);
    }
    const expertOffsets = Int32Array.from(scales, (_, i) => i + 1);
    const { codes, sf } = stageNvfp4(kernels, { x, k, expertOffsets, globalDecodeScale: scales });
    const want = quantizeNvfp4(x, { m: rows, k, globalDecodeScale: scales });
    expectBytes(sf, want.sf, [rows, k / 16]);
    expectBytes(codes, want.codes, [rows, k / 2]);
  });

  it('saturates: block scales at 448, codes at 6; a zero block has scale 1 and codes 0; a quotient of -0 has code 0', () => {
    const x = new Float32Array(48);
    x.set([1e30, -1e30, 1], 0);
    x.set([3e38, -1e-45], 32);
    const { codes, sf } = stageNvfp4(kernels, { x, k: 16, globalDecodeScale: Float32Array.of(1) });
    expect([...sf]).toEqual([0x7e, 0x38, 0x7e]);
    expect([...codes]).toEqual([0xf7, ...new Array<number>(15).fill(0), 0x07, ...new Array<number>(7).fill(0)]);
  });

  it('a row too small for a scale of its own gets 1 and codes 0', () => {
    const x = new Float32Array(16).fill(1e-40);
    const { codes, rowScale } = stageNvfp4(kernels, { x, k: 16 });
    expect(rowScale![0]).toBe(1);
    expect([...codes]).toEqual(new Array<number>(8).fill(0));
  });

  it('names the index of a NaN or infinity, the first row first', () => {
    const rows = 600;
    const x = new Float32Array(rows * 32).fill(1);
    x[500 * 32 + 7] = Infinity;
    x[20 * 32 + 31] = -Infinity;
    x[20 * 32 + 30] = NaN;
    const message = `stage: "x" must be finite for inputs "nvfp4", got NaN at index ${20 * 32 + 30}`;
    expect(() => stageNvfp4(kernels, { x, k: 32, globalDecodeScale: Float32Array.of(1) })).toThrow(message);
    expect(() => stageNvfp4(kernels, { x, k: 32 })).toThrow(message);
    const two =
      (...tokens: number[]) =>
      () =>
        stageNvfp4(kernels, { x, k: 32, slotToken: Int32Array.from(tokens), expertOffsets: Int32Array.of(2) });
    expect(two(3, 500)).toThrow(`got Infinity at index ${500 * 32 + 7}`);
    two(3, 4)(); // rows that are not read may hold anything
  });
});

it('staging has the same bytes on every backend for any bit patterns', () => {
  const floatBits = fc
    .integer({ min: 0, max: 0xffffffff })
    .map((bits) => new Float32Array(Uint32Array.of(bits).buffer)[0]!)
    .filter(Number.isFinite);
  const scale = fc.float({ min: Math.fround(2 ** -117), max: Math.fround(1e30), noNaN: true });
  fc.assert(
    fc.property(fc.array(floatBits, { minLength: 16, maxLength: 16 }), scale, (values, g) => {
      const x = Float32Array.from(values);
      const results = BACKENDS.map(({ kernels }) => {
        const given = stageNvfp4(kernels, { x, k: 16, globalDecodeScale: Float32Array.of(g) });
        const own = stageNvfp4(kernels, { x, k: 16 });
        return [...given.codes, ...given.sf, ...own.codes, ...own.sf, ...own.rowScale!];
      });
      for (const r of results) expect(r).toEqual(results[0]);
    }),
    { numRuns: 500, seed: 3 },
  );
});

/** Gates and ups of ordinary size, with a row of zeros and values beyond the limit among them. */
function gatesAndUps(seed: number, rows: number, i: number): Float32Array {
  const x = seeded(seed).floats(rows * 2 * i);
  for (let r = 0; r < rows; r++) {
    if (r % 3 === 1) x.fill(0, r * 2 * i, r * 2 * i + i);
    x[r * 2 * i] = 40;
    x[r * 2 * i + i] = -40;
  }
  return x;
}

describe.each(BACKENDS)('SwiGLU and staging in one pass on $name', ({ kernels }) => {
  it.each([
    [1, 16, Infinity],
    [5, 48, 10],
    [33, 2064, 7.5],
  ])('%i rows of %i, limit %d: the bits of the two steps', (rows, i, limit) => {
    const gateUp = gatesAndUps(rows, rows, i);
    const ends = Int32Array.of(0, Math.floor(rows / 2), Math.floor(rows / 2), rows);
    const scales = Float32Array.of(NaN, 0.002, NaN, 0.01);
    const hidden = new Float32Array(rows * i).fill(NaN);
    kernels.swiglu({ gateUp, rows, i, limit, out: hidden });
    for (const globalDecodeScale of [scales, null]) {
      const want = stageNvfp4(kernels, { x: hidden, k: i, expertOffsets: ends, globalDecodeScale });
      const got = stageNvfp4(kernels, { gateUp: odd(gateUp, NaN), i, limit, expertOffsets: ends, globalDecodeScale });
      expectBytes(got.codes, want.codes, [rows, i / 2]);
      expectBytes(got.sf, want.sf, [rows, i / 16]);
      expect(got.rowScale).toEqual(want.rowScale);
    }
  });

  it('gives the codes of the reference', () => {
    const [rows, i, limit, g] = [9, 64, 10, 0.004];
    const gateUp = gatesAndUps(3, rows, i);
    const { codes, sf } = stageNvfp4(kernels, { gateUp, i, limit, globalDecodeScale: Float32Array.of(g) });
    const hidden = Float32Array.from(swiglu(gateUp, { m: rows, i, limit }));
    const want = quantizeNvfp4(hidden, { m: rows, k: i, globalDecodeScale: Math.fround(g) });
    expectBytes(codes, want.codes, [rows, i / 2]);
    expectBytes(sf, want.sf, [rows, i / 16]);
  });

  it('names what is not finite, in the lowest row, on any threads, and takes no rows', () => {
    const [rows, i] = [2000, 32];
    const gateUp = new Float32Array(rows * 2 * i).fill(1);
    gateUp[700 * 2 * i + 3] = NaN;
    gateUp[700 * 2 * i + 4] = NaN;
    gateUp[1900 * 2 * i + i + 1] = NaN;
    const message = 'swigluStage: the SwiGLU of "gateUp" must be finite, got NaN or infinity at row 700, column 3';
    for (const globalDecodeScale of [Float32Array.of(1), null]) {
      expect(() => stageNvfp4(kernels, { gateUp, i, limit: 10, globalDecodeScale })).toThrow(message);
      const none = { gateUp: new Float32Array(0), i: 16, limit: 1, expertOffsets: new Int32Array(0) };
      expect(stageNvfp4(kernels, { ...none, globalDecodeScale }).codes.length).toBe(0);
    }
  });
});

describe.each(BACKENDS)('staging as floats on $name', ({ kernels }) => {
  const [k, tokens] = [5, 4]; // nothing asks for whole blocks
  const x = seeded(8).floats(tokens * k);

  it.each(['f32', 'bf16'] as const)('%s: gathers rows as they are, and touches none beyond them', (inputs) => {
    const staged = poisonedStaged(kernels, 6, k, inputs);
    const slotToken = Int32Array.of(3, 0, 3, -1, -1, -1); // three of six slots are masked
    const expertOffsets = Int32Array.of(1, 1, 3);
    const args = { k, expertOffsets, inputs, globalDecodeScale: null, staged } as const;
    kernels.stage({ ...args, x: odd(x, NaN), slotToken, slots: 6 });
    expect([staged.slots, staged.k, staged.inputs]).toEqual([6, k, inputs]);
    const got = stagedArrays(staged);
    const row = (t: number) => [...x.subarray(t * k, (t + 1) * k)];
    expect(got).toEqual({ inputs, rows: Float32Array.from([...row(3), ...row(0), ...row(3)]) });
    kernels.stage({ ...args, x: odd(x, NaN), slotToken: null, slots: 4 });
    expect(stagedArrays(staged)).toEqual({ inputs, rows: x.subarray(0, 3 * k) });
    expect(restOf(staged, 3).every(Number.isNaN)).toBe(true);
  });

  it.each(['f32', 'bf16'] as const)('%s: SwiGLU of rows, with its bits', (inputs) => {
    const gateUp = seeded(9).floats(3 * 2 * k);
    const want = poisoned(2 * k);
    kernels.swiglu({ gateUp, rows: 2, i: k, limit: 10, out: want });
    const staged = poisonedStaged(kernels, 7, k, inputs);
    kernels.swigluStage({
      ...{ gateUp: odd(gateUp, NaN), slots: 3, i: k, limit: 10, expertOffsets: Int32Array.of(0, 2) },
      ...{ inputs, globalDecodeScale: null, staged },
    });
    expect(stagedArrays(staged)).toEqual({ inputs, rows: Float32Array.from(want) });
    expect(restOf(staged, 2).every(Number.isNaN)).toBe(true);
  });

  /** Memory behind the rows that are staged. */
  function restOf(staged: Staged, rows: number): Float32Array {
    return (staged as HostStaged).rows.subarray(rows * k);
  }
});

describe.each(BACKENDS)('products of what is staged on $name', ({ kernels }) => {
  const [E, n, k] = [3, 6, 32];
  const r = seeded(12);
  const experts = {
    numExperts: E,
    n,
    k,
    parts: 2 as const,
    codes: r.bytes((E * n * k) / 2),
    sf: r.scales((E * n * k) / 16),
  };
  const alpha = r.floats(E * 2);
  const x = r.floats(4 * k);
  const w = pack(kernels, experts);

  it.each(['f32', 'bf16', 'nvfp4'] as const)(
    '%s: masked slots have no rows, and out beyond the rows is not touched',
    (inputs) => {
      const slotToken = Int32Array.of(2, 0, 1, -1, -1);
      const expertOffsets = Int32Array.of(1, 1, 3);
      const staged = poisonedStaged(kernels, 9, 64, inputs);
      kernels.stage({ x, k, slotToken, slots: 5, expertOffsets, inputs, globalDecodeScale: null, staged });
      const out = new Float32Array(5 * n).fill(7);
      kernels.groupedGemm({ w, staged, slots: 5, expertOffsets, alpha, out });
      expect([...out.subarray(3 * n)]).toEqual(new Array(2 * n).fill(7));
      const rows = Float32Array.from([2, 0, 1].flatMap((t) => [...x.subarray(t * k, (t + 1) * k)]));
      const want = poisoned(3 * n);
      product(kernels, { w, rows, inputs, expertOffsets, alpha, out: want });
      expectBytes(out.subarray(0, 3 * n), want, [3, n]);
    },
  );

  it('one memory serves steps of any precision and width, one after the other', () => {
    const staged = kernels.createStaged({ slots: 3, k: 64, inputs: ['f32', 'bf16', 'nvfp4'] });
    expect(staged.bytes).toBeGreaterThanOrEqual(3 * (64 * 4 + 32 + 4 + 4));
    const expertOffsets = Int32Array.of(0, 2, 3);
    for (const inputs of ['nvfp4', 'f32', 'bf16', 'nvfp4'] as const) {
      const out = poisoned(3 * n);
      const want = poisoned(3 * n);
      kernels.stage({ x, k, slotToken: null, slots: 3, expertOffsets, inputs, globalDecodeScale: null, staged });
      kernels.groupedGemm({ w, staged, slots: 3, expertOffsets, alpha, out });
      product(kernels, { w, rows: x, inputs, expertOffsets, alpha, out: want });
      expectBytes(out, want, [3, n]);
      kernels.swigluStage({
        ...{ gateUp: r.floats(3 * 128), slots: 3, i: 64, limit: 10, expertOffsets },
        ...{ inputs, globalDecodeScale: null, staged },
      });
      expect([staged.k, staged.inputs]).toEqual([64, inputs]);
    }
    staged.dispose();
    expect(staged.bytes).toBe(0);
    expect(() => stagedArrays(staged)).toThrow('stagedArrays: "staged" has been disposed');
  });
});
