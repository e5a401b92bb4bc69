import type { OpArgs, RopeSpec, Tensors } from '@megamoe/ops';
import * as reference from '@megamoe/reference';
import { attended, averaged } from '../bounds';
import { sequencesOf, type SequenceRows } from '../cache-rows';
import type { Held } from '../call';
import { attentionDump } from '../dump';
import type { Check, Judge } from '../judge';
import { largest, lengthOf } from '../measure';
import type { Verdict } from '../recorder';
import type { Judged, PendingDump } from '../types';
import { entriesOf, windowOf } from './cache';

/** What the rows of one sequence attend to. */
interface Seen extends SequenceRows {
  readonly kv: Float32Array;
  readonly compressed: Float32Array;
  readonly visible: Uint8Array;
}

/** The rotation that belongs to a layer, by the config. */
function ropeOf({ config: c }: Judge, layer: number): RopeSpec {
  const ropeDim = c.ropeHeadDim;
  if (c.compressRatios[layer] === 0) return { ropeDim, theta: c.ropeTheta };
  return { ropeDim, theta: c.compressRopeTheta, ...(c.yarn ? { yarn: c.yarn } : {}) };
}

/** Keys of every sequence, read out of their pages. */
function seenBy(j: Judge, at: Verdict, args: OpArgs<'attend', Tensors>, selected: Int32Array | null): Seen[] {
  const planned = j.registry.planned(args.step);
  const { ratio, headDim } = planned.cache.specs[args.layer]!;
  return sequencesOf(planned).map((s) => {
    const compressed = entriesOf(j, at, args, s, 'layer');
    const { topk } = args;
    const visible =
      ratio === 0
        ? new Uint8Array(0)
        : reference.visibleSet({
            ...{ n: s.n, firstPosition: s.first, ratio, topk, entries: compressed.length / headDim },
            selected: selected?.subarray(s.row0 * topk, (s.row0 + s.n) * topk) ?? null,
          });
    return { ...s, kv: windowOf(j, at, args, s), compressed, visible };
  });
}

/** Attention of all rows, sequence by sequence, by the reference. */
function rightAttention(
  { step, layer, heads, d, softmaxScale }: OpArgs<'attend', Tensors>,
  j: Judge,
  seen: readonly Seen[],
  q: Float32Array,
  sinks: Float32Array,
): Float64Array {
  const { window } = j.registry.planned(step).cache.specs[layer]!;
  const want = new Float64Array(step.rows * heads * d);
  for (const { row0, n, first: firstPosition, kv, compressed, visible } of seen) {
    const of = q.subarray(row0 * heads * d, (row0 + n) * heads * d);
    const keys = { n, firstPosition, heads, d, kv, window, compressed, visible };
    want.set(reference.attend(of, { ...keys, sinks, softmaxScale }), row0 * heads * d);
  }
  return want;
}

/** Longest of `rows` rows of `d`. */
function longestRow(x: Float32Array, d: number): number {
  let longest = 0;
  for (let at = 0; at < x.length; at += d) longest = Math.max(longest, lengthOf(x, at, d));
  return longest;
}

/**
 * Attention, judged twice: with a zero query and no sinks, which weighs all keys alike, so that one more or less cannot hide in a small
 * weight; and as it is.
 */
export const attend: Check<'attend'> = {
  at: ({ layer }) => ({ layer, op: 'attn.attend', operation: 'attend' }),
  judge({ args, before, after }, at, j) {
    const { step, layer, heads, d, topk, softmaxScale } = args;
    const { window, ratio } = j.registry.planned(step).cache.specs[layer]!;
    const { q, sinks, selected } = before;
    const seen = seenBy(j, at, args, selected);
    const [main] = seen;
    if (main) j.notes.pastWindow(Math.max(0, Math.min(main.n, main.end - window)));
    const keysOf = ({ end, compressed }: Seen): number =>
      Math.min(window, end) + (selected ? Math.min(topk, compressed.length / d) : compressed.length / d);
    const keys = Math.max(1, ...seen.map(keysOf));
    const values = Math.max(1e-30, ...seen.flatMap(({ kv, compressed }) => [largest(kv), largest(compressed)]));
    const shape = [step.rows, heads, d];
    const dump = (): PendingDump | undefined =>
      seen.length === 1 && main
        ? attentionDump({
            ...{ firstPosition: main.first, n: main.n, q, got: after.out, sinks, kv: main.kv, heads, d, ratio, window },
            ...{ compressed: main.compressed, visible: main.visible, softmaxScale, rope: ropeOf(j, layer) },
          })
        : undefined;

    const seenAt: Verdict = { ...at, op: 'attn.visible' };
    j.take(seenAt, [judgeMean(seenAt, j, args, before, seen, { shape, keys, values })], dump);

    const want = rightAttention(args, j, seen, q, sinks);
    const key = Math.max(0, ...seen.flatMap(({ kv, compressed }) => [longestRow(kv, d), longestRow(compressed, d)]));
    const bound = attended(keys, d, longestRow(q, d) * key * softmaxScale);
    j.take(at, [{ output: 'out', got: after.out, want, shape, bound, scale: () => values }], dump);
  },
};

/** The mean of the visible keys of each row. */
function judgeMean(
  at: Verdict,
  j: Judge,
  args: OpArgs<'attend', Tensors>,
  before: Held<'attend'>,
  seen: readonly Seen[],
  { shape, keys, values }: { shape: readonly number[]; keys: number; values: number },
): Judged {
  const zero = new Float32Array(before.q.length);
  const noSinks = new Float32Array(args.heads).fill(-Infinity);
  const { after } = j.scratch((made) =>
    j.again(at, 'attend', {
      ...args,
      q: made.tensor(zero),
      sinks: made.tensor(noSinks),
      out: made.alloc('f32', shape),
    }),
  );
  const want = rightAttention(args, j, seen, zero, noSinks);
  return { output: 'mean of visible keys', got: after.out, want, shape, bound: averaged(keys), scale: () => values };
}
