import { encodeE4m3 } from '@megamoe/core';
import {
  amaxOf,
  dequantizeNvfp4,
  globalDecodeScale,
  globalDecodeScaleFromAmax,
  quantizeNvfp4,
} from '@megamoe/nvfp4-quant';
import type { GlobalDecodeScale } from '@megamoe/nvfp4-quant';
import { expectBytes, seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { slowModelOpt, value } from './oracle';

const one = globalDecodeScale(1);
const row = (...values: number[]): Float32Array => Float32Array.from({ length: 16 }, (_, i) => values[i] ?? 0);
const codesOf = (packed: Uint8Array): number[] => [...packed].flatMap((b) => [b & 15, b >> 4]);

describe('quantizeNvfp4', () => {
  it.each([
    { m: 0, k: 16 },
    { m: 3, k: 0 },
    { m: 1, k: 16 },
    { m: 3, k: 48 },
    { m: 17, k: 256 },
  ])('equals the slow rule: $m x $k', ({ m, k }) => {
    for (const sigma of [1e-30, 1e-3, 1, 1e20]) {
      const x = seeded(m + k).floats(m * k + 1, sigma);
      const amax = amaxOf(x);
      for (const scale of [amax, amax / 30, amax * 1e4]) {
        const g = globalDecodeScaleFromAmax(scale);
        const codes = new Uint8Array((m * k) / 2 + 2).fill(0xcc);
        const sf = new Uint8Array((m * k) / 16 + 2).fill(0xcc);
        const got = quantizeNvfp4(x, { m, k, globalDecodeScale: g }, codes, sf);
        expect(got).toEqual({ codes, sf });
        const want = slowModelOpt(x.subarray(0, m * k), g);
        expectBytes(sf, [...want.sf, 0xcc, 0xcc]);
        expectBytes(codes, [...want.codes, 0xcc, 0xcc]);
      }
    }
  });

  it('equals the slow rule on any float32 and any scale', () => {
    const finite = fc.float({ noNaN: true, noDefaultInfinity: true });
    const scale = fc.float({ min: Math.fround(2 ** -149), max: Math.fround(7e35), noNaN: true });
    fc.assert(
      fc.property(fc.array(finite, { minLength: 32, maxLength: 32 }), scale, (values, g) => {
        const x = Float32Array.from(values);
        const got = quantizeNvfp4(x, { m: 2, k: 16, globalDecodeScale: globalDecodeScale(g) });
        const want = slowModelOpt(x, g);
        expectBytes(got.sf, want.sf);
        expectBytes(got.codes, want.codes);
      }),
      { numRuns: 2000 },
    );
  });

  it('rounds to nearest, ties to the even code, saturates at 6, and -0 is code 0', () => {
    const x = row(6, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, -0.25, -0.75, -1.25, -6, -0, 0.2500001, 5.0000005, -0.1);
    const { codes, sf } = quantizeNvfp4(x, { m: 1, k: 16, globalDecodeScale: one });
    expect(sf[0]).toBe(encodeE4m3(1));
    expect(codesOf(codes)).toEqual([7, 0, 2, 2, 4, 4, 6, 6, 8, 10, 10, 15, 0, 1, 7, 8]);
    const loud = quantizeNvfp4(row(1e6, -1e6, 448 * 5), { m: 1, k: 16, globalDecodeScale: one });
    expect(loud.sf[0]).toBe(0x7e);
    expect(codesOf(loud.codes).slice(0, 3)).toEqual([7, 15, 6]);
  });

  it('gives a zero block the scale 1, and a tiny one the scale 2^-9', () => {
    const x = Float32Array.from([...row(-0), ...row(1e-6), ...row(6)]);
    const { codes, sf } = quantizeNvfp4(x, { m: 1, k: 48, globalDecodeScale: one });
    expect([...sf]).toEqual([0x38, 1, 0x38]);
    expect(codesOf(codes).filter((c) => c !== 0)).toEqual([7]);
  });

  it('divides where a reciprocal would give another code', () => {
    // 1/3 is not exact: x * (1/d) and x / d differ for some x at a tie.
    const g = globalDecodeScale(Math.fround(1 / 3));
    const x = seeded(3).floats(16 * 4096);
    for (let i = 0; i < x.length; i++)
      x[i] = Math.fround(Math.fround(g * 1.125) * [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 6][i % 8]!);
    const got = quantizeNvfp4(x, { m: 1, k: x.length, globalDecodeScale: g });
    expectBytes(got.codes, slowModelOpt(x, g).codes);
  });

  it('gives zero codes where the scale product underflows to zero', () => {
    const g = globalDecodeScale(2 ** -149);
    const { codes, sf } = quantizeNvfp4(row(2 ** -149, -(2 ** -149)), { m: 1, k: 16, globalDecodeScale: g });
    expect(sf[0]).toBe(encodeE4m3(Math.fround(1 / 6)));
    expect([...codes]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it('reads a view at an odd offset', () => {
    const x = seeded(4).floats(33);
    const view = x.subarray(1);
    const shape = { m: 2, k: 16, globalDecodeScale: globalDecodeScaleFromAmax(amaxOf(view)) };
    const codes = new Uint8Array(19).subarray(3);
    const sf = new Uint8Array(5).subarray(3);
    quantizeNvfp4(view, shape, codes, sf);
    const want = quantizeNvfp4(view.slice(), shape);
    expectBytes(codes, want.codes);
    expectBytes(sf, want.sf);
  });

  it('names the index of what is not finite, and writes nothing', () => {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const x = new Float32Array(48).fill(1);
      x[37] = bad;
      const codes = new Uint8Array(24).fill(0xcc);
      const sf = new Uint8Array(3).fill(0xcc);
      expect(() => quantizeNvfp4(x, { m: 3, k: 16, globalDecodeScale: one }, codes, sf)).toThrow(
        `quantizeNvfp4: "x" must be finite, got ${bad} at index 37`,
      );
      expect([...codes, ...sf].every((b) => b === 0xcc)).toBe(true);
      expect(() => quantizeNvfp4(x, { m: 2, k: 16, globalDecodeScale: one })).not.toThrow(); // beyond m * k
    }
  });

  it('says what is wrong', () => {
    const x = new Float32Array(32);
    const u8 = new Uint8Array(32);
    const shape = { m: 2, k: 16, globalDecodeScale: one };
    expect(() => quantizeNvfp4(x, { ...shape, k: 24 })).toThrow('quantizeNvfp4: "k" must be a multiple of 16, got 24');
    expect(() => quantizeNvfp4(x, { ...shape, m: -1 }, u8, u8)).toThrow('"m" must be an integer at least 0, got -1');
    expect(() => quantizeNvfp4(x.subarray(1), shape)).toThrow('"x" must hold at least M*K = 32 elements, got 31');
    expect(() => quantizeNvfp4(x, shape, u8.subarray(17), u8)).toThrow(
      '"codes" must hold at least M*K/2 = 16 elements, got 15',
    );
    expect(() => quantizeNvfp4(x, shape, u8, u8.subarray(31))).toThrow(
      '"sf" must hold at least M*K/16 = 2 elements, got 1',
    );
    expect(() => quantizeNvfp4(u8 as unknown as Float32Array, shape)).toThrow(
      '"x" must be a Float32Array, got Uint8Array',
    );
    expect(() => quantizeNvfp4(x, shape, x as unknown as Uint8Array)).toThrow(
      '"codes" must be a Uint8Array, got Float32Array',
    );
    expect(() => quantizeNvfp4(x, shape, u8, x as unknown as Uint8Array)).toThrow(
      '"sf" must be a Uint8Array, got Float32Array',
    );
    for (const g of [0, -1, NaN, Infinity, 1e-50]) {
      expect(() => quantizeNvfp4(x, { ...shape, globalDecodeScale: g as GlobalDecodeScale })).toThrow(
        `quantizeNvfp4: "globalDecodeScale" must be a finite number above 0, got ${Math.fround(g)}`,
      );
    }
    expect(() => quantizeNvfp4(x, { ...shape, globalDecodeScale: globalDecodeScale(1e37) })).toThrow(
      'quantizeNvfp4: "448 * globalDecodeScale" must be a finite number above 0, got Infinity',
    );
  });
});

it('allocates no buffers when given its outputs', () => {
  const shape = { m: 64, k: 256, globalDecodeScale: globalDecodeScale(0.001) };
  const x = seeded(5).floats(64 * 256);
  const codes = new Uint8Array(64 * 128);
  const sf = new Uint8Array(64 * 16);
  const out = new Float32Array(64 * 256);
  const run = (): void => {
    quantizeNvfp4(x, shape, codes, sf);
    dequantizeNvfp4(codes, sf, shape, out);
  };
  run();
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 50; i++) run();
  expect(process.memoryUsage().arrayBuffers).toBeLessThan(before + codes.length);
});

describe('dequantizeNvfp4', () => {
  it('rounds the product of the scales first', () => {
    const [m, k] = [5, 32];
    const random = seeded(9);
    const codes = random.bytes((m * k) / 2 + 1);
    const sf = random.scales((m * k) / 16, true);
    const g = globalDecodeScale(0.0321);
    const out = new Float32Array(m * k + 2).fill(NaN);
    expect(dequantizeNvfp4(codes, sf, { m, k, globalDecodeScale: g }, out)).toBe(out);
    let onceDiffers = 0;
    for (let i = 0; i < m * k; i++) {
      const once = Math.fround(value(codes, sf, i) * g);
      const e2m1 = value(
        codes,
        Uint8Array.from(sf, () => 0x38),
        i,
      );
      const want = Math.fround(e2m1 * Math.fround(value(new Uint8Array(1).fill(2), sf.subarray(i >> 4), 0) * g));
      expect(Object.is(out[i], want)).toBe(true);
      if (once !== want) onceDiffers++;
    }
    expect(onceDiffers).toBeGreaterThan(0); // the data can tell the two rules apart
    expect([...out.subarray(m * k)]).toEqual([NaN, NaN]);
  });

  it('gives nothing for nothing', () => {
    const empty = new Uint8Array(0);
    expect(dequantizeNvfp4(empty, empty, { m: 0, k: 16, globalDecodeScale: one }).length).toBe(0);
  });

  it('says what is wrong', () => {
    const codes = new Uint8Array(16);
    const sf = Uint8Array.of(0x38, 0x38);
    const shape = { m: 2, k: 16, globalDecodeScale: one };
    const floats = new Float32Array(31);
    expect(() => dequantizeNvfp4(codes, Uint8Array.of(0x38, 0x7f), shape)).toThrow(
      'dequantizeNvfp4: "sf" must not be NaN, got byte 0x7f at index 1',
    );
    expect(() => dequantizeNvfp4(codes, Uint8Array.of(0xff, 0x38), shape)).toThrow('got byte 0xff at index 0');
    expect(() => dequantizeNvfp4(codes, Uint8Array.of(0x38, 0x38, 0x7f), shape)).not.toThrow();
    expect(() => dequantizeNvfp4(codes.subarray(1), sf, shape)).toThrow(
      '"codes" must hold at least M*K/2 = 16 elements, got 15',
    );
    expect(() => dequantizeNvfp4(codes, sf.subarray(1), shape)).toThrow(
      '"sf" must hold at least M*K/16 = 2 elements, got 1',
    );
    expect(() => dequantizeNvfp4(codes, sf, shape, floats)).toThrow(
      '"out" must hold at least M*K = 32 elements, got 31',
    );
    expect(() => dequantizeNvfp4(codes, sf, { ...shape, k: 8 })).toThrow('"k" must be a multiple of 16, got 8');
    expect(() => dequantizeNvfp4(codes, sf, { ...shape, m: 0.5 }, floats)).toThrow(
      '"m" must be an integer at least 0, got 0.5',
    );
    const bad = floats as unknown as Uint8Array;
    expect(() => dequantizeNvfp4(bad, sf, shape)).toThrow('"codes" must be a Uint8Array, got Float32Array');
    expect(() => dequantizeNvfp4(codes, bad, shape)).toThrow('"sf" must be a Uint8Array, got Float32Array');
    expect(() => dequantizeNvfp4(codes, sf, shape, codes as unknown as Float32Array)).toThrow(
      '"out" must be a Float32Array',
    );
    expect(() => dequantizeNvfp4(codes, sf, { ...shape, globalDecodeScale: -1 as GlobalDecodeScale })).toThrow(
      'dequantizeNvfp4: "globalDecodeScale" must be a finite number above 0, got -1',
    );
  });
});
