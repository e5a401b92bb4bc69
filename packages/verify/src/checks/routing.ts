import * as reference from '@megamoe/reference';
import { CHOSEN, INTEGERS, ROUTED, weighted } from '../bounds';
import { routeDump } from '../dump';
import type { Call } from '../call';
import type { Check, Judge } from '../judge';
import type { Verdict } from '../recorder';
import type { Judged } from '../types';
import { PROBED_ROWS } from './precision';

const ROUNDING = 2 ** -24;

/**
 * Chosen experts as sets: an expert that was chosen must not score below one that was not, but for what float32 cannot tell apart. The
 * comparison is told as the sorted set beside the right one, which is the backend's own where both are as good.
 */
function chosenSets(
  logits: Float32Array,
  bias: Float32Array | null,
  got: Int32Array,
  routing: Omit<reference.Routing, 'bias' | 'topkIds'>,
): Judged {
  const { t, topk, numExperts: e, scoring } = routing;
  const right = reference.route(logits, { ...routing, bias }).topkIds;
  const shown = new Int32Array(t * topk);
  const want = new Int32Array(t * topk);
  for (let token = 0; token < t; token++) {
    const mine = Array.from(got.subarray(token * topk, (token + 1) * topk)).sort((a, b) => a - b);
    const theirs = Array.from(right.subarray(token * topk, (token + 1) * topk)).sort((a, b) => a - b);
    const scores = reference.routerScores(logits.subarray(token * e, (token + 1) * e), scoring);
    const slack = (x: number): number => 32 * ROUNDING * (Math.abs(scores[x]!) + Math.abs(bias?.[x] ?? 0));
    const value = (x: number): number => scores[x]! + (bias?.[x] ?? 0);
    const missing = theirs.filter((x) => !mine.includes(x));
    const strange = mine.filter((x) => !theirs.includes(x));
    const valid = new Set(mine).size === topk && mine.every((x) => x >= 0 && x < e);
    // Equal scores come from equal logits and biases, in float32 as in float64: then the lower index has to win.
    const asGood =
      valid &&
      strange.every((s) => missing.every((m) => value(s) !== value(m) && value(s) + slack(s) >= value(m) - slack(m)));
    shown.set(mine, token * topk);
    want.set(asGood ? mine : theirs, token * topk);
  }
  return { output: 'topk_ids', got: shown, want, shape: [t, topk], bound: CHOSEN };
}

/** Router logits that are all equal: the experts with the lowest ids, in their order. */
function judgeTies(at: Verdict, j: Judge, { args }: Call<'route'>): Judged {
  const { numExperts, topk } = args.router;
  const rows = Math.min(args.rows, PROBED_ROWS);
  const { after } = j.scratch((made) =>
    j.again(at, 'route', {
      ...{ router: args.router, rows, bias: null, tokenIds: null, tid2eid: null },
      logits: made.tensor(new Float32Array(rows * numExperts).fill(0.5)),
      topkIds: made.alloc('i32', [rows, topk]),
      topkWeights: made.alloc('f32', [rows, topk]),
    }),
  );
  const want = Int32Array.from({ length: rows * topk }, (_, i) => i % topk);
  return { output: 'topk_ids of equal logits', got: after.topkIds, want, shape: [rows, topk], bound: INTEGERS };
}

/** The choice of experts, by score or by token id, and their weights. */
export const route: Check<'route'> = {
  at: (_, j) => ({ layer: j.layer, op: 'ffn.route', operation: 'route' }),
  judge(call, at, j) {
    const { args, before, after } = call;
    const { rows: t } = args;
    const spec = j.registry.router(args.router);
    const { topk, numExperts } = spec;
    const { logits, bias, tokenIds, tid2eid } = before;
    const routing = { ...spec, t };
    const hashed = tokenIds && tid2eid ? reference.hashIds(tokenIds, tid2eid, topk) : null;
    const got = { ids: after.topkIds, weights: after.topkWeights };
    const ids: Judged = hashed
      ? { output: 'topk_ids', got: got.ids, want: hashed, shape: [t, topk], bound: INTEGERS }
      : chosenSets(logits, bias, got.ids, routing);
    const usable = got.ids.every((id) => id >= 0 && id < numExperts);
    // The weights belong to the experts that were chosen: a wrong choice is one error, not two.
    const want = reference.route(logits, { ...routing, bias, topkIds: usable ? got.ids : hashed }).topkWeights;
    const scale = (i: number): number => Math.abs(want[i]!) + 1e-30;
    const weights = { output: 'topk_weights', got: got.weights, want, shape: [t, topk], bound: ROUTED, scale };
    const ties = j.first('ties', at.layer, at.op) ? [judgeTies(at, j, call)] : [];
    j.take(at, [ids, weights, ...ties], () => (hashed ? undefined : routeDump({ logits, bias, ...got, ...routing })));
    j.notes.reached(at.layer, got.ids);
  },
};

/** The order of slots. */
export const assignSlots: Check<'assignSlots'> = {
  at: (_, j) => ({ layer: j.layer, op: 'ffn.slots', operation: 'assignSlots' }),
  judge({ args, before, after }, at, j) {
    const { rows: t, topk, numExperts } = args;
    const want = reference.assignSlots(before.topkIds, { t, topk, numExperts });
    const slotToken = new Int32Array(t * topk).fill(-1); // past the last slot, where experts were masked
    slotToken.set(want.slotToken);
    j.take(at, [
      {
        output: 'expert_offsets',
        got: after.expertOffsets,
        want: want.expertOffsets,
        shape: [numExperts],
        bound: INTEGERS,
      },
      { output: 'slot_token', got: after.slotToken, want: slotToken, shape: [t * topk], bound: INTEGERS },
      { output: 'token_slots', got: after.tokenSlots, want: want.tokenSlots, shape: [t, topk], bound: INTEGERS },
    ]);
  },
};

/** The sum of the experts' outputs. */
export const scatterExperts: Check<'scatterExperts'> = {
  at: (_, j) => ({ layer: j.layer, op: 'ffn.scatter', operation: 'scatterExperts' }),
  judge({ args, before, after }, at, j) {
    const { rows: t, topk, d } = args;
    const { y, tokenSlots, topkWeights } = before;
    const [want, scale] = [new Float64Array(t * d), new Float64Array(t * d).fill(1e-30)];
    tokenSlots.forEach((slot, choice) => {
      if (slot < 0) return;
      const token = Math.floor(choice / topk);
      for (let c = 0; c < d; c++) {
        const term = topkWeights[choice]! * y[slot * d + c]!;
        want[token * d + c]! += term;
        scale[token * d + c]! += Math.abs(term);
      }
    });
    const bound = weighted(topk);
    j.take(at, [{ output: 'out', got: after.out, want, shape: [t, d], bound, scale: (i) => scale[i]! }]);
  },
};
