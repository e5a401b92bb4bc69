// Made by scripts/generate.mjs from the list of operations in table.ts. Do not edit.

import type { Tensors } from '../backend';
import type { HostArrays } from '../host';
import { checkArguments } from '../kind-checks';
import type { OpName } from '../table';
import { hostArray } from '../tensor';
import type { OpArgs, Operations } from '../types';
import { Unwrapped } from '../unwrapped';

type Scratch<N extends OpName> = { -readonly [A in keyof OpArgs<N, HostArrays>]: OpArgs<N, HostArrays>[A] };

/**
 * The operations of a backend on the host: kernels on typed arrays, with tensors unwrapped. A warm call allocates nothing. Arguments are all
 * read before the first is kept: a getter may do anything.
 */
export function onHost(kernels: Operations<HostArrays>): Operations<Tensors> {
  const scratch = {
    embed: new Unwrapped() as Unwrapped & Scratch<'embed'>,
    rmsNorm: new Unwrapped() as Unwrapped & Scratch<'rmsNorm'>,
    linear: new Unwrapped() as Unwrapped & Scratch<'linear'>,
    swiglu: new Unwrapped() as Unwrapped & Scratch<'swiglu'>,
    add: new Unwrapped() as Unwrapped & Scratch<'add'>,
    gatherRows: new Unwrapped() as Unwrapped & Scratch<'gatherRows'>,
    hcPre: new Unwrapped() as Unwrapped & Scratch<'hcPre'>,
    hcPost: new Unwrapped() as Unwrapped & Scratch<'hcPost'>,
    hcHead: new Unwrapped() as Unwrapped & Scratch<'hcHead'>,
    route: new Unwrapped() as Unwrapped & Scratch<'route'>,
    assignSlots: new Unwrapped() as Unwrapped & Scratch<'assignSlots'>,
    stage: new Unwrapped() as Unwrapped & Scratch<'stage'>,
    swigluStage: new Unwrapped() as Unwrapped & Scratch<'swigluStage'>,
    groupedGemm: new Unwrapped() as Unwrapped & Scratch<'groupedGemm'>,
    scatterExperts: new Unwrapped() as Unwrapped & Scratch<'scatterExperts'>,
    ropeTables: new Unwrapped() as Unwrapped & Scratch<'ropeTables'>,
    rope: new Unwrapped() as Unwrapped & Scratch<'rope'>,
    writeWindow: new Unwrapped() as Unwrapped & Scratch<'writeWindow'>,
    compress: new Unwrapped() as Unwrapped & Scratch<'compress'>,
    indexSelect: new Unwrapped() as Unwrapped & Scratch<'indexSelect'>,
    attend: new Unwrapped() as Unwrapped & Scratch<'attend'>,
  };
  return {
    embed(a) {
      checkArguments('embed', a);
      const { table, ids, rows, repeat, out } = a;
      const idsData = hostArray('embed', 'ids', ids, 'i32');
      const outData = hostArray('embed', 'out', out, 'f32');
      const u = scratch.embed;
      u.table = table;
      u.ids = idsData;
      u.rows = rows;
      u.repeat = repeat;
      u.out = outData;
      kernels.embed(u);
    },
    rmsNorm(a) {
      checkArguments('rmsNorm', a);
      const { x, rows, d, weight, eps, out } = a;
      const xData = hostArray('rmsNorm', 'x', x, 'f32');
      const weightData = weight === null ? null : hostArray('rmsNorm', 'weight', weight, 'f32');
      const outData = hostArray('rmsNorm', 'out', out, 'f32');
      const u = scratch.rmsNorm;
      u.x = xData;
      u.rows = rows;
      u.d = d;
      u.weight = weightData;
      u.eps = eps;
      u.out = outData;
      kernels.rmsNorm(u);
    },
    linear(a) {
      checkArguments('linear', a);
      const { w, x, rows, inputs, out } = a;
      const xData = hostArray('linear', 'x', x, 'f32');
      const outData = hostArray('linear', 'out', out, 'f32');
      const u = scratch.linear;
      u.w = w;
      u.x = xData;
      u.rows = rows;
      u.inputs = inputs;
      u.out = outData;
      kernels.linear(u);
    },
    swiglu(a) {
      checkArguments('swiglu', a);
      const { gateUp, rows, i, limit, out } = a;
      const gateUpData = hostArray('swiglu', 'gateUp', gateUp, 'f32');
      const outData = hostArray('swiglu', 'out', out, 'f32');
      const u = scratch.swiglu;
      u.gateUp = gateUpData;
      u.rows = rows;
      u.i = i;
      u.limit = limit;
      u.out = outData;
      kernels.swiglu(u);
    },
    add(a) {
      checkArguments('add', a);
      const { out, x, n } = a;
      const outData = hostArray('add', 'out', out, 'f32');
      const xData = hostArray('add', 'x', x, 'f32');
      const u = scratch.add;
      u.out = outData;
      u.x = xData;
      u.n = n;
      kernels.add(u);
    },
    gatherRows(a) {
      checkArguments('gatherRows', a);
      const { x, d, index, rows, out } = a;
      const xData = hostArray('gatherRows', 'x', x, 'f32');
      const indexData = hostArray('gatherRows', 'index', index, 'i32');
      const outData = hostArray('gatherRows', 'out', out, 'f32');
      const u = scratch.gatherRows;
      u.x = xData;
      u.d = d;
      u.index = indexData;
      u.rows = rows;
      u.out = outData;
      kernels.gatherRows(u);
    },
    hcPre(a) {
      checkArguments('hcPre', a);
      const { streams, rows, hc, d, fn, base, gain, rmsNormEps, hcEps, iters, post, comb, collapsed } = a;
      const streamsData = hostArray('hcPre', 'streams', streams, 'f32');
      const fnData = hostArray('hcPre', 'fn', fn, 'f32');
      const baseData = hostArray('hcPre', 'base', base, 'f32');
      const gainData = hostArray('hcPre', 'gain', gain, 'f32');
      const postData = hostArray('hcPre', 'post', post, 'f32');
      const combData = hostArray('hcPre', 'comb', comb, 'f32');
      const collapsedData = hostArray('hcPre', 'collapsed', collapsed, 'f32');
      const u = scratch.hcPre;
      u.streams = streamsData;
      u.rows = rows;
      u.hc = hc;
      u.d = d;
      u.fn = fnData;
      u.base = baseData;
      u.gain = gainData;
      u.rmsNormEps = rmsNormEps;
      u.hcEps = hcEps;
      u.iters = iters;
      u.post = postData;
      u.comb = combData;
      u.collapsed = collapsedData;
      kernels.hcPre(u);
    },
    hcPost(a) {
      checkArguments('hcPost', a);
      const { streams, blockOut, rows, hc, d, post, comb } = a;
      const streamsData = hostArray('hcPost', 'streams', streams, 'f32');
      const blockOutData = hostArray('hcPost', 'blockOut', blockOut, 'f32');
      const postData = hostArray('hcPost', 'post', post, 'f32');
      const combData = hostArray('hcPost', 'comb', comb, 'f32');
      const u = scratch.hcPost;
      u.streams = streamsData;
      u.blockOut = blockOutData;
      u.rows = rows;
      u.hc = hc;
      u.d = d;
      u.post = postData;
      u.comb = combData;
      kernels.hcPost(u);
    },
    hcHead(a) {
      checkArguments('hcHead', a);
      const { streams, rows, hc, d, fn, base, gain, rmsNormEps, hcEps, out } = a;
      const streamsData = hostArray('hcHead', 'streams', streams, 'f32');
      const fnData = hostArray('hcHead', 'fn', fn, 'f32');
      const baseData = hostArray('hcHead', 'base', base, 'f32');
      const gainData = hostArray('hcHead', 'gain', gain, 'f32');
      const outData = hostArray('hcHead', 'out', out, 'f32');
      const u = scratch.hcHead;
      u.streams = streamsData;
      u.rows = rows;
      u.hc = hc;
      u.d = d;
      u.fn = fnData;
      u.base = baseData;
      u.gain = gainData;
      u.rmsNormEps = rmsNormEps;
      u.hcEps = hcEps;
      u.out = outData;
      kernels.hcHead(u);
    },
    route(a) {
      checkArguments('route', a);
      const { router, logits, rows, bias, tokenIds, tid2eid, topkIds, topkWeights } = a;
      const logitsData = hostArray('route', 'logits', logits, 'f32');
      const biasData = bias === null ? null : hostArray('route', 'bias', bias, 'f32');
      const tokenIdsData = tokenIds === null ? null : hostArray('route', 'tokenIds', tokenIds, 'i32');
      const tid2eidData = tid2eid === null ? null : hostArray('route', 'tid2eid', tid2eid, 'i32');
      const topkIdsData = hostArray('route', 'topkIds', topkIds, 'i32');
      const topkWeightsData = hostArray('route', 'topkWeights', topkWeights, 'f32');
      const u = scratch.route;
      u.router = router;
      u.logits = logitsData;
      u.rows = rows;
      u.bias = biasData;
      u.tokenIds = tokenIdsData;
      u.tid2eid = tid2eidData;
      u.topkIds = topkIdsData;
      u.topkWeights = topkWeightsData;
      kernels.route(u);
    },
    assignSlots(a) {
      checkArguments('assignSlots', a);
      const { topkIds, rows, topk, numExperts, expertOffsets, slotToken, tokenSlots } = a;
      const topkIdsData = hostArray('assignSlots', 'topkIds', topkIds, 'i32');
      const expertOffsetsData = hostArray('assignSlots', 'expertOffsets', expertOffsets, 'i32');
      const slotTokenData = hostArray('assignSlots', 'slotToken', slotToken, 'i32');
      const tokenSlotsData = hostArray('assignSlots', 'tokenSlots', tokenSlots, 'i32');
      const u = scratch.assignSlots;
      u.topkIds = topkIdsData;
      u.rows = rows;
      u.topk = topk;
      u.numExperts = numExperts;
      u.expertOffsets = expertOffsetsData;
      u.slotToken = slotTokenData;
      u.tokenSlots = tokenSlotsData;
      kernels.assignSlots(u);
    },
    stage(a) {
      checkArguments('stage', a);
      const { x, k, slotToken, slots, expertOffsets, inputs, globalDecodeScale, staged } = a;
      const xData = hostArray('stage', 'x', x, 'f32');
      const slotTokenData = slotToken === null ? null : hostArray('stage', 'slotToken', slotToken, 'i32');
      const expertOffsetsData = hostArray('stage', 'expertOffsets', expertOffsets, 'i32');
      const globalDecodeScaleData =
        globalDecodeScale === null ? null : hostArray('stage', 'globalDecodeScale', globalDecodeScale, 'f32');
      const u = scratch.stage;
      u.x = xData;
      u.k = k;
      u.slotToken = slotTokenData;
      u.slots = slots;
      u.expertOffsets = expertOffsetsData;
      u.inputs = inputs;
      u.globalDecodeScale = globalDecodeScaleData;
      u.staged = staged;
      kernels.stage(u);
    },
    swigluStage(a) {
      checkArguments('swigluStage', a);
      const { gateUp, slots, i, limit, expertOffsets, inputs, globalDecodeScale, staged } = a;
      const gateUpData = hostArray('swigluStage', 'gateUp', gateUp, 'f32');
      const expertOffsetsData = hostArray('swigluStage', 'expertOffsets', expertOffsets, 'i32');
      const globalDecodeScaleData =
        globalDecodeScale === null ? null : hostArray('swigluStage', 'globalDecodeScale', globalDecodeScale, 'f32');
      const u = scratch.swigluStage;
      u.gateUp = gateUpData;
      u.slots = slots;
      u.i = i;
      u.limit = limit;
      u.expertOffsets = expertOffsetsData;
      u.inputs = inputs;
      u.globalDecodeScale = globalDecodeScaleData;
      u.staged = staged;
      kernels.swigluStage(u);
    },
    groupedGemm(a) {
      checkArguments('groupedGemm', a);
      const { w, staged, slots, expertOffsets, alpha, out } = a;
      const expertOffsetsData = hostArray('groupedGemm', 'expertOffsets', expertOffsets, 'i32');
      const alphaData = alpha === null ? null : hostArray('groupedGemm', 'alpha', alpha, 'f32');
      const outData = hostArray('groupedGemm', 'out', out, 'f32');
      const u = scratch.groupedGemm;
      u.w = w;
      u.staged = staged;
      u.slots = slots;
      u.expertOffsets = expertOffsetsData;
      u.alpha = alphaData;
      u.out = outData;
      kernels.groupedGemm(u);
    },
    scatterExperts(a) {
      checkArguments('scatterExperts', a);
      const { y, d, tokenSlots, topkWeights, rows, topk, out } = a;
      const yData = hostArray('scatterExperts', 'y', y, 'f32');
      const tokenSlotsData = hostArray('scatterExperts', 'tokenSlots', tokenSlots, 'i32');
      const topkWeightsData = hostArray('scatterExperts', 'topkWeights', topkWeights, 'f32');
      const outData = hostArray('scatterExperts', 'out', out, 'f32');
      const u = scratch.scatterExperts;
      u.y = yData;
      u.d = d;
      u.tokenSlots = tokenSlotsData;
      u.topkWeights = topkWeightsData;
      u.rows = rows;
      u.topk = topk;
      u.out = outData;
      kernels.scatterExperts(u);
    },
    ropeTables(a) {
      checkArguments('ropeTables', a);
      const { rope, positions, rows, cos, sin } = a;
      const positionsData = hostArray('ropeTables', 'positions', positions, 'i32');
      const cosData = hostArray('ropeTables', 'cos', cos, 'f32');
      const sinData = hostArray('ropeTables', 'sin', sin, 'f32');
      const u = scratch.ropeTables;
      u.rope = rope;
      u.positions = positionsData;
      u.rows = rows;
      u.cos = cosData;
      u.sin = sinData;
      kernels.ropeTables(u);
    },
    rope(a) {
      checkArguments('rope', a);
      const { x, rows, heads, d, ropeDim, cos, sin, inverse } = a;
      const xData = hostArray('rope', 'x', x, 'f32');
      const cosData = hostArray('rope', 'cos', cos, 'f32');
      const sinData = hostArray('rope', 'sin', sin, 'f32');
      const u = scratch.rope;
      u.x = xData;
      u.rows = rows;
      u.heads = heads;
      u.d = d;
      u.ropeDim = ropeDim;
      u.cos = cosData;
      u.sin = sinData;
      u.inverse = inverse;
      kernels.rope(u);
    },
    writeWindow(a) {
      checkArguments('writeWindow', a);
      const { cache, step, layer, d, kv } = a;
      const kvData = hostArray('writeWindow', 'kv', kv, 'f32');
      const u = scratch.writeWindow;
      u.cache = cache;
      u.step = step;
      u.layer = layer;
      u.d = d;
      u.kv = kvData;
      kernels.writeWindow(u);
    },
    compress(a) {
      checkArguments('compress', a);
      const { cache, step, layer, indexer, width, kv, gate, weights, eps } = a;
      const kvData = hostArray('compress', 'kv', kv, 'f32');
      const gateData = hostArray('compress', 'gate', gate, 'f32');
      const u = scratch.compress;
      u.cache = cache;
      u.step = step;
      u.layer = layer;
      u.indexer = indexer;
      u.width = width;
      u.kv = kvData;
      u.gate = gateData;
      u.weights = weights;
      u.eps = eps;
      kernels.compress(u);
    },
    indexSelect(a) {
      checkArguments('indexSelect', a);
      const { cache, step, layer, q, headWeights, heads, dim, topk, selected } = a;
      const qData = hostArray('indexSelect', 'q', q, 'f32');
      const headWeightsData = hostArray('indexSelect', 'headWeights', headWeights, 'f32');
      const selectedData = hostArray('indexSelect', 'selected', selected, 'i32');
      const u = scratch.indexSelect;
      u.cache = cache;
      u.step = step;
      u.layer = layer;
      u.q = qData;
      u.headWeights = headWeightsData;
      u.heads = heads;
      u.dim = dim;
      u.topk = topk;
      u.selected = selectedData;
      kernels.indexSelect(u);
    },
    attend(a) {
      checkArguments('attend', a);
      const { cache, step, layer, q, heads, d, selected, topk, sinks, softmaxScale, out } = a;
      const qData = hostArray('attend', 'q', q, 'f32');
      const selectedData = selected === null ? null : hostArray('attend', 'selected', selected, 'i32');
      const sinksData = hostArray('attend', 'sinks', sinks, 'f32');
      const outData = hostArray('attend', 'out', out, 'f32');
      const u = scratch.attend;
      u.cache = cache;
      u.step = step;
      u.layer = layer;
      u.q = qData;
      u.heads = heads;
      u.d = d;
      u.selected = selectedData;
      u.topk = topk;
      u.sinks = sinksData;
      u.softmaxScale = softmaxScale;
      u.out = outData;
      kernels.attend(u);
    },
  };
}
