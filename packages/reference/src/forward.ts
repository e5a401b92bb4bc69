/** The whole model, one prompt, one pass, float64. */
import { checkInteger, checkObject, checkOneOf } from '@megamoe/core';
import { takeNumbers } from './arguments';
import { attentionLayer, type AttentionLayerResult, type KvPrecision } from './attention-layer';
import { checkedReader, takeConfig, takeTokens, under, type ReferenceConfig, type WeightReader } from './config';
import { hcHead, hcPost, hcPre, type HyperMix, type HyperWeights } from './hyper-connections';
import { gatherRows, linear } from './linear';
import { checkActivations, type Activations } from './moe';
import { moeLayer, type MoeLayerResult } from './moe-layer';
import { rmsNorm } from './norm';
import type { Numbers } from './numbers';

/** A named tensor of the trace. */
export interface TraceTensor {
  readonly shape: readonly number[];
  readonly data: Float64Array | Int32Array | Uint8Array;
}

/** Options of {@link referenceForward}. */
export interface ForwardOptions {
  /** What the routed experts' inputs go through (default `float`). `nvfp4` reads `layers.N.ffn.experts.E.{w1,w2}.input_scale`. */
  readonly activations?: Activations;
  /** How keys are kept until they are attended to (default `float`): `bf16` rounds each of them once; the indexer's stay as they are. */
  readonly kv?: KvPrecision;
  /** Keep the tensors of every layer (default false). */
  readonly trace?: boolean;
}

/** Result of {@link referenceForward}. */
export interface ForwardResult {
  /** [S, V] */
  readonly logits: Float64Array;
  /**
   * Empty unless asked for. For each layer i and all S positions: `layers.i.streams` [S, hc, D] after the layer,
   * `.attn_hc_collapsed` [S, D], `.attn_hc_post` [S, hc], `.attn_hc_comb` [S, hc, hc], `.attn_out`, `.ffn_out` [S, D], `.topk_ids`,
   * `.topk_weights` [S, topk], on compressed layers `.compressed_kv` [C, headDim] and `.visible` [S, C]; `final_norm` [S, D].
   */
  readonly trace: ReadonlyMap<string, TraceTensor>;
}

/** What one layer does on the way. */
interface LayerResult {
  readonly before: HyperMix;
  readonly attention: AttentionLayerResult;
  readonly ffn: MoeLayerResult;
  /** [S, hc, D] */
  readonly streams: Float64Array;
}

function layerForward(
  fn: string,
  config: ReferenceConfig,
  weights: WeightReader,
  layer: number,
  streams: Numbers,
  tokenIds: ArrayLike<number>,
  { activations, kv }: Required<Pick<ForwardOptions, 'activations' | 'kv'>>,
): LayerResult {
  const { hiddenSize: d, hcMult: hc, hcEps, hcSinkhornIters: iters, rmsNormEps } = config;
  const s = tokenIds.length;
  const shape = { t: s, hc, d, rmsNormEps, hcEps, iters };
  const name = `layers.${layer}`;
  const w = under(weights, `${name}.`);
  const hyper = (block: string): HyperWeights => ({
    fn: w(`hc_${block}_fn`, [(2 + hc) * hc, hc * d]),
    base: w(`hc_${block}_base`, [(2 + hc) * hc]),
    scale: w(`hc_${block}_scale`, [3]),
  });
  const normed = (x: Float64Array, block: string): Float64Array =>
    rmsNorm(x, w(`${block}_norm.weight`, [d]), { m: s, d, eps: rmsNormEps });

  const before = hcPre(streams, hyper('attn'), shape);
  const attnWeights = under(weights, `${name}.attn.`);
  const attention = attentionLayer(config, attnWeights, layer, normed(before.collapsed, 'attn'), s, kv);
  const middle = hcPost(streams, attention.out, before, shape);
  const between = hcPre(middle, hyper('ffn'), shape);
  const ffnWeights = under(weights, `${name}.ffn.`);
  const ffn = moeLayer(fn, config, ffnWeights, layer, normed(between.collapsed, 'ffn'), tokenIds, activations);
  return { before, attention, ffn, streams: hcPost(middle, ffn.out, between, shape) };
}

const KV_PRECISIONS: readonly KvPrecision[] = ['float', 'bf16'];

/** Widths of the inputs that may be quantized. */
const widths = ({ hiddenSize, moeIntermediateSize }: ReferenceConfig): Record<string, number> => ({
  hiddenSize,
  moeIntermediateSize,
});

