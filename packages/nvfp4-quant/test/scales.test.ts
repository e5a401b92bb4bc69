import {
  amaxOf,
  compressedTensorsGlobalScale,
  gemmAlpha,
  globalDecodeScale,
  globalDecodeScaleFromAmax,
  globalEncodeScale,
  likelyDirection,
  NVFP4_RANGE,
  toGlobalDecodeScale,
  toGlobalEncodeScale,
} from '@megamoe/nvfp4-quant';
import type { GlobalDecodeScale, GlobalEncodeScale, Nvfp4Shape } from '@megamoe/nvfp4-quant';
import { describe, expect, expectTypeOf, it } from 'vitest';

describe('global scales', () => {
  it('have a direction that the compiler knows', () => {
    expectTypeOf(globalDecodeScale(1)).toEqualTypeOf<GlobalDecodeScale>();
    expectTypeOf<GlobalEncodeScale>().not.toExtend<GlobalDecodeScale>();
    expectTypeOf<number>().not.toExtend<GlobalDecodeScale>();
    expectTypeOf<GlobalDecodeScale>().toExtend<number>();
    // @ts-expect-error an encode scale is no decode scale
    const shape: Nvfp4Shape = { m: 1, k: 16, globalDecodeScale: globalEncodeScale(1) };
    expect(shape.k).toBe(16);
  });

  it('come from amax by one float32 division', () => {
    expect(NVFP4_RANGE).toBe(2688);
    expect(globalDecodeScaleFromAmax(0.107421875)).toBe(Math.fround(0.107421875 / 2688));
    expect(globalDecodeScaleFromAmax(0.1)).toBe(Math.fround(Math.fround(0.1) / 2688)); // amax is float32
    expect(compressedTensorsGlobalScale(1)).toBe(2688);
    expect(compressedTensorsGlobalScale(0.1)).toBe(Math.fround(2688 / Math.fround(0.1)));
  });

  it('of nothing but zeros is 1, and never 0 or infinite', () => {
    expect(globalDecodeScaleFromAmax(0)).toBe(1);
    expect(globalDecodeScaleFromAmax(2 ** -149)).toBe(2 ** -149);
    expect(globalDecodeScaleFromAmax(3.4e38)).toBe(Math.fround(Math.fround(3.4e38) / 2688));
    expect(compressedTensorsGlobalScale(0)).toBe(1);
    expect(compressedTensorsGlobalScale(1e-38)).toBe(1);
  });

  it('turn into each other by one float32 division', () => {
    const decode = globalDecodeScale(3.7e-5);
    const encode = toGlobalEncodeScale(decode);
    expect(encode).toBe(Math.fround(1 / Math.fround(3.7e-5)));
    expect(toGlobalDecodeScale(encode)).toBe(Math.fround(1 / encode));
    expect(toGlobalDecodeScale(globalEncodeScale(2 ** 13))).toBe(2 ** -13);
    expect(globalDecodeScale(0.1)).toBe(Math.fround(0.1));
    expect(globalEncodeScale(0.1)).toBe(Math.fround(0.1));
  });

  it('multiply to the GEMM epilogue', () => {
    expect(gemmAlpha(globalDecodeScale(0.1), globalDecodeScale(0.3))).toBe(
      Math.fround(Math.fround(0.1) * Math.fround(0.3)),
    );
  });

  it('tell their direction by their size, roughly', () => {
    expect([4e-5, 2688, 1, 1 / 16, 16].map(likelyDirection)).toEqual([
      'decode',
      'encode',
      'unclear',
      'unclear',
      'unclear',
    ]);
  });

  it.each<[string, () => unknown]>([
    ['globalDecodeScale: "value" must be a finite number above 0, got 0', () => globalDecodeScale(0)],
    ['globalDecodeScale: "value" must be a finite number above 0, got NaN', () => globalDecodeScale(NaN)],
    ['globalDecodeScale: "value" must be a finite number above 0, got 0', () => globalDecodeScale(1e-60)],
    ['globalEncodeScale: "value" must be a finite number above 0, got Infinity', () => globalEncodeScale(1e60)],
    ['globalEncodeScale: "value" must be a finite number above 0, got -2', () => globalEncodeScale(-2)],
    [
      'toGlobalEncodeScale: "value" must be a finite number above 0, got Infinity',
      () => toGlobalEncodeScale(globalDecodeScale(1e-40)),
    ],
    [
      'toGlobalEncodeScale: "scale" must be a finite number above 0, got 0',
      () => toGlobalEncodeScale(0 as GlobalDecodeScale),
    ],
    [
      'toGlobalDecodeScale: "scale" must be a finite number above 0, got -1',
      () => toGlobalDecodeScale(-1 as GlobalEncodeScale),
    ],
    [
      'gemmAlpha: "a" must be a finite number above 0, got NaN',
      () => gemmAlpha(NaN as GlobalDecodeScale, globalDecodeScale(1)),
    ],
    [
      'gemmAlpha: "b" must be a finite number above 0, got 0',
      () => gemmAlpha(globalDecodeScale(1), 0 as GlobalDecodeScale),
    ],
    [
      'gemmAlpha: "value" must be a finite number above 0, got 0',
      () => gemmAlpha(globalDecodeScale(1e-30), globalDecodeScale(1e-30)),
    ],
    [
      'globalDecodeScaleFromAmax: "amax" must be a finite number of at least 0, got -1',
      () => globalDecodeScaleFromAmax(-1),
    ],
    [
      'globalDecodeScaleFromAmax: "amax" must be a finite number of at least 0, got NaN',
      () => globalDecodeScaleFromAmax(NaN),
    ],
    [
      'compressedTensorsGlobalScale: "amax" must be a finite number of at least 0, got Infinity',
      () => compressedTensorsGlobalScale(Infinity),
    ],
    ['likelyDirection: "value" must be a finite number above 0, got 0', () => likelyDirection(0)],
  ])('%s', (message, run) => expect(run).toThrow(message));
});

describe('amaxOf', () => {
  it('is the largest magnitude of the first values', () => {
    const x = Float32Array.of(1, -3, 2, NaN);
    expect(amaxOf(x, 3)).toBe(3);
    expect(amaxOf(x, 0)).toBe(0);
    expect(amaxOf(new Float32Array(0))).toBe(0);
    expect(amaxOf(Float32Array.of(-0))).toBe(0);
  });

  it('says what is wrong', () => {
    const x = Float32Array.of(1, -Infinity, NaN);
    expect(() => amaxOf(x)).toThrow('amaxOf: "x" must be finite, got -Infinity at index 1');
    expect(() => amaxOf(x, 4)).toThrow('amaxOf: "count" must be at most x.length = 3, got 4');
    expect(() => amaxOf(x, -1)).toThrow('amaxOf: "count" must be an integer at least 0, got -1');
    expect(() => amaxOf([1] as unknown as Float32Array)).toThrow('amaxOf: "x" must be a Float32Array, got Array');
  });
});
