import type { ModelConfig } from '@megamoe/checkpoint';
import { checkFunction, checkInteger, checkObject } from '@megamoe/core';
import type { Backend, InputPrecision, RouterHandle, Staged, Tensor } from '@megamoe/ops';
import { takeConfig } from './config';
import type { Inputs } from './dense';

/** Rotary tables of the rows of the running step, for one layer type. */
export interface RopeTables {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Every buffer of a step of up to `maxRows` tokens, made once: a step itself allocates nothing. */
export interface Workspace {
  readonly maxRows: number;
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
  readonly staged: Staged;
  readonly gateUp: Tensor;
  readonly slotOut: Tensor;
  readonly sharedGateUp: Tensor;
  readonly sharedUp: Tensor;
  readonly sharedOut: Tensor;
  /** [min(maxRows, 32), V]. */
  readonly logits: Tensor;
  /** Frees all of it. */
  dispose(): void;
}

/** What of a backend makes buffers. */
export type Allocator = Pick<Backend, 'alloc' | 'createRouter' | 'createStaged'>;

/** Rows of logits computed at a time: [rows, V] of a long prompt never stands twice. */
const LOGIT_ROWS = 32;

/** Allocates the buffers for steps of up to `maxRows` tokens. `quantizes`: some routed experts take inputs in NVFP4. */
export function createWorkspace(
  backend: Allocator,
  config: ModelConfig,
  quantizes: boolean,
  inputs: Inputs,
  maxRows: number,
): Workspace {
  const fn = 'createWorkspace';
  for (const [name, part] of Object.entries({ backend, config, inputs })) checkObject(fn, name, part);
  for (const name of ['alloc', 'createRouter', 'createStaged'] as const)
    checkFunction(fn, `backend.${name}`, backend[name]);
  checkInteger(fn, 'maxRows', maxRows, 1, 65536);
  const c = takeConfig(fn, 'config', config);
  const made: { dispose(): void }[] = [];
  const dispose = (): void => made.splice(0).forEach((x) => x.dispose());
  const keep = <T extends { dispose(): void }>(x: T): T => {
    made.push(x);
    return x;
  };
  const rows = (...shape: number[]): Tensor => keep(backend.alloc('f32', [maxRows, ...shape]));
  const ints = (...shape: number[]): Tensor => keep(backend.alloc('i32', [maxRows, ...shape]));
  const topk = c.numExpertsPerTok;
  const half = c.ropeHeadDim / 2;
  const hidden = c.hiddenSize;
  const inter = c.moeIntermediateSize;
  const csa = c.compressRatios.includes(4);
  const compWidth = Math.max(...c.compressRatios.map((r) => (r === 4 ? 2 : r === 0 ? 0 : 1))) * c.headDim;
  const widest = Math.max(compWidth, csa ? 2 * c.indexHeadDim : 0);
  const precisions: InputPrecision[] = [inputs.float, ...(quantizes ? (['nvfp4'] as const) : [])];
  try {
    return {
      maxRows,
      streams: rows(c.hcMult, hidden),
      post: rows(c.hcMult),
      comb: rows(c.hcMult, c.hcMult),
      collapsed: rows(hidden),
      normed: rows(hidden),
      blockOut: rows(hidden),
      ropeMain: { cos: rows(half), sin: rows(half) },
      ropeCompress: { cos: rows(half), sin: rows(half) },
      qLora: rows(c.qLoraRank),
      q: rows(c.numAttentionHeads, c.headDim),
      kv: rows(c.headDim),
      compKv: rows(widest),
      compGate: rows(widest),
      indexQ: rows(csa ? c.indexNHeads : 0, c.indexHeadDim),
      indexWeights: rows(csa ? c.indexNHeads : 0),
      selected: ints(csa ? c.indexTopk : 0),
      attnOut: rows(c.numAttentionHeads, c.headDim),
      oLora: rows(c.oGroups * c.oLoraRank),
      router: backend.createRouter({
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
      expertOffsets: keep(backend.alloc('i32', [c.numExperts])),
      slotToken: ints(topk),
      tokenSlots: ints(topk),
      staged: keep(backend.createStaged({ slots: maxRows * topk, k: Math.max(hidden, inter), inputs: precisions })),
      gateUp: rows(topk, 2 * inter),
      slotOut: rows(topk, hidden),
      sharedGateUp: rows(2 * inter * Math.max(1, c.numSharedExperts)),
      sharedUp: rows(inter * Math.max(1, c.numSharedExperts)),
      sharedOut: rows(hidden),
      logits: keep(backend.alloc('f32', [Math.min(maxRows, LOGIT_ROWS), c.vocabSize])),
      dispose,
    };
  } catch (error) {
    dispose(); // a device had room for some of them
    throw error;
  }
}
