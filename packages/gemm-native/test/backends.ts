import { encodeBf16Array } from '@megamoe/core';
import type { HostArrays, OpArgs } from '@megamoe/ops';
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { createGemmKernels, stagedArrays, stageFrom } from '../src/index';
import { loadGemmAddon } from '../src/binding';
import type { ExpertsWeight, GemmKernels, InputPrecision, KernelIsa, Nvfp4Rows, Staged } from '../src/index';
import type { HostStaged } from '../src/staged';

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

/** Room for `slots` rows of k, full of NaN and of bytes that are no scales: what is not written and what is not to be read shows. */
export function poisonedStaged(kernels: GemmKernels, slots: number, k: number, ...inputs: InputPrecision[]): Staged {
  const staged = kernels.createStaged({ slots: Math.max(1, slots), k, inputs });
  new Uint8Array((staged as HostStaged).buffer).fill(0xff);
  return staged;
}

/** R of ends. */
export const rowsOf = (expertOffsets: Int32Array): number => expertOffsets.at(-1) ?? 0;

type Args<N extends 'stage' | 'swigluStage'> = OpArgs<N, HostArrays>;
type StageArgs = Pick<Args<'stage'>, 'x' | 'k'> &
  Partial<Pick<Args<'stage'>, 'slotToken' | 'expertOffsets' | 'globalDecodeScale'>>;
type SwigluStageArgs = Pick<Args<'swigluStage'>, 'gateUp' | 'i' | 'limit'> &
  Partial<Pick<Args<'swigluStage'>, 'expertOffsets' | 'globalDecodeScale'>>;

/**
 * Stages rows, or the SwiGLU of rows, as NVFP4 and gives copies of what came. Without ends all rows are of one expert, without scales they have
 * their own.
 */
export function stageNvfp4(
  kernels: GemmKernels,
  args: StageArgs | SwigluStageArgs,
): Nvfp4Rows & { readonly rowScale: Float32Array | null } {
  const k = 'k' in args ? args.k : args.i;
  const all = 'k' in args ? args.x.length / k : args.gateUp.length / (2 * k);
  const { expertOffsets = Int32Array.of(all), globalDecodeScale = null } = args;
  const slots = rowsOf(expertOffsets);
  const staged = poisonedStaged(kernels, slots + 2, k, 'nvfp4', 'f32');
  const common = { slots, expertOffsets, inputs: 'nvfp4', globalDecodeScale, staged } as const;
  if ('k' in args) kernels.stage({ slotToken: null, ...args, ...common });
  else kernels.swigluStage({ ...args, ...common });
  const made = stagedArrays(staged);
  if (made.inputs !== 'nvfp4') expect.fail('not staged as nvfp4');
  expect(made.rowScale === null).toBe(globalDecodeScale !== null);
  // Nothing beyond the rows is touched.
  const { codes, sf, rows } = staged as HostStaged;
  for (const rest of [codes.subarray(made.codes.length), sf.subarray(made.sf.length)]) {
    expect(rest.every((b) => b === 0xff)).toBe(true);
  }
  expect(rows.every(Number.isNaN)).toBe(true);
  return { codes: made.codes.slice(), sf: made.sf.slice(), rowScale: made.rowScale?.slice() ?? null };
}

/** Experts and what a grouped product needs besides its rows. */
interface Product {
  readonly w: ExpertsWeight;
  readonly expertOffsets: Int32Array;
  readonly alpha: Float32Array | null;
  readonly out: Float32Array;
}

/** Rows of floats and what becomes of them, or codes that someone else made. */
type ProductRows =
  | { readonly rows: Float32Array; readonly inputs: InputPrecision }
  | { readonly codes: Uint8Array; readonly sf: Uint8Array; readonly rowScale: Float32Array | null };

/** Stages rows as they are and multiplies them. */
export function product(kernels: GemmKernels, args: Product & ProductRows): void {
  const { w, expertOffsets, alpha, out } = args;
  const { k } = w;
  const slots = rowsOf(expertOffsets);
  const staged = poisonedStaged(kernels, slots + 1, k, 'inputs' in args ? args.inputs : 'nvfp4');
  if ('inputs' in args) {
    const { rows: x, inputs } = args;
    kernels.stage({ x, k, slotToken: null, slots, expertOffsets, inputs, globalDecodeScale: null, staged });
  } else {
    stageFrom({ staged, rows: slots, k, codes: args.codes, sf: args.sf, rowScale: args.rowScale });
  }
  kernels.groupedGemm({ w, staged, slots, expertOffsets, alpha, out });
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
