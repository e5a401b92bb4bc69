/** Which experts a token goes to, and with what weight (docs/formats.md D8). */
import { checkInteger, checkMultiple, checkNumber, checkOneOf, newArray } from '@megamoe/core';
import { result, takeNumbers, takeOptional, takeSizes } from './arguments';
import type { Numbers } from './numbers';
import { topK } from './topk';

/** How logits become scores. */
export type ScoringFunction = 'sqrtsoftplus' | 'softmax' | 'sigmoid';

const SCORING = ['sqrtsoftplus', 'softmax', 'sigmoid'] as const;

/** Scores of one token from its logits [E]: `sqrt(log(1 + e^x))`, softmax over the experts, or `1 / (1 + e^-x)`. */
export function routerScores(logits: Numbers, scoring: ScoringFunction): Float64Array {
  checkOneOf('routerScores', 'scoring', scoring, SCORING);
  return scoresOf(Float64Array.from(takeNumbers('routerScores', 'logits', logits)), scoring);
}

function scoresOf(x: Float64Array, scoring: ScoringFunction): Float64Array {
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
export function route(values: Numbers, args: Routing): Routed {
  const fn = 'route';
  const { t, numExperts, topk } = takeSizes(fn, 'args', args, 't', 'numExperts', 'topk');
  const { scoring, normTopkProb, routedScalingFactor, bias: added, topkIds: given } = args;
  checkInteger(fn, 'topk', topk, 1, numExperts);
  checkOneOf(fn, 'scoring', scoring, SCORING);
  checkNumber(fn, 'routedScalingFactor', routedScalingFactor);
  const logits = takeNumbers(fn, 'logits', values, ['T*E', t * numExperts]);
  const bias = takeOptional(fn, 'bias', added, ['E', numExperts]);
  const topkIds = takeOptional(fn, 'topkIds', given, ['T*topk', t * topk]);
  const ids = newArray(fn, 'topkIds', Int32Array, 'T*topk', t * topk);
  const weights = result(fn, 'T*topk', t * topk);
  for (let token = 0; token < t; token++) {
    const row = Float64Array.from({ length: numExperts }, (_, e) => logits[token * numExperts + e]!);
    const scores = scoresOf(row, scoring);
    const chosen = topkIds
      ? Array.from({ length: topk }, (_, j) => topkIds[token * topk + j]!)
      : topK(bias ? scores.map((s, e) => s + bias[e]!) : scores, topk);
    chosen.forEach((e, j) => checkInteger(fn, `topkIds[${token}, ${j}]`, e, 0, numExperts - 1));
    const sum = chosen.reduce((s, e) => s + scores[e]!, 0);
    chosen.forEach((e, j) => {
      ids[token * topk + j] = e;
      weights[token * topk + j] = (normTopkProb ? scores[e]! / (sum + 1e-20) : scores[e]!) * routedScalingFactor;
    });
  }
  return { topkIds: ids, topkWeights: weights };
}

/** Experts of the hash layers: row `tokenIds[t]` of the table tid2eid [V, topk]. A token outside the table is an error. */
export function hashIds(tokens: ArrayLike<number>, table: ArrayLike<number>, topk: number): Int32Array {
  const fn = 'hashIds';
  const tokenIds = takeNumbers(fn, 'tokenIds', tokens);
  const tid2eid = takeNumbers(fn, 'tid2eid', table);
  checkInteger(fn, 'topk', topk, 1);
  checkMultiple(fn, 'tid2eid.length', tid2eid.length, topk);
  const vocabulary = tid2eid.length / topk;
  const ids = newArray(fn, 'result', Int32Array, 'T*topk', tokenIds.length * topk);
  for (let t = 0; t < tokenIds.length; t++) {
    checkInteger(fn, `tokenIds[${t}]`, tokenIds[t]!, 0, vocabulary - 1);
    for (let j = 0; j < topk; j++) ids[t * topk + j] = tid2eid[tokenIds[t]! * topk + j]!;
  }
  return ids;
}
