import { checkObject, describe, KindError } from '@megamoe/core';
import type { AttentionWeights, CompressorBlock, ExpertGemm, HyperWeights, ModelWeights, MoeWeights } from './weights';

/** A weight that is not there. */
type Named = readonly [name: string, weight: object | null];

const hyper = (at: string, { fn, base, gain }: HyperWeights): Named[] => [
  [`${at}_fn`, fn],
  [`${at}_base`, base],
  [`${at}_scale`, gain],
];

const compressor = (at: string, { wkv, wgate, pool }: CompressorBlock): Named[] => [
  [`${at}.wkv`, wkv],
  [`${at}.wgate`, wgate],
  [at, pool],
];

function attention(at: string, w: AttentionWeights): Named[] {
  return [
    [`${at}.wq_a`, w.wqA],
    [`${at}.q_norm.weight`, w.qNorm],
    [`${at}.wq_b`, w.wqB],
    [`${at}.wkv`, w.wkv],
    [`${at}.kv_norm.weight`, w.kvNorm],
    [`${at}.wo_a`, w.woA],
    [`${at}.wo_b`, w.woB],
    [`${at}.attn_sink`, w.sinks],
    ...(w.compressor ? compressor(`${at}.compressor`, w.compressor) : []),
    ...(w.indexer
      ? [
          ...compressor(`${at}.indexer.compressor`, w.indexer),
          [`${at}.indexer.wq_b`, w.indexer.wqB] as const,
          [`${at}.indexer.weights_proj`, w.indexer.headWeights] as const,
        ]
      : []),
  ];
}

function experts(at: string, { weight, f32, nvfp4 }: ExpertGemm): Named[] {
  return [
    [at, weight],
    [`${at}.weight_scale_2`, f32.alpha],
    [`${at}.input_scale`, nvfp4?.globalDecodeScale ?? null],
    [`${at}.alpha`, nvfp4?.alpha === f32.alpha ? null : (nvfp4?.alpha ?? null)],
  ];
}

function moe(at: string, w: MoeWeights): Named[] {
  return [
    [`${at}.gate`, w.gate],
    [`${at}.gate.bias`, w.bias],
    [`${at}.gate.tid2eid`, w.tid2eid],
    ...experts(`${at}.experts.w13`, w.w13),
    ...experts(`${at}.experts.w2`, w.w2),
    [`${at}.shared_experts.w13`, w.shared?.w13 ?? null],
    [`${at}.shared_experts.w2`, w.shared?.w2 ?? null],
  ];
}

/**
 * Names of all packed weights and tensors of a model, by DeepSeek's names, as in `layers.3.attn.q_norm.weight`: gate and up that are packed
 * together are `w13`, a compressor's handle has the compressor's name. For those who look on at the operations. An embedding that is the
 * head too is called `embed`.
 */
export function weightNames(w: ModelWeights): ReadonlyMap<object, string> {
  checkObject('weightNames', 'weights', w);
  if (!Array.isArray(w.layers))
    throw new KindError(`weightNames: "weights.layers" must be a list, got ${describe(w.layers)}`);
  const all: Named[] = [
    ['head', w.head],
    ['embed', w.embed],
    ['norm.weight', w.norm],
    ...hyper('hc_head', w.headHc),
    ...w.layers.flatMap((layer, i): Named[] => [
      ...hyper(`layers.${i}.hc_attn`, layer.attnHc),
      [`layers.${i}.attn_norm.weight`, layer.attnNorm],
      ...attention(`layers.${i}.attn`, layer.attention),
      ...hyper(`layers.${i}.hc_ffn`, layer.ffnHc),
      [`layers.${i}.ffn_norm.weight`, layer.ffnNorm],
      ...moe(`layers.${i}.ffn`, layer.moe),
    ]),
  ];
  return new Map(all.flatMap(([name, weight]) => (weight === null ? [] : [[weight, name] as const])));
}
