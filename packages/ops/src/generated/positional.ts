// Made by scripts/generate.mjs from the list of operations in table.ts. Do not edit.

import type { HostArrays } from '../host';
import type { OpName } from '../table';
import type { OpArgs } from '../types';

/** A function of an addon: table of kernels, threads, then the arguments in the order of the list. */
export type NativeFunction = (isa: number, threads: number, ...args: unknown[]) => unknown;

/** Calls of native functions: positional, because an object of many fields costs several times as much across the border. */
export const POSITIONAL: {
  readonly [N in OpName]: (f: NativeFunction, isa: number, threads: number, a: OpArgs<N, HostArrays>) => unknown;
} = {
  embed: (f, isa, threads, a) => f(isa, threads, a.table, a.ids, a.rows, a.repeat, a.out),
  rmsNorm: (f, isa, threads, a) => f(isa, threads, a.x, a.rows, a.d, a.weight, a.eps, a.out),
  linear: (f, isa, threads, a) => f(isa, threads, a.w, a.x, a.rows, a.inputs, a.out),
  swiglu: (f, isa, threads, a) => f(isa, threads, a.gateUp, a.rows, a.i, a.limit, a.out),
  add: (f, isa, threads, a) => f(isa, threads, a.out, a.x, a.n),
  gatherRows: (f, isa, threads, a) => f(isa, threads, a.x, a.d, a.index, a.rows, a.out),
  hcPre: (f, isa, threads, a) =>
    f(
      isa,
      threads,
      a.streams,
      a.rows,
      a.hc,
      a.d,
      a.fn,
      a.base,
      a.gain,
      a.rmsNormEps,
      a.hcEps,
      a.iters,
      a.post,
      a.comb,
      a.collapsed,
    ),
  hcPost: (f, isa, threads, a) => f(isa, threads, a.streams, a.blockOut, a.rows, a.hc, a.d, a.post, a.comb),
  hcHead: (f, isa, threads, a) =>
    f(isa, threads, a.streams, a.rows, a.hc, a.d, a.fn, a.base, a.gain, a.rmsNormEps, a.hcEps, a.out),
  route: (f, isa, threads, a) =>
    f(isa, threads, a.router, a.logits, a.rows, a.bias, a.tokenIds, a.tid2eid, a.topkIds, a.topkWeights),
  assignSlots: (f, isa, threads, a) =>
    f(isa, threads, a.topkIds, a.rows, a.topk, a.numExperts, a.expertOffsets, a.slotToken, a.tokenSlots),
  stage: (f, isa, threads, a) =>
    f(isa, threads, a.x, a.k, a.slotToken, a.slots, a.expertOffsets, a.inputs, a.globalDecodeScale, a.staged),
  swigluStage: (f, isa, threads, a) =>
    f(isa, threads, a.gateUp, a.slots, a.i, a.limit, a.expertOffsets, a.inputs, a.globalDecodeScale, a.staged),
  groupedGemm: (f, isa, threads, a) => f(isa, threads, a.w, a.staged, a.slots, a.expertOffsets, a.alpha, a.out),
  scatterExperts: (f, isa, threads, a) => f(isa, threads, a.y, a.d, a.tokenSlots, a.topkWeights, a.rows, a.topk, a.out),
  ropeTables: (f, isa, threads, a) => f(isa, threads, a.rope, a.positions, a.rows, a.cos, a.sin),
  rope: (f, isa, threads, a) => f(isa, threads, a.x, a.rows, a.heads, a.d, a.ropeDim, a.cos, a.sin, a.inverse),
  writeWindow: (f, isa, threads, a) => f(isa, threads, a.cache, a.step, a.layer, a.d, a.kv),
  compress: (f, isa, threads, a) =>
    f(isa, threads, a.cache, a.step, a.layer, a.indexer, a.width, a.kv, a.gate, a.weights, a.eps),
  indexSelect: (f, isa, threads, a) =>
    f(isa, threads, a.cache, a.step, a.layer, a.q, a.headWeights, a.heads, a.dim, a.topk, a.selected),
  attend: (f, isa, threads, a) =>
    f(isa, threads, a.cache, a.step, a.layer, a.q, a.heads, a.d, a.selected, a.topk, a.sinks, a.softmaxScale, a.out),
};
