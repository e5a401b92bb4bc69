import type { ModelConfig } from '@megamoe/checkpoint';
import type { Ops } from '../backend/ops';
import type { Tensor } from '../tensor';
import type { Observers } from '../trace';
import type { ExpertGemm, MoeWeights } from '../weights';
import type { Workspace } from '../workspace';
import { denseLinear, exactLinear, type Inputs } from './dense';

/** The W4A4 product of the rows that are staged in `ws.codes` and `ws.sf`, each with a scale of its own where the checkpoint has none. */
function multiplyStaged(ops: Ops, ws: Workspace, g: ExpertGemm, alpha: Tensor, out: Tensor): void {
  const rowScale = g.inputGlobalDecodeScale ? null : ws.rowScale;
  ops.groupedGemmW4A4(g.weight, ws.codes, ws.sf, ws.expertOffsets, alpha, rowScale, out);
}

/** One grouped GEMM over slots: stage (gather, quantize), multiply. `slotToken` null: `x` is already in slot order. */
function expertGemm(
  ops: Ops,
  ws: Workspace,
  g: ExpertGemm,
  x: Tensor,
  slotToken: Tensor | null,
  slots: number,
  inputs: Inputs,
  out: Tensor,
): void {
  const k = g.weight.k;
  if (inputs.activations === 'nvfp4' && g.alphaW4a4) {
    const scale = g.inputGlobalDecodeScale;
    if (scale) ops.stageNvfp4(x, k, slotToken, ws.expertOffsets, scale, ws.codes, ws.sf);
    else ops.stageNvfp4Dynamic(x, k, slotToken, slots, ws.codes, ws.sf, ws.rowScale);
    return multiplyStaged(ops, ws, g, g.alphaW4a4, out);
  }
  if (slotToken) ops.gatherRows(x, k, slotToken, slots, ws.gathered);
  const rows = slotToken ? ws.gathered : x;
  if (inputs.float === 'bf16') ops.groupedGemmBf16(g.weight, rows, ws.expertOffsets, g.alphaW4a16, out);
  else ops.groupedGemm(g.weight, rows, ws.expertOffsets, g.alphaW4a16, out);
}

/** SwiGLU of `ws.gateUp` and the down projection. Quantized inputs are made in one pass; nobody else reads the floats between. */
function swigluDown(
  ops: Ops,
  c: ModelConfig,
  ws: Workspace,
  g: ExpertGemm,
  slots: number,
  layer: number,
  inputs: Inputs,
  ranges: Observers['ranges'],
): void {
  const i = c.moeIntermediateSize;
  if (inputs.activations === 'nvfp4' && g.alphaW4a4 && !ranges) {
    const scale = g.inputGlobalDecodeScale;
    if (scale) ops.swigluStageNvfp4(ws.gateUp, i, c.swigluLimit, ws.expertOffsets, scale, ws.codes, ws.sf);
    else ops.swigluStageNvfp4Dynamic(ws.gateUp, slots, i, c.swigluLimit, ws.codes, ws.sf, ws.rowScale);
    return multiplyStaged(ops, ws, g, g.alphaW4a4, ws.slotOut);
  }
  ops.swiglu(ws.gateUp, slots, i, c.swigluLimit, ws.hidden);
  ranges?.record(ops, layer, 'w2', ws.hidden, i, null, ws.expertOffsets, slots);
  expertGemm(ops, ws, g, ws.hidden, null, slots, inputs, ws.slotOut);
}

/**
 * Mixture of experts of one layer (docs/formats.md D8, D9): `ws.normed` [rows, D] -> `ws.blockOut` [rows, D], routed
 * experts plus the shared one. One slot order serves both GEMMs and the scatter.
 */
export function moeBlock(
  ops: Ops,
  c: ModelConfig,
  ws: Workspace,
  w: MoeWeights,
  rows: number,
  layer: number,
  inputs: Inputs,
  { trace, ranges }: Observers,
): void {
  const topk = c.numExpertsPerTok;
  const slots = rows * topk;
  exactLinear(ops, w.gate, ws.normed, rows, inputs, ws.routerLogits);
  if (w.tid2eid) ops.routeHash(ws.router, ws.routerLogits, rows, ws.ids, w.tid2eid, ws.topkIds, ws.topkWeights);
  else ops.route(ws.router, ws.routerLogits, rows, w.bias, ws.topkIds, ws.topkWeights);
  ops.assignSlots(ws.router, ws.topkIds, rows, ws.expertOffsets, ws.slotToken, ws.tokenSlots);
  trace?.record(ops, `layers.${layer}.topk_ids`, ws.topkIds, rows, [topk]);
  trace?.record(ops, `layers.${layer}.topk_weights`, ws.topkWeights, rows, [topk]);

  ranges?.record(ops, layer, 'w13', ws.normed, c.hiddenSize, ws.slotToken, ws.expertOffsets, slots);
  expertGemm(ops, ws, w.w13, ws.normed, ws.slotToken, slots, inputs, ws.gateUp);
  swigluDown(ops, c, ws, w.w2, slots, layer, inputs, ranges);
  ops.scatterExperts(ws.slotOut, c.hiddenSize, ws.tokenSlots, ws.topkWeights, rows, topk, ws.blockOut);

  if (!w.shared) return;
  denseLinear(ops, w.shared.w13, ws.normed, rows, inputs, ws.sharedGateUp);
  ops.swiglu(ws.sharedGateUp, rows, w.shared.w2.k, c.swigluLimit, ws.sharedUp);
  denseLinear(ops, w.shared.w2, ws.sharedUp, rows, inputs, ws.sharedOut);
  ops.addInPlace(ws.blockOut, ws.sharedOut, rows * c.hiddenSize);
}
