import type { ModelConfig } from '../config/types';

/** Names of an expert's or a shared expert's matrices: w1 gate, w3 up, w2 down. */
export type ExpertMatrix = 'w1' | 'w2' | 'w3';

/** A matrix `[n, k]`, whatever format it is stored in. */
export interface LinearSlot {
  readonly kind: 'linear';
  /** Canonical module name, without `.weight`. */
  readonly name: string;
  readonly n: number;
  readonly k: number;
  /** Set for routed experts. */
  readonly expert?: { readonly layer: number; readonly index: number; readonly matrix: ExpertMatrix };
}

/** A tensor that is never quantized. */
export interface TensorSlot {
  readonly kind: 'tensor';
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: 'float' | 'integer';
}

/** A tensor or matrix that a model of some config must have. */
export type Slot = LinearSlot | TensorSlot;

const linear = (name: string, n: number, k: number): LinearSlot => ({ kind: 'linear', name, n, k });
const float = (name: string, ...shape: number[]): TensorSlot => ({ kind: 'tensor', name, shape, type: 'float' });

function* attention(config: ModelConfig, p: string, ratio: number): Generator<Slot> {
  const { hiddenSize: d, numAttentionHeads: h, headDim: hd, qLoraRank: rq, oLoraRank: ro, oGroups: g } = config;
  yield linear(`${p}.wq_a`, rq, d);
  yield float(`${p}.q_norm.weight`, rq);
  yield linear(`${p}.wq_b`, h * hd, rq);
  yield linear(`${p}.wkv`, hd, d);
  yield float(`${p}.kv_norm.weight`, hd);
  yield linear(`${p}.wo_a`, g * ro, (h * hd) / g);
  yield linear(`${p}.wo_b`, d, g * ro);
  yield float(`${p}.attn_sink`, h);
  if (ratio === 0) return;
  yield* compressor(`${p}.compressor`, ratio, hd, d);
  if (ratio !== 4) return;
  const { indexNHeads: ih, indexHeadDim: id } = config;
  yield linear(`${p}.indexer.wq_b`, ih * id, rq);
  yield linear(`${p}.indexer.weights_proj`, ih, d);
  yield* compressor(`${p}.indexer.compressor`, ratio, id, d);
}

/** Overlapping windows (ratio 4) project every token twice: once for its own window, once for the next. */
function* compressor(p: string, ratio: number, dim: number, d: number): Generator<Slot> {
  const width = ratio === 4 ? 2 * dim : dim;
  yield linear(`${p}.wkv`, width, d);
  yield linear(`${p}.wgate`, width, d);
  yield float(`${p}.ape`, ratio, width);
  yield float(`${p}.norm.weight`, dim);
}

function* feedForward(config: ModelConfig, layer: number): Generator<Slot> {
  const { hiddenSize: d, moeIntermediateSize: i, numExperts: e, vocabSize, numExpertsPerTok } = config;
  const p = `layers.${layer}.ffn`;
  yield linear(`${p}.gate`, e, d);
  if (layer < config.numHashLayers) {
    yield { kind: 'tensor', name: `${p}.gate.tid2eid`, shape: [vocabSize, numExpertsPerTok], type: 'integer' };
  } else yield float(`${p}.gate.bias`, e);
  for (const matrix of ['w1', 'w2', 'w3'] as const) {
    const [n, k] = matrix === 'w2' ? [d, i] : [i, d];
    yield linear(`${p}.shared_experts.${matrix}`, n, k);
    for (let index = 0; index < e; index++) {
      yield { ...linear(`${p}.experts.${index}.${matrix}`, n, k), expert: { layer, index, matrix } };
    }
  }
}

/** Everything a checkpoint of this config must hold, under canonical names. Source: the tensor table of DeepSeek-V4's checkpoints. */
export function* modelSlots(config: ModelConfig): Generator<Slot> {
  const { vocabSize, hiddenSize: d, hcMult: hc } = config;
  const mix = (2 + hc) * hc;
  yield linear('embed', vocabSize, d);
  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    const p = `layers.${layer}`;
    for (const block of ['attn', 'ffn']) {
      yield float(`${p}.hc_${block}_fn`, mix, hc * d);
      yield float(`${p}.hc_${block}_base`, mix);
      yield float(`${p}.hc_${block}_scale`, 3);
      yield float(`${p}.${block}_norm.weight`, d);
    }
    yield* attention(config, `${p}.attn`, config.compressRatios[layer]!);
    yield* feedForward(config, layer);
  }
  yield float('norm.weight', d);
  yield float('hc_head_fn', hc, hc * d);
  yield float('hc_head_base', hc);
  yield float('hc_head_scale', 1);
  if (!config.tieWordEmbeddings) yield linear('head', vocabSize, d);
}
