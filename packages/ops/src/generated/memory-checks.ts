// Made by scripts/generate.mjs from the list of operations in table.ts. Do not edit.

import type { KindChecks } from '../kind-checks';
import { makeValueChecks, type OpChecks } from './value-checks';

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
    embed(a, held = false) {
      kinds.embed(a, held);
      memory.embed(a);
    },
    rmsNorm(a, held = false) {
      kinds.rmsNorm(a, held);
      memory.rmsNorm(a);
    },
    linear(a, held = false) {
      kinds.linear(a, held);
      memory.linear(a);
    },
    swiglu(a, held = false) {
      kinds.swiglu(a, held);
      memory.swiglu(a);
    },
    add(a, held = false) {
      kinds.add(a, held);
      memory.add(a);
    },
    gatherRows(a, held = false) {
      kinds.gatherRows(a, held);
      memory.gatherRows(a);
    },
    hcPre(a, held = false) {
      kinds.hcPre(a, held);
      memory.hcPre(a);
    },
    hcPost(a, held = false) {
      kinds.hcPost(a, held);
      memory.hcPost(a);
    },
    hcHead(a, held = false) {
      kinds.hcHead(a, held);
      memory.hcHead(a);
    },
    route(a, held = false) {
      kinds.route(a, held);
      memory.route(a);
    },
    assignSlots(a, held = false) {
      kinds.assignSlots(a, held);
      memory.assignSlots(a);
    },
    stage(a, held = false) {
      kinds.stage(a, held);
      memory.stage(a);
    },
    swigluStage(a, held = false) {
      kinds.swigluStage(a, held);
      memory.swigluStage(a);
    },
    groupedGemm(a, held = false) {
      kinds.groupedGemm(a, held);
      memory.groupedGemm(a);
    },
    scatterExperts(a, held = false) {
      kinds.scatterExperts(a, held);
      memory.scatterExperts(a);
    },
    ropeTables(a, held = false) {
      kinds.ropeTables(a, held);
      memory.ropeTables(a);
    },
    rope(a, held = false) {
      kinds.rope(a, held);
      memory.rope(a);
    },
    writeWindow(a, held = false) {
      kinds.writeWindow(a, held);
      memory.writeWindow(a);
    },
    compress(a, held = false) {
      kinds.compress(a, held);
      memory.compress(a);
    },
    indexSelect(a, held = false) {
      kinds.indexSelect(a, held);
      memory.indexSelect(a);
    },
    attend(a, held = false) {
      kinds.attend(a, held);
      memory.attend(a);
    },
  };
}
