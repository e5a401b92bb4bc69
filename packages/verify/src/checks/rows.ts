import type { OpArgs, Tensors } from '@megamoe/ops';
import * as reference from '@megamoe/reference';
import { COPIED, norm, ONE_ADDITION, SWIGLU } from '../bounds';
import type { Check, Judge } from '../judge';
import { largest } from '../measure';
import type { Judged } from '../types';
import type { Verdict } from '../recorder';
import { PROBED_ROWS } from './precision';

/** Smallest scale of an error: a result that underflows has only so many digits. */
const TINY = 1e-30;

/** Rows of an embedding table. */
export const embed: Check<'embed'> = {
  at: (_, j) => ({ layer: j.layer, op: 'embed', operation: 'embed' }),
  judge({ args, before, after }, at, j) {
    const { table, rows, repeat } = args;
    const { k } = table;
    const want = new Float64Array(rows * repeat * k);
    before.ids.forEach((id, i) => {
      const row = j.registry.linearRows(table, id, 1);
      for (let r = 0; r < repeat; r++) want.set(row, (i * repeat + r) * k);
    });
    j.take(at, [{ output: 'streams', got: after.out, want, shape: [rows, repeat, k], bound: COPIED }]);
  },
};

/** RMS norms, with and without a weight. */
export const rmsNorm: Check<'rmsNorm'> = {
  at: ({ x, weight }, j) => ({
    layer: j.layer,
    op: (weight && j.names.weight(weight)) ?? j.names.on('rmsNorm', x),
    operation: 'rmsNorm',
  }),
  judge({ args: { rows: m, d, eps }, before, after }, at, j) {
    const want = reference.rmsNorm(before.x, before.weight, { m, d, eps });
    const scale = (i: number): number => Math.abs(want[i]!) + TINY;
    j.take(at, [{ output: 'out', got: after.out, want, shape: [m, d], bound: norm(d), scale }]);
  },
};

/** Additions in place. */
export const add: Check<'add'> = {
  at: ({ out }, j) => ({ layer: j.layer, op: j.names.on('add', out), operation: 'add' }),
  judge({ args: { n }, before, after }, at, j) {
    const want = before.out.map((v, i) => v + before.x[i]!);
    const d = j.config.hiddenSize;
    const shape = n % d === 0 ? [n / d, d] : [n];
    j.take(at, [{ output: 'out', got: after.out, want, shape, bound: ONE_ADDITION }]);
  },
};

/** Rows by index. */
export const gatherRows: Check<'gatherRows'> = {
  at: ({ x }, j) => ({ layer: j.layer, op: j.names.on('gatherRows', x), operation: 'gatherRows' }),
  judge({ args: { d, rows }, before, after }, at, j) {
    const want = reference.gatherRows(before.x, before.index, d);
    j.take(at, [{ output: 'rows', got: after.out, want, shape: [rows, d], bound: COPIED }]);
  },
};

/** SwiGLU of `gateUp` [rows, 2*i], beside the right one. */
export function judgedSwiglu(
  output: string,
  got: Float32Array,
  gateUp: Float32Array,
  { rows, i, limit }: { rows: number; i: number; limit: number },
): Judged {
  const want = reference.swiglu(gateUp.subarray(0, rows * 2 * i), { m: rows, i, limit });
  const scale = (at: number): number => Math.abs(want[at]!) + TINY;
  return { output, got: got.subarray(0, rows * i), want, shape: [rows, i], bound: SWIGLU, scale };
}

/** SwiGLU of floats. */
export const swiglu: Check<'swiglu'> = {
  at: ({ gateUp }, j) => ({ layer: j.layer, op: j.names.on('swiglu', gateUp), operation: 'swiglu' }),
  judge({ args, before, after }, at, j) {
    const outputs = [judgedSwiglu('out', after.out, before.gateUp, args)];
    const { i, limit } = args;
    if (args.rows > 0 && j.first('stretched', at.layer, at.op)) {
      const x = beyondLimit(before.gateUp.subarray(0, Math.min(args.rows, PROBED_ROWS) * 2 * i), limit);
      const rows = x.length / (2 * i);
      const { after: clamped } = j.scratch((made) =>
        j.again(at, 'swiglu', { gateUp: made.tensor(x), rows, i, limit, out: made.alloc('f32', [rows, i]) }),
      );
      outputs.push(judgedSwiglu('out of inputs stretched past the limit', clamped.out, x, { rows, i, limit }));
    }
    j.take(at, outputs);
  },
};

/** Runs SwiGLU of the backend on what a fused operation was given, and judges it as `at`: its result, [slots, i]. */
export function swigluBeside(
  j: Judge,
  at: Verdict,
  { gateUp, slots, i, limit }: Pick<OpArgs<'swigluStage', Tensors>, 'gateUp' | 'slots' | 'i' | 'limit'>,
): Float32Array {
  return j.scratch((made) => {
    const call = j.again(at, 'swiglu', { gateUp, rows: slots, i, limit, out: made.alloc('f32', [slots, i]) });
    swiglu.judge(call, at, j);
    return call.after.out;
  });
}

/**
 * `x` scaled so that its largest value is three times the limit: trained models rarely reach it, so that a prompt would say nothing about
 * the clamp. As it is where there is no limit.
 */
export function beyondLimit(x: Float32Array, limit: number): Float32Array {
  const most = largest(x);
  return Number.isFinite(limit) && most > 0 ? x.map((v) => (v / most) * 3 * limit) : x;
}
