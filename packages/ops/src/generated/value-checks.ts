// Made by scripts/generate.mjs from the list of operations in table.ts. Do not edit.

import { checkInteger, checkMultiple, checkNumber, checkOneOf } from '@megamoe/core';
import { checkArguments, checkFlag, checkLimit, type KindChecks } from '../kind-checks';
import type { HostArrays } from '../host';
import type { OpName } from '../table';
import type { OpArgs } from '../types';

/**
 * A check of the arguments of each operation. `held`: its arrays are those of tensors, which were asked what they are when they were made;
 * only their lengths are looked at.
 */
export type OpChecks = { readonly [N in OpName]: (a: OpArgs<N, HostArrays>, held?: boolean) => void };

const CHOICE_1 = ['f32', 'bf16', 'nvfp4'] as const;

/**
 * Checks of kinds, shapes and values, with `k` for what tensors and handles are on this side. Where memory lies is not looked at: for
 * kernels that compare addresses themselves, which costs less.
 */
export function makeValueChecks(k: KindChecks): OpChecks {
  return {
    embed(a, held = false) {
      checkArguments('embed', a);
      k.handle('embed', 'table', a.table, 'linear');
      checkInteger('embed', 'rows', a.rows, 0);
      checkInteger('embed', 'repeat', a.repeat, 1);
      if (!held) k.tensor('embed', 'ids', a.ids, 'i32', 'rows', a.rows);
      else if (a.ids.length < a.rows) k.tooShort('embed', 'ids', a.ids, 'rows', a.rows);
      k.indices('embed', 'ids', a.ids, a.rows, 0, a.table.n);
      if (!held) k.tensor('embed', 'out', a.out, 'f32', 'rows*repeat*table.k', a.rows * a.repeat * a.table.k);
      else if (a.out.length < a.rows * a.repeat * a.table.k)
        k.tooShort('embed', 'out', a.out, 'rows*repeat*table.k', a.rows * a.repeat * a.table.k);
    },
    rmsNorm(a, held = false) {
      checkArguments('rmsNorm', a);
      checkInteger('rmsNorm', 'rows', a.rows, 0);
      checkInteger('rmsNorm', 'd', a.d, 1);
      checkNumber('rmsNorm', 'eps', a.eps, 0);
      if (!held) k.tensor('rmsNorm', 'x', a.x, 'f32', 'rows*d', a.rows * a.d);
      else if (a.x.length < a.rows * a.d) k.tooShort('rmsNorm', 'x', a.x, 'rows*d', a.rows * a.d);
      if (a.weight !== null) {
        if (!held) k.tensor('rmsNorm', 'weight', a.weight, 'f32', 'd', a.d);
        else if (a.weight.length < a.d) k.tooShort('rmsNorm', 'weight', a.weight, 'd', a.d);
      }
      if (!held) k.tensor('rmsNorm', 'out', a.out, 'f32', 'rows*d', a.rows * a.d);
      else if (a.out.length < a.rows * a.d) k.tooShort('rmsNorm', 'out', a.out, 'rows*d', a.rows * a.d);
    },
    linear(a, held = false) {
      checkArguments('linear', a);
      k.handle('linear', 'w', a.w, 'linear');
      checkInteger('linear', 'rows', a.rows, 0);
      checkOneOf('linear', 'inputs', a.inputs, CHOICE_1);
      if (!held) k.tensor('linear', 'x', a.x, 'f32', 'rows*w.groups*w.k', a.rows * a.w.groups * a.w.k);
      else if (a.x.length < a.rows * a.w.groups * a.w.k)
        k.tooShort('linear', 'x', a.x, 'rows*w.groups*w.k', a.rows * a.w.groups * a.w.k);
      if (!held) k.tensor('linear', 'out', a.out, 'f32', 'rows*w.groups*w.n', a.rows * a.w.groups * a.w.n);
      else if (a.out.length < a.rows * a.w.groups * a.w.n)
        k.tooShort('linear', 'out', a.out, 'rows*w.groups*w.n', a.rows * a.w.groups * a.w.n);
    },
    swiglu(a, held = false) {
      checkArguments('swiglu', a);
      checkInteger('swiglu', 'rows', a.rows, 0);
      checkInteger('swiglu', 'i', a.i, 1);
      checkLimit('swiglu', 'limit', a.limit);
      if (!held) k.tensor('swiglu', 'gateUp', a.gateUp, 'f32', 'rows*2*i', a.rows * 2 * a.i);
      else if (a.gateUp.length < a.rows * 2 * a.i)
        k.tooShort('swiglu', 'gateUp', a.gateUp, 'rows*2*i', a.rows * 2 * a.i);
      if (!held) k.tensor('swiglu', 'out', a.out, 'f32', 'rows*i', a.rows * a.i);
      else if (a.out.length < a.rows * a.i) k.tooShort('swiglu', 'out', a.out, 'rows*i', a.rows * a.i);
    },
    add(a, held = false) {
      checkArguments('add', a);
      checkInteger('add', 'n', a.n, 0);
      if (!held) k.tensor('add', 'out', a.out, 'f32', 'n', a.n);
      else if (a.out.length < a.n) k.tooShort('add', 'out', a.out, 'n', a.n);
      if (!held) k.tensor('add', 'x', a.x, 'f32', 'n', a.n);
      else if (a.x.length < a.n) k.tooShort('add', 'x', a.x, 'n', a.n);
    },
    gatherRows(a, held = false) {
      checkArguments('gatherRows', a);
      checkInteger('gatherRows', 'd', a.d, 1);
      checkInteger('gatherRows', 'rows', a.rows, 0);
      if (!held) k.tensor('gatherRows', 'x', a.x, 'f32', '', 0);
      if (!held) k.tensor('gatherRows', 'index', a.index, 'i32', 'rows', a.rows);
      else if (a.index.length < a.rows) k.tooShort('gatherRows', 'index', a.index, 'rows', a.rows);
      k.indices('gatherRows', 'index', a.index, a.rows, 0, k.rows('gatherRows', 'x', a.x, a.d));
      if (!held) k.tensor('gatherRows', 'out', a.out, 'f32', 'rows*d', a.rows * a.d);
      else if (a.out.length < a.rows * a.d) k.tooShort('gatherRows', 'out', a.out, 'rows*d', a.rows * a.d);
    },
    hcPre(a, held = false) {
      checkArguments('hcPre', a);
      checkInteger('hcPre', 'rows', a.rows, 0);
      checkInteger('hcPre', 'hc', a.hc, 1, 16);
      checkInteger('hcPre', 'd', a.d, 1);
      checkNumber('hcPre', 'rmsNormEps', a.rmsNormEps, 0);
      checkNumber('hcPre', 'hcEps', a.hcEps, 0);
      checkInteger('hcPre', 'iters', a.iters, 1, 10000);
      if (!held) k.tensor('hcPre', 'streams', a.streams, 'f32', 'rows*hc*d', a.rows * a.hc * a.d);
      else if (a.streams.length < a.rows * a.hc * a.d)
        k.tooShort('hcPre', 'streams', a.streams, 'rows*hc*d', a.rows * a.hc * a.d);
      if (!held) k.tensor('hcPre', 'fn', a.fn, 'f32', '(2+hc)*hc*hc*d', (2 + a.hc) * a.hc * a.hc * a.d);
      else if (a.fn.length < (2 + a.hc) * a.hc * a.hc * a.d)
        k.tooShort('hcPre', 'fn', a.fn, '(2+hc)*hc*hc*d', (2 + a.hc) * a.hc * a.hc * a.d);
      if (!held) k.tensor('hcPre', 'base', a.base, 'f32', '(2+hc)*hc', (2 + a.hc) * a.hc);
      else if (a.base.length < (2 + a.hc) * a.hc) k.tooShort('hcPre', 'base', a.base, '(2+hc)*hc', (2 + a.hc) * a.hc);
      if (!held) k.tensor('hcPre', 'gain', a.gain, 'f32', '3', 3);
      else if (a.gain.length < 3) k.tooShort('hcPre', 'gain', a.gain, '3', 3);
      if (!held) k.tensor('hcPre', 'post', a.post, 'f32', 'rows*hc', a.rows * a.hc);
      else if (a.post.length < a.rows * a.hc) k.tooShort('hcPre', 'post', a.post, 'rows*hc', a.rows * a.hc);
      if (!held) k.tensor('hcPre', 'comb', a.comb, 'f32', 'rows*hc*hc', a.rows * a.hc * a.hc);
      else if (a.comb.length < a.rows * a.hc * a.hc)
        k.tooShort('hcPre', 'comb', a.comb, 'rows*hc*hc', a.rows * a.hc * a.hc);
      if (!held) k.tensor('hcPre', 'collapsed', a.collapsed, 'f32', 'rows*d', a.rows * a.d);
      else if (a.collapsed.length < a.rows * a.d) k.tooShort('hcPre', 'collapsed', a.collapsed, 'rows*d', a.rows * a.d);
    },
    hcPost(a, held = false) {
      checkArguments('hcPost', a);
      checkInteger('hcPost', 'rows', a.rows, 0);
      checkInteger('hcPost', 'hc', a.hc, 1, 16);
      checkInteger('hcPost', 'd', a.d, 1);
      if (!held) k.tensor('hcPost', 'streams', a.streams, 'f32', 'rows*hc*d', a.rows * a.hc * a.d);
      else if (a.streams.length < a.rows * a.hc * a.d)
        k.tooShort('hcPost', 'streams', a.streams, 'rows*hc*d', a.rows * a.hc * a.d);
      if (!held) k.tensor('hcPost', 'blockOut', a.blockOut, 'f32', 'rows*d', a.rows * a.d);
      else if (a.blockOut.length < a.rows * a.d) k.tooShort('hcPost', 'blockOut', a.blockOut, 'rows*d', a.rows * a.d);
      if (!held) k.tensor('hcPost', 'post', a.post, 'f32', 'rows*hc', a.rows * a.hc);
      else if (a.post.length < a.rows * a.hc) k.tooShort('hcPost', 'post', a.post, 'rows*hc', a.rows * a.hc);
      if (!held) k.tensor('hcPost', 'comb', a.comb, 'f32', 'rows*hc*hc', a.rows * a.hc * a.hc);
      else if (a.comb.length < a.rows * a.hc * a.hc)
        k.tooShort('hcPost', 'comb', a.comb, 'rows*hc*hc', a.rows * a.hc * a.hc);
    },
    hcHead(a, held = false) {
      checkArguments('hcHead', a);
      checkInteger('hcHead', 'rows', a.rows, 0);
      checkInteger('hcHead', 'hc', a.hc, 1, 16);
      checkInteger('hcHead', 'd', a.d, 1);
      checkNumber('hcHead', 'rmsNormEps', a.rmsNormEps, 0);
      checkNumber('hcHead', 'hcEps', a.hcEps, 0);
      if (!held) k.tensor('hcHead', 'streams', a.streams, 'f32', 'rows*hc*d', a.rows * a.hc * a.d);
      else if (a.streams.length < a.rows * a.hc * a.d)
        k.tooShort('hcHead', 'streams', a.streams, 'rows*hc*d', a.rows * a.hc * a.d);
      if (!held) k.tensor('hcHead', 'fn', a.fn, 'f32', 'hc*hc*d', a.hc * a.hc * a.d);
      else if (a.fn.length < a.hc * a.hc * a.d) k.tooShort('hcHead', 'fn', a.fn, 'hc*hc*d', a.hc * a.hc * a.d);
      if (!held) k.tensor('hcHead', 'base', a.base, 'f32', 'hc', a.hc);
      else if (a.base.length < a.hc) k.tooShort('hcHead', 'base', a.base, 'hc', a.hc);
      if (!held) k.tensor('hcHead', 'gain', a.gain, 'f32', '1', 1);
      else if (a.gain.length < 1) k.tooShort('hcHead', 'gain', a.gain, '1', 1);
      if (!held) k.tensor('hcHead', 'out', a.out, 'f32', 'rows*d', a.rows * a.d);
      else if (a.out.length < a.rows * a.d) k.tooShort('hcHead', 'out', a.out, 'rows*d', a.rows * a.d);
    },
    route(a, held = false) {
      checkArguments('route', a);
      k.handle('route', 'router', a.router, 'router');
      checkInteger('route', 'rows', a.rows, 0);
      if (!held) k.tensor('route', 'logits', a.logits, 'f32', 'rows*router.numExperts', a.rows * a.router.numExperts);
      else if (a.logits.length < a.rows * a.router.numExperts)
        k.tooShort('route', 'logits', a.logits, 'rows*router.numExperts', a.rows * a.router.numExperts);
      if (a.bias !== null) {
        if (!held) k.tensor('route', 'bias', a.bias, 'f32', 'router.numExperts', a.router.numExperts);
        else if (a.bias.length < a.router.numExperts)
          k.tooShort('route', 'bias', a.bias, 'router.numExperts', a.router.numExperts);
      }
      if (a.tokenIds !== null) {
        if (!held) k.tensor('route', 'tokenIds', a.tokenIds, 'i32', 'rows', a.rows);
        else if (a.tokenIds.length < a.rows) k.tooShort('route', 'tokenIds', a.tokenIds, 'rows', a.rows);
      }
      if (a.tid2eid !== null) {
        if (!held) k.tensor('route', 'tid2eid', a.tid2eid, 'i32', 'router.topk', a.router.topk);
        else if (a.tid2eid.length < a.router.topk)
          k.tooShort('route', 'tid2eid', a.tid2eid, 'router.topk', a.router.topk);
      }
      if (!held) k.tensor('route', 'topkIds', a.topkIds, 'i32', 'rows*router.topk', a.rows * a.router.topk);
      else if (a.topkIds.length < a.rows * a.router.topk)
        k.tooShort('route', 'topkIds', a.topkIds, 'rows*router.topk', a.rows * a.router.topk);
      if (!held) k.tensor('route', 'topkWeights', a.topkWeights, 'f32', 'rows*router.topk', a.rows * a.router.topk);
      else if (a.topkWeights.length < a.rows * a.router.topk)
        k.tooShort('route', 'topkWeights', a.topkWeights, 'rows*router.topk', a.rows * a.router.topk);
    },
    assignSlots(a, held = false) {
      checkArguments('assignSlots', a);
      checkInteger('assignSlots', 'rows', a.rows, 0);
      checkInteger('assignSlots', 'topk', a.topk, 1);
      checkInteger('assignSlots', 'numExperts', a.numExperts, 1);
      if (!held) k.tensor('assignSlots', 'topkIds', a.topkIds, 'i32', 'rows*topk', a.rows * a.topk);
      else if (a.topkIds.length < a.rows * a.topk)
        k.tooShort('assignSlots', 'topkIds', a.topkIds, 'rows*topk', a.rows * a.topk);
      k.indices('assignSlots', 'topkIds', a.topkIds, a.rows * a.topk, -1, a.numExperts);
      if (!held) k.tensor('assignSlots', 'expertOffsets', a.expertOffsets, 'i32', 'numExperts', a.numExperts);
      else if (a.expertOffsets.length < a.numExperts)
        k.tooShort('assignSlots', 'expertOffsets', a.expertOffsets, 'numExperts', a.numExperts);
      if (!held) k.tensor('assignSlots', 'slotToken', a.slotToken, 'i32', 'rows*topk', a.rows * a.topk);
      else if (a.slotToken.length < a.rows * a.topk)
        k.tooShort('assignSlots', 'slotToken', a.slotToken, 'rows*topk', a.rows * a.topk);
      if (!held) k.tensor('assignSlots', 'tokenSlots', a.tokenSlots, 'i32', 'rows*topk', a.rows * a.topk);
      else if (a.tokenSlots.length < a.rows * a.topk)
        k.tooShort('assignSlots', 'tokenSlots', a.tokenSlots, 'rows*topk', a.rows * a.topk);
    },
    stage(a, held = false) {
      checkArguments('stage', a);
      k.handle('stage', 'staged', a.staged, 'staged');
      checkInteger('stage', 'k', a.k, 1);
      checkInteger('stage', 'slots', a.slots, 0);
      checkOneOf('stage', 'inputs', a.inputs, CHOICE_1);
      if (!held) k.tensor('stage', 'x', a.x, 'f32', '', 0);
      if (a.slotToken !== null) {
        if (!held) k.tensor('stage', 'slotToken', a.slotToken, 'i32', 'slots', a.slots);
        else if (a.slotToken.length < a.slots) k.tooShort('stage', 'slotToken', a.slotToken, 'slots', a.slots);
        k.indices('stage', 'slotToken', a.slotToken, a.slots, -1, k.rows('stage', 'x', a.x, a.k));
      }
      if (!held) k.tensor('stage', 'expertOffsets', a.expertOffsets, 'i32', '', 0);
      k.ends('stage', 'expertOffsets', a.expertOffsets, a.slots);
      if (a.globalDecodeScale !== null) {
        if (!held)
          k.tensor(
            'stage',
            'globalDecodeScale',
            a.globalDecodeScale,
            'f32',
            'expertOffsets.length',
            a.expertOffsets.length,
          );
        else if (a.globalDecodeScale.length < a.expertOffsets.length)
          k.tooShort('stage', 'globalDecodeScale', a.globalDecodeScale, 'expertOffsets.length', a.expertOffsets.length);
      }
    },
    swigluStage(a, held = false) {
      checkArguments('swigluStage', a);
      k.handle('swigluStage', 'staged', a.staged, 'staged');
      checkInteger('swigluStage', 'slots', a.slots, 0);
      checkInteger('swigluStage', 'i', a.i, 1);
      checkLimit('swigluStage', 'limit', a.limit);
      checkOneOf('swigluStage', 'inputs', a.inputs, CHOICE_1);
      if (!held) k.tensor('swigluStage', 'gateUp', a.gateUp, 'f32', 'slots*2*i', a.slots * 2 * a.i);
      else if (a.gateUp.length < a.slots * 2 * a.i)
        k.tooShort('swigluStage', 'gateUp', a.gateUp, 'slots*2*i', a.slots * 2 * a.i);
      if (!held) k.tensor('swigluStage', 'expertOffsets', a.expertOffsets, 'i32', '', 0);
      k.ends('swigluStage', 'expertOffsets', a.expertOffsets, a.slots);
      if (a.globalDecodeScale !== null) {
        if (!held)
          k.tensor(
            'swigluStage',
            'globalDecodeScale',
            a.globalDecodeScale,
            'f32',
            'expertOffsets.length',
            a.expertOffsets.length,
          );
        else if (a.globalDecodeScale.length < a.expertOffsets.length)
          k.tooShort(
            'swigluStage',
            'globalDecodeScale',
            a.globalDecodeScale,
            'expertOffsets.length',
            a.expertOffsets.length,
          );
      }
    },
    groupedGemm(a, held = false) {
      checkArguments('groupedGemm', a);
      k.handle('groupedGemm', 'w', a.w, 'experts');
      k.handle('groupedGemm', 'staged', a.staged, 'staged');
      checkInteger('groupedGemm', 'slots', a.slots, 0);
      if (!held) k.tensor('groupedGemm', 'expertOffsets', a.expertOffsets, 'i32', 'w.numExperts', a.w.numExperts);
      else if (a.expertOffsets.length < a.w.numExperts)
        k.tooShort('groupedGemm', 'expertOffsets', a.expertOffsets, 'w.numExperts', a.w.numExperts);
      k.ends('groupedGemm', 'expertOffsets', a.expertOffsets, a.slots);
      if (a.alpha !== null) {
        if (!held) k.tensor('groupedGemm', 'alpha', a.alpha, 'f32', 'w.numExperts*w.parts', a.w.numExperts * a.w.parts);
        else if (a.alpha.length < a.w.numExperts * a.w.parts)
          k.tooShort('groupedGemm', 'alpha', a.alpha, 'w.numExperts*w.parts', a.w.numExperts * a.w.parts);
      }
      if (!held) k.tensor('groupedGemm', 'out', a.out, 'f32', 'slots*w.n', a.slots * a.w.n);
      else if (a.out.length < a.slots * a.w.n) k.tooShort('groupedGemm', 'out', a.out, 'slots*w.n', a.slots * a.w.n);
    },
    scatterExperts(a, held = false) {
      checkArguments('scatterExperts', a);
      checkInteger('scatterExperts', 'd', a.d, 1);
      checkInteger('scatterExperts', 'rows', a.rows, 0);
      checkInteger('scatterExperts', 'topk', a.topk, 1);
      if (!held) k.tensor('scatterExperts', 'y', a.y, 'f32', '', 0);
      if (!held) k.tensor('scatterExperts', 'tokenSlots', a.tokenSlots, 'i32', 'rows*topk', a.rows * a.topk);
      else if (a.tokenSlots.length < a.rows * a.topk)
        k.tooShort('scatterExperts', 'tokenSlots', a.tokenSlots, 'rows*topk', a.rows * a.topk);
      k.indices(
        'scatterExperts',
        'tokenSlots',
        a.tokenSlots,
        a.rows * a.topk,
        -1,
        k.rows('scatterExperts', 'y', a.y, a.d),
      );
      if (!held) k.tensor('scatterExperts', 'topkWeights', a.topkWeights, 'f32', 'rows*topk', a.rows * a.topk);
      else if (a.topkWeights.length < a.rows * a.topk)
        k.tooShort('scatterExperts', 'topkWeights', a.topkWeights, 'rows*topk', a.rows * a.topk);
      if (!held) k.tensor('scatterExperts', 'out', a.out, 'f32', 'rows*d', a.rows * a.d);
      else if (a.out.length < a.rows * a.d) k.tooShort('scatterExperts', 'out', a.out, 'rows*d', a.rows * a.d);
    },
    ropeTables(a, held = false) {
      checkArguments('ropeTables', a);
      k.handle('ropeTables', 'rope', a.rope, 'rope');
      checkInteger('ropeTables', 'rows', a.rows, 0);
      if (!held) k.tensor('ropeTables', 'positions', a.positions, 'i32', 'rows', a.rows);
      else if (a.positions.length < a.rows) k.tooShort('ropeTables', 'positions', a.positions, 'rows', a.rows);
      k.indices('ropeTables', 'positions', a.positions, a.rows, 0, 2147483647);
      if (!held) k.tensor('ropeTables', 'cos', a.cos, 'f32', 'rows*rope.ropeDim/2', (a.rows * a.rope.ropeDim) / 2);
      else if (a.cos.length < (a.rows * a.rope.ropeDim) / 2)
        k.tooShort('ropeTables', 'cos', a.cos, 'rows*rope.ropeDim/2', (a.rows * a.rope.ropeDim) / 2);
      if (!held) k.tensor('ropeTables', 'sin', a.sin, 'f32', 'rows*rope.ropeDim/2', (a.rows * a.rope.ropeDim) / 2);
      else if (a.sin.length < (a.rows * a.rope.ropeDim) / 2)
        k.tooShort('ropeTables', 'sin', a.sin, 'rows*rope.ropeDim/2', (a.rows * a.rope.ropeDim) / 2);
    },
    rope(a, held = false) {
      checkArguments('rope', a);
      checkInteger('rope', 'rows', a.rows, 0);
      checkInteger('rope', 'heads', a.heads, 1);
      checkInteger('rope', 'd', a.d, 1);
      checkInteger('rope', 'ropeDim', a.ropeDim, 0, a.d);
      checkMultiple('rope', 'ropeDim', a.ropeDim, 2);
      checkFlag('rope', 'inverse', a.inverse);
      if (!held) k.tensor('rope', 'x', a.x, 'f32', 'rows*heads*d', a.rows * a.heads * a.d);
      else if (a.x.length < a.rows * a.heads * a.d)
        k.tooShort('rope', 'x', a.x, 'rows*heads*d', a.rows * a.heads * a.d);
      if (!held) k.tensor('rope', 'cos', a.cos, 'f32', 'rows*ropeDim/2', (a.rows * a.ropeDim) / 2);
      else if (a.cos.length < (a.rows * a.ropeDim) / 2)
        k.tooShort('rope', 'cos', a.cos, 'rows*ropeDim/2', (a.rows * a.ropeDim) / 2);
      if (!held) k.tensor('rope', 'sin', a.sin, 'f32', 'rows*ropeDim/2', (a.rows * a.ropeDim) / 2);
      else if (a.sin.length < (a.rows * a.ropeDim) / 2)
        k.tooShort('rope', 'sin', a.sin, 'rows*ropeDim/2', (a.rows * a.ropeDim) / 2);
    },
    writeWindow(a, held = false) {
      checkArguments('writeWindow', a);
      k.handle('writeWindow', 'cache', a.cache, 'cache');
      k.handle('writeWindow', 'step', a.step, 'step');
      checkInteger('writeWindow', 'layer', a.layer, 0, a.cache.layers - 1);
      checkInteger('writeWindow', 'd', a.d, 1);
      if (!held) k.tensor('writeWindow', 'kv', a.kv, 'f32', 'step.rows*d', a.step.rows * a.d);
      else if (a.kv.length < a.step.rows * a.d) k.tooShort('writeWindow', 'kv', a.kv, 'step.rows*d', a.step.rows * a.d);
    },
    compress(a, held = false) {
      checkArguments('compress', a);
      k.handle('compress', 'cache', a.cache, 'cache');
      k.handle('compress', 'step', a.step, 'step');
      k.handle('compress', 'weights', a.weights, 'compressor');
      checkInteger('compress', 'layer', a.layer, 0, a.cache.layers - 1);
      checkFlag('compress', 'indexer', a.indexer);
      checkInteger('compress', 'width', a.width, 1);
      checkNumber('compress', 'eps', a.eps, 0);
      if (!held) k.tensor('compress', 'kv', a.kv, 'f32', 'step.rows*width', a.step.rows * a.width);
      else if (a.kv.length < a.step.rows * a.width)
        k.tooShort('compress', 'kv', a.kv, 'step.rows*width', a.step.rows * a.width);
      if (!held) k.tensor('compress', 'gate', a.gate, 'f32', 'step.rows*width', a.step.rows * a.width);
      else if (a.gate.length < a.step.rows * a.width)
        k.tooShort('compress', 'gate', a.gate, 'step.rows*width', a.step.rows * a.width);
    },
    indexSelect(a, held = false) {
      checkArguments('indexSelect', a);
      k.handle('indexSelect', 'cache', a.cache, 'cache');
      k.handle('indexSelect', 'step', a.step, 'step');
      checkInteger('indexSelect', 'layer', a.layer, 0, a.cache.layers - 1);
      checkInteger('indexSelect', 'heads', a.heads, 1);
      checkInteger('indexSelect', 'dim', a.dim, 1);
      checkInteger('indexSelect', 'topk', a.topk, 0);
      if (!held) k.tensor('indexSelect', 'q', a.q, 'f32', 'step.rows*heads*dim', a.step.rows * a.heads * a.dim);
      else if (a.q.length < a.step.rows * a.heads * a.dim)
        k.tooShort('indexSelect', 'q', a.q, 'step.rows*heads*dim', a.step.rows * a.heads * a.dim);
      if (!held) k.tensor('indexSelect', 'headWeights', a.headWeights, 'f32', 'step.rows*heads', a.step.rows * a.heads);
      else if (a.headWeights.length < a.step.rows * a.heads)
        k.tooShort('indexSelect', 'headWeights', a.headWeights, 'step.rows*heads', a.step.rows * a.heads);
      if (!held) k.tensor('indexSelect', 'selected', a.selected, 'i32', 'step.rows*topk', a.step.rows * a.topk);
      else if (a.selected.length < a.step.rows * a.topk)
        k.tooShort('indexSelect', 'selected', a.selected, 'step.rows*topk', a.step.rows * a.topk);
    },
    attend(a, held = false) {
      checkArguments('attend', a);
      k.handle('attend', 'cache', a.cache, 'cache');
      k.handle('attend', 'step', a.step, 'step');
      checkInteger('attend', 'layer', a.layer, 0, a.cache.layers - 1);
      checkInteger('attend', 'heads', a.heads, 1);
      checkInteger('attend', 'd', a.d, 1);
      checkInteger('attend', 'topk', a.topk, 0);
      checkNumber('attend', 'softmaxScale', a.softmaxScale, -Infinity);
      if (!held) k.tensor('attend', 'q', a.q, 'f32', 'step.rows*heads*d', a.step.rows * a.heads * a.d);
      else if (a.q.length < a.step.rows * a.heads * a.d)
        k.tooShort('attend', 'q', a.q, 'step.rows*heads*d', a.step.rows * a.heads * a.d);
      if (a.selected !== null) {
        if (!held) k.tensor('attend', 'selected', a.selected, 'i32', 'step.rows*topk', a.step.rows * a.topk);
        else if (a.selected.length < a.step.rows * a.topk)
          k.tooShort('attend', 'selected', a.selected, 'step.rows*topk', a.step.rows * a.topk);
      }
      if (!held) k.tensor('attend', 'sinks', a.sinks, 'f32', 'heads', a.heads);
      else if (a.sinks.length < a.heads) k.tooShort('attend', 'sinks', a.sinks, 'heads', a.heads);
      if (!held) k.tensor('attend', 'out', a.out, 'f32', 'step.rows*heads*d', a.step.rows * a.heads * a.d);
      else if (a.out.length < a.step.rows * a.heads * a.d)
        k.tooShort('attend', 'out', a.out, 'step.rows*heads*d', a.step.rows * a.heads * a.d);
    },
  };
}
