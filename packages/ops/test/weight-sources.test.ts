/** Weights as callers give them: what is wrong is named before a backend packs anything. */
import { describe, expect, it } from 'vitest';
import { checkMatrices, takeExperts, takeLinear, type ExpertsSource, type LinearSource } from '../src/index';

const bytes = (n: number, v = 0): Uint8Array => new Uint8Array(n).fill(v);
const linear =
  (source: object): (() => unknown) =>
  () =>
    takeLinear('f', source as LinearSource);
const scales = { parts: 2, weightGlobalDecodeScale: Float32Array.of(0.5, 0.25) } as const;
const nvfp4 = { n: 4, k: 16, dtype: 'nvfp4', data: { codes: bytes(32), sf: bytes(4) }, ...scales } as const;

describe('a linear', () => {
  it.each<[string, object | null]>([
    ['f: "source" must be a LinearSource', null],
    ['f: "name" must be a string, got number', { ...nvfp4, name: 3 }],
    ['f: "k" must be a multiple of 16, got 24', { ...nvfp4, k: 24 }],
    ['f: "parts" must be one of 1, 2, got 3', { ...nvfp4, parts: 3 }],
    ['f: a weight must have at most 2^42 elements, groups*n*k is', { ...nvfp4, n: 2 ** 30, k: 2 ** 20 }],
    ['f: "sf" must have length groups*n*k/16 = 4, got 2', { ...nvfp4, data: { codes: bytes(32), sf: bytes(2) } }],
    ['got 0x7f at index 0', { ...nvfp4, data: { codes: bytes(32), sf: bytes(4, 0x7f) } }],
    ['f: "weightGlobalDecodeScale[1]" must be', { ...nvfp4, weightGlobalDecodeScale: Float32Array.of(1, 0) }],
    [
      'f: "inputGlobalDecodeScale" must be "row" or a finite number of at least 2^-117, got 0',
      { ...nvfp4, inputGlobalDecodeScale: 0 },
    ],
    [
      'f: weight scale times input scale must be finite, got Infinity',
      { ...nvfp4, inputGlobalDecodeScale: 3e38, weightGlobalDecodeScale: Float32Array.of(1, 3e38) },
    ],
    ['f: must return an object', { n: 1, k: 16, dtype: 'fp8', data: null }],
    [
      'f: "codes" must not hold NaN, got 0xff at index 0',
      { n: 1, k: 16, dtype: 'fp8', data: { codes: bytes(16, 0xff), scales: new Float32Array(1) } },
    ],
    [
      'f: "scales" must be finite numbers of at least 0, got -1 at index 0',
      { n: 1, k: 16, dtype: 'fp8', data: { codes: bytes(16), scales: Float32Array.of(-1) } },
    ],
    ['f: "data" must be a Float32Array, got Uint16Array', { n: 1, k: 16, dtype: 'f32', data: new Uint16Array(16) }],
    ['f: "data" must have length groups*n*k = 16, got 15', { n: 1, k: 16, dtype: 'bf16', data: new Uint16Array(15) }],
  ])('%s', (says, source) => {
    expect(linear(source!)).toThrow(says);
  });

  it('has alphas for each part of each group', () => {
    const data = { codes: bytes(64), sf: bytes(8) };
    const taken = takeLinear('f', { ...nvfp4, groups: 2, data, inputGlobalDecodeScale: 2 });
    expect(taken.scales).toEqual({
      parts: 2,
      input: 2,
      alpha: Float32Array.of(0.5, 0.25, 0.5, 0.25),
      alphaW4a4: Float32Array.of(1, 0.5, 1, 0.5),
    });
  });

  it('gives the same rows whole and by parts, and names the part that does not fit', () => {
    const data = Float32Array.from({ length: 12 }, (_, i) => i);
    const whole = takeLinear('f', { n: 3, k: 4, dtype: 'f32', data });
    const parts = takeLinear('f', {
      n: 3,
      k: 4,
      dtype: 'f32',
      data: (row, rows) => data.slice(4 * row, 4 * (row + rows)),
    });
    expect(whole.read(1, 2)).toEqual(parts.read(1, 2));
    expect([whole.whole, parts.whole]).toEqual([{ data }, null]);
    expect(() => takeLinear('f', { n: 3, k: 4, dtype: 'f32', data: () => data }).read(1, 2)).toThrow(
      'f: data(1, 2): "data" must have length rows*k = 8, got 12',
    );
  });
});

it('reads of experts are checked by their place', () => {
  const source: ExpertsSource = {
    numExperts: 2,
    n: 2,
    k: 16,
    parts: 2,
    format: 'bf16',
    read: () => ({ data: new Uint16Array(3) }),
  };
  const { shape, read } = takeExperts('f', source);
  expect(shape).toEqual({ numExperts: 2, n: 2, k: 16, parts: 2, format: 'bf16' });
  expect(() => read(1, 0)).toThrow('f: read(1, 0): "data" must have length n/parts*k = 16, got 3');
  expect(() => takeExperts('f', { ...source, n: 3 })).toThrow('f: "n" must be a multiple of parts = 2, got 3');
  expect(() => takeExperts('f', { ...source, read: 3 as never })).toThrow('f: "read" must be a function, got 3');
});

it('sizes that nothing can count are refused', () => {
  expect(() => checkMatrices('f', 'f32', 2 ** 20, 2 ** 20, 2 ** 10)).toThrow('at most 2^42 elements, matrices*n*k is');
});
