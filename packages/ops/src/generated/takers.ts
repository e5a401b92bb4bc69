// Made by scripts/generate.mjs from the list of operations in table.ts. Do not edit.

import type { HostArrays } from '../host';
import { checkArguments } from '../kind-checks';
import type { OpName } from '../table';
import type { OpArgs } from '../types';
import { Unwrapped } from '../unwrapped';

type Scratch<N extends OpName> = { -readonly [A in keyof OpArgs<N, HostArrays>]: OpArgs<N, HostArrays>[A] };

/**
 * Takes the arguments of a call, each once: what is checked is what is used. The object is good until the next call of that operation. Arguments
 * that were taken out of tensors come back themselves: `taken === given` says that their arrays need not be asked what they are.
 */
export type Takers = { readonly [N in OpName]: (a: OpArgs<N, HostArrays>) => OpArgs<N, HostArrays> };

/** {@link Takers}, with objects that are made once. */
export function makeTakers(): Takers {
  const scratch = {
    embed: {} as Scratch<'embed'>,
    rmsNorm: {} as Scratch<'rmsNorm'>,
    linear: {} as Scratch<'linear'>,
    swiglu: {} as Scratch<'swiglu'>,
    add: {} as Scratch<'add'>,
    gatherRows: {} as Scratch<'gatherRows'>,
    hcPre: {} as Scratch<'hcPre'>,
    hcPost: {} as Scratch<'hcPost'>,
    hcHead: {} as Scratch<'hcHead'>,
    route: {} as Scratch<'route'>,
    assignSlots: {} as Scratch<'assignSlots'>,
    stage: {} as Scratch<'stage'>,
    swigluStage: {} as Scratch<'swigluStage'>,
    groupedGemm: {} as Scratch<'groupedGemm'>,
    scatterExperts: {} as Scratch<'scatterExperts'>,
    ropeTables: {} as Scratch<'ropeTables'>,
    rope: {} as Scratch<'rope'>,
    writeWindow: {} as Scratch<'writeWindow'>,
    compress: {} as Scratch<'compress'>,
    indexSelect: {} as Scratch<'indexSelect'>,
    attend: {} as Scratch<'attend'>,
  };
  return {
    embed(a) {
      checkArguments('embed', a);
      if (Unwrapped.is(a)) return a;
      const { table, ids, rows, repeat, out } = a;
      const u = scratch.embed;
      u.table = table;
      u.ids = ids;
      u.rows = rows;
      u.repeat = repeat;
      u.out = out;
      return u;
    },
    rmsNorm(a) {
      checkArguments('rmsNorm', a);
      if (Unwrapped.is(a)) return a;
      const { x, rows, d, weight, eps, out } = a;
      const u = scratch.rmsNorm;
      u.x = x;
      u.rows = rows;
      u.d = d;
      u.weight = weight;
      u.eps = eps;
      u.out = out;
      return u;
    },
    linear(a) {
      checkArguments('linear', a);
      if (Unwrapped.is(a)) return a;
      const { w, x, rows, inputs, out } = a;
      const u = scratch.linear;
      u.w = w;
      u.x = x;
      u.rows = rows;
      u.inputs = inputs;
      u.out = out;
      return u;
    },
    swiglu(a) {
      checkArguments('swiglu', a);
      if (Unwrapped.is(a)) return a;
      const { gateUp, rows, i, limit, out } = a;
      const u = scratch.swiglu;
      u.gateUp = gateUp;
      u.rows = rows;
      u.i = i;
      u.limit = limit;
      u.out = out;
      return u;
    },
    add(a) {
      checkArguments('add', a);
      if (Unwrapped.is(a)) return a;
      const { out, x, n } = a;
      const u = scratch.add;
      u.out = out;
      u.x = x;
      u.n = n;
      return u;
    },
    gatherRows(a) {
      checkArguments('gatherRows', a);
      if (Unwrapped.is(a)) return a;
      const { x, d, index, rows, out } = a;
      const u = scratch.gatherRows;
      u.x = x;
      u.d = d;
      u.index = index;
      u.rows = rows;
      u.out = out;
      return u;
    },
    hcPre(a) {
      checkArguments('hcPre', a);
      if (Unwrapped.is(a)) return a;
      const { streams, rows, hc, d, fn, base, gain, rmsNormEps, hcEps, iters, post, comb, collapsed } = a;
      const u = scratch.hcPre;
      u.streams = streams;
      u.rows = rows;
      u.hc = hc;
      u.d = d;
      u.fn = fn;
      u.base = base;
      u.gain = gain;
      u.rmsNormEps = rmsNormEps;
      u.hcEps = hcEps;
      u.iters = iters;
      u.post = post;
      u.comb = comb;
      u.collapsed = collapsed;
      return u;
    },
    hcPost(a) {
      checkArguments('hcPost', a);
      if (Unwrapped.is(a)) return a;
      const { streams, blockOut, rows, hc, d, post, comb } = a;
      const u = scratch.hcPost;
      u.streams = streams;
      u.blockOut = blockOut;
      u.rows = rows;
      u.hc = hc;
      u.d = d;
      u.post = post;
      u.comb = comb;
      return u;
    },
    hcHead(a) {
      checkArguments('hcHead', a);
      if (Unwrapped.is(a)) return a;
      const { streams, rows, hc, d, fn, base, gain, rmsNormEps, hcEps, out } = a;
      const u = scratch.hcHead;
      u.streams = streams;
      u.rows = rows;
      u.hc = hc;
      u.d = d;
      u.fn = fn;
      u.base = base;
      u.gain = gain;
      u.rmsNormEps = rmsNormEps;
      u.hcEps = hcEps;
      u.out = out;
      return u;
    },
    route(a) {
      checkArguments('route', a);
      if (Unwrapped.is(a)) return a;
      const { router, logits, rows, bias, tokenIds, tid2eid, topkIds, topkWeights } = a;
      const u = scratch.route;
      u.router = router;
      u.logits = logits;
      u.rows = rows;
      u.bias = bias;
      u.tokenIds = tokenIds;
      u.tid2eid = tid2eid;
      u.topkIds = topkIds;
      u.topkWeights = topkWeights;
      return u;
    },
    assignSlots(a) {
      checkArguments('assignSlots', a);
      if (Unwrapped.is(a)) return a;
      const { topkIds, rows, topk, numExperts, expertOffsets, slotToken, tokenSlots } = a;
      const u = scratch.assignSlots;
      u.topkIds = topkIds;
      u.rows = rows;
      u.topk = topk;
      u.numExperts = numExperts;
      u.expertOffsets = expertOffsets;
      u.slotToken = slotToken;
      u.tokenSlots = tokenSlots;
      return u;
    },
    stage(a) {
      checkArguments('stage', a);
      if (Unwrapped.is(a)) return a;
      const { x, k, slotToken, slots, expertOffsets, inputs, globalDecodeScale, staged } = a;
      const u = scratch.stage;
      u.x = x;
      u.k = k;
      u.slotToken = slotToken;
      u.slots = slots;
      u.expertOffsets = expertOffsets;
      u.inputs = inputs;
      u.globalDecodeScale = globalDecodeScale;
      u.staged = staged;
      return u;
    },
    swigluStage(a) {
      checkArguments('swigluStage', a);
      if (Unwrapped.is(a)) return a;
      const { gateUp, slots, i, limit, expertOffsets, inputs, globalDecodeScale, staged } = a;
      const u = scratch.swigluStage;
      u.gateUp = gateUp;
      u.slots = slots;
      u.i = i;
      u.limit = limit;
      u.expertOffsets = expertOffsets;
      u.inputs = inputs;
      u.globalDecodeScale = globalDecodeScale;
      u.staged = staged;
      return u;
    },
    groupedGemm(a) {
      checkArguments('groupedGemm', a);
      if (Unwrapped.is(a)) return a;
      const { w, staged, slots, expertOffsets, alpha, out } = a;
      const u = scratch.groupedGemm;
      u.w = w;
      u.staged = staged;
      u.slots = slots;
      u.expertOffsets = expertOffsets;
      u.alpha = alpha;
      u.out = out;
      return u;
    },
    scatterExperts(a) {
      checkArguments('scatterExperts', a);
      if (Unwrapped.is(a)) return a;
      const { y, d, tokenSlots, topkWeights, rows, topk, out } = a;
      const u = scratch.scatterExperts;
      u.y = y;
      u.d = d;
      u.tokenSlots = tokenSlots;
      u.topkWeights = topkWeights;
      u.rows = rows;
      u.topk = topk;
      u.out = out;
      return u;
    },
    ropeTables(a) {
      checkArguments('ropeTables', a);
      if (Unwrapped.is(a)) return a;
      const { rope, positions, rows, cos, sin } = a;
      const u = scratch.ropeTables;
      u.rope = rope;
      u.positions = positions;
      u.rows = rows;
      u.cos = cos;
      u.sin = sin;
      return u;
    },
    rope(a) {
      checkArguments('rope', a);
      if (Unwrapped.is(a)) return a;
      const { x, rows, heads, d, ropeDim, cos, sin, inverse } = a;
      const u = scratch.rope;
      u.x = x;
      u.rows = rows;
      u.heads = heads;
      u.d = d;
      u.ropeDim = ropeDim;
      u.cos = cos;
      u.sin = sin;
      u.inverse = inverse;
      return u;
    },
    writeWindow(a) {
      checkArguments('writeWindow', a);
      if (Unwrapped.is(a)) return a;
      const { cache, step, layer, d, kv } = a;
      const u = scratch.writeWindow;
      u.cache = cache;
      u.step = step;
      u.layer = layer;
      u.d = d;
      u.kv = kv;
      return u;
    },
    compress(a) {
      checkArguments('compress', a);
      if (Unwrapped.is(a)) return a;
      const { cache, step, layer, indexer, width, kv, gate, weights, eps } = a;
      const u = scratch.compress;
      u.cache = cache;
      u.step = step;
      u.layer = layer;
      u.indexer = indexer;
      u.width = width;
      u.kv = kv;
      u.gate = gate;
      u.weights = weights;
      u.eps = eps;
      return u;
    },
    indexSelect(a) {
      checkArguments('indexSelect', a);
      if (Unwrapped.is(a)) return a;
      const { cache, step, layer, q, headWeights, heads, dim, topk, selected } = a;
      const u = scratch.indexSelect;
      u.cache = cache;
      u.step = step;
      u.layer = layer;
      u.q = q;
      u.headWeights = headWeights;
      u.heads = heads;
      u.dim = dim;
      u.topk = topk;
      u.selected = selected;
      return u;
    },
    attend(a) {
      checkArguments('attend', a);
      if (Unwrapped.is(a)) return a;
      const { cache, step, layer, q, heads, d, selected, topk, sinks, softmaxScale, out } = a;
      const u = scratch.attend;
      u.cache = cache;
      u.step = step;
      u.layer = layer;
      u.q = q;
      u.heads = heads;
      u.d = d;
      u.selected = selected;
      u.topk = topk;
      u.sinks = sinks;
      u.softmaxScale = softmaxScale;
      u.out = out;
      return u;
    },
  };
}
