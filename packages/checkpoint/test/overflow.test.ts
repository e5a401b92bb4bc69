import { describe, expect, it } from 'vitest';
import { matrixToFloat32, type MatrixTensor } from '../src/index';

describe('matrixToFloat32 at the end of float32', () => {
  // One row of 32: all codes 1 but the last, which is the one given (E2M1 code 5 is 3, 6 is 4, 7 is 6).
  const mxfp4 = (byte: number, last: number): MatrixTensor => {
    const codes = new Uint8Array(32).fill(0x22);
    codes[31] = 0x02 | (last << 4);
    return { format: 'mxfp4', n: 2, k: 32, codes, e8m0: Uint8Array.of(127, byte) };
  };
  it.each([
    [252, 7, 6 * 2 ** 125],
    [253, 5, 3 * 2 ** 126],
    [254, 3, 1.5 * 2 ** 127],
    [0, 1, 2 ** -128],
  ])('MXFP4 scale byte %i with code %i is exact', (byte, last, want) => {
    expect(matrixToFloat32(mxfp4(byte, last)).at(-1)).toBe(want);
  });
  it.each([
    [253, 6],
    [254, 4],
    [254, 15],
  ])('MXFP4 scale byte %i with code %i is no float32: an error that says where', (byte, last) => {
    expect(() => matrixToFloat32(mxfp4(byte, last))).toThrow(
      'matrixToFloat32: the MXFP4 value at row 1, column 31 is above the largest float32: its scale is damaged',
    );
  });
  it('MXFP4 scale byte 255 is NaN: an error', () => {
    expect(() => matrixToFloat32(mxfp4(255, 1))).toThrow(/"e8m0" must not be NaN, got byte 0xff at index 1/);
  });
  it('FP8 and NVFP4 with a scale too large', () => {
    const fp8 = (scale: number): MatrixTensor => ({
      ...{ format: 'fp8', n: 1, k: 2, codes: Uint8Array.of(0x38, 0x7e), scales: Float32Array.of(scale) },
    });
    expect([...matrixToFloat32(fp8(2 ** 119))]).toEqual([2 ** 119, 448 * 2 ** 119]);
    expect(() => matrixToFloat32(fp8(2 ** 120))).toThrow(/the FP8 value at row 0, column 1 is above the largest/);
    const nvfp4 = (g: number): MatrixTensor => ({
      ...{ format: 'nvfp4', n: 1, k: 16, codes: new Uint8Array(8).fill(0x27), sf: Uint8Array.of(0x7e) },
      ...{ weightGlobalDecodeScale: g, convention: 'modelopt' },
    });
    expect(matrixToFloat32(nvfp4(2 ** 116))[0]).toBe(6 * 448 * 2 ** 116);
    expect(() => matrixToFloat32(nvfp4(2 ** 117))).toThrow(/the NVFP4 value at row 0, column 0 is above the largest/);
  });
});
