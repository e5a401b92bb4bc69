// Made by scripts/generate.mjs from the list of operations in table.ts. Do not edit.

import { checkInteger, checkMultiple, checkNumber, checkOneOf } from '@megamoe/core';
import { checkArguments, checkFlag, checkLimit, type KindChecks } from '../kind-checks';
import type { HostArrays } from '../host';
import type { OpName } from '../table';
import type { OpArgs } from '../types';
import { Unwrapped } from '../unwrapped';

/** A check of the arguments of each operation. */
export type OpChecks = { readonly [N in OpName]: (a: OpArgs<N, HostArrays>) => void };

const CHOICE_1 = ['f32', 'bf16', 'nvfp4'] as const;

/**
 * Checks of kinds, shapes and values, with `k` for what tensors and handles are on this side. Where memory lies is not looked at: for
 * kernels that compare addresses themselves, which costs less.
 */
export function makeValueChecks(k: KindChecks): OpChecks {
  return {
    embed(a) {
      checkArguments('embed', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      k.handle('embed', 'table', a.table, 'linear');
      checkInteger('embed', 'rows', a.rows, 0);
      checkInteger('embed', 'repeat', a.repeat, 1);
      tensor('embed', 'ids', a.ids, 'i32', 'rows', a.rows);
      k.indices('embed', 'ids', a.ids, a.rows, 0, a.table.n);
      tensor('embed', 'out', a.out, 'f32', 'rows*repeat*table.k', a.rows * a.repeat * a.table.k);
    },
    rmsNorm(a) {
      checkArguments('rmsNorm', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      checkInteger('rmsNorm', 'rows', a.rows, 0);
      checkInteger('rmsNorm', 'd', a.d, 1);
      checkNumber('rmsNorm', 'eps', a.eps, 0);
      tensor('rmsNorm', 'x', a.x, 'f32', 'rows*d', a.rows * a.d);
      if (a.weight !== null) {
        tensor('rmsNorm', 'weight', a.weight, 'f32', 'd', a.d);
      }
      tensor('rmsNorm', 'out', a.out, 'f32', 'rows*d', a.rows * a.d);
    },
    linear(a) {
      checkArguments('linear', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      k.handle('linear', 'w', a.w, 'linear');
      checkInteger('linear', 'rows', a.rows, 0);
      checkOneOf('linear', 'inputs', a.inputs, CHOICE_1);
      tensor('linear', 'x', a.x, 'f32', 'rows*w.groups*w.k', a.rows * a.w.groups * a.w.k);
      tensor('linear', 'out', a.out, 'f32', 'rows*w.groups*w.n', a.rows * a.w.groups * a.w.n);
    },
    swiglu(a) {
      checkArguments('swiglu', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      checkInteger('swiglu', 'rows', a.rows, 0);
      checkInteger('swiglu', 'i', a.i, 1);
      checkLimit('swiglu', 'limit', a.limit);
      tensor('swiglu', 'gateUp', a.gateUp, 'f32', 'rows*2*i', a.rows * 2 * a.i);
      tensor('swiglu', 'out', a.out, 'f32', 'rows*i', a.rows * a.i);
    },
    add(a) {
      checkArguments('add', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      checkInteger('add', 'n', a.n, 0);
      tensor('add', 'out', a.out, 'f32', 'n', a.n);
      tensor('add', 'x', a.x, 'f32', 'n', a.n);
    },
    gatherRows(a) {
      checkArguments('gatherRows', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      checkInteger('gatherRows', 'd', a.d, 1);
      checkInteger('gatherRows', 'rows', a.rows, 0);
      tensor('gatherRows', 'x', a.x, 'f32', '', 0);
      tensor('gatherRows', 'index', a.index, 'i32', 'rows', a.rows);
      k.indices('gatherRows', 'index', a.index, a.rows, 0, a.x.length / a.d);
      tensor('gatherRows', 'out', a.out, 'f32', 'rows*d', a.rows * a.d);
    },
    hcPre(a) {
      checkArguments('hcPre', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      checkInteger('hcPre', 'rows', a.rows, 0);
      checkInteger('hcPre', 'hc', a.hc, 1, 16);
      checkInteger('hcPre', 'd', a.d, 1);
      checkNumber('hcPre', 'rmsNormEps', a.rmsNormEps, 0);
      checkNumber('hcPre', 'hcEps', a.hcEps, 0);
      checkInteger('hcPre', 'iters', a.iters, 1, 10000);
      tensor('hcPre', 'streams', a.streams, 'f32', 'rows*hc*d', a.rows * a.hc * a.d);
      tensor('hcPre', 'fn', a.fn, 'f32', '(2+hc)*hc*hc*d', (2 + a.hc) * a.hc * a.hc * a.d);
      tensor('hcPre', 'base', a.base, 'f32', '(2+hc)*hc', (2 + a.hc) * a.hc);
      tensor('hcPre', 'gain', a.gain, 'f32', '3', 3);
      tensor('hcPre', 'post', a.post, 'f32', 'rows*hc', a.rows * a.hc);
      tensor('hcPre', 'comb', a.comb, 'f32', 'rows*hc*hc', a.rows * a.hc * a.hc);
      tensor('hcPre', 'collapsed', a.collapsed, 'f32', 'rows*d', a.rows * a.d);
    },
    hcPost(a) {
      checkArguments('hcPost', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      checkInteger('hcPost', 'rows', a.rows, 0);
      checkInteger('hcPost', 'hc', a.hc, 1, 16);
      checkInteger('hcPost', 'd', a.d, 1);
      tensor('hcPost', 'streams', a.streams, 'f32', 'rows*hc*d', a.rows * a.hc * a.d);
      tensor('hcPost', 'blockOut', a.blockOut, 'f32', 'rows*d', a.rows * a.d);
      tensor('hcPost', 'post', a.post, 'f32', 'rows*hc', a.rows * a.hc);
      tensor('hcPost', 'comb', a.comb, 'f32', 'rows*hc*hc', a.rows * a.hc * a.hc);
    },
    hcHead(a) {
      checkArguments('hcHead', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      checkInteger('hcHead', 'rows', a.rows, 0);
      checkInteger('hcHead', 'hc', a.hc, 1, 16);
      checkInteger('hcHead', 'd', a.d, 1);
      checkNumber('hcHead', 'rmsNormEps', a.rmsNormEps, 0);
      checkNumber('hcHead', 'hcEps', a.hcEps, 0);
      tensor('hcHead', 'streams', a.streams, 'f32', 'rows*hc*d', a.rows * a.hc * a.d);
      tensor('hcHead', 'fn', a.fn, 'f32', 'hc*hc*d', a.hc * a.hc * a.d);
      tensor('hcHead', 'base', a.base, 'f32', 'hc', a.hc);
      tensor('hcHead', 'gain', a.gain, 'f32', '1', 1);
      tensor('hcHead', 'out', a.out, 'f32', 'rows*d', a.rows * a.d);
    },
    route(a) {
      checkArguments('route', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      k.handle('route', 'router', a.router, 'router');
      checkInteger('route', 'rows', a.rows, 0);
      tensor('route', 'logits', a.logits, 'f32', 'rows*router.numExperts', a.rows * a.router.numExperts);
      if (a.bias !== null) {
        tensor('route', 'bias', a.bias, 'f32', 'router.numExperts', a.router.numExperts);
      }
      if (a.tokenIds !== null) {
        tensor('route', 'tokenIds', a.tokenIds, 'i32', 'rows', a.rows);
      }
      if (a.tid2eid !== null) {
        tensor('route', 'tid2eid', a.tid2eid, 'i32', 'router.topk', a.router.topk);
      }
      tensor('route', 'topkIds', a.topkIds, 'i32', 'rows*router.topk', a.rows * a.router.topk);
      tensor('route', 'topkWeights', a.topkWeights, 'f32', 'rows*router.topk', a.rows * a.router.topk);
    },
    assignSlots(a) {
      checkArguments('assignSlots', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      checkInteger('assignSlots', 'rows', a.rows, 0);
      checkInteger('assignSlots', 'topk', a.topk, 1);
      checkInteger('assignSlots', 'numExperts', a.numExperts, 1);
      tensor('assignSlots', 'topkIds', a.topkIds, 'i32', 'rows*topk', a.rows * a.topk);
      k.indices('assignSlots', 'topkIds', a.topkIds, a.rows * a.topk, -1, a.numExperts);
      tensor('assignSlots', 'expertOffsets', a.expertOffsets, 'i32', 'numExperts', a.numExperts);
      tensor('assignSlots', 'slotToken', a.slotToken, 'i32', 'rows*topk', a.rows * a.topk);
      tensor('assignSlots', 'tokenSlots', a.tokenSlots, 'i32', 'rows*topk', a.rows * a.topk);
    },
    stage(a) {
      checkArguments('stage', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      k.handle('stage', 'staged', a.staged, 'staged');
      checkInteger('stage', 'k', a.k, 1);
      checkInteger('stage', 'slots', a.slots, 0);
      checkOneOf('stage', 'inputs', a.inputs, CHOICE_1);
      tensor('stage', 'x', a.x, 'f32', '', 0);
      if (a.slotToken !== null) {
        tensor('stage', 'slotToken', a.slotToken, 'i32', 'slots', a.slots);
        k.indices('stage', 'slotToken', a.slotToken, a.slots, -1, a.x.length / a.k);
      }
      tensor('stage', 'expertOffsets', a.expertOffsets, 'i32', '', 0);
      k.ends('stage', 'expertOffsets', a.expertOffsets, a.slots);
      if (a.globalDecodeScale !== null) {
        tensor(
          'stage',
          'globalDecodeScale',
          a.globalDecodeScale,
          'f32',
          'expertOffsets.length',
          a.expertOffsets.length,
        );
      }
    },
    swigluStage(a) {
      checkArguments('swigluStage', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      k.handle('swigluStage', 'staged', a.staged, 'staged');
      checkInteger('swigluStage', 'slots', a.slots, 0);
      checkInteger('swigluStage', 'i', a.i, 1);
      checkLimit('swigluStage', 'limit', a.limit);
      checkOneOf('swigluStage', 'inputs', a.inputs, CHOICE_1);
      tensor('swigluStage', 'gateUp', a.gateUp, 'f32', 'slots*2*i', a.slots * 2 * a.i);
      tensor('swigluStage', 'expertOffsets', a.expertOffsets, 'i32', '', 0);
      k.ends('swigluStage', 'expertOffsets', a.expertOffsets, a.slots);
      if (a.globalDecodeScale !== null) {
        tensor(
          'swigluStage',
          'globalDecodeScale',
          a.globalDecodeScale,
          'f32',
          'expertOffsets.length',
          a.expertOffsets.length,
        );
      }
    },
    groupedGemm(a) {
      checkArguments('groupedGemm', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      k.handle('groupedGemm', 'w', a.w, 'experts');
      k.handle('groupedGemm', 'staged', a.staged, 'staged');
      checkInteger('groupedGemm', 'slots', a.slots, 0);
      tensor('groupedGemm', 'expertOffsets', a.expertOffsets, 'i32', 'w.numExperts', a.w.numExperts);
      k.ends('groupedGemm', 'expertOffsets', a.expertOffsets, a.slots);
      if (a.alpha !== null) {
        tensor('groupedGemm', 'alpha', a.alpha, 'f32', 'w.numExperts*w.parts', a.w.numExperts * a.w.parts);
      }
      tensor('groupedGemm', 'out', a.out, 'f32', 'slots*w.n', a.slots * a.w.n);
    },
    scatterExperts(a) {
      checkArguments('scatterExperts', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      checkInteger('scatterExperts', 'd', a.d, 1);
      checkInteger('scatterExperts', 'rows', a.rows, 0);
      checkInteger('scatterExperts', 'topk', a.topk, 1);
      tensor('scatterExperts', 'y', a.y, 'f32', '', 0);
      tensor('scatterExperts', 'tokenSlots', a.tokenSlots, 'i32', 'rows*topk', a.rows * a.topk);
      k.indices('scatterExperts', 'tokenSlots', a.tokenSlots, a.rows * a.topk, -1, a.y.length / a.d);
      tensor('scatterExperts', 'topkWeights', a.topkWeights, 'f32', 'rows*topk', a.rows * a.topk);
      tensor('scatterExperts', 'out', a.out, 'f32', 'rows*d', a.rows * a.d);
    },
    ropeTables(a) {
      checkArguments('ropeTables', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      k.handle('ropeTables', 'rope', a.rope, 'rope');
      checkInteger('ropeTables', 'rows', a.rows, 0);
      tensor('ropeTables', 'positions', a.positions, 'i32', 'rows', a.rows);
      k.indices('ropeTables', 'positions', a.positions, a.rows, 0, 2147483647);
      tensor('ropeTables', 'cos', a.cos, 'f32', 'rows*rope.ropeDim/2', (a.rows * a.rope.ropeDim) / 2);
      tensor('ropeTables', 'sin', a.sin, 'f32', 'rows*rope.ropeDim/2', (a.rows * a.rope.ropeDim) / 2);
    },
    rope(a) {
      checkArguments('rope', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      checkInteger('rope', 'rows', a.rows, 0);
      checkInteger('rope', 'heads', a.heads, 1);
      checkInteger('rope', 'd', a.d, 1);
      checkInteger('rope', 'ropeDim', a.ropeDim, 0, a.d);
      checkMultiple('rope', 'ropeDim', a.ropeDim, 2);
      checkFlag('rope', 'inverse', a.inverse);
      tensor('rope', 'x', a.x, 'f32', 'rows*heads*d', a.rows * a.heads * a.d);
      tensor('rope', 'cos', a.cos, 'f32', 'rows*ropeDim/2', (a.rows * a.ropeDim) / 2);
      tensor('rope', 'sin', a.sin, 'f32', 'rows*ropeDim/2', (a.rows * a.ropeDim) / 2);
    },
    writeWindow(a) {
      checkArguments('writeWindow', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      k.handle('writeWindow', 'cache', a.cache, 'cache');
      k.handle('writeWindow', 'step', a.step, 'step');
      checkInteger('writeWindow', 'layer', a.layer, 0, a.cache.layers - 1);
      checkInteger('writeWindow', 'd', a.d, 1);
      tensor('writeWindow', 'kv', a.kv, 'f32', 'step.rows*d', a.step.rows * a.d);
    },
    compress(a) {
      checkArguments('compress', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      k.handle('compress', 'cache', a.cache, 'cache');
      k.handle('compress', 'step', a.step, 'step');
      k.handle('compress', 'weights', a.weights, 'compressor');
      checkInteger('compress', 'layer', a.layer, 0, a.cache.layers - 1);
      checkFlag('compress', 'indexer', a.indexer);
      checkInteger('compress', 'width', a.width, 1);
      checkNumber('compress', 'eps', a.eps, 0);
      tensor('compress', 'kv', a.kv, 'f32', 'step.rows*width', a.step.rows * a.width);
      tensor('compress', 'gate', a.gate, 'f32', 'step.rows*width', a.step.rows * a.width);
    },
    indexSelect(a) {
      checkArguments('indexSelect', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      k.handle('indexSelect', 'cache', a.cache, 'cache');
      k.handle('indexSelect', 'step', a.step, 'step');
      checkInteger('indexSelect', 'layer', a.layer, 0, a.cache.layers - 1);
      checkInteger('indexSelect', 'heads', a.heads, 1);
      checkInteger('indexSelect', 'dim', a.dim, 1);
      checkInteger('indexSelect', 'topk', a.topk, 0);
      tensor('indexSelect', 'q', a.q, 'f32', 'step.rows*heads*dim', a.step.rows * a.heads * a.dim);
      tensor('indexSelect', 'headWeights', a.headWeights, 'f32', 'step.rows*heads', a.step.rows * a.heads);
      tensor('indexSelect', 'selected', a.selected, 'i32', 'step.rows*topk', a.step.rows * a.topk);
    },
    attend(a) {
      checkArguments('attend', a);
      const tensor = Unwrapped.is(a) ? k.held : k.tensor;
      k.handle('attend', 'cache', a.cache, 'cache');
      k.handle('attend', 'step', a.step, 'step');
      checkInteger('attend', 'layer', a.layer, 0, a.cache.layers - 1);
      checkInteger('attend', 'heads', a.heads, 1);
      checkInteger('attend', 'd', a.d, 1);
      checkInteger('attend', 'topk', a.topk, 0);
      checkNumber('attend', 'softmaxScale', a.softmaxScale, -Infinity);
      tensor('attend', 'q', a.q, 'f32', 'step.rows*heads*d', a.step.rows * a.heads * a.d);
      if (a.selected !== null) {
        tensor('attend', 'selected', a.selected, 'i32', 'step.rows*topk', a.step.rows * a.topk);
      }
      tensor('attend', 'sinks', a.sinks, 'f32', 'heads', a.heads);
      tensor('attend', 'out', a.out, 'f32', 'step.rows*heads*d', a.step.rows * a.heads * a.d);
    },
  };
}

/** Checks of where memory lies, for arguments that passed the others: outputs are apart, indices in memory of this thread. */
export function makeMemoryChecks(k: KindChecks): OpChecks {
  return {
    embed(a) {
      const ids = k.place('ids', a.ids, a.rows);
      const out = k.place('out', a.out, a.rows * a.repeat * a.table.k);
      k.unshared('embed', ids);
      k.apart('embed', out, ids);
    },
    rmsNorm(a) {
      const x = k.place('x', a.x, a.rows * a.d);
      const weight = a.weight === null ? null : k.place('weight', a.weight, a.d);
      const out = k.place('out', a.out, a.rows * a.d);
      k.apartOrSame('rmsNorm', out, x);
      if (weight !== null) k.apart('rmsNorm', out, weight);
    },
    linear(a) {
      const x = k.place('x', a.x, a.rows * a.w.groups * a.w.k);
      const out = k.place('out', a.out, a.rows * a.w.groups * a.w.n);
      k.apart('linear', out, x);
    },
    swiglu(a) {
      const gateUp = k.place('gateUp', a.gateUp, a.rows * 2 * a.i);
      const out = k.place('out', a.out, a.rows * a.i);
      k.apart('swiglu', out, gateUp);
    },
    add(a) {
      const out = k.place('out', a.out, a.n);
      const x = k.place('x', a.x, a.n);
      k.apart('add', out, x);
    },
    gatherRows(a) {
      const x = k.place('x', a.x, a.x.length);
      const index = k.place('index', a.index, a.rows);
      const out = k.place('out', a.out, a.rows * a.d);
      k.unshared('gatherRows', index);
      k.apart('gatherRows', out, x);
      k.apart('gatherRows', out, index);
    },
    hcPre(a) {
      const streams = k.place('streams', a.streams, a.rows * a.hc * a.d);
      const fn = k.place('fn', a.fn, (2 + a.hc) * a.hc * a.hc * a.d);
      const base = k.place('base', a.base, (2 + a.hc) * a.hc);
      const gain = k.place('gain', a.gain, 3);
      const post = k.place('post', a.post, a.rows * a.hc);
      const comb = k.place('comb', a.comb, a.rows * a.hc * a.hc);
      const collapsed = k.place('collapsed', a.collapsed, a.rows * a.d);
      k.apart('hcPre', post, streams);
      k.apart('hcPre', post, fn);
      k.apart('hcPre', post, base);
      k.apart('hcPre', post, gain);
      k.apart('hcPre', post, comb);
      k.apart('hcPre', post, collapsed);
      k.apart('hcPre', comb, streams);
      k.apart('hcPre', comb, fn);
      k.apart('hcPre', comb, base);
      k.apart('hcPre', comb, gain);
      k.apart('hcPre', comb, collapsed);
      k.apart('hcPre', collapsed, streams);
      k.apart('hcPre', collapsed, fn);
      k.apart('hcPre', collapsed, base);
      k.apart('hcPre', collapsed, gain);
    },
    hcPost(a) {
      const streams = k.place('streams', a.streams, a.rows * a.hc * a.d);
      const blockOut = k.place('blockOut', a.blockOut, a.rows * a.d);
      const post = k.place('post', a.post, a.rows * a.hc);
      const comb = k.place('comb', a.comb, a.rows * a.hc * a.hc);
      k.apart('hcPost', streams, blockOut);
      k.apart('hcPost', streams, post);
      k.apart('hcPost', streams, comb);
    },
    hcHead(a) {
      const streams = k.place('streams', a.streams, a.rows * a.hc * a.d);
      const fn = k.place('fn', a.fn, a.hc * a.hc * a.d);
      const base = k.place('base', a.base, a.hc);
      const gain = k.place('gain', a.gain, 1);
      const out = k.place('out', a.out, a.rows * a.d);
      k.apart('hcHead', out, streams);
      k.apart('hcHead', out, fn);
      k.apart('hcHead', out, base);
      k.apart('hcHead', out, gain);
    },
    route(a) {
      const logits = k.place('logits', a.logits, a.rows * a.router.numExperts);
      const bias = a.bias === null ? null : k.place('bias', a.bias, a.router.numExperts);
      const tokenIds = a.tokenIds === null ? null : k.place('tokenIds', a.tokenIds, a.rows);
      const tid2eid = a.tid2eid === null ? null : k.place('tid2eid', a.tid2eid, a.router.topk);
      const topkIds = k.place('topkIds', a.topkIds, a.rows * a.router.topk);
      const topkWeights = k.place('topkWeights', a.topkWeights, a.rows * a.router.topk);
      if (tokenIds !== null) k.unshared('route', tokenIds);
      if (tid2eid !== null) k.unshared('route', tid2eid);
      k.unshared('route', topkIds);
      k.apart('route', topkIds, logits);
      if (bias !== null) k.apart('route', topkIds, bias);
      if (tokenIds !== null) k.apart('route', topkIds, tokenIds);
      if (tid2eid !== null) k.apart('route', topkIds, tid2eid);
      k.apart('route', topkIds, topkWeights);
      k.apart('route', topkWeights, logits);
      if (bias !== null) k.apart('route', topkWeights, bias);
      if (tokenIds !== null) k.apart('route', topkWeights, tokenIds);
      if (tid2eid !== null) k.apart('route', topkWeights, tid2eid);
    },
    assignSlots(a) {
      const topkIds = k.place('topkIds', a.topkIds, a.rows * a.topk);
      const expertOffsets = k.place('expertOffsets', a.expertOffsets, a.numExperts);
      const slotToken = k.place('slotToken', a.slotToken, a.rows * a.topk);
      const tokenSlots = k.place('tokenSlots', a.tokenSlots, a.rows * a.topk);
      k.unshared('assignSlots', topkIds);
      k.unshared('assignSlots', expertOffsets);
      k.unshared('assignSlots', slotToken);
      k.unshared('assignSlots', tokenSlots);
      k.apart('assignSlots', expertOffsets, topkIds);
      k.apart('assignSlots', expertOffsets, slotToken);
      k.apart('assignSlots', expertOffsets, tokenSlots);
      k.apart('assignSlots', slotToken, topkIds);
      k.apart('assignSlots', slotToken, tokenSlots);
      k.apart('assignSlots', tokenSlots, topkIds);
    },
    stage(a) {
      const slotToken = a.slotToken === null ? null : k.place('slotToken', a.slotToken, a.slots);
      const expertOffsets = k.place('expertOffsets', a.expertOffsets, a.expertOffsets.length);
      if (slotToken !== null) k.unshared('stage', slotToken);
      k.unshared('stage', expertOffsets);
    },
    swigluStage(a) {
      const expertOffsets = k.place('expertOffsets', a.expertOffsets, a.expertOffsets.length);
      k.unshared('swigluStage', expertOffsets);
    },
    groupedGemm(a) {
      const expertOffsets = k.place('expertOffsets', a.expertOffsets, a.w.numExperts);
      const alpha = a.alpha === null ? null : k.place('alpha', a.alpha, a.w.numExperts * a.w.parts);
      const out = k.place('out', a.out, a.slots * a.w.n);
      k.unshared('groupedGemm', expertOffsets);
      k.apart('groupedGemm', out, expertOffsets);
      if (alpha !== null) k.apart('groupedGemm', out, alpha);
    },
    scatterExperts(a) {
      const y = k.place('y', a.y, a.y.length);
      const tokenSlots = k.place('tokenSlots', a.tokenSlots, a.rows * a.topk);
      const topkWeights = k.place('topkWeights', a.topkWeights, a.rows * a.topk);
      const out = k.place('out', a.out, a.rows * a.d);
      k.unshared('scatterExperts', tokenSlots);
      k.apart('scatterExperts', out, y);
      k.apart('scatterExperts', out, tokenSlots);
      k.apart('scatterExperts', out, topkWeights);
    },
    ropeTables(a) {
      const positions = k.place('positions', a.positions, a.rows);
      const cos = k.place('cos', a.cos, (a.rows * a.rope.ropeDim) / 2);
      const sin = k.place('sin', a.sin, (a.rows * a.rope.ropeDim) / 2);
      k.unshared('ropeTables', positions);
      k.apart('ropeTables', cos, positions);
      k.apart('ropeTables', cos, sin);
      k.apart('ropeTables', sin, positions);
    },
    rope(a) {
      const x = k.place('x', a.x, a.rows * a.heads * a.d);
      const cos = k.place('cos', a.cos, (a.rows * a.ropeDim) / 2);
      const sin = k.place('sin', a.sin, (a.rows * a.ropeDim) / 2);
      k.apart('rope', x, cos);
      k.apart('rope', x, sin);
    },
    writeWindow() {
      // nothing in reach
    },
    compress() {
      // nothing in reach
    },
    indexSelect(a) {
      const q = k.place('q', a.q, a.step.rows * a.heads * a.dim);
      const headWeights = k.place('headWeights', a.headWeights, a.step.rows * a.heads);
      const selected = k.place('selected', a.selected, a.step.rows * a.topk);
      k.unshared('indexSelect', selected);
      k.apart('indexSelect', selected, q);
      k.apart('indexSelect', selected, headWeights);
    },
    attend(a) {
      const q = k.place('q', a.q, a.step.rows * a.heads * a.d);
      const selected = a.selected === null ? null : k.place('selected', a.selected, a.step.rows * a.topk);
      const sinks = k.place('sinks', a.sinks, a.heads);
      const out = k.place('out', a.out, a.step.rows * a.heads * a.d);
      if (selected !== null) k.unshared('attend', selected);
      k.apart('attend', out, q);
      if (selected !== null) k.apart('attend', out, selected);
      k.apart('attend', out, sinks);
    },
  };
}

/** Both: a check of all arguments of each operation. */
export function makeChecks(k: KindChecks): OpChecks {
  const kinds = makeValueChecks(k);
  const memory = makeMemoryChecks(k);
  return {
    embed(a) {
      kinds.embed(a);
      memory.embed(a);
    },
    rmsNorm(a) {
      kinds.rmsNorm(a);
      memory.rmsNorm(a);
    },
    linear(a) {
      kinds.linear(a);
      memory.linear(a);
    },
    swiglu(a) {
      kinds.swiglu(a);
      memory.swiglu(a);
    },
    add(a) {
      kinds.add(a);
      memory.add(a);
    },
    gatherRows(a) {
      kinds.gatherRows(a);
      memory.gatherRows(a);
    },
    hcPre(a) {
      kinds.hcPre(a);
      memory.hcPre(a);
    },
    hcPost(a) {
      kinds.hcPost(a);
      memory.hcPost(a);
    },
    hcHead(a) {
      kinds.hcHead(a);
      memory.hcHead(a);
    },
    route(a) {
      kinds.route(a);
      memory.route(a);
    },
    assignSlots(a) {
      kinds.assignSlots(a);
      memory.assignSlots(a);
    },
    stage(a) {
      kinds.stage(a);
      memory.stage(a);
    },
    swigluStage(a) {
      kinds.swigluStage(a);
      memory.swigluStage(a);
    },
    groupedGemm(a) {
      kinds.groupedGemm(a);
      memory.groupedGemm(a);
    },
    scatterExperts(a) {
      kinds.scatterExperts(a);
      memory.scatterExperts(a);
    },
    ropeTables(a) {
      kinds.ropeTables(a);
      memory.ropeTables(a);
    },
    rope(a) {
      kinds.rope(a);
      memory.rope(a);
    },
    writeWindow(a) {
      kinds.writeWindow(a);
      memory.writeWindow(a);
    },
    compress(a) {
      kinds.compress(a);
      memory.compress(a);
    },
    indexSelect(a) {
      kinds.indexSelect(a);
      memory.indexSelect(a);
    },
    attend(a) {
      kinds.attend(a);
      memory.attend(a);
    },
  };
}
