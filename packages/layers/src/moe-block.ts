import type { ModelConfig } from '@megamoe/checkpoint';
import type { Backend, Step } from '@megamoe/ops';
import { denseLinear, exactLinear, type Inputs } from './dense';
import type { Probe } from './probe';
import type { ExpertGemm, ExpertInputs, MoeWeights } from './weights';
import type { Workspace } from './workspace';

/** What the experts work on besides their weights. */
export interface MoeContext {
  readonly backend: Backend;
  readonly config: ModelConfig;
  readonly ws: Workspace;
  readonly step: Step;
  readonly inputs: Inputs;
  readonly probe: Probe | undefined;
}

/** How the inputs of a grouped GEMM are staged. */
function staging(g: ExpertGemm, inputs: Inputs): ExpertInputs {
  return inputs.activations === 'nvfp4' && g.nvfp4 ? g.nvfp4 : g[inputs.float];
}

/**
 * Mixture of experts of one layer (docs/formats.md D8, D9): `ws.normed` [rows, D] -> `ws.blockOut` [rows, D], routed experts plus the shared one. One slot order
 * serves both GEMMs and the scatter.
 */
export function moeBlock(x: MoeContext, w: MoeWeights, layer: number): void {
  const { backend: b, config: c, ws, step, inputs, probe } = x;
  const { rows } = step;
  const topk = c.numExpertsPerTok;
  const slots = rows * topk;
  const { expertOffsets, staged } = ws;
  const { swigluLimit: limit, moeIntermediateSize: i, hiddenSize: d } = c;
  exactLinear(b, w.gate, ws.normed, rows, inputs, ws.routerLogits);
  probe?.between?.('router_logits', layer, ws.routerLogits, rows, [c.numExperts]);
  b.route({
    router: ws.router,
    logits: ws.routerLogits,
    rows,
    bias: w.bias,
    tokenIds: w.tid2eid ? step.ids : null,
    tid2eid: w.tid2eid,
    topkIds: ws.topkIds,
    topkWeights: ws.topkWeights,
  });
  b.assignSlots({
    topkIds: ws.topkIds,
    rows,
    topk,
    numExperts: c.numExperts,
    expertOffsets,
    slotToken: ws.slotToken,
    tokenSlots: ws.tokenSlots,
  });
  probe?.tensor?.('topk_ids', layer, ws.topkIds, rows, [topk]);
  probe?.tensor?.('topk_weights', layer, ws.topkWeights, rows, [topk]);

  const up = staging(w.w13, inputs);
  b.stage({
    x: ws.normed,
    k: d,
    slotToken: ws.slotToken,
    slots,
    expertOffsets,
    inputs: up.inputs,
    globalDecodeScale: up.globalDecodeScale,
    staged,
  });
  b.groupedGemm({ w: w.w13.weight, staged, slots, expertOffsets, alpha: up.alpha, out: ws.gateUp });
  probe?.experts?.(layer, ws, slots);
  const down = staging(w.w2, inputs);
  b.swigluStage({
    gateUp: ws.gateUp,
    slots,
    i,
    limit,
    expertOffsets,
    inputs: down.inputs,
    globalDecodeScale: down.globalDecodeScale,
    staged,
  });
  b.groupedGemm({ w: w.w2.weight, staged, slots, expertOffsets, alpha: down.alpha, out: ws.slotOut });
  b.scatterExperts({
    y: ws.slotOut,
    d,
    tokenSlots: ws.tokenSlots,
    topkWeights: ws.topkWeights,
    rows,
    topk,
    out: ws.blockOut,
  });

  if (!w.shared) return;
  probe?.between?.('experts_out', layer, ws.blockOut, rows, [d]);
  denseLinear(b, w.shared.w13, ws.normed, rows, inputs, ws.sharedGateUp);
  b.swiglu({ gateUp: ws.sharedGateUp, rows, i: w.shared.w2.k, limit, out: ws.sharedUp });
  denseLinear(b, w.shared.w2, ws.sharedUp, rows, inputs, ws.sharedOut);
  probe?.between?.('shared_experts_out', layer, ws.sharedOut, rows, [d]);
  b.add({ out: ws.blockOut, x: ws.sharedOut, n: rows * d });
}
