// Made by scripts/generate.mjs from the list of operations in table.ts. Do not edit.

import type { Tensors } from '../backend';
import type { HostArrays } from '../host';
import type { OpName } from '../table';
import { hostArray } from '../tensor';
import type { OpArgs, Operations } from '../types';

type Scratch<N extends OpName> = { -readonly [A in keyof OpArgs<N, HostArrays>]: OpArgs<N, HostArrays>[A] };

/** The operations of a backend on the host: kernels on typed arrays, with tensors unwrapped. A warm call allocates nothing. */
export function onHost(kernels: Operations<HostArrays>): Operations<Tensors> {
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
      const u = scratch.embed;
      u.table = a.table;
      u.ids = hostArray('embed', 'ids', a.ids, 'i32');
      u.rows = a.rows;
      u.repeat = a.repeat;
      u.out = hostArray('embed', 'out', a.out, 'f32');
      kernels.embed(u);
    },
    rmsNorm(a) {
      const u = scratch.rmsNorm;
      u.x = hostArray('rmsNorm', 'x', a.x, 'f32');
      u.rows = a.rows;
      u.d = a.d;
      u.weight = a.weight === null ? null : hostArray('rmsNorm', 'weight', a.weight, 'f32');
      u.eps = a.eps;
      u.out = hostArray('rmsNorm', 'out', a.out, 'f32');
      kernels.rmsNorm(u);
    },
    linear(a) {
      const u = scratch.linear;
      u.w = a.w;
      u.x = hostArray('linear', 'x', a.x, 'f32');
      u.rows = a.rows;
      u.inputs = a.inputs;
      u.out = hostArray('linear', 'out', a.out, 'f32');
      kernels.linear(u);
    },
    swiglu(a) {
      const u = scratch.swiglu;
      u.gateUp = hostArray('swiglu', 'gateUp', a.gateUp, 'f32');
      u.rows = a.rows;
      u.i = a.i;
      u.limit = a.limit;
      u.out = hostArray('swiglu', 'out', a.out, 'f32');
      kernels.swiglu(u);
    },
    add(a) {
      const u = scratch.add;
      u.out = hostArray('add', 'out', a.out, 'f32');
      u.x = hostArray('add', 'x', a.x, 'f32');
      u.n = a.n;
      kernels.add(u);
    },
    gatherRows(a) {
      const u = scratch.gatherRows;
      u.x = hostArray('gatherRows', 'x', a.x, 'f32');
      u.d = a.d;
      u.index = hostArray('gatherRows', 'index', a.index, 'i32');
      u.rows = a.rows;
      u.out = hostArray('gatherRows', 'out', a.out, 'f32');
      kernels.gatherRows(u);
    },
    hcPre(a) {
      const u = scratch.hcPre;
      u.streams = hostArray('hcPre', 'streams', a.streams, 'f32');
      u.rows = a.rows;
      u.hc = a.hc;
      u.d = a.d;
      u.fn = hostArray('hcPre', 'fn', a.fn, 'f32');
      u.base = hostArray('hcPre', 'base', a.base, 'f32');
      u.gain = hostArray('hcPre', 'gain', a.gain, 'f32');
      u.rmsNormEps = a.rmsNormEps;
      u.hcEps = a.hcEps;
      u.iters = a.iters;
      u.post = hostArray('hcPre', 'post', a.post, 'f32');
      u.comb = hostArray('hcPre', 'comb', a.comb, 'f32');
      u.collapsed = hostArray('hcPre', 'collapsed', a.collapsed, 'f32');
      kernels.hcPre(u);
    },
    hcPost(a) {
      const u = scratch.hcPost;
      u.streams = hostArray('hcPost', 'streams', a.streams, 'f32');
      u.blockOut = hostArray('hcPost', 'blockOut', a.blockOut, 'f32');
      u.rows = a.rows;
      u.hc = a.hc;
      u.d = a.d;
      u.post = hostArray('hcPost', 'post', a.post, 'f32');
      u.comb = hostArray('hcPost', 'comb', a.comb, 'f32');
      kernels.hcPost(u);
    },
    hcHead(a) {
      const u = scratch.hcHead;
      u.streams = hostArray('hcHead', 'streams', a.streams, 'f32');
      u.rows = a.rows;
      u.hc = a.hc;
      u.d = a.d;
      u.fn = hostArray('hcHead', 'fn', a.fn, 'f32');
      u.base = hostArray('hcHead', 'base', a.base, 'f32');
      u.gain = hostArray('hcHead', 'gain', a.gain, 'f32');
      u.rmsNormEps = a.rmsNormEps;
      u.hcEps = a.hcEps;
      u.out = hostArray('hcHead', 'out', a.out, 'f32');
      kernels.hcHead(u);
    },
    route(a) {
      const u = scratch.route;
      u.router = a.router;
      u.logits = hostArray('route', 'logits', a.logits, 'f32');
      u.rows = a.rows;
      u.bias = a.bias === null ? null : hostArray('route', 'bias', a.bias, 'f32');
      u.tokenIds = a.tokenIds === null ? null : hostArray('route', 'tokenIds', a.tokenIds, 'i32');
      u.tid2eid = a.tid2eid === null ? null : hostArray('route', 'tid2eid', a.tid2eid, 'i32');
      u.topkIds = hostArray('route', 'topkIds', a.topkIds, 'i32');
      u.topkWeights = hostArray('route', 'topkWeights', a.topkWeights, 'f32');
      kernels.route(u);
    },
    assignSlots(a) {
      const u = scratch.assignSlots;
      u.topkIds = hostArray('assignSlots', 'topkIds', a.topkIds, 'i32');
      u.rows = a.rows;
      u.topk = a.topk;
      u.numExperts = a.numExperts;
      u.expertOffsets = hostArray('assignSlots', 'expertOffsets', a.expertOffsets, 'i32');
      u.slotToken = hostArray('assignSlots', 'slotToken', a.slotToken, 'i32');
      u.tokenSlots = hostArray('assignSlots', 'tokenSlots', a.tokenSlots, 'i32');
      kernels.assignSlots(u);
    },
    stage(a) {
      const u = scratch.stage;
      u.x = hostArray('stage', 'x', a.x, 'f32');
      u.k = a.k;
      u.slotToken = a.slotToken === null ? null : hostArray('stage', 'slotToken', a.slotToken, 'i32');
      u.slots = a.slots;
      u.expertOffsets = hostArray('stage', 'expertOffsets', a.expertOffsets, 'i32');
      u.inputs = a.inputs;
      u.globalDecodeScale =
        a.globalDecodeScale === null ? null : hostArray('stage', 'globalDecodeScale', a.globalDecodeScale, 'f32');
      u.staged = a.staged;
      kernels.stage(u);
    },
    swigluStage(a) {
      const u = scratch.swigluStage;
      u.gateUp = hostArray('swigluStage', 'gateUp', a.gateUp, 'f32');
      u.slots = a.slots;
      u.i = a.i;
      u.limit = a.limit;
      u.expertOffsets = hostArray('swigluStage', 'expertOffsets', a.expertOffsets, 'i32');
      u.inputs = a.inputs;
      u.globalDecodeScale =
        a.globalDecodeScale === null ? null : hostArray('swigluStage', 'globalDecodeScale', a.globalDecodeScale, 'f32');
      u.staged = a.staged;
      kernels.swigluStage(u);
    },
    groupedGemm(a) {
      const u = scratch.groupedGemm;
      u.w = a.w;
      u.staged = a.staged;
      u.slots = a.slots;
      u.expertOffsets = hostArray('groupedGemm', 'expertOffsets', a.expertOffsets, 'i32');
      u.alpha = a.alpha === null ? null : hostArray('groupedGemm', 'alpha', a.alpha, 'f32');
      u.out = hostArray('groupedGemm', 'out', a.out, 'f32');
      kernels.groupedGemm(u);
    },
    scatterExperts(a) {
      const u = scratch.scatterExperts;
      u.y = hostArray('scatterExperts', 'y', a.y, 'f32');
      u.d = a.d;
      u.tokenSlots = hostArray('scatterExperts', 'tokenSlots', a.tokenSlots, 'i32');
      u.topkWeights = hostArray('scatterExperts', 'topkWeights', a.topkWeights, 'f32');
      u.rows = a.rows;
      u.topk = a.topk;
      u.out = hostArray('scatterExperts', 'out', a.out, 'f32');
      kernels.scatterExperts(u);
    },
    ropeTables(a) {
      const u = scratch.ropeTables;
      u.rope = a.rope;
      u.positions = hostArray('ropeTables', 'positions', a.positions, 'i32');
      u.rows = a.rows;
      u.cos = hostArray('ropeTables', 'cos', a.cos, 'f32');
      u.sin = hostArray('ropeTables', 'sin', a.sin, 'f32');
      kernels.ropeTables(u);
    },
    rope(a) {
      const u = scratch.rope;
      u.x = hostArray('rope', 'x', a.x, 'f32');
      u.rows = a.rows;
      u.heads = a.heads;
      u.d = a.d;
      u.ropeDim = a.ropeDim;
      u.cos = hostArray('rope', 'cos', a.cos, 'f32');
      u.sin = hostArray('rope', 'sin', a.sin, 'f32');
      u.inverse = a.inverse;
      kernels.rope(u);
    },
    writeWindow(a) {
      const u = scratch.writeWindow;
      u.cache = a.cache;
      u.step = a.step;
      u.layer = a.layer;
      u.d = a.d;
      u.kv = hostArray('writeWindow', 'kv', a.kv, 'f32');
      kernels.writeWindow(u);
    },
    compress(a) {
      const u = scratch.compress;
      u.cache = a.cache;
      u.step = a.step;
      u.layer = a.layer;
      u.indexer = a.indexer;
      u.width = a.width;
      u.kv = hostArray('compress', 'kv', a.kv, 'f32');
      u.gate = hostArray('compress', 'gate', a.gate, 'f32');
      u.weights = a.weights;
      u.eps = a.eps;
      kernels.compress(u);
    },
    indexSelect(a) {
      const u = scratch.indexSelect;
      u.cache = a.cache;
      u.step = a.step;
      u.layer = a.layer;
      u.q = hostArray('indexSelect', 'q', a.q, 'f32');
      u.headWeights = hostArray('indexSelect', 'headWeights', a.headWeights, 'f32');
      u.heads = a.heads;
      u.dim = a.dim;
      u.topk = a.topk;
      u.selected = hostArray('indexSelect', 'selected', a.selected, 'i32');
      kernels.indexSelect(u);
    },
    attend(a) {
      const u = scratch.attend;
      u.cache = a.cache;
      u.step = a.step;
      u.layer = a.layer;
      u.q = hostArray('attend', 'q', a.q, 'f32');
      u.heads = a.heads;
      u.d = a.d;
      u.selected = a.selected === null ? null : hostArray('attend', 'selected', a.selected, 'i32');
      u.topk = a.topk;
      u.sinks = hostArray('attend', 'sinks', a.sinks, 'f32');
      u.softmaxScale = a.softmaxScale;
      u.out = hostArray('attend', 'out', a.out, 'f32');
      kernels.attend(u);
    },
  };
}
