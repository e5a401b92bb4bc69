import { decodeBf16, E4M3_VALUES } from '@megamoe/core';
import type { InputPrecision, LinearWeight } from '@megamoe/ops';
import { checkDot, floatBuffer, lazy, nvfp4At, Random, randomNvfp4 } from './data';
import { compare, type Floor } from './measure';
import type { BenchCase, BenchContext } from './types';

/** A dense weight in one format, and its elements. */
interface Weights {
  /** Copies at different places in memory, so that they are cold in turn. */
  readonly packed: readonly LinearWeight[];
  readonly at: (row: number, i: number) => number;
}

/** Dense linears, one row and many: the attention output projection's shape. */
export function linearCases(c: BenchContext): BenchCase[] {
  const [n, k] = c.quick ? [256, 256] : [4096, 8192];
  const many = c.quick ? 32 : 512;
  const copies = (bytes: number): number => (c.quick ? 2 : Math.max(2, Math.ceil(2.5e8 / (n * k * bytes))));
  const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);

  const bf16 = lazy((): Weights => {
    const data = new Random(3).bf16(n * k, -6);
    const packed = times(copies(2), () => c.gemm(1).packLinear({ n, k, dtype: 'bf16', data }));
    return { packed, at: (row, i) => decodeBf16(data[row * k + i]!) };
  });
  const fp8 = lazy((): Weights => {
    const codes = new Random(3).bytes(n * k).map((b) => (b & 0x80) | (0x30 + (b & 15))); // 0.5 to 2
    const scales = new Float32Array(n * Math.ceil(k / 128)).fill(2 ** -6);
    const packed = times(copies(1), () => c.gemm(1).packLinear({ n, k, dtype: 'fp8', data: { codes, scales } }));
    return { packed, at: (row, i) => E4M3_VALUES[codes[row * k + i]!]! * 2 ** -6 };
  });
  const nvfp4 = lazy((): Weights => {
    const data = randomNvfp4(new Random(3), n, k);
    const scales = { weightGlobalDecodeScale: Float32Array.of(2 ** -6), inputGlobalDecodeScale: 4 / (6 * 448) };
    const packed = times(copies(9 / 16), () => c.gemm(1).packLinear({ n, k, dtype: 'nvfp4', ...scales, data }));
    return { packed, at: (row, i) => nvfp4At(data, row, i) * 2 ** -6 };
  });

  const linear = (
    name: string,
    m: number,
    weights: () => Weights,
    {
      bytes,
      kind,
      inputs = 'f32',
      target,
    }: {
      bytes: number; // an element, scales included
      kind: 'vpdpbusd' | 'vdpbf16ps' | 'fma';
      inputs?: InputPrecision;
      target?: number;
    },
  ): BenchCase => ({
    name,
    shape: `m=${m} n=${n} k=${k}`,
    ...(target === undefined ? {} : { target }),
    run(threads) {
      const kernels = c.gemm(threads);
      const x = new Random(m).floats(m * k);
      const out = floatBuffer(m * n);
      const { packed, at } = weights();
      const calls = m === 1 ? packed.length : 1;
      let next = 0;
      const run = (): void => {
        for (let i = 0; i < calls; i++) {
          kernels.linear({ w: packed[next]!, x, rows: m, inputs, out });
          next = (next + 1) % packed.length;
        }
      };
      run();
      for (const [r, col] of [
        [0, 0],
        [m - 1, n - 1],
      ] as const) {
        // Quantized inputs: a block of 16 is off by at most a quarter of its largest.
        const tolerance = inputs === 'nvfp4' ? 0.25 : 0.005;
        checkDot(
          `linear ${inputs}`,
          out[r * n + col]!,
          k,
          (i) => x[r * k + i]!,
          (i) => at(col, i),
          { tolerance },
        );
      }
      const floors: Floor[] =
        m === 1 ? [{ kind: 'read', amount: calls * bytes * n * k }] : [{ kind, amount: calls * 2 * m * n * k }];
      return compare(c, threads, run, floors);
    },
  });
  const [b, f, v] = [
    { bytes: 2, kind: 'vdpbf16ps' },
    { bytes: 1, kind: 'fma' },
    { bytes: 9 / 16, kind: 'vdpbf16ps' },
  ] as const;
  return [
    linear('linear-bf16', 1, bf16, { ...b, target: 0.88 }),
    linear('linear-bf16', 8, bf16, b),
    linear('linear-bf16', many, bf16, b),
    linear('linear-bf16-bf16', 1, bf16, { ...b, inputs: 'bf16' }), // inputs rounded to BF16
    linear('linear-bf16-bf16', 8, bf16, { ...b, inputs: 'bf16' }),
    linear('linear-bf16-bf16', many, bf16, { ...b, inputs: 'bf16' }),
    linear('linear-fp8-bf16', 1, fp8, { ...f, kind: 'vdpbf16ps', inputs: 'bf16' }),
    linear('linear-fp8-bf16', 8, fp8, { ...f, kind: 'vdpbf16ps', inputs: 'bf16' }),
    linear('linear-fp8-bf16', many, fp8, { ...f, kind: 'vdpbf16ps', inputs: 'bf16' }),
    linear('linear-fp8', 1, fp8, f),
    linear('linear-fp8', 8, fp8, f),
    linear('linear-fp8', many, fp8, f),
    linear('linear-nvfp4', 1, nvfp4, v),
    linear('linear-nvfp4', many, nvfp4, v),
    linear('linear-nvfp4-w4a4', 1, nvfp4, { ...v, kind: 'vpdpbusd', inputs: 'nvfp4' }),
    linear('linear-nvfp4-w4a4', many, nvfp4, { ...v, kind: 'vpdpbusd', inputs: 'nvfp4' }),
  ];
}
