import { E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';
import { nvfp4GlobalDecodeScale, quantizeNvfp4, nvfp4RowDecodeScales, swiglu } from '@megamoe/reference';
import { expectBytes, seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BACKENDS, bytes, golden, odd } from './backends';

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

const u8 = (n: number): Uint8Array => odd(new Uint8Array(n).fill(0xcc), 0xcc);

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
    kernels.nvfp4Loss(x, m, k, g, odd(codes, 0xcc), odd(sf, 0xcc), sums.subarray(1, 1 + 3 * m));
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
    const codes = u8((g.rows * g.k) / 2);
    const sf = u8((g.rows * g.k) / 16);
    kernels.stageNvfp4(x, g.k, null, Int32Array.of(g.rows), Float32Array.of(g.globalDecodeScale), codes, sf);
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
    const codes = u8((rows * k) / 2);
    const sf = u8((rows * k) / 16);
    kernels.stageNvfp4(odd(x, NaN), k, slotToken, expertOffsets, scales, codes, sf);
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
    const codes = u8((rows * k) / 2);
    const sf = u8((rows * k) / 16);
    const rowScale = odd(new Float32Array(rows).fill(NaN), NaN);
    kernels.stageNvfp4Dynamic(x, k, null, rows, codes, sf, rowScale);
    const scales = nvfp4RowDecodeScales(x, { m: rows, k });
    expectBytes(rowScale, scales);
    expect(rowScale[5]).toBe(1);
    const want = quantizeNvfp4(x, { m: rows, k, globalDecodeScale: scales });
    expectBytes(sf, want.sf, [rows, k / 16]);
    expectBytes(codes, want.codes, [rows, k / 2]);
    const again = new Float32Array(2);
    kernels.stageNvfp4Dynamic(x, k, Int32Array.of(7, 5), 2, codes, sf, again);
    expectBytes(again, [rowScale[7]!, 1]);
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
    const codes = u8((rows * k) / 2);
    const sf = u8((rows * k) / 16);
    const ends = Int32Array.from(scales, (_, i) => i + 1);
    kernels.stageNvfp4(x, k, null, ends, scales, codes, sf);
    const want = quantizeNvfp4(x, { m: rows, k, globalDecodeScale: scales });
    expectBytes(sf, want.sf, [rows, k / 16]);
    expectBytes(codes, want.codes, [rows, k / 2]);
  });

  it('saturates: block scales at 448, codes at 6; a zero block has scale 1 and codes 0; a quotient of -0 has code 0', () => {
    const x = new Float32Array(48);
    x.set([1e30, -1e30, 1], 0);
    x.set([3e38, -1e-45], 32);
    const codes = u8(24);
    const sf = u8(3);
    kernels.stageNvfp4(x, 16, null, Int32Array.of(3), Float32Array.of(1), codes, sf);
    expect([...sf]).toEqual([0x7e, 0x38, 0x7e]);
    expect([...codes]).toEqual([0xf7, ...new Array<number>(15).fill(0), 0x07, ...new Array<number>(7).fill(0)]);
  });

  it('a row too small for a scale of its own gets 1 and codes 0', () => {
    const x = new Float32Array(16).fill(1e-40);
    const codes = u8(8);
    const rowScale = new Float32Array(1);
    kernels.stageNvfp4Dynamic(x, 16, null, 1, codes, u8(1), rowScale);
    expect(rowScale[0]).toBe(1);
    expect([...codes]).toEqual(new Array<number>(8).fill(0));
  });

  it('names the index of a NaN or infinity, the first row first', () => {
    const rows = 600;
    const x = new Float32Array(rows * 32).fill(1);
    x[500 * 32 + 7] = Infinity;
    x[20 * 32 + 31] = -Infinity;
    x[20 * 32 + 30] = NaN;
    const codes = new Uint8Array(rows * 16);
    const sf = new Uint8Array(rows * 2);
    const index = 20 * 32 + 30;
    expect(() => {
      kernels.stageNvfp4(x, 32, null, Int32Array.of(rows), Float32Array.of(1), codes, sf);
    }).toThrow(`stageNvfp4: "x" must be finite, got NaN at index ${index}`);
    const rowScale = new Float32Array(rows);
    expect(() => {
      kernels.stageNvfp4Dynamic(x, 32, null, rows, codes, sf, rowScale);
    }).toThrow(`stageNvfp4Dynamic: "x" must be finite, got NaN at index ${index}`);
    expect(() => {
      kernels.stageNvfp4Dynamic(x, 32, Int32Array.of(3, 500), 2, codes, sf, rowScale);
    }).toThrow(`got Infinity at index ${500 * 32 + 7}`);
    kernels.stageNvfp4Dynamic(x, 32, Int32Array.of(3, 4), 2, codes, sf, rowScale); // rows that are not read may hold anything
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
        const [codes, sf, own] = [new Uint8Array(16), new Uint8Array(2), new Float32Array(1)];
        kernels.stageNvfp4(x, 16, null, Int32Array.of(1), Float32Array.of(g), codes, sf);
        kernels.stageNvfp4Dynamic(x, 16, null, 1, codes.subarray(8), sf.subarray(1), own);
        return [...codes, ...sf, ...own];
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
    kernels.swiglu(gateUp, rows, i, limit, hidden);
    const make = () => [u8((rows * i) / 2), u8((rows * i) / 16)] as const;
    const [want, got] = [make(), make()];
    kernels.stageNvfp4(hidden, i, null, ends, scales, ...want);
    kernels.swigluStageNvfp4(odd(gateUp, NaN), i, limit, ends, scales, ...got);
    expectBytes(got[0], want[0], [rows, i / 2]);
    expectBytes(got[1], want[1], [rows, i / 16]);
    const [wantOwn, own] = [new Float32Array(rows).fill(NaN), new Float32Array(rows).fill(NaN)];
    const [wantDynamic, dynamic] = [make(), make()];
    kernels.stageNvfp4Dynamic(hidden, i, null, rows, ...wantDynamic, wantOwn);
    kernels.swigluStageNvfp4Dynamic(gateUp, rows, i, limit, ...dynamic, own);
    expectBytes(dynamic[0], wantDynamic[0], [rows, i / 2]);
    expectBytes(dynamic[1], wantDynamic[1], [rows, i / 16]);
    expect(own).toEqual(wantOwn);
  });

  it('gives the codes of the reference', () => {
    const [rows, i, limit, g] = [9, 64, 10, 0.004];
    const gateUp = gatesAndUps(3, rows, i);
    const [codes, sf] = [u8((rows * i) / 2), u8((rows * i) / 16)];
    kernels.swigluStageNvfp4(gateUp, i, limit, Int32Array.of(rows), Float32Array.of(g), codes, sf);
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
    const [codes, sf, own] = [u8((rows * i) / 2), u8((rows * i) / 16), new Float32Array(rows)];
    const at = 'the SwiGLU of "gateUp" must be finite, got NaN or infinity at row 700, column 3';
    expect(() => {
      kernels.swigluStageNvfp4(gateUp, i, 10, Int32Array.of(rows), Float32Array.of(1), codes, sf);
    }).toThrow(`swigluStageNvfp4: ${at}`);
    expect(() => {
      kernels.swigluStageNvfp4Dynamic(gateUp, rows, i, 10, codes, sf, own);
    }).toThrow(`swigluStageNvfp4Dynamic: ${at}`);
    const none = new Float32Array(0);
    kernels.swigluStageNvfp4(none, 16, 1, new Int32Array(0), none, new Uint8Array(0), new Uint8Array(0));
    kernels.swigluStageNvfp4Dynamic(none, 0, 16, 1, new Uint8Array(0), new Uint8Array(0), none);
  });

  it('refuses what does not fit', () => {
    const [x, one, ends] = [new Float32Array(32).fill(1), Float32Array.of(1), Int32Array.of(1)];
    const [codes, sf] = [new Uint8Array(8), new Uint8Array(1)];
    const call =
      (gateUp: Float32Array, i: number, limit: number, c = codes, s = sf) =>
      () => {
        kernels.swigluStageNvfp4(gateUp, i, limit, ends, one, c, s);
      };
    expect(call(x, 24, 1)).toThrow('swigluStageNvfp4: "i" must be a multiple of 16, got 24');
    expect(call(x, 16, 0)).toThrow('swigluStageNvfp4: "limit" must be above 0 (Infinity for none), got 0');
    expect(call(x, 16, 1e-50)).toThrow('swigluStageNvfp4: "limit" must be above 0 in float32, got 1e-50');
    expect(call(x.subarray(1), 16, 1)).toThrow('"gateUp" must hold at least R*2*i = 32 elements, got 31');
    expect(call(x, 16, 1, codes.subarray(1))).toThrow('"codes" must hold at least R*i/2 = 8 elements, got 7');
    expect(call(x, 16, 1, codes, sf.subarray(1))).toThrow('"sf" must hold at least R*i/16 = 1 elements, got 0');
    expect(call(x, 16, 1, new Uint8Array(x.buffer, 0, 8))).toThrow(/"codes".*overlap/);
    expect(() => {
      kernels.swigluStageNvfp4(x, 16, 1, ends, Float32Array.of(0), codes, sf);
    }).toThrow('swigluStageNvfp4: "globalDecodeScale" of expert 0 must be finite and at least 2^-117, got 0');
    expect(() => {
      kernels.swigluStageNvfp4Dynamic(x, 1, 16, 1, codes, sf, new Float32Array(0));
    }).toThrow('swigluStageNvfp4Dynamic: "rowScale" must hold at least rows = 1 elements, got 0');
  });
});
