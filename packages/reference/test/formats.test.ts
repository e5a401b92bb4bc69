import { encodeE2m1, encodeE4m3, E4M3_VALUES } from '@megamoe/core';
import { expectBytes, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import {
  dequantizeCompressedTensors,
  dequantizeFp8,
  dequantizeMxfp4,
  quantizeCompressedTensors,
  quantizeFp8,
  quantizeMxfp4,
} from '../src/index';

describe('FP8', () => {
  it('scales each tile of 128 x 128 by itself', () => {
    const [n, k] = [130, 129];
    const x = new Float32Array(n * k);
    x[0] = 448; // tile 0, 0
    x[1] = -0.4375; // its ties to even: 0.4375 is a code
    x[128] = 1; // tile 0, 1
    x[129 * k] = 3; // tile 1, 0; tile 1, 1 has zeros only
    const f32 = quantizeFp8(x, { n, k }, 'f32');
    expect([...f32.scales]).toEqual([1, 1 / 448, 3 / 448, 1].map(Math.fround));
    expect([f32.codes[0], f32.codes[1], f32.codes[128], f32.codes[129 * k]]).toEqual([0x7e, 0xae, 0x7e, 0x7e]);
    expect(f32.e8m0).toBeUndefined();
    const e8m0 = quantizeFp8(x, { n, k }, 'e8m0');
    // ceil(log2(1/448)) = -8, ceil(log2(3/448)) = -7, ceil(log2(1e-4/448)) = -22.
    expect([...e8m0.e8m0!]).toEqual([127, 119, 120, 105]);
    expect([...e8m0.scales]).toEqual([1, 2 ** -8, 2 ** -7, 2 ** -22]);
    expectBytes(dequantizeFp8(e8m0, { n, k }), Float64Array.from(x), [n, k]);
  });
  it('takes the nearest code, as the encoder of core does', () => {
    const x = seeded(3).floats(64 * 32);
    const { codes, scales } = quantizeFp8(x, { n: 64, k: 32 }, 'e8m0');
    expectBytes(codes, [...x].map((v) => encodeE4m3(v / scales[0]!)), [64, 32]); // prettier-ignore
  });
  it('refuses what does not fit', () => {
    expect(() => quantizeFp8([1, NaN], { n: 1, k: 2 }, 'f32')).toThrow('"x" must be finite');
    expect(() => quantizeFp8([1], { n: 1, k: 2 }, 'f32')).toThrow('N*K = 2, got 1');
    expect(() => dequantizeFp8({ codes: new Uint8Array(2), scales: new Float32Array(2) }, { n: 1, k: 2 })).toThrow(
      '"scales" must have length ceil(N/128)*ceil(K/128) = 1, got 2',
    );
  });
});

describe('MXFP4', () => {
  it('has a power of two for every 32 values, the even one in the low nibble', () => {
    const x = new Float32Array(64);
    x[0] = 6;
    x[1] = -3;
    x[33] = 7; // 7/6 needs 2
    const q = quantizeMxfp4(x, { n: 1, k: 64 });
    expect([...q.e8m0]).toEqual([127, 128]);
    expect([q.codes[0], q.codes[16]]).toEqual([0xd7, 0x60]); // 6 and -3; 0 and 3.5, a tie, 4
    const want = new Float64Array(64);
    [want[0], want[1], want[33]] = [6, -3, 8];
    expectBytes(dequantizeMxfp4(q, { n: 1, k: 64 }), want);
    expect([...quantizeMxfp4(new Float32Array(32), { n: 1, k: 32 }).e8m0]).toEqual([1]);
  });
  it('refuses what does not fit', () => {
    expect(() => quantizeMxfp4(new Float32Array(16), { n: 1, k: 16 })).toThrow('multiple of 32');
    expect(() => dequantizeMxfp4({ codes: new Uint8Array(16), e8m0: new Uint8Array(2) }, { n: 1, k: 32 })).toThrow(
      '"e8m0" must have length N*K/32 = 1, got 2',
    );
  });
});

describe('compressed-tensors NVFP4', () => {
  it('divides by its global scale', () => {
    const x = seeded(5).floats(4 * 32);
    x.fill(0, 16, 32);
    const shape = { n: 4, k: 32 };
    const q = quantizeCompressedTensors(x, shape);
    const amax = Math.max(...x.map(Math.abs));
    expect(q.globalEncodeScale).toBe(Math.fround(2688 / amax));
    expect(q.sf[1]).toBe(0x20); // 0.125 over zeros
    expect(Math.max(...q.sf)).toBe(0x7e);
    const step = (i: number): number => Math.fround(E4M3_VALUES[q.sf[i >> 4]!]! / q.globalEncodeScale);
    const code = (i: number): number => (q.codes[i >> 1]! >> (4 * (i & 1))) & 15;
    for (let i = 0; i < x.length; i++) expect(code(i)).toBe(encodeE2m1(Math.fround(x[i]! / step(i))));
    const back = dequantizeCompressedTensors(q, shape);
    for (let i = 0; i < x.length; i++) expect(Math.abs(back[i]! - x[i]!)).toBeLessThan(2 * step(i));
    expect(quantizeCompressedTensors(new Float32Array(16), { n: 1, k: 16 }).globalEncodeScale).toBe(1);
  });
});
