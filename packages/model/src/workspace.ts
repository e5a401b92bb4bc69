import type { ModelConfig } from '@megamoe/checkpoint';
import type { Ops, RouterHandle, StreamShape } from './backend/ops';
import type { Tensor } from './tensor';
import type { ModelWeights } from './weights';

/** Rotary tables of the rows of the running step, for one layer type. */
export interface RopeTables {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Every buffer of a step of up to `maxRows` tokens, made once: a step itself allocates nothing. */
export interface Workspace {
  readonly maxRows: number;
  readonly shape: StreamShape;
  readonly ids: Tensor;
  readonly positions: Tensor;
  readonly lastRows: Tensor;
  readonly streams: Tensor;
  readonly post: Tensor;
  readonly comb: Tensor;
  readonly collapsed: Tensor;
  readonly normed: Tensor;
  readonly blockOut: Tensor;
  readonly ropeMain: RopeTables;
  readonly ropeCompress: RopeTables;
  // attention
  readonly qLora: Tensor;
  readonly q: Tensor;
  readonly kv: Tensor;
  readonly compKv: Tensor;
  readonly compGate: Tensor;
  readonly indexQ: Tensor;
  readonly indexWeights: Tensor;
  readonly selected: Tensor;
  readonly attnOut: Tensor;
  readonly oLora: Tensor;
  // mixture of experts
  readonly router: RouterHandle;
  readonly routerLogits: Tensor;
  readonly topkIds: Tensor;
  readonly topkWeights: Tensor;
  readonly expertOffsets: Tensor;
  readonly slotToken: Tensor;
  readonly tokenSlots: Tensor;
  readonly gathered: Tensor;
  readonly codes: Tensor;
  readonly sf: Tensor;
  readonly rowScale: Tensor;
  readonly gateUp: Tensor;
  readonly hidden: Tensor;
  readonly slotOut: Tensor;
  readonly sharedGateUp: Tensor;
  readonly sharedUp: Tensor;
  readonly sharedOut: Tensor;
}

/** Allocates the buffers for steps of up to `maxRows` tokens. */
export function createWorkspace(ops: Ops, c: ModelConfig, w: Pick<ModelWeights, 'nvfp4'>, maxRows: number): Workspace {
  const rows = (width: number): Tensor => ops.alloc('f32', maxRows * width);
  const ints = (width: number): Tensor => ops.alloc('i32', maxRows * width);
  const topk = c.numExpertsPerTok;
  const half = c.ropeHeadDim / 2;
  const hidden = c.hiddenSize;
  const inter = c.moeIntermediateSize;
  const widest = Math.max(hidden, inter);
  const csa = c.compressRatios.includes(4);
  const compWidth = Math.max(...c.compressRatios.map((r) => (r === 4 ? 2 : r === 0 ? 0 : 1))) * c.headDim;
  return {
    maxRows,
    shape: { hc: c.hcMult, d: hidden, rmsNormEps: c.rmsNormEps, hcEps: c.hcEps, iters: c.hcSinkhornIters },
    ids: ints(1),
    positions: ints(1),
    lastRows: ints(1),
    streams: rows(c.hcMult * hidden),
    post: rows(c.hcMult),
    comb: rows(c.hcMult * c.hcMult),
    collapsed: rows(hidden),
    normed: rows(hidden),
    blockOut: rows(hidden),
    ropeMain: { cos: rows(half), sin: rows(half) },
    ropeCompress: { cos: rows(half), sin: rows(half) },
    qLora: rows(c.qLoraRank),
    q: rows(c.numAttentionHeads * c.headDim),
    kv: rows(c.headDim),
    compKv: rows(Math.max(compWidth, csa ? 2 * c.indexHeadDim : 0)),
    compGate: rows(Math.max(compWidth, csa ? 2 * c.indexHeadDim : 0)),
    indexQ: rows(csa ? c.indexNHeads * c.indexHeadDim : 0),
    indexWeights: rows(csa ? c.indexNHeads : 0),
    selected: ints(csa ? c.indexTopk : 0),
    attnOut: rows(c.numAttentionHeads * c.headDim),
    oLora: rows(c.oGroups * c.oLoraRank),
    router: ops.createRouter({
      maxTokens: maxRows,
      numExperts: c.numExperts,
      topk,
      scoring: c.scoringFunc,
      normTopkProb: c.normTopkProb,
      routedScalingFactor: c.routedScalingFactor,
    }),
    routerLogits: rows(c.numExperts),
    topkIds: ints(topk),
    topkWeights: rows(topk),
    expertOffsets: ops.alloc('i32', c.numExperts),
    slotToken: ints(topk),
    tokenSlots: ints(topk),
    gathered: rows(topk * hidden),
    codes: ops.alloc('u8', w.nvfp4 ? (maxRows * topk * widest) / 2 : 0),
    sf: ops.alloc('u8', w.nvfp4 ? (maxRows * topk * widest) / 16 : 0),
    rowScale: rows(topk),
    gateUp: rows(topk * 2 * inter),
    hidden: rows(topk * inter),
    slotOut: rows(topk * hidden),
    sharedGateUp: rows(2 * inter * Math.max(1, c.numSharedExperts)),
    sharedUp: rows(inter * Math.max(1, c.numSharedExperts)),
    sharedOut: rows(hidden),
  };
}
