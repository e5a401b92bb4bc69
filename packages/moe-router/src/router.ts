import {
  ArgPlaces,
  checkCapacity,
  checkInteger,
  checkKind,
  checkLength,
  checkMultiple,
  checkObject,
  checkOneOf,
  checkPlacesApart,
  checkPositive,
  describe,
  KindError,
  newArray,
  placeOf,
  ValueError,
} from '@megamoe/core';
import type { Place } from '@megamoe/core';
import { checkLogits, type Scoring, SCORINGS, scoreRow } from './scores';

/** What a router is made for: the model's routing fields and the largest batch. */
export interface RouterSpec {
  /** Largest `t` a call may have. */
  readonly maxTokens: number;
  /** E, `n_routed_experts`. */
  readonly numExperts: number;
  /** Experts per token, `num_experts_per_tok`; at most `numExperts`. */
  readonly topk: number;
  /** `scoring_func`. */
  readonly scoring: Scoring;
  /** `norm_topk_prob`: divide a token's weights by their sum + 1e-20. */
  readonly normTopkProb: boolean;
  /** `routed_scaling_factor`: multiplies every weight, after the normalisation. */
  readonly routedScalingFactor: number;
}

/** Chooses experts and weighs them. Scratch is made once, so that a call allocates nothing. */
export interface Router {
  readonly spec: Readonly<RouterSpec>;
  /**
   * Top-k routing: experts are chosen by `score + bias` and weighed by `score` alone (`noaux_tc`; docs/formats.md D8).
   *
   * @param logits      [T, E] f32, finite
   * @param t           tokens, 0 to `maxTokens`
   * @param bias        [E] f32 correction bias (`e_score_correction_bias`), or null for none; infinite values switch an expert on or off
   * @param topkIds     [T, topk] i32 out: best first, ties to the lowest id
   * @param topkWeights [T, topk] f32 out
   * @throws ShapeError for a buffer that is too small; ValueError for a logit that is not finite or a bias that is NaN, naming
   *   where; nothing is written then
   */
  route(
    logits: Float32Array,
    t: number,
    bias: Float32Array | null,
    topkIds: Int32Array,
    topkWeights: Float32Array,
  ): void;
  /**
   * Hash routing: experts come from `tid2eid[token]` in the table's order, weighed by their score as in {@link Router.route}.
   *
   * @param tokenIds [T] i32, each in [0, V)
   * @param tid2eid  [V, topk] i32, exactly V*topk elements
   * @throws ValueError for a token id outside the table, or an expert id outside [0, E), naming the token; nothing is written then
   */
  routeHash(
    logits: Float32Array,
    t: number,
    tokenIds: Int32Array,
    tid2eid: Int32Array,
    topkIds: Int32Array,
    topkWeights: Float32Array,
  ): void;
}

/**
 * Makes a router.
 *
 * Weights are `score / (sum + 1e-20) * routedScalingFactor` with `normTopkProb`, else `score * routedScalingFactor`; every step is
 * rounded to float32 and the sum runs in the order of `topkIds`, so a token's row does not depend on its batch.
 *
 * @throws ValueError when a field is out of range, in particular `topk` above `numExperts`
 */
export function createRouter(spec: RouterSpec): Router {
  return new ExpertRouter(spec);
}

const fround = Math.fround;
const NORM_EPS = fround(1e-20);

