import { encodeBf16Array } from '@megamoe/core';
import { readFileSync } from 'node:fs';
import { createGemmKernels } from '../src/index';
import { loadGemmAddon } from '../src/binding';
import type { ExpertsWeight, GemmKernels, KernelIsa, Nvfp4Rows } from '../src/index';

/** A backend under test. */
export interface Backend {
  readonly name: string;
  readonly kernels: GemmKernels;
}

/** Instruction sets of the addon that this machine can run; none when it is not built. */
export const ISAS: readonly KernelIsa[] = (loadGemmAddon().addon?.isas ?? []) as readonly KernelIsa[];

/** Every backend that is there: js always; each instruction set of the addon with 1, 2 and 5 threads. */
export const BACKENDS: readonly Backend[] = [
  { name: 'js', kernels: createGemmKernels({ backend: 'js' }) },
  ...ISAS.flatMap((isa) =>
    [1, 2, 5].map((threads) => ({
      name: `${isa} x${threads}`,
      kernels: createGemmKernels({ backend: 'native', isa, threads }),
    })),
  ),
];

/** `values` in the middle of a larger array, with `fill` around: an offset that is not a multiple of 16 bytes. */
export function odd<T extends Float32Array | Uint8Array | Int32Array>(values: T, fill: number, offset = 3): T {
  const Kind = values.constructor as new (n: number) => T;
  const all = new Kind(values.length + offset + 5).fill(fill) as T;
  const view = all.subarray(offset, offset + values.length) as T;
  view.set(values);
  return view;
}

/** A poisoned output of n elements: NaN, so that an element that is not written shows. */
export const poisoned = (n: number): Float32Array => odd(new Float32Array(n).fill(NaN), NaN);

/** Random NVFP4 experts: codes [E, N, K/2] and scales [E, N, K/16]. */
export interface Experts {
  readonly numExperts: number;
  readonly n: number;
  readonly k: number;
  readonly parts: 1 | 2;
  readonly codes: Uint8Array;
  readonly sf: Uint8Array;
}

/** Packs them for one backend. */
export function pack(kernels: GemmKernels, { numExperts, n, k, parts, codes, sf }: Experts): ExpertsWeight {
  const rows = n / parts;
  return kernels.packExperts({
    numExperts,
    n,
    k,
    parts,
    format: 'nvfp4',
    read(expert, part): Nvfp4Rows {
      const row = expert * n + part * rows;
      return {
        codes: codes.subarray((row * k) / 2, ((row + rows) * k) / 2),
        sf: sf.subarray((row * k) / 16, ((row + rows) * k) / 16),
      };
    },
  });
}

/** BF16 patterns of values, and the values that they stand for. */
export function bf16(values: Float32Array): { bits: Uint16Array; values: Float32Array } {
  const bits = encodeBf16Array(values);
  const words = Uint32Array.from(bits, (b) => b << 16);
  return { bits, values: new Float32Array(words.buffer) };
}

/** A golden file. */
export const golden = <T>(name: string): T =>
  JSON.parse(readFileSync(new URL(`./goldens/${name}`, import.meta.url), 'utf8')) as T;

/** Bytes of a base64 text, in a buffer of their own. */
export const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));

/** Float32 values of a base64 text. */
export const floats = (text: string): Float32Array => new Float32Array(bytes(text).buffer);
