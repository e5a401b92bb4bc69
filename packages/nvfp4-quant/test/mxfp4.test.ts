import { E4M3_VALUES, encodeE4m3 } from '@megamoe/core';
import {
  castMxfp4ToNvfp4,
  dequantizeMxfp4,
  dequantizeNvfp4,
  mxfp4MaxExponent,
  quantizeNvfp4,
} from '@megamoe/nvfp4-quant';
import { expectBytes, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';

const plus = (x: Float32Array): Float32Array => x.map((v) => v + 0); // -0 becomes +0

describe('dequantizeMxfp4', () => {
  it('is exact: code times a power of two', () => {
    const codes = new Uint8Array(34).fill(0xcc);
    codes.set([0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe]);
    const out = new Float32Array(65).fill(NaN);
    expect(dequantizeMxfp4(codes, Uint8Array.of(127 - 3, 0), { m: 2, k: 32 }, out)).toBe(out);
    expectBytes(
      out.subarray(0, 16),
      [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6].map((v) => v / 8),
    );
    expect(out[32]).toBe(-2 * 2 ** -127); // byte 0 is 2^-127, a subnormal
    expect(out[64]).toBeNaN();
  });

  it('says what is wrong', () => {
    const codes = new Uint8Array(16);
    expect(() => dequantizeMxfp4(codes, Uint8Array.of(255), { m: 1, k: 32 })).toThrow(
      'dequantizeMxfp4: "e8m0" must not be NaN, got byte 0xff at index 0',
    );
    expect(() => dequantizeMxfp4(codes, codes, { m: 1, k: 16 })).toThrow('"k" must be a multiple of 32, got 16');
    expect(() => dequantizeMxfp4(codes, codes, { m: 2, k: 32 })).toThrow('"codes" must hold at least M*K/2 = 32');
    expect(() => dequantizeMxfp4(codes, codes.subarray(16), { m: 1, k: 32 })).toThrow(
      '"e8m0" must hold at least M*K/32 = 1',
    );
    expect(() => dequantizeMxfp4(codes, codes, { m: 1, k: 32 }, new Float32Array(31))).toThrow(
      '"out" must hold at least M*K = 32',
    );
    expect(() => dequantizeMxfp4(codes, [1] as unknown as Uint8Array, { m: 1, k: 32 })).toThrow(
      '"e8m0" must be a Uint8Array',
    );
  });
});

describe('castMxfp4ToNvfp4', () => {
  it('keeps every value while exponents lie within 17 of the largest', () => {
    for (const top of [127 - 20, 127, 254 - 8, 18]) {
      const [m, k] = [6, 96];
      const random = seeded(top);
      const mx = random.bytes((m * k) / 2);
      const e8m0 = Uint8Array.from({ length: (m * k) / 32 }, (_, i) => top - (i % 18));
      const codes = new Uint8Array((m * k) / 2).fill(0xcc);
      const sf = new Uint8Array((m * k) / 16).fill(0xcc);
      const cast = castMxfp4ToNvfp4(mx, e8m0, { m, k }, codes, sf);
      expect(cast).toEqual({
        codes,
        sf,
        globalDecodeScale: 2 ** (top - 127 - 8),
        inexactBlocks: 0,
        outOfRangeBlocks: 0,
      });
      expect([...sf.subarray(0, 4)].map((b) => E4M3_VALUES[b])).toEqual([256, 256, 128, 128]);
      const got = dequantizeNvfp4(codes, sf, { m, k, globalDecodeScale: cast.globalDecodeScale });
      expectBytes(got, plus(dequantizeMxfp4(mx, e8m0, { m, k })), [m, k]);
      // Codes are the same but for -0.
      mx.forEach((pair, i) => {
        const want = [pair & 15, pair >> 4].map((c) => (c === 8 ? 0 : c));
        expect(codes[i]).toBe(want[0]! | (want[1]! << 4));
      });
    }
  });

  it('quantizes blocks further below by the amax of their 32 values', () => {
    const k = 96;
    const mx = new Uint8Array(48);
    mx.fill(0x77, 0, 16); // 6, exponent 0
    mx.fill(0x12, 16, 32); // 1 and .5, exponent -18: out of range, amax 1
    mx.fill(0x77, 32, 48); // 6, exponent -40: lost
    const e8m0 = Uint8Array.of(127, 127 - 18, 127 - 40);
    const cast = castMxfp4ToNvfp4(mx, e8m0, { m: 1, k });
    const g = cast.globalDecodeScale;
    expect(g).toBe(2 ** -8);
    // amax / (6 g) = 2^-18 / (6 * 2^-8) = 2^-10 / 6, clamped to 2^-9: codes of 2^-18 / 2^-17 = .5 and .25
    expect([...cast.sf]).toEqual([encodeE4m3(256), encodeE4m3(256), 1, 1, 1, 1]);
    expect(cast.codes[16]).toBe(0x01);
    expect([...cast.codes.subarray(32)].every((b) => b === 0)).toBe(true);
    expect(cast).toMatchObject({ inexactBlocks: 2, outOfRangeBlocks: 2 });
    // The same as ModelOpt's rule on the values where both 16-blocks have the same amax.
    const x = dequantizeMxfp4(mx, e8m0, { m: 1, k });
    const quantized = quantizeNvfp4(x, { m: 1, k, globalDecodeScale: g });
    expectBytes(cast.codes.subarray(16), quantized.codes.subarray(16));
    expectBytes(cast.sf.subarray(2), quantized.sf.subarray(2));
  });

  it('counts an out-of-range block that happens to be exact as exact', () => {
    const mx = new Uint8Array(32);
    mx.fill(0x22, 0, 16); // 1
    mx.fill(0x44, 16, 32); // 2 * 2^-18 = 1 * 2^-17
    const cast = castMxfp4ToNvfp4(mx, Uint8Array.of(127, 127 - 18), { m: 1, k: 64 });
    expect(cast).toMatchObject({ inexactBlocks: 0, outOfRangeBlocks: 1 });
    expect(cast.codes[16]).toBe(0x22);
  });

  it('takes byte 0 for an all-zero block: scale 1, not counted', () => {
    const mx = new Uint8Array(32).fill(0x11);
    mx.fill(0x80, 16);
    const cast = castMxfp4ToNvfp4(mx, Uint8Array.of(130, 0), { m: 1, k: 64 });
    expect([...cast.sf]).toEqual([encodeE4m3(256), encodeE4m3(256), 0x38, 0x38]);
    expect([...cast.codes.subarray(16)].every((b) => b === 0)).toBe(true);
    expect(cast).toMatchObject({ globalDecodeScale: 2 ** -5, inexactBlocks: 0, outOfRangeBlocks: 0 });
    const zero = castMxfp4ToNvfp4(new Uint8Array(16), new Uint8Array(1), { m: 1, k: 32 });
    expect(zero).toMatchObject({ globalDecodeScale: 2 ** -8, inexactBlocks: 0 });
    const nothing = castMxfp4ToNvfp4(new Uint8Array(0), new Uint8Array(0), { m: 0, k: 32 });
    expect(nothing).toMatchObject({ globalDecodeScale: 2 ** -8, inexactBlocks: 0 });
  });

  it('shares a global scale between w1 and w3', () => {
    const w1 = Uint8Array.of(120, 0, 118);
    const w3 = Uint8Array.of(125);
    expect(mxfp4MaxExponent(w1)).toBe(-7);
    const maxExponent = mxfp4MaxExponent(w1, w3);
    expect(maxExponent).toBe(-2);
    const mx = seeded(8).bytes(48);
    const cast = castMxfp4ToNvfp4(mx, w1, { m: 3, k: 32, maxExponent });
    expect(cast.globalDecodeScale).toBe(2 ** -10);
    const got = dequantizeNvfp4(cast.codes, cast.sf, { m: 3, k: 32, globalDecodeScale: cast.globalDecodeScale });
    const want = plus(dequantizeMxfp4(mx, w1, { m: 3, k: 32 }));
    expectBytes(got.subarray(0, 32), want.subarray(0, 32));
    expectBytes(got.subarray(64), want.subarray(64));
    expect(mxfp4MaxExponent()).toBe(0);
    expect(mxfp4MaxExponent(Uint8Array.of(0, 0))).toBe(0);
  });

  it('clamps blocks above a largest exponent that was given too small', () => {
    const mx = new Uint8Array(16).fill(0x27); // 6 and 1
    const cast = castMxfp4ToNvfp4(mx, Uint8Array.of(127 + 20), { m: 1, k: 32, maxExponent: 0 });
    expect([...cast.sf]).toEqual([0x7e, 0x7e]);
    expect(cast.codes[0]).toBe(0x77);
    expect(cast).toMatchObject({ inexactBlocks: 1, outOfRangeBlocks: 1 });
    const huge = castMxfp4ToNvfp4(mx, Uint8Array.of(254), { m: 1, k: 32, maxExponent: 0 }); // 6 * 2^127 is infinite
    expect(huge).toMatchObject({ inexactBlocks: 1, outOfRangeBlocks: 1 });
    expect(huge.codes[0]).toBe(0x77);
  });

  it('says what is wrong', () => {
    const mx = new Uint8Array(16);
    const e8m0 = Uint8Array.of(127);
    const shape = { m: 1, k: 32 };
    const fn = 'castMxfp4ToNvfp4';
    expect(() => castMxfp4ToNvfp4(mx, Uint8Array.of(255), shape)).toThrow(
      `${fn}: "e8m0" must not be NaN, got byte 0xff at index 0`,
    );
    expect(() => mxfp4MaxExponent(e8m0, Uint8Array.of(1, 255))).toThrow(
      'mxfp4MaxExponent: "e8m0" must not be NaN, got byte 0xff at index 1',
    );
    expect(() => mxfp4MaxExponent([1] as unknown as Uint8Array)).toThrow(
      'mxfp4MaxExponent: "e8m0" must be a Uint8Array',
    );
    expect(() => castMxfp4ToNvfp4(mx, e8m0, { m: 1, k: 16 })).toThrow(`${fn}: "k" must be a multiple of 32, got 16`);
    expect(() => castMxfp4ToNvfp4(mx.subarray(1), e8m0, shape)).toThrow(
      `${fn}: "mxCodes" must have length M*K/2 = 16, got 15`,
    );
    expect(() => castMxfp4ToNvfp4(mx, mx, shape)).toThrow(`${fn}: "e8m0" must have length M*K/32 = 1, got 16`);
    expect(() => castMxfp4ToNvfp4(mx, e8m0, shape, e8m0)).toThrow(`${fn}: "codes" must have length M*K/2 = 16, got 1`);
    expect(() => castMxfp4ToNvfp4(mx, e8m0, shape, mx.slice(), e8m0)).toThrow(
      `${fn}: "sf" must have length M*K/16 = 2, got 1`,
    );
    expect(() => castMxfp4ToNvfp4(mx, e8m0, { ...shape, maxExponent: 128 })).toThrow(
      `${fn}: "maxExponent" must be an integer in [-126, 127], got 128`,
    );
  });
});
