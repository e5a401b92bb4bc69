import * as reference from '@megamoe/reference';
import { mixed, weighted } from '../bounds';
import { residualMixDump } from '../dump';
import type { Check } from '../judge';
import { largest, lengthOf } from '../measure';

interface StreamShape {
  readonly rows: number;
  readonly hc: number;
  readonly d: number;
}

/** Largest sum of terms that a logit of the mix is made of: rows of fn times sqrt(hc * D), the length of a normed row. */
function logitScale(fn: Float32Array, gain: Float32Array, of: number, { hc, d }: StreamShape): number {
  const k = hc * d;
  let longest = 0;
  for (let r = 0; r < of; r++) longest = Math.max(longest, lengthOf(fn, r * k, k));
  return 1 + longest * Math.sqrt(k) * largest(gain);
}

/** Sum of the magnitudes of a row's streams, by channel. */
function magnitudes(streams: Float32Array, { rows, hc, d }: StreamShape): Float64Array {
  const out = new Float64Array(rows * d);
  for (let r = 0; r < rows; r++)
    for (let j = 0; j < hc; j++)
      for (let c = 0; c < d; c++) out[r * d + c]! += Math.abs(streams[(r * hc + j) * d + c]!);
  return out;
}

/** Before a block. */
export const hcPre: Check<'hcPre'> = {
  at: ({ fn }, j) => ({
    layer: j.layer,
    op: `${(j.names.weight(fn) ?? 'hc').replace(/_fn$/, '')}.pre`,
    operation: 'hcPre',
  }),
  judge({ args, before, after }, at, j) {
    const { rows, hc, d, rmsNormEps, hcEps, iters } = args;
    const { streams, fn, base, gain } = before;
    if (j.place.block === 'attention') j.tap.before(j.place.layer, streams, hc * d);
    const shape = { t: rows, hc, d, rmsNormEps, hcEps, iters };
    const want = reference.hcPre(streams, { fn, base, scale: gain }, shape);
    const bound = mixed(hc * d, iters);
    const logits = logitScale(fn, gain, (2 + hc) * hc, args);
    const sums = magnitudes(streams, args);
    j.take(at, [
      { output: 'post', got: after.post, want: want.post, shape: [rows, hc], bound, scale: () => logits },
      { output: 'comb', got: after.comb, want: want.comb, shape: [rows, hc, hc], bound, scale: () => logits },
      {
        ...{ output: 'collapsed', got: after.collapsed, want: want.collapsed, shape: [rows, d], bound },
        scale: (i) => sums[i]! * logits,
      },
    ]);
  },
};

/** After a block. */
export const hcPost: Check<'hcPost'> = {
  at: (_, j) => ({
    layer: j.layer,
    op: `${j.place.block === 'experts' ? 'hc_ffn' : 'hc_attn'}.post`,
    operation: 'hcPost',
  }),
  judge({ args, before, after }, at, j) {
    const { rows: t, hc, d } = args;
    const { streams, blockOut, post, comb } = before;
    const got = after.streams;
    if (j.place.block === 'experts') j.tap.after(j.place.layer, got, hc * d);
    const want = reference.hcPost(streams, blockOut, { post, comb }, { t, hc, d });
    const absolute = (v: Float32Array): Float32Array => v.map(Math.abs);
    const scale = reference.hcPost(
      absolute(streams),
      absolute(blockOut),
      { post: absolute(post), comb: absolute(comb) },
      { t, hc, d },
    );
    const bound = weighted(hc + 1);
    j.take(at, [{ output: 'streams', got, want, shape: [t, hc, d], bound, scale: (i) => scale[i]! + 1e-30 }], () =>
      residualMixDump({ streams, blockOut, post, comb, got, t, hc, d }),
    );
  },
};

/** Before the head. */
export const hcHead: Check<'hcHead'> = {
  at: (_, j) => ({ layer: j.layer, op: 'hc_head', operation: 'hcHead' }),
  judge({ args, before, after }, at, j) {
    const { rows, hc, d, rmsNormEps, hcEps } = args;
    const { streams, fn, base, gain } = before;
    const want = reference.hcHead(streams, { fn, base, scale: gain }, { t: rows, hc, d, rmsNormEps, hcEps });
    const logits = logitScale(fn, gain, hc, args);
    const sums = magnitudes(streams, args);
    const scale = (i: number): number => sums[i]! * logits + 1e-30;
    j.take(at, [{ output: 'out', got: after.out, want, shape: [rows, d], bound: mixed(hc * d, 0), scale }]);
  },
};
