import { stageFrom } from '../src/index';
import type { ExpertsSource, GemmKernels, GemmOp, LinearSource, Nvfp4LossArgs, Staged } from '../src/index';

export const f32 = (n: number): Float32Array => new Float32Array(n).fill(1);
export const u8 = (n: number): Uint8Array => new Uint8Array(n);
export const i32 = (...v: number[]): Int32Array => Int32Array.from(v);

/** What `f` throws, as `CODE message`. */
export function thrown(f: () => unknown): string {
  try {
    f();
  } catch (e) {
    const { code, message } = e as Error & { code?: string };
    return `${code ?? 'no code'} ${message}`;
  }
  return 'nothing';
}

export const linearSource: LinearSource = { n: 2, k: 3, dtype: 'f32', data: f32(6) };
export const expertsSource: ExpertsSource = {
  numExperts: 2,
  n: 4,
  k: 16,
  parts: 2,
  format: 'nvfp4',
  read: () => ({ codes: u8(16).fill(0x22), sf: u8(2).fill(0x38) }),
};

/** Two rows of ones, staged. */
export function twoRows(kernels: GemmKernels, inputs: 'nvfp4' | 'f32', k = 16): Staged {
  const staged = kernels.createStaged({ slots: 2, k, inputs: [inputs] });
  kernels.stage({
    ...{ x: f32(2 * k), k, slotToken: null, slots: 2, expertOffsets: i32(1, 2) },
    ...{ inputs, globalDecodeScale: null, staged },
  });
  return staged;
}

/** What is called by name here: operations, and {@link stageFrom}. */
export type Op = GemmOp | 'nvfp4Loss' | 'stageFrom';

/** Arguments of an operation, by name. */
export type Args = Readonly<Record<string, unknown>>;

/** Right arguments of every operation, each array as long as it must be. */
export function rightArguments(k: GemmKernels): Readonly<Record<Op, Args>> {
  const w = k.packLinear(linearSource);
  const table = k.packLinear({ n: 4, k: 2, dtype: 'f32', data: f32(8) });
  const e = k.packExperts(expertsSource);
  const staged = k.createStaged({ slots: 4, k: 32, inputs: ['nvfp4', 'f32'] });
  return {
    embed: { table, ids: i32(0, 3), rows: 2, repeat: 1, out: f32(4) },
    rmsNorm: { x: f32(4), rows: 1, d: 4, weight: f32(4), eps: 0, out: f32(4) },
    linear: { w, x: f32(6), rows: 2, inputs: 'f32', out: f32(4) },
    swiglu: { gateUp: f32(2), rows: 1, i: 1, limit: 1, out: f32(1) },
    add: { out: f32(4), x: f32(4), n: 4 },
    gatherRows: { x: f32(4), d: 2, index: i32(0, 1), rows: 2, out: f32(4) },
    hcPre: {
      ...{ streams: f32(4), rows: 1, hc: 2, d: 2, fn: f32(32), base: f32(8), gain: f32(3) },
      ...{ rmsNormEps: 0, hcEps: 0, iters: 1, post: f32(2), comb: f32(4), collapsed: f32(2) },
    },
    hcPost: { streams: f32(4), blockOut: f32(2), rows: 1, hc: 2, d: 2, post: f32(2), comb: f32(4) },
    hcHead: {
      ...{ streams: f32(4), rows: 1, hc: 2, d: 2, fn: f32(8), base: f32(2), gain: f32(1) },
      ...{ rmsNormEps: 0, hcEps: 0, out: f32(2) },
    },
    stage: {
      ...{ x: f32(32), k: 16, slotToken: i32(0, 1, -1), slots: 3, expertOffsets: i32(1, 2) },
      ...{ inputs: 'nvfp4', globalDecodeScale: f32(2), staged },
    },
    swigluStage: {
      ...{ gateUp: f32(64), slots: 2, i: 16, limit: 1, expertOffsets: i32(1, 2) },
      ...{ inputs: 'nvfp4', globalDecodeScale: f32(2), staged },
    },
    groupedGemm: { w: e, staged: twoRows(k, 'nvfp4'), slots: 2, expertOffsets: i32(0, 1), alpha: f32(4), out: f32(8) },
    scatterExperts: { y: f32(4), d: 2, tokenSlots: i32(0, 1), topkWeights: f32(2), rows: 1, topk: 2, out: f32(2) },
    nvfp4Loss: {
      ...{ x: f32(32), rows: 2, k: 16, globalDecodeScale: 1, codes: u8(16), sf: u8(2) },
      sums: new Float64Array(6),
    } satisfies Nvfp4LossArgs,
    stageFrom: { staged, rows: 2, k: 16, codes: u8(16), sf: u8(2), rowScale: f32(2) },
  };
}

/** Calls an operation by name. */
export function callByName(kernels: GemmKernels, op: Op, args: unknown): void {
  const f = op === 'stageFrom' ? stageFrom : kernels[op];
  f(args as never);
}
