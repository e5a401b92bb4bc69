import {
  amaxOf,
  dequantizeNvfp4,
  globalDecodeScaleFromAmax,
  quantizationError,
  quantizeNvfp4,
  saturationStatistics,
} from '@megamoe/nvfp4-quant';
import { seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';

describe('saturationStatistics', () => {
  it('counts each kind', () => {
    const sf = Uint8Array.of(0x7e, 0x01, 0x00, 0x80, 0x7f, 0xff, 0xb8, 0xfe, 0x38);
    const codes = new Uint8Array(9 * 8);
    codes[0] = 0x7f; // +6 and -6
    codes[8] = 0x81; // .5 and -0
    codes.fill(0x88, 16, 24); // all -0
    expect(saturationStatistics(codes, sf, { m: 1, k: 144 })).toEqual({
      blocks: 9,
      saturatedScales: 2,
      minimumScales: 1,
      zeroScales: 2,
      nanScales: 2,
      negativeScales: 2,
      zeroBlocks: 7,
      codes: 144,
      maxCodes: 2,
      zeroCodes: 144 - 3,
    });
  });

  it('sees a calibrated scale that is ten times too small', () => {
    const [m, k] = [4, 256];
    const x = seeded(1).floats(m * k);
    const count = (factor: number): number => {
      const shape = { m, k, globalDecodeScale: globalDecodeScaleFromAmax(amaxOf(x) * factor) };
      const { codes, sf } = quantizeNvfp4(x, shape);
      return saturationStatistics(codes, sf, shape).saturatedScales;
    };
    expect(count(1)).toBeLessThanOrEqual(6); // those within 4 % of the largest
    expect(count(0.1)).toBe((m * k) / 16);
  });

  it('says what is wrong', () => {
    const sf = new Uint8Array(2);
    const codes = new Uint8Array(16);
    expect(() => saturationStatistics(codes, sf, { m: 1, k: 20 })).toThrow('"k" must be a multiple of 16, got 20');
    expect(() => saturationStatistics(codes, sf, { m: 1, k: 16 })).toThrow(
      '"codes" must have length M*K/2 = 8, got 16',
    );
    expect(() => saturationStatistics(codes, codes, { m: 2, k: 16 })).toThrow(
      '"sf" must have length M*K/16 = 2, got 16',
    );
    expect(() => saturationStatistics([] as unknown as Uint8Array, sf, { m: 0, k: 16 })).toThrow(
      '"codes" must be a Uint8Array',
    );
    expect(saturationStatistics(codes.subarray(16), sf.subarray(2), { m: 0, k: 16 })).toMatchObject({
      blocks: 0,
      codes: 0,
    });
  });
});

describe('quantizationError', () => {
  it('is what the definitions say', () => {
    const got = Float32Array.of(1, 2, 3, 5);
    const want = Float32Array.of(1, 2, 4, 4);
    const e = quantizationError(got, want);
    expect(e.relative).toBeCloseTo(Math.sqrt(2 / 37), 14);
    expect(e.cosine).toBeCloseTo(37 / Math.sqrt(39 * 37), 14);
    expect(e).toMatchObject({ maxAbs: 1, maxAbsAt: 2 });
  });

  it('has an answer for zeros', () => {
    const zero = new Float32Array(2);
    const x = Float32Array.of(0, 3);
    expect(quantizationError(zero, zero)).toEqual({ relative: 0, cosine: 1, maxAbs: 0, maxAbsAt: 0 });
    expect(quantizationError(zero, x)).toEqual({ relative: 1, cosine: 0, maxAbs: 3, maxAbsAt: 1 });
    expect(quantizationError(x, zero)).toEqual({ relative: Infinity, cosine: 0, maxAbs: 3, maxAbsAt: 1 });
    expect(quantizationError(new Float32Array(0), new Float32Array(0)).relative).toBe(0);
  });

  it('of NVFP4 on normal data is about 0.095', () => {
    const shape = { m: 64, k: 256, globalDecodeScale: globalDecodeScaleFromAmax(5) };
    const x = seeded(2).floats(64 * 256);
    const { codes, sf } = quantizeNvfp4(x, shape);
    const { relative, cosine } = quantizationError(dequantizeNvfp4(codes, sf, shape), x);
    expect(relative).toBeGreaterThan(0.085);
    expect(relative).toBeLessThan(0.105);
    expect(cosine).toBeGreaterThan(0.994);
  });

  it('says what is wrong', () => {
    const x = Float32Array.of(1, 2);
    expect(() => quantizationError(x, new Float32Array(3))).toThrow(
      'quantizationError: "got" must have length want.length = 3, got 2',
    );
    expect(() => quantizationError(Float32Array.of(1, NaN), x)).toThrow(
      'quantizationError: "got" must be finite, got NaN at index 1',
    );
    expect(() => quantizationError(x, Float32Array.of(Infinity, 0))).toThrow(
      '"want" must be finite, got Infinity at index 0',
    );
    expect(() => quantizationError([] as unknown as Float32Array, x)).toThrow(
      '"got" must be a Float32Array, got Array',
    );
    expect(() => quantizationError(x, [] as unknown as Float32Array)).toThrow(
      '"want" must be a Float32Array, got Array',
    );
  });
});
