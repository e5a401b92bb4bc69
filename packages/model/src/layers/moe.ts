import type { ModelConfig } from '@megamoe/checkpoint';
import type { Ops } from '../backend/ops';
import type { Tensor } from '../tensor';
import type { Observers } from '../trace';
import type { ExpertGemm, MoeWeights } from '../weights';
import type { Workspace } from '../workspace';
import { denseLinear, type Activations } from './dense';

/** One grouped GEMM over slots: stage (gather, quantize), multiply. `slotToken` null: `x` is already in slot order. */
function expertGemm(
  ops: Ops,
  ws: Workspace,
  g: ExpertGemm,
  x: Tensor,
  slotToken: Tensor | null,
  slots: number,
  activations: Activations,
  out: Tensor,
): void {
  const k = g.weight.k;
  if (activations === 'nvfp4' && g.alphaW4a4) {
    if (g.inputGlobalDecodeScale) {
      ops.stageNvfp4(x, k, slotToken, ws.expertOffsets, g.inputGlobalDecodeScale, ws.codes, ws.sf);
      ops.groupedGemmW4A4(g.weight, ws.codes, ws.sf, ws.expertOffsets, g.alphaW4a4, null, out);
    } else {
      ops.stageNvfp4Dynamic(x, k, slotToken, slots, ws.codes, ws.sf, ws.rowScale);
      ops.groupedGemmW4A4(g.weight, ws.codes, ws.sf, ws.expertOffsets, g.alphaW4a4, ws.rowScale, out);
    }
    return;
  }
  if (slotToken) ops.gatherRows(x, k, slotToken, slots, ws.gathered);
  ops.groupedGemm(g.weight, slotToken ? ws.gathered : x, ws.expertOffsets, g.alphaW4a16, out);
}

/**
 * Mixture of experts of one layer (FORMATS "Numerics", rules 8 and 9): `ws.normed` [rows, D] -> `ws.blockOut` [rows, D], routed
 * experts plus the shared one. One slot order serves both GEMMs and the scatter.
 */
export function moeBlock(
  ops: Ops,
  c: ModelConfig,
  ws: Workspace,
  w: MoeWeights,
  rows: number,
  layer: number,
  activations: Activations,
  { trace, ranges }: Observers,
): void {
  const topk = c.numExpertsPerTok;
  const slots = rows * topk;
  denseLinear(ops, w.gate, ws.normed, rows, activations, ws.routerLogits);
  if (w.tid2eid) ops.routeHash(ws.router, ws.routerLogits, rows, ws.ids, w.tid2eid, ws.topkIds, ws.topkWeights);
  else ops.route(ws.router, ws.routerLogits, rows, w.bias, ws.topkIds, ws.topkWeights);
  ops.assignSlots(ws.router, ws.topkIds, rows, ws.expertOffsets, ws.slotToken, ws.tokenSlots);
  trace?.record(ops, `layers.${layer}.topk_ids`, ws.topkIds, rows, [topk]);
  trace?.record(ops, `layers.${layer}.topk_weights`, ws.topkWeights, rows, [topk]);

  ranges?.record(ops, layer, 'w13', ws.normed, c.hiddenSize, ws.slotToken, ws.expertOffsets, slots);
  expertGemm(ops, ws, w.w13, ws.normed, ws.slotToken, slots, activations, ws.gateUp);
  ops.swiglu(ws.gateUp, slots, c.moeIntermediateSize, c.swigluLimit, ws.hidden);
  ranges?.record(ops, layer, 'w2', ws.hidden, c.moeIntermediateSize, null, ws.expertOffsets, slots);
  expertGemm(ops, ws, w.w2, ws.hidden, null, slots, activations, ws.slotOut);
  ops.scatterExperts(ws.slotOut, c.hiddenSize, ws.tokenSlots, ws.topkWeights, rows, topk, ws.blockOut);

  if (!w.shared) return;
  denseLinear(ops, w.shared.w13, ws.normed, rows, activations, ws.sharedGateUp);
  ops.swiglu(ws.sharedGateUp, rows, w.shared.w2.k, c.swigluLimit, ws.sharedUp);
  denseLinear(ops, w.shared.w2, ws.sharedUp, rows, activations, ws.sharedOut);
  ops.addInPlace(ws.blockOut, ws.sharedOut, rows * c.hiddenSize);
}
