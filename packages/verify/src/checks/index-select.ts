import * as reference from '@megamoe/reference';
import { CHOSEN, INTEGERS } from '../bounds';
import { sequencesOf } from '../cache-rows';
import type { Call } from '../call';
import type { Check, Judge } from '../judge';
import { lengthOf } from '../measure';
import type { Verdict } from '../recorder';
import type { Judged } from '../types';
import { entriesOf } from './cache';

const ROUNDING = 2 ** -24;

/** The choice of compressed keys of each row. */
export const indexSelect: Check<'indexSelect'> = {
  at: ({ layer }) => ({ layer, op: 'attn.indexer.select', operation: 'indexSelect' }),
  judge(call, at, j) {
    const { args, before, after } = call;
    const { layer, step, heads, dim, topk } = args;
    const planned = j.registry.planned(step);
    const { rows } = planned;
    const { ratio } = planned.cache.specs[layer]!;
    const want = new Int32Array(step.rows * topk);
    for (const s of sequencesOf(planned)) {
      const { row0, n, first: firstPosition } = s;
      const keys = entriesOf(j, at, args, s, 'indexer');
      const q = before.q.subarray(row0 * heads * dim, (row0 + n) * heads * dim);
      const weights = before.headWeights.subarray(row0 * heads, (row0 + n) * heads);
      const got = after.selected.subarray(row0 * topk, (row0 + n) * topk);
      const selection = { n, heads, dim, entries: keys.length / dim, firstPosition, ratio, topk };
      want.set(rightSets(q, keys, weights, got, selection), row0 * topk);
      if (s.sequence > 0) continue;
      for (let r = 0; r < n; r++) j.notes.chose(reference.visibleEntries(firstPosition + r, ratio) > topk);
    }
    const shape = [step.rows, topk];
    const outputs: Judged[] = [{ output: 'selected', got: after.selected, want, shape, bound: CHOSEN }];
    const hasToChoose = rows.positions.subarray(0, rows.rows).some((p) => reference.visibleEntries(p, ratio) > topk);
    if (hasToChoose && j.first('ties', layer, at.op)) outputs.push(judgeTies(at, j, call, ratio));
    j.take(at, outputs);
  },
};

/** Head weights of zero make all scores equal: the entries with the lowest indices. */
function judgeTies(at: Verdict, j: Judge, { args }: Call<'indexSelect'>, ratio: number): Judged {
  const { step, heads, topk } = args;
  const { rows } = j.registry.planned(step);
  const { after } = j.scratch((made) =>
    j.again(at, 'indexSelect', {
      ...args,
      headWeights: made.tensor(new Float32Array(step.rows * heads)),
      selected: made.alloc('i32', [step.rows, topk]),
    }),
  );
  const want = Int32Array.from({ length: step.rows * topk }, (_, i) => {
    const visible = reference.visibleEntries(rows.positions[Math.floor(i / topk)]!, ratio);
    return i % topk < visible ? i % topk : -1;
  });
  return { output: 'selected of equal scores', got: after.selected, want, shape: [step.rows, topk], bound: INTEGERS };
}

/**
 * What rows of one sequence must choose: sets with the room that float32 scores need, so that what was chosen is right where it is as good.
 * Scores that ReLU made zero tie exactly.
 */
function rightSets(
  q: Float32Array,
  keys: Float32Array,
  weights: Float32Array,
  got: Int32Array,
  args: reference.IndexSelection,
): Int32Array {
  const { n, heads, dim, entries, firstPosition, ratio, topk } = args;
  const right = reference.indexSelect(q, keys, weights, args);
  const scores = reference.indexScores(q, keys, weights, args);
  const want = new Int32Array(right);
  const keyLength = Float64Array.from({ length: entries }, (_, e) => lengthOf(keys, e * dim, dim));
  for (let r = 0; r < n; r++) {
    const row = Array.from(got.subarray(r * topk, (r + 1) * topk));
    const mine = row.filter((e) => e >= 0);
    const theirs = Array.from(right.subarray(r * topk, (r + 1) * topk)).filter((e) => e >= 0);
    const missing = theirs.filter((e) => !mine.includes(e));
    const strange = mine.filter((e) => !theirs.includes(e));
    if (missing.length === 0 && strange.length === 0) continue;
    const visible = Math.min(reference.visibleEntries(firstPosition + r, ratio), entries);
    const valid =
      missing.length === strange.length &&
      mine.every((e, i) => e < visible && (i === 0 || e > mine[i - 1]!)) &&
      row.slice(mine.length).every((e) => e === -1);
    let terms = 0; // sum of |w_h| |q_h|: times |k| it bounds the terms of a score
    for (let h = 0; h < heads; h++)
      terms += Math.abs(weights[r * heads + h]!) * lengthOf(q, (r * heads + h) * dim, dim);
    const slack = (e: number): number =>
      (8 + 4 * Math.sqrt(dim) + heads) * ROUNDING * terms * keyLength[e]! * (heads * dim) ** -0.5;
    const value = (e: number): number => scores[r * entries + e]!;
    const asGood =
      valid &&
      strange.every((s) =>
        missing.every((m) => (value(s) !== value(m) || m > s) && value(s) + slack(s) >= value(m) - slack(m)),
      );
    if (asGood) want.set(row, r * topk);
  }
  return want;
}
