import { fileURLToPath } from 'node:url';
import { E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';
import { expectBytes, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import {
  dequantizeNvfp4,
  nvfp4GlobalDecodeScale,
  nvfp4RowDecodeScales,
  quantizeNvfp4,
  roundTripNvfp4,
} from '../src/index';
import { readSafetensors, tensor, values } from './checkpoint';

const codesOf = (bytes: Uint8Array): number[] => [...bytes].flatMap((b) => [b & 15, b >> 4]);

describe('against PyTorch', () => {
  const golden = readSafetensors(fileURLToPath(new URL('goldens/nvfp4.safetensors', import.meta.url)));
  it.each(['layers.0.ffn.experts.0.w1', 'layers.3.ffn.experts.7.w2'])('%s, byte for byte', (name) => {
    const { shape } = tensor(golden, `${name}.bf16`);
    const [m, k] = [shape[0]!, shape[1]!];
    const globalDecodeScale = values(golden, `${name}.weight_scale_2`)[0]!;
    const { codes, sf } = quantizeNvfp4(values(golden, `${name}.bf16`), { m, k, globalDecodeScale });
    expectBytes(codes, tensor(golden, `${name}.weight`).bytes, [m, k / 2]);
    expectBytes(sf, tensor(golden, `${name}.weight_scale`).bytes, [m, k / 16]);
  });
});

describe('rounding', () => {
  // amax 6 and g = 1/448 * 448 = 1: block scale 1, codes are the nearest E2M1 of the input itself.
  const block = (xs: number[]): number[] => {
    const x = new Float32Array(16);
    x.set(xs);
    x[15] = 6;
    const { codes, sf } = quantizeNvfp4(x, { m: 1, k: 16, globalDecodeScale: 1 });
    expect(E4M3_VALUES[sf[0]!]).toBe(1);
    return codesOf(codes).slice(0, xs.length);
  };
  it('sends midpoints to the even code', () => {
    expect(block([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5])).toEqual([0, 2, 2, 4, 4, 6, 6]);
    expect(block([-0.25, -0.75, -1.25, -1.75, -2.5, -3.5, -5])).toEqual([8, 10, 10, 12, 12, 14, 14]);
  });
  it('-0 has code 0, a small negative number code 8', () =>
    expect(block([-0, -1e-20, 1e-20, 0])).toEqual([0, 8, 0, 0]));
  it('rounds the input to float32 first', () => {
    expect(block([0.25 + 2 ** -40])).toEqual([0]);
    expect(block([0.25 + 2 ** -24])).toEqual([1]);
  });
});

it('divides, it does not multiply by the reciprocal', () => {
  const g = Math.fround(0.029);
  const x = new Float32Array(16).fill(2.5 * g, 0, 1).fill(6 * g, 1, 2);
  expect(Math.fround(x[0]! / g)).toBe(2.5); // a tie, down to code 4; the reciprocal lands above it
  expect(Math.fround(x[0]! * Math.fround(1 / g))).toBeGreaterThan(2.5);
  const { codes, sf } = quantizeNvfp4(x, { m: 1, k: 16, globalDecodeScale: g });
  expect([E4M3_VALUES[sf[0]!], codes[0]]).toEqual([1, 0x74]);
});

describe('block scales', () => {
  const scaleOf = (amax: number, globalDecodeScale: number): number => {
    const x = new Float64Array(16);
    x[3] = -amax;
    return E4M3_VALUES[quantizeNvfp4(x, { m: 1, k: 16, globalDecodeScale }).sf[0]!]!;
  };
  it('are the nearest E4M3 of amax / (6 g)', () => {
    expect(scaleOf(6 * 448, 1)).toBe(448);
    expect(scaleOf(6 * 1.0625, 1)).toBe(1); // tie between 1 (0x38) and 1.125 (0x39)
    expect(scaleOf(6 * 1.1875, 1)).toBe(1.25); // tie between 0x39 and 1.25 (0x3a)
    expect(scaleOf(3, 0.5)).toBe(1);
  });
  it('are computed in float32, step by step', () => {
    const g = Math.fround(0.005);
    const amax = Math.fround(1.0625 * Math.fround(6 * g)); // in float32 the tie 1.0625, down to 1; in float64 above it
    expect(amax / (6 * g)).toBeGreaterThan(1.0625);
    expect(scaleOf(amax, g)).toBe(1);
  });
  it('saturate at 448 and at 2^-9; an all-zero block gets 1', () => {
    expect(scaleOf(1e6, 1)).toBe(448);
    expect(scaleOf(1e-6, 1)).toBe(2 ** -9);
    expect(scaleOf(0, 1)).toBe(1);
  });
});

describe('global scales', () => {
  it('amax / 2688 in float32', () => {
    expect(nvfp4GlobalDecodeScale([1, -2688, 3])).toBe(1);
    expect(nvfp4GlobalDecodeScale([1])).toBe(Math.fround(1 / 2688));
    expect(nvfp4GlobalDecodeScale([0, 0])).toBe(1);
    expect([...nvfp4RowDecodeScales([2688, 0, 0, 0, 0, -5376], { m: 3, k: 2 })]).toEqual([1, 1, 2]);
  });
  it('can differ from row to row', () => {
    const x = seeded(3).floats(2 * 32);
    const rows = [0.25, 3];
    const both = roundTripNvfp4(x, { m: 2, k: 32, globalDecodeScale: rows });
    rows.forEach((globalDecodeScale, r) => {
      const alone = roundTripNvfp4(x.subarray(r * 32, r * 32 + 32), { m: 1, k: 32, globalDecodeScale });
      expectBytes(both.subarray(r * 32, r * 32 + 32), alone);
    });
  });
});

it('dequantizes by the definition, low nibble first', () => {
  const codes = Uint8Array.from({ length: 8 }, (_, i) => (2 * i) | ((2 * i + 1) << 4)); // codes 0..15
  const sf = Uint8Array.of(0x42); // 2.5
  const got = dequantizeNvfp4({ codes, sf }, { m: 1, k: 16, globalDecodeScale: 0.5 });
  expectBytes(
    got,
    Float64Array.from(E2M1_VALUES, (v) => v * 1.25),
  );
});

it('the error of a round trip is at most half a step of the widest gap', () => {
  const x = seeded(11).floats(8 * 64);
  const shape = { m: 8, k: 64, globalDecodeScale: nvfp4GlobalDecodeScale(x) };
  const { sf } = quantizeNvfp4(x, shape);
  roundTripNvfp4(x, shape).forEach((y, i) => {
    // 1 = half the gap between 4 and 6; a block scale rounded down adds up to 6/16.
    const step = E4M3_VALUES[sf[Math.floor(i / 16)]!]! * shape.globalDecodeScale;
    expect(Math.abs(y - x[i]!)).toBeLessThanOrEqual(step * 1.0001);
  });
});

describe('errors and edges', () => {
  const x = new Float32Array(32);
  it('names what is wrong', () => {
    expect(() => quantizeNvfp4(x, { m: 2, k: 15, globalDecodeScale: 1 })).toThrow('"k" must be a multiple of 16');
    expect(() => quantizeNvfp4(x, { m: 3, k: 16, globalDecodeScale: 1 })).toThrow(
      '"x" must have length M*K = 48, got 32',
    );
    expect(() => quantizeNvfp4(x, { m: 2, k: 16, globalDecodeScale: 0 })).toThrow('"globalDecodeScale"');
    expect(() => quantizeNvfp4(x, { m: 2, k: 16, globalDecodeScale: [1, NaN] })).toThrow('"globalDecodeScale[1]"');
    expect(() => quantizeNvfp4(x, { m: 2, k: 16, globalDecodeScale: [1] })).toThrow('M = 2, got 1');
    const bad = Float32Array.from(x).fill(Infinity, 17, 18);
    expect(() => quantizeNvfp4(bad, { m: 2, k: 16, globalDecodeScale: 1 })).toThrow('got Infinity at index 17');
    expect(() => nvfp4GlobalDecodeScale([0, NaN])).toThrow('got NaN at index 1');
    const short = { codes: new Uint8Array(7), sf: new Uint8Array(1) };
    expect(() => dequantizeNvfp4(short, { m: 1, k: 16, globalDecodeScale: 1 })).toThrow('M*K/2 = 8, got 7');
    const noSf = { codes: new Uint8Array(8), sf: new Uint8Array(0) };
    expect(() => dequantizeNvfp4(noSf, { m: 1, k: 16, globalDecodeScale: 1 })).toThrow('M*K/16 = 1, got 0');
    expect(() => nvfp4RowDecodeScales([1], { m: 2, k: 1 })).toThrow('M*K = 2, got 1');
  });
  it('takes the sign of the quotient, and no scale of 0', () => {
    const x = new Float32Array(16).fill(-1e-40);
    x[0] = -(2 ** -149); // the quotient underflows to -0: code 0, not 8
    x[1] = 1e10;
    const { codes } = quantizeNvfp4(x, { m: 1, k: 16, globalDecodeScale: 1e7 });
    expect(codes[0]! & 15).toBe(0);
    expect(nvfp4GlobalDecodeScale([1e-45])).toBe(2 ** -149);
  });
  it('takes no rows', () => {
    expect(quantizeNvfp4([], { m: 0, k: 16, globalDecodeScale: 1 })).toEqual({
      codes: new Uint8Array(0),
      sf: new Uint8Array(0),
    });
  });
});
