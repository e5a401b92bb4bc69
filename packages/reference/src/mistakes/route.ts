/** `route`: chosen experts and their weights, and if given, offsets and slots. */
import { routerScores, type ScoringFunction } from '../router';
import { topK } from '../topk';
import { Tally, UNIT } from './compare';
import { roundTo } from './dtypes';
import type { DumpReader, Floats } from './dump';
import { FLOAT32 } from './levels';
import { leadingZero, ownersOf } from './gemm';
import type { Candidate, Judged, Problem } from './types';

/** What a router answers. */
interface Routing {
  /** [T, topk]; -1 where a remote expert is masked. */
  readonly ids: Int32Array;
  readonly weights: Float64Array;
  /** [E], or undefined: not judged. */
  readonly offsets: Int32Array | undefined;
  readonly slots: Int32Array | undefined;
}

interface Got {
  readonly ids: Int32Array;
  readonly weights: Floats;
  readonly offsets: Int32Array | undefined;
  readonly slots: Int32Array | undefined;
}

interface Shape {
  readonly t: number;
  readonly topk: number;
  /** Remote choices have weight zero and any id. */
  readonly sharded: boolean;
  /** Distance in score + bias below which float32 may choose either, by (token, expert, expert). */
  readonly nearTie: (token: number, a: number, b: number) => boolean;
  /** Right ends: the runs within which the order of slots says nothing. */
  readonly runs: Int32Array;
}

/** Choices of a token by id; a remote one (weight zero or id -1, on a rank) is -1 with weight zero, however it is spelt. */
function choices(
  ids: Int32Array,
  weights: ArrayLike<number>,
  token: number,
  { topk, sharded }: Shape,
): { id: number; weight: number }[] {
  return Array.from({ length: topk }, (_, j) => {
    const [id, weight] = [ids[token * topk + j]!, weights[token * topk + j]!];
    return sharded && (weight === 0 || id < 0) ? { id: -1, weight: 0 } : { id, weight };
  }).sort((a, b) => a.id - b.id || a.weight - b.weight);
}

/** The order of choices in a row says nothing, and that of slots within an expert neither: both are compared as sets. */
function judge(got: Got, want: Routing, shape: Shape): Judged {
  const tally = new Tally();
  const { t, topk } = shape;
  for (let token = 0; token < t; token++) {
    const g = choices(got.ids, got.weights.data, token, shape);
    const w = choices(want.ids, want.weights, token, shape);
    for (let j = 0; j < topk; j++) {
      const [a, b] = [g[j]!, w[j]!];
      const tie = a.id !== b.id && shape.nearTie(token, a.id, b.id);
      tally.add(a.id, b.id, a.id === b.id, tie, () => `out.topk_ids[${token}], choice ${j} by id`);
      const noise = 16 * UNIT * Math.abs(b.weight) + 2 ** -149;
      const { dtype } = got.weights;
      const fits = a.weight >= roundTo(dtype, b.weight - noise) && a.weight <= roundTo(dtype, b.weight + noise);
      const near =
        Math.abs(a.weight - b.weight) <=
        8 * noise + { F32: 2 ** -23, BF16: 2 ** -7, F16: 2 ** -10 }[dtype] * Math.abs(b.weight);
      tally.add(a.weight, b.weight, fits, near || tie, () => `out.topk_weights[${token}] of expert ${a.id}`);
    }
  }
  if (got.offsets && want.offsets) {
    want.offsets.forEach((w, e) => {
      const g = got.offsets![e]!;
      tally.add(g, w, g === w, false, () => `out.expert_offsets[${e}]`);
    });
  }
  if (got.slots && want.slots) {
    const g = inRuns(got.slots, shape.runs);
    inRuns(want.slots, shape.runs).forEach((w, s) => {
      tally.add(g[s]!, w, got.slots![s] === want.slots![s], g[s] === w, () => `out.slot_token[${s}]`);
    });
  }
  return tally.result();
}

/** Slots sorted within each expert's run; past the last run nothing counts. */
function inRuns(slots: Int32Array, ends: Int32Array): Int32Array {
  const out = slots.slice(0, ends[ends.length - 1] ?? 0);
  let start = 0;
  for (const end of ends) {
    out.subarray(start, end).sort();
    start = end;
  }
  return out;
}