/**
 * One whole layer: `streams` [S, hc, D] at positions 0 to S-1 before it, [S, hc, D] after it. `weights`, `activations` and `kv`
 * as in {@link referenceForward}.
 */
export function referenceLayer(
  config: ReferenceConfig,
  weights: WeightReader,
  layer: number,
  streams: Numbers,
  tokenIds: ArrayLike<number>,
  options: Pick<ForwardOptions, 'activations' | 'kv'> = {},
): Float64Array {
  const fn = 'referenceLayer';
  checkObject(fn, 'options', options);
  const { activations = 'float', kv = 'float' } = options;
  checkOneOf(fn, 'kv', kv, KV_PRECISIONS);
  const own = takeConfig(fn, config);
  checkActivations(fn, activations, widths(own));
  checkInteger(fn, 'layer', layer, 0, own.numHiddenLayers - 1);
  const tokens = takeTokens(fn, tokenIds, own.vocabSize);
  const size = tokens.length * own.hcMult * own.hiddenSize;
  const before = new Float64Array(takeNumbers(fn, 'streams', streams, ['S*hc*D', size]));
  return layerForward(fn, own, checkedReader(fn, weights), layer, before, tokens, { activations, kv }).streams;
}

/**
 * Logits of every position of `tokenIds` [S]. `weights` is asked for each tensor by the name that DeepSeek ships and by its shape
 * (the scalar input scales have shape `[]`); an NVFP4 weight must come dequantized. Token ids outside the vocabulary are an error.
 */
export function referenceForward(
  given: ReferenceConfig,
  weights: WeightReader,
  tokens: ArrayLike<number>,
  options: ForwardOptions = {},
): ForwardResult {
  const fn = 'referenceForward';
  checkObject(fn, 'options', options);
  const { activations = 'float', kv = 'float', trace: keep = false } = options;
  checkOneOf(fn, 'kv', kv, KV_PRECISIONS);
  const config = takeConfig(fn, given);
  checkActivations(fn, activations, widths(config));
  const { vocabSize, hiddenSize: d, hcMult: hc, hcEps, rmsNormEps } = config;
  const tokenIds = takeTokens(fn, tokens, vocabSize);
  const s = tokenIds.length;
  const w = checkedReader(fn, weights);
  const trace = new Map<string, TraceTensor>();
  const record = (name: string, shape: number[], data: TraceTensor['data']): void => {
    if (keep) trace.set(name, { shape, data });
  };

  const shape = { t: s, hc, d, rmsNormEps, hcEps };
  const embed = w('embed.weight', [vocabSize, d]);
  // Every stream starts as the token's embedding.
  let streams = gatherRows(
    embed,
    Array.from({ length: s * hc }, (_, i) => tokenIds[Math.floor(i / hc)]!),
    d,
  );

  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    const name = `layers.${layer}`;
    const {
      before,
      attention,
      ffn,
      streams: after,
    } = layerForward(fn, config, w, layer, streams, tokenIds, { activations, kv });
    streams = after;
    record(`${name}.attn_hc_collapsed`, [s, d], before.collapsed);
    record(`${name}.attn_hc_post`, [s, hc], before.post);
    record(`${name}.attn_hc_comb`, [s, hc, hc], before.comb);
    record(`${name}.attn_out`, [s, d], attention.out);
    if (attention.compressed)
      record(`${name}.compressed_kv`, [attention.entries, config.headDim], attention.compressed);
    if (attention.visible) record(`${name}.visible`, [s, attention.entries], attention.visible);
    record(`${name}.topk_ids`, [s, config.numExpertsPerTok], ffn.topkIds);
    record(`${name}.topk_weights`, [s, config.numExpertsPerTok], ffn.topkWeights);
    record(`${name}.ffn_out`, [s, d], ffn.out);
    record(`${name}.streams`, [s, hc, d], streams);
  }

  const head = { fn: w('hc_head_fn', [hc, hc * d]), base: w('hc_head_base', [hc]), scale: w('hc_head_scale', [1]) };
  const last = rmsNorm(hcHead(streams, head, shape), w('norm.weight', [d]), { m: s, d, eps: rmsNormEps });
  record('final_norm', [s, d], last);
  const vocabulary = config.tieWordEmbeddings ? embed : w('head.weight', [vocabSize, d]);
  return { logits: linear(last, vocabulary, { m: s, n: vocabSize, k: d }), trace };
}
