import { encodeE4m3 } from '@megamoe/core';
import {
  amaxOf,
  compressedTensorsGlobalScale,
  dequantizeCompressedTensors,
  dequantizeNvfp4,
  globalEncodeScale,
  quantizationError,
  quantizeCompressedTensors,
  toGlobalDecodeScale,
} from '@megamoe/nvfp4-quant';
import type { GlobalEncodeScale } from '@megamoe/nvfp4-quant';
import { expectBytes, seeded } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { slowCompressedTensors, value } from './oracle';

const one = globalEncodeScale(1);
const row = (...values: number[]): Float32Array => Float32Array.from({ length: 16 }, (_, i) => values[i] ?? 0);

describe('quantizeCompressedTensors', () => {
  it.each([
    { m: 0, k: 16 },
    { m: 1, k: 16 },
    { m: 3, k: 48 },
    { m: 9, k: 256 },
  ])('equals the slow rule: $m x $k', ({ m, k }) => {
    for (const factor of [1, 1 / 30, 1e4]) {
      const x = seeded(m * k).floats(m * k + 1);
      const g = compressedTensorsGlobalScale(amaxOf(x) * factor);
      const codes = new Uint8Array((m * k) / 2 + 1).fill(0xcc);
      const sf = new Uint8Array((m * k) / 16 + 1).fill(0xcc);
      quantizeCompressedTensors(x, { m, k, globalEncodeScale: g }, codes, sf);
      const want = slowCompressedTensors(x.subarray(0, m * k), g);
      expectBytes(codes, [...want.codes, 0xcc]);
      expectBytes(sf, [...want.sf, 0xcc]);
    }
  });

  it('equals the slow rule on any float32 and any scale', () => {
    const finite = fc.float({ noNaN: true, noDefaultInfinity: true });
    const scale = fc.float({ min: Math.fround(2e-36), max: Math.fround(3e38), noNaN: true });
    fc.assert(
      fc.property(fc.array(finite, { minLength: 16, maxLength: 16 }), scale, (values, g) => {
        const x = Float32Array.from(values);
        const got = quantizeCompressedTensors(x, { m: 1, k: 16, globalEncodeScale: globalEncodeScale(g) });
        const want = slowCompressedTensors(x, g);
        expectBytes(got.sf, want.sf);
        expectBytes(got.codes, want.codes);
      }),
      { numRuns: 2000 },
    );
  });

  it('gives zero blocks the scale 0.125 and keeps the sign of -0', () => {
    const x = Float32Array.from([...row(0, -0), ...row(1e-9, -1e-9), ...row(6, -0, -0.1, 1e9)]);
    const { codes, sf } = quantizeCompressedTensors(x, { m: 1, k: 48, globalEncodeScale: one });
    expect([...sf]).toEqual([encodeE4m3(0.125), encodeE4m3(0.125), 0x7e]);
    expect([codes[0], codes[8], codes[16], codes[17]]).toEqual([0x80, 0x80, 0x80, 0x78]);
  });

  it('says what is wrong', () => {
    const x = new Float32Array(32);
    const u8 = new Uint8Array(16);
    const shape = { m: 2, k: 16, globalEncodeScale: one };
    const fn = 'quantizeCompressedTensors';
    const bad = x.slice();
    bad[20] = NaN;
    expect(() => quantizeCompressedTensors(bad, shape)).toThrow(`${fn}: "x" must be finite, got NaN at index 20`);
    expect(() => quantizeCompressedTensors(x, { ...shape, k: 15 }, u8, u8)).toThrow(
      `${fn}: "k" must be a multiple of 16, got 15`,
    );
    expect(() => quantizeCompressedTensors(x.subarray(1), shape)).toThrow(
      `${fn}: "x" must hold at least M*K = 32 elements, got 31`,
    );
    expect(() => quantizeCompressedTensors(x, shape, u8.subarray(1))).toThrow(
      `${fn}: "codes" must hold at least M*K/2 = 16 elements, got 15`,
    );
    expect(() => quantizeCompressedTensors(x, shape, u8, u8.subarray(15))).toThrow(
      `${fn}: "sf" must hold at least M*K/16 = 2 elements, got 1`,
    );
    expect(() => quantizeCompressedTensors(u8 as unknown as Float32Array, shape)).toThrow(
      `${fn}: "x" must be a Float32Array`,
    );
    expect(() => quantizeCompressedTensors(x, shape, x as unknown as Uint8Array)).toThrow(
      `${fn}: "codes" must be a Uint8Array`,
    );
    expect(() => quantizeCompressedTensors(x, shape, u8, x as unknown as Uint8Array)).toThrow(
      `${fn}: "sf" must be a Uint8Array`,
    );
    expect(() => quantizeCompressedTensors(x, { ...shape, globalEncodeScale: 0 as GlobalEncodeScale })).toThrow(
      `${fn}: "globalEncodeScale" must be a finite number above 0, got 0`,
    );
    expect(() => quantizeCompressedTensors(x, { ...shape, globalEncodeScale: globalEncodeScale(1e-38) })).toThrow(
      `${fn}: "448 / globalEncodeScale" must be a finite number above 0, got Infinity`,
    );
  });
});

describe('dequantizeCompressedTensors', () => {
  it('divides the block scale first', () => {
    const [m, k] = [4, 32];
    const codes = seeded(1).bytes(64);
    const sf = seeded(2).scales(8, true);
    const g = globalEncodeScale(81.3);
    const out = new Float32Array(m * k + 1).fill(NaN);
    expect(dequantizeCompressedTensors(codes, sf, { m, k, globalEncodeScale: g }, out)).toBe(out);
    for (let i = 0; i < m * k; i++) {
      const unit = value(
        codes,
        Uint8Array.from(sf, () => 0x38),
        i,
      );
      const scale = value(Uint8Array.of(2), sf.subarray(i >> 4), 0);
      expect(Object.is(out[i], Math.fround(unit * Math.fround(scale / g)))).toBe(true);
    }
    expect(out.at(-1)).toBeNaN();
  });

  it('agrees with ModelOpt reading the same bytes, to the rounding of the inverse', () => {
    const [m, k] = [8, 64];
    const x = seeded(3).floats(m * k);
    const g = compressedTensorsGlobalScale(amaxOf(x));
    const { codes, sf } = quantizeCompressedTensors(x, { m, k, globalEncodeScale: g });
    const theirs = dequantizeCompressedTensors(codes, sf, { m, k, globalEncodeScale: g });
    const ours = dequantizeNvfp4(codes, sf, { m, k, globalDecodeScale: toGlobalDecodeScale(g) });
    expect(quantizationError(ours, theirs).relative).toBeLessThan(1e-6);
    expect(quantizationError(theirs, x).relative).toBeLessThan(0.11);
  });

  it('says what is wrong', () => {
    const shape = { m: 1, k: 16, globalEncodeScale: one };
    const fn = 'dequantizeCompressedTensors';
    const codes = new Uint8Array(8);
    expect(() => dequantizeCompressedTensors(codes, Uint8Array.of(0xff), shape)).toThrow(
      `${fn}: "sf" must not be NaN, got byte 0xff at index 0`,
    );
    expect(() => dequantizeCompressedTensors(codes, codes, { ...shape, m: 2 })).toThrow(
      `${fn}: "codes" must hold at least M*K/2 = 16`,
    );
    expect(() =>
      dequantizeCompressedTensors(codes, codes, { ...shape, globalEncodeScale: NaN as GlobalEncodeScale }),
    ).toThrow(`${fn}: "globalEncodeScale" must be a finite number above 0, got NaN`);
  });
});
