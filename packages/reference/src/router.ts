/** Which experts a token goes to, and with what weight (docs/formats.md D8). */
import { checkInteger, checkLength, checkOneOf } from '@megamoe/core';
import type { Numbers } from './numbers';
import { topK } from './topk';

/** How logits become scores. */
export type ScoringFunction = 'sqrtsoftplus' | 'softmax' | 'sigmoid';

const SCORING = ['sqrtsoftplus', 'softmax', 'sigmoid'] as const;

/** Scores of one token from its logits [E]: `sqrt(log(1 + e^x))`, softmax over the experts, or `1 / (1 + e^-x)`. */
export function routerScores(logits: Numbers, scoring: ScoringFunction): Float64Array {
  checkOneOf('routerScores', 'scoring', scoring, SCORING);
  const x = Float64Array.from(logits);
  if (scoring === 'sigmoid') return x.map((v) => 1 / (1 + Math.exp(-v)));
  // log(1 + e^x) without overflow.
  if (scoring === 'sqrtsoftplus') return x.map((v) => Math.sqrt(Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)))));
  const max = x.reduce((a, b) => Math.max(a, b), -Infinity);
  const exps = x.map((v) => Math.exp(v - max));
  const sum = exps.reduce((a, b) => a + b, 0);
  return exps.map((e) => e / sum);
}

/** Arguments of {@link route}. */
export interface Routing {
  readonly t: number;
  readonly numExperts: number;
  readonly topk: number;
  readonly scoring: ScoringFunction;
  readonly normTopkProb: boolean;
  readonly routedScalingFactor: number;
  /** [E] added to the scores for the choice only, or null. */
  readonly bias?: Numbers | null;
  /** [T, topk] experts already chosen (hash layers, see {@link hashIds}): only weights are computed. */
  readonly topkIds?: ArrayLike<number> | null;
}

/** Chosen experts [T, topk], best first, and their weights. */
export interface Routed {
  readonly topkIds: Int32Array;
  readonly topkWeights: Float64Array;
}

/**
 * Routes tokens by `logits` [T, E]: the `topk` largest of score + bias, ties to the lowest expert; weights are the scores without
 * bias, divided by (their sum + 1e-20) when `normTopkProb`, times `routedScalingFactor`.
 */
export function route(logits: Numbers, args: Routing): Routed {
  const { t, numExperts, topk, scoring, normTopkProb, routedScalingFactor, bias = null, topkIds = null } = args;
  checkInteger('route', 'topk', topk, 1, numExperts);
  checkLength('route', 'logits', logits, 'T*E', t * numExperts);
  if (bias) checkLength('route', 'bias', bias, 'E', numExperts);
  if (topkIds) checkLength('route', 'topkIds', topkIds, 'T*topk', t * topk);
  const ids = new Int32Array(t * topk);
  const weights = new Float64Array(t * topk);
  for (let token = 0; token < t; token++) {
    const row = Array.from({ length: numExperts }, (_, e) => logits[token * numExperts + e]!);
    const scores = routerScores(row, scoring);
    const chosen = topkIds
      ? Array.from({ length: topk }, (_, j) => topkIds[token * topk + j]!)
      : topK(bias ? scores.map((s, e) => s + bias[e]!) : scores, topk);
    chosen.forEach((e, j) => checkInteger('route', `topkIds[${token}, ${j}]`, e, 0, numExperts - 1));
    const sum = chosen.reduce((s, e) => s + scores[e]!, 0);
    chosen.forEach((e, j) => {
      ids[token * topk + j] = e;
      weights[token * topk + j] = (normTopkProb ? scores[e]! / (sum + 1e-20) : scores[e]!) * routedScalingFactor;
    });
  }
  return { topkIds: ids, topkWeights: weights };
}

/** Experts of the hash layers: row `tokenIds[t]` of the table tid2eid [V, topk]. A token outside the table is an error. */
export function hashIds(tokenIds: ArrayLike<number>, tid2eid: ArrayLike<number>, topk: number): Int32Array {
  const vocabulary = tid2eid.length / topk;
  const ids = new Int32Array(tokenIds.length * topk);
  for (let t = 0; t < tokenIds.length; t++) {
    checkInteger('hashIds', `tokenIds[${t}]`, tokenIds[t]!, 0, vocabulary - 1);
    for (let j = 0; j < topk; j++) ids[t * topk + j] = tid2eid[tokenIds[t]! * topk + j]!;
  }
  return ids;
}
