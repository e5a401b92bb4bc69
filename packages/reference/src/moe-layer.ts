/** The feed-forward block of one layer: router, routed experts, shared expert. */
import { checkInteger } from '@megamoe/core';
import type { ReferenceConfig, WeightReader } from './config';
import { linear } from './linear';
import { expertForward, mixtureOfExperts, type Activations, type Expert } from './moe';
import { hashIds, route, type Routed } from './router';

/** Output [S, D] and the routing behind it. */
export interface MoeLayerResult extends Routed {
  readonly out: Float64Array;
}

/** Feed-forward block of layer `layer` on normed rows `x` [S, D]; `w` reads below `layers.N.ffn.`. */
export function moeLayer(
  fn: string,
  c: ReferenceConfig,
  w: WeightReader,
  layer: number,
  x: Float64Array,
  tokenIds: ArrayLike<number>,
  activations: Activations,
): MoeLayerResult {
  const { hiddenSize: d, moeIntermediateSize: i, numExperts, numExpertsPerTok: topk, swigluLimit } = c;
  const t = tokenIds.length;
  const hashed = layer < c.numHashLayers;
  const table = hashed ? w('gate.tid2eid', [c.vocabSize, topk]) : [];
  for (let at = 0; at < table.length; at++)
    checkInteger(fn, `layers.${layer}.ffn.gate.tid2eid[${at}]`, table[at]!, 0, numExperts - 1);
  const logits = linear(x, w('gate.weight', [numExperts, d]), { m: t, n: numExperts, k: d });
  const routed = route(logits, {
    t,
    numExperts,
    topk,
    scoring: c.scoringFunc,
    normTopkProb: c.normTopkProb,
    routedScalingFactor: c.routedScalingFactor,
    bias: hashed ? null : w('gate.bias', [numExperts]),
    topkIds: hashed ? hashIds(tokenIds, table, topk) : null,
  });
  const expert = (id: number): Expert => {
    const inputScale = (name: string): number | undefined =>
      activations === 'nvfp4' ? w(`experts.${id}.${name}.input_scale`, [])[0] : undefined;
    return {
      w1: w(`experts.${id}.w1.weight`, [i, d]),
      w3: w(`experts.${id}.w3.weight`, [i, d]),
      w2: w(`experts.${id}.w2.weight`, [d, i]),
      w13InputScale: inputScale('w1'),
      w2InputScale: inputScale('w2'),
    };
  };
  const out = mixtureOfExperts(x, { t, d, i, topk, swigluLimit, activations, expert, ...routed });
  if (c.numSharedExperts > 0) {
    const wide = i * c.numSharedExperts;
    const shared: Expert = {
      w1: w('shared_experts.w1.weight', [wide, d]),
      w3: w('shared_experts.w3.weight', [wide, d]),
      w2: w('shared_experts.w2.weight', [d, wide]),
    };
    expertForward(x, shared, { d, i: wide, swigluLimit }).forEach((y, at) => (out[at]! += y));
  }
  return { out, ...routed };
}
