/** Attention and its mistakes, key by key, for the tests alone. */
import { seeded } from '@megamoe/testkit';
import type { Dump } from '../../src/index';
import { bytes, dump, floats, rounded, sum, type Stored } from './build';
import { angles, YARN } from './rope-planted';

export interface Case {
  s: number;
  heads: number;
  d: number;
  ratio: number;
  window: number;
  c: number;
  ropeDim: number;
  selected?: boolean;
  seed: number;
}

export type Plant =
  | 'own'
  | 'newest'
  | 'long'
  | 'short'
  | 'no-sink'
  | 'scaled-sink'
  | 'no-compressed'
  | 'no-back'
  | 'forward'
  | 'by-key'
  | 'future'
  | 'unselected'
  | 'other-yarn';

export const PLANTS: [string, Plant][] = [
  ['attention-own-block-visible', 'own'],
  ['attention-newest-block-missing', 'newest'],
  ['attention-window-long', 'long'],
  ['attention-window-short', 'short'],
  ['attention-sink-missing', 'no-sink'],
  ['attention-sink-scaled', 'scaled-sink'],
  ['attention-compressed-ignored', 'no-compressed'],
  ['attention-inverse-rope-missing', 'no-back'],
  ['attention-inverse-rope-forward', 'forward'],
  ['attention-inverse-rope-by-key', 'by-key'],
  ['attention-future-visible', 'future'],
  ['attention-selection-ignored', 'unselected'],
];

/** Rotates the last dims of one row. */
function rotate(row: number[], position: number, c: Case, sign: number, yarn: boolean): number[] {
  const theta = c.ratio ? 160000 : 10000;
  const out = [...row];
  angles(position, c.ropeDim, theta, yarn ? YARN : undefined, false).forEach((angle, i) => {
    const at = row.length - c.ropeDim + 2 * i;
    out[at] = row[at]! * Math.cos(angle) - row[at + 1]! * sign * Math.sin(angle);
    out[at + 1] = row[at + 1]! * Math.cos(angle) + row[at]! * sign * Math.sin(angle);
  });
  return out;
}

/** What a kernel rounds on its way, and to what. */
export interface Rounds {
  to: 'BF16' | 'F16';
  /** The weights once normalised, or `exp(logit - max)`: with the sink in the maximum, or summed after it is rounded. */
  p?: 'normalised' | 'before' | 'before-sink' | 'summed' | 'summed-sink';
  /** The output before it is rotated back. */
  o?: boolean;
  /** Q, K and V. */
  qkv?: boolean;
  /** Keys of a tile of an online softmax, each with its own running maximum. */
  tile?: number;
}

export function attentionDump(
  c: Case,
  plant?: Plant,
  stored: Stored = 'F32',
  how: 'float32' | 'float64' = 'float64',
  rounds?: Rounds,
): Dump {
  const { s, heads, d, ratio, window, c: entries } = c;
  const r = seeded(c.seed);
  const q = r.floats(s * heads * d, 1.5);
  const kv = r.floats(s * d, 1.5);
  const comp = r.floats(entries * d, 1.5);
  const sinks = r.floats(heads);
  const scale = d ** -0.5;
  const f = how === 'float32' ? Math.fround : (x: number): number => x;
  const to = (x: number): number => (rounds ? rounded(x, rounds.to) : x);
  const input = (x: Float32Array): Float32Array => (rounds?.qkv ? x.map(to) : x);
  const [queries, values0, entries0] = [input(q), input(kv), input(comp)];
  const selected = Uint8Array.from({ length: s * entries }, (_, at) =>
    Math.floor(at / entries) + 1 >= ratio * ((at % entries) + 1) && r.next() < 0.6 ? 1 : 0,
  );
  const yarn = ratio > 0 !== (plant === 'other-yarn');
  const out: number[] = [];
  for (let t = 0; t < s; t++)
    for (let h = 0; h < heads; h++) {
      const keys: { row: number[]; position: number }[] = [];
      const seen = window + (plant === 'long' ? 1 : plant === 'short' ? -1 : 0);
      for (let p = 0; p <= t; p++)
        if (t - p < seen) keys.push({ row: Array.from(values0.subarray(p * d, (p + 1) * d)), position: p });
      for (let w = 0; w < entries; w++) {
        const complete = Math.floor((t + 1) / ratio);
        let visible = w < complete;
        if (plant === 'own') visible = w <= complete;
        if (plant === 'newest') visible = w < complete - 1;
        if (plant === 'future') visible = true;
        if (plant === 'no-compressed') visible = false;
        if (c.selected && plant !== 'unselected' && !selected[t * entries + w]) visible = false;
        if (visible) keys.push({ row: Array.from(entries0.subarray(w * d, (w + 1) * d)), position: w * ratio });
      }
      const query = queries.subarray((t * heads + h) * d, (t * heads + h + 1) * d);
      const logits = keys.map(({ row }) =>
        f(
          sum(
            row.map((x, i) => x * query[i]!),
            how,
          ) * scale,
        ),
      );
      const sink = plant === 'no-sink' ? -Infinity : plant === 'scaled-sink' ? sinks[h]! * scale : sinks[h]!;
      const inMax = rounds?.p?.endsWith('sink') ?? false;
      const max = rounds?.p ? Math.max(...logits, inMax ? sink : -Infinity) : 0;
      let weights = logits.map((l) => f(Math.exp(l - max)));
      if (rounds?.p?.startsWith('summed')) weights = weights.map(to);
      const total = sum([...weights, f(Math.exp(sink - max))], how);
      if (rounds?.tile) {
        const running = logits.map((_, n) =>
          Math.max(...logits.slice(0, (Math.floor(n / rounds.tile!) + 1) * rounds.tile!)),
        );
        weights = logits.map((l, n) => to(f(Math.exp(l - running[n]!))) * f(Math.exp(running[n]! - max)));
      } else if (rounds?.p?.startsWith('before')) weights = weights.map(to);
      const probabilities = weights.map((w) => (rounds?.p === 'normalised' ? to(f(w / total)) : f(w / total)));
      const values = keys.map(({ row, position }) => (plant === 'by-key' ? rotate(row, position, c, -1, yarn) : row));
      const mixed = Array.from({ length: d }, (_, i) =>
        sum(
          values.map((v, n) => probabilities[n]! * v[i]!),
          how,
        ),
      ).map((x) => (rounds?.o && plant !== 'by-key' ? to(x) : x));
      const back =
        plant === 'no-back' || plant === 'by-key' ? mixed : rotate(mixed, t, c, plant === 'forward' ? 1 : -1, yarn);
      out.push(...back);
    }
  return dump(
    { op: 'attention', ratio, window, rope_dim: c.ropeDim, rope_theta: ratio ? 160000 : 10000, yarn: YARN, scale },
    {
      'in.q': floats([s, heads, d], q),
      'in.kv': floats([s, d], kv),
      'in.kv_comp': ratio > 0 ? floats([entries, d], comp) : undefined,
      'in.sinks': floats([heads], sinks),
      'in.selected': c.selected ? bytes([s, entries], selected) : undefined,
      out: floats([s, heads, d], out, stored),
    },
  );
}
