import { describe, expect, it } from 'vitest';
import type { ExpertsSource } from '../src/index';
import { BACKENDS } from './backends';

const f32 = (n: number): Float32Array => new Float32Array(n);
const u8 = (n: number): Uint8Array => new Uint8Array(n);
const i32 = (...v: number[]): Int32Array => Int32Array.from(v);

/** What `f` throws, as `CODE message`. */
function thrown(f: () => unknown): string {
  try {
    f();
  } catch (e) {
    const { code, message } = e as Error & { code?: string };
    return `${code ?? 'no code'} ${message}`;
  }
  return 'nothing';
}

const expertsSource: ExpertsSource = {
  numExperts: 2,
  n: 4,
  k: 16,
  parts: 2,
  format: 'nvfp4',
  read: () => ({ codes: u8(16), sf: u8(2) }),
};

/** Two rows of 16 in NVFP4. */
const nvfp4Source = {
  n: 2,
  k: 16,
  dtype: 'nvfp4',
  weightGlobalDecodeScale: Float32Array.of(1),
  data: { codes: new Uint8Array(16), sf: new Uint8Array(2) },
} as const;

describe.each(BACKENDS)('arguments of FP8 and NVFP4 weights on $name', ({ kernels }) => {
  const k = kernels;
  const w = k.packLinear({ n: 2, k: 3, dtype: 'f32', data: f32(6) });
  const cases: [string, () => unknown, string][] = [
    [
      'FP8 codes',
      () => k.packLinear({ n: 2, k: 3, dtype: 'fp8', data: { codes: u8(5), scales: f32(2) } }),
      'ERR_SHAPE packLinear: "codes" must have length groups*n*k = 6, got 5',
    ],
    [
      'FP8 scales',
      () => k.packLinear({ n: 2, k: 129, dtype: 'fp8', data: () => ({ codes: u8(258), scales: f32(2) }) }),
      'ERR_SHAPE packLinear: data(0, 2): "scales" must have length rows*ceil(k/128) = 4, got 2',
    ],
    [
      'FP8 NaN',
      () =>
        k.packLinear({ n: 2, k: 3, dtype: 'fp8', data: { codes: Uint8Array.of(0, 0, 0, 0, 255, 0), scales: f32(2) } }),
      'ERR_VALUE packLinear: "codes" must not hold NaN, got 0xff at index 4',
    ],
    [
      'an infinite FP8 scale',
      () => k.packLinear({ n: 2, k: 3, dtype: 'fp8', data: { codes: u8(6), scales: Float32Array.of(1, Infinity) } }),
      'ERR_VALUE packLinear: "scales" must be finite numbers of at least 0, got Infinity at index 1',
    ],
    [
      'FP8 experts without scales',
      () => k.packExperts({ ...expertsSource, format: 'fp8', read: () => ({ codes: u8(32) }) as never }),
      'ERR_KIND packExperts: read(0, 0): "scales" must be a Float32Array, got undefined',
    ],
    [
      'a reader of nothing',
      () => k.packLinear({ n: 2, k: 3, dtype: 'fp8', data: () => null as never }),
      'ERR_KIND packLinear: data(0, 2): must return an object',
    ],
    [
      'NVFP4 of 24',
      () => k.packLinear({ ...nvfp4Source, k: 24 }),
      'ERR_SHAPE packLinear: "k" must be a multiple of 16, got 24',
    ],
    [
      'NVFP4 parts',
      () => k.packLinear({ ...nvfp4Source, parts: 3 as never }),
      'ERR_VALUE packLinear: "parts" must be one of 1, 2, got 3',
    ],
    [
      'NVFP4 parts of odd rows',
      () => k.packLinear({ ...nvfp4Source, n: 3, parts: 2 }),
      'ERR_SHAPE packLinear: "n" must be a multiple of parts = 2, got 3',
    ],
    [
      'a scale for each part',
      () => k.packLinear({ ...nvfp4Source, parts: 2 }),
      'ERR_SHAPE packLinear: "weightGlobalDecodeScale" must have length parts = 2, got 1',
    ],
    [
      'a weight scale of 0',
      () => k.packLinear({ ...nvfp4Source, weightGlobalDecodeScale: f32(1) }),
      'ERR_VALUE packLinear: "weightGlobalDecodeScale[0]" must be a finite number above 0, got 0',
    ],
    [
      'an input scale of 0',
      () => k.packLinear({ ...nvfp4Source, inputGlobalDecodeScale: 0 }),
      'ERR_VALUE packLinear: "inputGlobalDecodeScale" must be "row" or a finite number of at least 2^-117, got 0',
    ],
    [
      'scales that multiply to infinity',
      () =>
        k.packLinear({ ...nvfp4Source, weightGlobalDecodeScale: Float32Array.of(1e30), inputGlobalDecodeScale: 1e30 }),
      'ERR_VALUE packLinear: weight scale times input scale must be finite, got Infinity',
    ],
    [
      'NVFP4 block scales',
      () => k.packLinear({ ...nvfp4Source, data: () => ({ codes: u8(16), sf: u8(2).fill(0x80) }) }),
      'ERR_VALUE packLinear: data(0, 2): "sf" must hold E4M3 scales that are numbers of at least 0, got 0x80 at index 0',
    ],
    [
      'W4A4 without an input scale',
      () => {
        k.linear({ w: k.packLinear(nvfp4Source), x: f32(16), rows: 1, inputs: 'nvfp4', out: f32(2) });
      },
      'ERR_VALUE linear: "w" must be nvfp4 with an inputGlobalDecodeScale for inputs "nvfp4", got nvfp4 without one',
    ],
    [
      'W4A4 of float weights',
      () => {
        k.linear({ w, x: f32(3), rows: 1, inputs: 'nvfp4', out: f32(2) });
      },
      'ERR_VALUE linear: "w" must be nvfp4 with an inputGlobalDecodeScale for inputs "nvfp4", got f32 without one',
    ],
    [
      'W4A4 of NaN',
      () => {
        const x = f32(32);
        x[19] = NaN;
        k.linear({
          w: k.packLinear({ ...nvfp4Source, inputGlobalDecodeScale: 1 }),
          x,
          rows: 2,
          inputs: 'nvfp4',
          out: f32(4),
        });
      },
      'ERR_VALUE linear: "x" must be finite for inputs "nvfp4", got NaN at index 19',
    ],
    [
      'W4A4 of a short input',
      () => {
        k.linear({
          w: k.packLinear({ ...nvfp4Source, inputGlobalDecodeScale: 'row' }),
          x: f32(31),
          rows: 2,
          inputs: 'nvfp4',
          out: f32(4),
        });
      },
      'ERR_SHAPE linear: "x" must hold at least rows*w.groups*w.k = 32 elements, got 31',
    ],
    [
      'an NVFP4 table',
      () => {
        k.embed({ table: k.packLinear(nvfp4Source), ids: i32(0), rows: 1, repeat: 1, out: f32(16) });
      },
      'ERR_VALUE embed: "table" must be one of fp8, bf16, f32, got nvfp4',
    ],
  ];

  it.each(cases)('%s', (_, f, message) => {
    expect(thrown(f)).toBe(message);
  });
});
