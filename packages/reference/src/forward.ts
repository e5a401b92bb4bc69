/** The whole model, one prompt, one pass, float64. */
import { checkInteger } from '@megamoe/core';
import { attentionLayer } from './attention-layer';
import { checkConfig, checkedReader, type ReferenceConfig, type WeightReader } from './config';
import { hcHead, hcPost, hcPre, type HyperWeights } from './hyper-connections';
import { gatherRows, linear } from './linear';
import type { Activations } from './moe';
import { moeLayer } from './moe-layer';
import { rmsNorm } from './norm';

/** A named tensor of the trace. */
export interface TraceTensor {
  readonly shape: readonly number[];
  readonly data: Float64Array | Int32Array | Uint8Array;
}

/** Options of {@link referenceForward}. */
export interface ForwardOptions {
  /** What the routed experts' inputs go through (default `float`). `nvfp4` reads `layers.N.ffn.experts.E.{w1,w2}.input_scale`. */
  readonly activations?: Activations;
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

/**
 * Logits of every position of `tokenIds` [S]. `weights` is asked for each tensor by the name that DeepSeek ships and by its shape
 * (the scalar input scales have shape `[]`); an NVFP4 weight must come dequantized. Token ids outside the vocabulary are an error.
 */
export function referenceForward(
  config: ReferenceConfig,
  weights: WeightReader,
  tokenIds: ArrayLike<number>,
  { activations = 'float', trace: keep = false }: ForwardOptions = {},
): ForwardResult {
  checkConfig('referenceForward', config);
  const { vocabSize, hiddenSize: d, hcMult: hc, hcEps, hcSinkhornIters: iters, rmsNormEps } = config;
  const s = tokenIds.length;
  for (let t = 0; t < s; t++) checkInteger('referenceForward', `tokenIds[${t}]`, tokenIds[t]!, 0, vocabSize - 1);
  const w = checkedReader(weights, '');
  const trace = new Map<string, TraceTensor>();
  const record = (name: string, shape: number[], data: TraceTensor['data']): void => {
    if (keep) trace.set(name, { shape, data });
  };

  const shape = { t: s, hc, d, rmsNormEps, hcEps, iters };
  const embed = w('embed.weight', [vocabSize, d]);
  // Every stream starts as the token's embedding.
  let streams = gatherRows(
    embed,
    Array.from({ length: s * hc }, (_, i) => tokenIds[Math.floor(i / hc)]!),
    d,
  );

  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    const name = `layers.${layer}`;
    const hyper = (block: string): HyperWeights => ({
      fn: w(`${name}.hc_${block}_fn`, [(2 + hc) * hc, hc * d]),
      base: w(`${name}.hc_${block}_base`, [(2 + hc) * hc]),
      scale: w(`${name}.hc_${block}_scale`, [3]),
    });
    const normed = (x: Float64Array, block: string): Float64Array =>
      rmsNorm(x, w(`${name}.${block}_norm.weight`, [d]), { m: s, d, eps: rmsNormEps });

    const before = hcPre(streams, hyper('attn'), shape);
    const attention = attentionLayer(
      config,
      checkedReader(weights, `${name}.attn.`),
      layer,
      normed(before.collapsed, 'attn'),
      s,
    );
    streams = hcPost(streams, attention.out, before, shape);

    const between = hcPre(streams, hyper('ffn'), shape);
    const ffn = moeLayer(
      config,
      checkedReader(weights, `${name}.ffn.`),
      layer,
      normed(between.collapsed, 'ffn'),
      tokenIds,
      activations,
    );
    streams = hcPost(streams, ffn.out, between, shape);

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