/** Counts and slots of ids; ids outside [0, experts) have none. */
function arrange(ids: Int32Array, topk: number, experts: number): { offsets: Int32Array; slots: Int32Array } {
  const order = Array.from(ids.keys()).filter((at) => ids[at]! >= 0 && ids[at]! < experts);
  order.sort((a, b) => ids[a]! - ids[b]! || a - b);
  const offsets = new Int32Array(experts);
  for (const at of order) offsets[ids[at]!]!++;
  for (let e = 1; e < experts; e++) offsets[e]! += offsets[e - 1]!;
  return { offsets, slots: Int32Array.from(order, (at) => Math.floor(at / topk)) };
}

/** What differs from the right routing. */
interface Change {
  readonly choice?: 'score';
  readonly weight?: 'biased' | 'unnormalised';
  readonly factor?: number;
  readonly ids?: 'global' | 'global-masked' | 'global-dropped';
}

/** Reads a `route` dump. */
export function ROUTE(reader: DumpReader): Problem {
  const topk = reader.number('topk', { min: 1, integer: true });
  const scoring = reader.word('scoring', ['sqrtsoftplus', 'softmax', 'sigmoid'] as const) satisfies ScoringFunction;
  const factor = reader.number('routed_scaling_factor');
  const logits = reader.floats('in.logits', ['T', 'E']).data;
  const [t, experts] = [reader.size('T'), reader.size('E')];
  if (topk > experts) throw reader.fail(`__metadata__ "topk": expected at most the ${experts} experts, found ${topk}`);
  const bias = reader.has('in.bias') ? reader.floats('in.bias', ['E'], 'infinite').data : undefined;
  const given = bias
    ? undefined
    : reader.has('in.topk_ids')
      ? reader.ids('in.topk_ids', [t, topk], 0, experts - 1)
      : undefined;
  if (!bias && !given)
    throw reader.fail('expected in.bias [E], or in.topk_ids [T, topk] of a hash layer; found neither');
  const start = reader.number('experts_start', { fallback: 0, min: 0, integer: true });
  const local = reader.number('n_local', { fallback: experts - start, min: 1, integer: true });
  if (start + local > experts) {
    throw reader.fail(
      `__metadata__ "n_local": expected at most ${experts - start} with experts_start ${start}, found ${local}`,
    );
  }
  const sharded = start > 0 || local < experts;
  const ids = reader.ints('out.topk_ids', [t, topk]);
  const weights = reader.floats('out.topk_weights', [t, topk], 'anything');
  const offsets = reader.has('out.expert_offsets') ? reader.ints('out.expert_offsets', ['offsets']) : undefined;
  if (offsets && offsets.length !== experts && offsets.length !== local) {
    throw reader.fail(`expected shape [${local}], found [${offsets.length}]`, 'out.expert_offsets');
  }
  const slots = reader.has('out.slot_token') ? reader.ints('out.slot_token', [t * topk]) : undefined;
  const got: Got = { ids, weights, offsets, slots };

  const scores = Array.from({ length: t }, (_, token) =>
    routerScores(logits.subarray(token * experts, (token + 1) * experts), scoring),
  );
  const rank = (token: number, e: number): number => scores[token]![e]! + (bias ? bias[e]! : 0);
  const counted = offsets?.length ?? (sharded ? local : experts);
  const shape: Omit<Shape, 'runs'> = {
    t,
    topk,
    sharded,
    nearTie: (token, a, b) => {
      const [x, y] = [a + (sharded ? start : 0), b + (sharded ? start : 0)];
      if (x < 0 || y < 0 || x >= experts || y >= experts || given) return false;
      return (
        Math.abs(rank(token, x) - rank(token, y)) <=
        8 * UNIT * (Math.abs(rank(token, x)) + Math.abs(bias?.[x] ?? 0) + 1)
      );
    },
  };

  const routed = ({ choice, weight, factor: times = factor, ids: spelling }: Change): Routing => {
    const out = new Int32Array(t * topk);
    const w = new Float64Array(t * topk);
    const all = new Int32Array(t * topk); // what offsets and slots are made of
    for (let token = 0; token < t; token++) {
      const s = scores[token]!;
      const chosen = given
        ? Array.from(given.subarray(token * topk, (token + 1) * topk))
        : topK(
            Array.from(s, (x, e) => (choice === 'score' ? x : x + bias![e]!)),
            topk,
          );
      const raw = chosen.map((e) => (weight === 'biased' ? s[e]! + bias![e]! : s[e]!));
      const sum = raw.reduce((x, y) => x + y, 0) + 1e-20;
      chosen.forEach((e, j) => {
        const at = token * topk + j;
        const mine = e >= start && e < start + local;
        const id = spelling === undefined ? e - start : e;
        const kept = !sharded || spelling === 'global' || (spelling === 'global-dropped' ? e < local : mine);
        out[at] = kept ? id : -1;
        w[at] = kept ? (weight === 'unnormalised' ? raw[j]! : raw[j]! / sum) * times : 0;
        all[at] = counted === experts && !spelling ? e : kept ? id : -1;
      });
    }
    return { ids: out, weights: w, ...arrange(all, topk, counted) };
  };

  const candidates: Candidate[] = [];
  const add = (id: string, r: 0 | 1, reading: string, make: () => Routing): void => {
    let known: Judged | undefined;
    candidates.push({ id, rank: r, reading, judge: () => (known ??= judge(got, make(), { ...shape, runs })) });
  };
  const right = routed({});
  const runs = right.offsets!;
  if (bias) {
    add('topk-without-bias', 0, '', () => routed({ choice: 'score' }));
    add('topk-weights-biased', 0, '', () => routed({ weight: 'biased' }));
  }
  add('topk-weights-unnormalised', 0, '', () => routed({ weight: 'unnormalised' }));
  add('topk-weights-unnormalised', 1, 'Nor multiplied by the factor', () =>
    routed({ weight: 'unnormalised', factor: 1 }),
  );
  add('routed-scale-missing', 0, '', () => routed({ factor: 1 }));
  if (sharded) {
    add('expert-ids-global', 0, '', () => routed({ ids: 'global' }));
    add('expert-ids-global', 0, 'Other experts masked', () => routed({ ids: 'global-masked' }));
    add('expert-ids-global', 0, 'Ids from n_local on masked', () => routed({ ids: 'global-dropped' }));
  }
  if (offsets) {
    const leading = leadingZero(runs);
    const owners = ownersOf(runs, runs[runs.length - 1] ?? 0, true);
    const left = runs.map((_, e) => owners.filter((o) => o <= e).length);
    for (const [id, ends] of [
      ['offsets-leading-zero', leading],
      ['offsets-searchsorted-left', left],
    ] as const) {
      add(id, 0, '', () => ({ ...right, offsets: ends }));
      add(id, 1, 'Slots not compared', () => ({ ...right, offsets: ends, slots: undefined }));
    }
  }
  if (slots) {
    const n = right.slots!.length;
    const filled = (f: (s: number) => number): Routing => ({
      ...right,
      slots: Int32Array.from({ length: n }, (_, s) => f(s)),
    });
    add('slots-not-gathered', 0, '', () => filled((s) => s));
    add('slots-not-gathered', 0, 'Beyond the tokens from the start again', () => filled((s) => s % t));
    add('slots-not-gathered', 0, 'Beyond the tokens the last one', () => filled((s) => Math.min(s, t - 1)));
    add('slots-not-gathered', 1, 'Slots in the order of tokens', () => filled((s) => Math.floor(s / topk)));
    add('slots-all-token-0', 0, '', () => filled(() => 0));
  }
  let known: Judged | undefined;
  return {
    elements: 2 * t * topk + (offsets?.length ?? 0) + (slots ? right.slots!.length : 0),
    levels: [FLOAT32],
    right: { judge: () => (known ??= judge(got, right, { ...shape, runs })) },
    candidates,
    notes: [],
    looseNote:
      'The same choices and weights but for near ties, the last bit of weights, or the order of slots within an expert.',
  };
}