class ExpertRouter implements Router {
  readonly spec: Readonly<RouterSpec>;
  readonly #scores: Float32Array; // [E] of the token at hand
  readonly #best: Float32Array; // [topk] biased scores of the chosen, best first
  readonly #factor: number;
  readonly #places = {
    logits: new ArgPlaces('logits'),
    tokenIds: new ArgPlaces('tokenIds'),
    topkIds: new ArgPlaces('topkIds'),
    topkWeights: new ArgPlaces('topkWeights'),
  };

  constructor(spec: RouterSpec) {
    const fn = 'createRouter';
    checkObject(fn, 'spec', spec);
    const { maxTokens, numExperts, topk, scoring, normTopkProb, routedScalingFactor } = spec;
    checkInteger(fn, 'maxTokens', maxTokens, 0);
    checkInteger(fn, 'numExperts', numExperts, 1);
    checkInteger(fn, 'topk', topk, 1);
    if (topk > numExperts) {
      throw new ValueError(`${fn}: "topk" must be at most numExperts = ${numExperts}, got ${topk}`);
    }
    checkOneOf(fn, 'scoring', scoring, SCORINGS);
    if (typeof normTopkProb !== 'boolean') {
      throw new KindError(`${fn}: "normTopkProb" must be a boolean, got ${describe(normTopkProb)}`);
    }
    checkPositive(fn, 'routedScalingFactor', routedScalingFactor);
    if (!Number.isFinite(fround(routedScalingFactor)))
      throw new ValueError(`${fn}: "routedScalingFactor" must be finite in float32, got ${routedScalingFactor}`);
    this.spec = Object.freeze({ maxTokens, numExperts, topk, scoring, normTopkProb, routedScalingFactor });
    this.#factor = fround(routedScalingFactor);
    this.#scores = newArray(fn, 'scores', Float32Array, 'numExperts', numExperts);
    this.#best = newArray(fn, 'best', Float32Array, 'topk', topk);
  }

  route(
    logits: Float32Array,
    t: number,
    bias: Float32Array | null,
    topkIds: Int32Array,
    topkWeights: Float32Array,
  ): void {
    const { numExperts, topk, scoring } = this.spec;
    const outputs = this.#check('route', logits, t, topkIds, topkWeights);
    if (bias !== null) {
      checkKind('route', 'bias', bias, Float32Array);
      checkLength('route', 'bias', bias, 'E', numExperts);
      for (let e = 0; e < numExperts; e++) {
        if (Number.isNaN(bias[e])) throw new ValueError(`route: "bias" must not be NaN, got NaN at expert ${e}`);
      }
      const read = placeOf('bias', bias, numExperts);
      checkPlacesApart('route', outputs.ids, read);
      checkPlacesApart('route', outputs.weights, read);
    }
    for (let row = 0; row < t; row++) {
      scoreRow(scoring, logits, row * numExperts, numExperts, this.#scores, 0);
      this.#select(bias, topkIds, row * topk);
      this.#weigh(topkIds, row * topk, topkWeights);
    }
  }

  routeHash(
    logits: Float32Array,
    t: number,
    tokenIds: Int32Array,
    tid2eid: Int32Array,
    topkIds: Int32Array,
    topkWeights: Float32Array,
  ): void {
    const { numExperts, topk, scoring } = this.spec;
    const outputs = this.#check('routeHash', logits, t, topkIds, topkWeights);
    checkKind('routeHash', 'tokenIds', tokenIds, Int32Array);
    checkKind('routeHash', 'tid2eid', tid2eid, Int32Array);
    checkCapacity('routeHash', 'tokenIds', tokenIds, 'T', t);
    checkMultiple('routeHash', 'tid2eid.length', tid2eid.length, topk);
    for (const read of [this.#places.tokenIds.of(tokenIds, t), placeOf('tid2eid', tid2eid, tid2eid.length)]) {
      checkPlacesApart('routeHash', outputs.ids, read);
      checkPlacesApart('routeHash', outputs.weights, read);
    }
    const vocab = tid2eid.length / topk;
    for (let row = 0; row < t; row++) {
      const token = tokenIds[row]!;
      if (token < 0 || token >= vocab) {
        throw new ValueError(`routeHash: "tokenIds" must be in [0, ${vocab}), got ${token} at token ${row}`);
      }
      for (let j = 0; j < topk; j++) {
        const e = tid2eid[token * topk + j]!;
        if (e >= 0 && e < numExperts) continue;
        throw new ValueError(
          `routeHash: "tid2eid" must be in [0, ${numExperts}), got ${e} for token id ${token} at ${j}`,
        );
      }
    }
    for (let row = 0; row < t; row++) {
      scoreRow(scoring, logits, row * numExperts, numExperts, this.#scores, 0);
      const token = tokenIds[row]!;
      for (let j = 0; j < topk; j++) topkIds[row * topk + j] = tid2eid[token * topk + j]!;
      this.#weigh(topkIds, row * topk, topkWeights);
    }
  }

  /** Checks what both ways of routing take. Returns where the outputs lie. */
  #check(
    fn: string,
    logits: Float32Array,
    t: number,
    topkIds: Int32Array,
    topkWeights: Float32Array,
  ): { readonly ids: Place; readonly weights: Place } {
    const { maxTokens, numExperts, topk } = this.spec;
    checkInteger(fn, 't', t, 0, maxTokens);
    checkKind(fn, 'logits', logits, Float32Array);
    checkKind(fn, 'topkIds', topkIds, Int32Array);
    checkKind(fn, 'topkWeights', topkWeights, Float32Array);
    checkCapacity(fn, 'logits', logits, 'T*E', t * numExperts);
    checkCapacity(fn, 'topkIds', topkIds, 'T*topk', t * topk);
    checkCapacity(fn, 'topkWeights', topkWeights, 'T*topk', t * topk);
    const read = this.#places.logits.of(logits, t * numExperts);
    const ids = this.#places.topkIds.of(topkIds, t * topk);
    const weights = this.#places.topkWeights.of(topkWeights, t * topk);
    checkPlacesApart(fn, ids, read);
    checkPlacesApart(fn, weights, read);
    checkPlacesApart(fn, ids, weights);
    checkLogits(fn, logits, t, numExperts);
    return { ids, weights };
  }

  /** Insertion into a list of topk, best first. Experts come in ascending order and must be strictly better: ties keep the lowest id. */
  #select(bias: Float32Array | null, topkIds: Int32Array, to: number): void {
    const { numExperts, topk } = this.spec;
    const best = this.#best;
    let filled = 0;
    for (let e = 0; e < numExperts; e++) {
      const s = bias === null ? this.#scores[e]! : fround(this.#scores[e]! + bias[e]!);
      if (filled === topk && !(s > best[topk - 1]!)) continue;
      let at = filled < topk ? filled++ : topk - 1;
      while (at > 0 && s > best[at - 1]!) {
        best[at] = best[at - 1]!;
        topkIds[to + at] = topkIds[to + at - 1]!;
        at--;
      }
      best[at] = s;
      topkIds[to + at] = e;
    }
  }

  #weigh(topkIds: Int32Array, at: number, topkWeights: Float32Array): void {
    const { topk, normTopkProb } = this.spec;
    let divisor = 1;
    if (normTopkProb) {
      let sum = 0;
      for (let j = 0; j < topk; j++) sum = fround(sum + this.#scores[topkIds[at + j]!]!);
      divisor = fround(sum + NORM_EPS);
    }
    for (let j = 0; j < topk; j++) {
      topkWeights[at + j] = fround(this.#scores[topkIds[at + j]!]! / divisor) * this.#factor;
    }
  }
}
