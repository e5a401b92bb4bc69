import { firstLiveRow, REWIND_TOKENS, type CachePart, type LayerSpec, type OpArgs, type Tensors } from '@megamoe/ops';
import * as reference from '@megamoe/reference';
import { COPIED, COPIED_IN_BF16, ONE_ADDITION, pooled, pooledInBf16 } from '../bounds';
import { ofSequence, pageKindOf, readCache, sequencesOf, type SequenceRows } from '../cache-rows';
import { nearestHeld, roundedToBf16 } from '../decode';
import type { CompressorHistory } from '../history';
import type { Check, Judge } from '../judge';
import { largest, lengthOf } from '../measure';
import type { Verdict } from '../recorder';
import type { Judged } from '../types';

/** Keys of the window: what was written, and what stood there before. */
export const writeWindow: Check<'writeWindow'> = {
  at: ({ layer }) => ({ layer, op: 'attn.window', operation: 'writeWindow' }),
  judge({ args, before }, at, j) {
    const { layer, step, d } = args;
    const planned = j.registry.planned(step);
    const { window, headDim, kv } = planned.cache.specs[layer]!;
    const [held, bound] = kv === 'bf16' ? [roundedToBf16, COPIED_IN_BF16] : [(x: Float32Array) => x, COPIED];
    const outputs = sequencesOf(planned).map(({ sequence, row0, n, first: p0, end }): Judged => {
      const h = j.sequences[sequence]!.layer(layer, headDim);
      h.keys.append(before.kv, row0, n);
      // As many tokens as can be taken back must find their keys, too.
      const from = firstLiveRow('window', Math.max(0, p0 - REWIND_TOKENS), window);
      const got = j.watch.guarded(at, () =>
        readCache(j.backend, planned, { layer, part: 'window', sequence, from, end, width: d }),
      );
      h.window = { from, keys: got };
      const output = `positions ${from}..${ofSequence(sequence)}`;
      return { output, got, want: held(h.keys.flat(from)), shape: [end - from, d], bound };
    });
    j.take(at, outputs);
  },
};

/** Names of the parts of a compressor's memory. */
const PARTS = {
  layer: { entries: 'entries', openKv: 'openKv', openGate: 'openGate' },
  indexer: { entries: 'indexEntries', openKv: 'indexOpenKv', openGate: 'indexOpenGate' },
} as const;

/** One compressor in one call. */
interface Compressor {
  readonly at: Verdict;
  readonly args: OpArgs<'compress', Tensors>;
  readonly of: 'layer' | 'indexer';
  readonly spec: LayerSpec;
  readonly ratio: 4 | 128;
  readonly dim: number;
}

/** Projections that windows still need, and those that they need again when tokens are taken back: kept as they are, gates with their bias. */
function openRows(
  j: Judge,
  { at, args, of, spec, ratio }: Compressor,
  s: SequenceRows,
  h: CompressorHistory,
): Judged[] {
  const { layer, width } = args;
  const planned = j.registry.planned(args.step);
  const kind = pageKindOf('openKv', spec);
  const from = firstLiveRow(kind, Math.max(0, s.end - REWIND_TOKENS), spec.window);
  const read = (part: CachePart): Float32Array =>
    j.watch.guarded(at, () =>
      readCache(j.backend, planned, { layer, part, sequence: s.sequence, from, end: s.end, width }),
    );
  const { ape } = j.registry.compressor(args.weights);
  const gates = h.gate.flat(from);
  for (let i = 0; i < gates.length; i++) {
    const place = (from + Math.floor(i / width)) % ratio;
    gates[i] = gates[i]! + ape[place * width + (i % width)]!;
  }
  const shape = [s.end - from, width];
  const name = ofSequence(s.sequence);
  return [
    { output: `open kv${name}`, got: read(PARTS[of].openKv), want: h.kv.flat(from), shape, bound: COPIED },
    { output: `open gates${name}`, got: read(PARTS[of].openGate), want: gates, shape, bound: ONE_ADDITION },
  ];
}

/** Entries: earlier ones as they were, closed ones as they should be. */
function entries(
  j: Judge,
  { at, args, of, spec, ratio, dim }: Compressor,
  s: SequenceRows,
  h: CompressorHistory,
): Judged[] {
  const { layer, width, eps } = args;
  const planned = j.registry.planned(args.step);
  const count = Math.floor(s.end / ratio);
  const part = PARTS[of].entries;
  const got = j.watch.guarded(at, () =>
    readCache(j.backend, planned, { layer, part, sequence: s.sequence, from: 0, end: count, width: dim }),
  );
  const earlier = h.entries;
  h.entries = got;
  const name = ofSequence(s.sequence);
  const known: Judged = {
    ...{ output: `earlier entries${name}`, got: got.subarray(0, earlier.length), want: earlier, bound: COPIED },
    shape: [earlier.length / dim, dim],
  };
  if (got.length === earlier.length) return [known];
  if (of === 'layer' && s.sequence === 0) j.notes.closed(ratio, count);
  const { ape, norm } = j.registry.compressor(args.weights);
  const [kv, gate] = [h.kv.flat(), h.gate.flat()];
  const overlapping = ratio === 4;
  const frequencies = reference.ropeFrequencies(j.registry.rope(planned.rope));
  const history = { tokens: s.end, ratio, dim, overlapping, ape, norm, rmsNormEps: eps };
  const want = reference.compress(kv, gate, { ...history, frequencies });
  const scale = pooledScale(kv, gate, { ...history, entries: count, width });
  const isBf16 = of === 'layer' && spec.kv === 'bf16';
  const bound = (isBf16 ? pooledInBf16 : pooled)(ratio * (overlapping ? 2 : 1), dim, largest(gate) + largest(ape));
  const shape = [count, dim];
  const near = isBf16 ? nearestHeld(got, want) : got;
  return [
    known,
    { output: `entries${name}`, got: near, want, shape, bound, scale: (i) => scale[Math.floor(i / dim)]! },
  ];
}

/** Projections kept, and windows closed into entries. */
export const compress: Check<'compress'> = {
  at: ({ layer, indexer }) => ({
    layer,
    op: indexer ? 'attn.indexer.compressor.pool' : 'attn.compressor.pool',
    operation: 'compress',
  }),
  judge({ args, before }, at, j) {
    const { layer, indexer, step, width } = args;
    const planned = j.registry.planned(step);
    const spec = planned.cache.specs[layer]!;
    const ratio = spec.ratio === 4 ? 4 : 128;
    const of = indexer ? 'indexer' : 'layer';
    const c = { at, args, of, spec, ratio, dim: indexer ? spec.indexHeadDim! : spec.headDim } as const;
    const outputs = sequencesOf(planned).flatMap((s) => {
      const sequence = j.sequences[s.sequence]!;
      const h = sequence.compressor(sequence.layer(layer, spec.headDim), of, width);
      h.kv.append(before.kv, s.row0, s.n);
      h.gate.append(before.gate, s.row0, s.n);
      return [...openRows(j, c, s, h), ...entries(j, c, s, h)];
    });
    j.take(at, outputs);
  },
};

/**
 * Scale of the rounding of each entry: its largest candidate over the RMS of their mean, times the largest weight of the norm.
 * Candidates that cancel leave a small mean, which the norm blows up again, rounding included.
 */
function pooledScale(
  kv: Float32Array,
  gate: Float32Array,
  o: Omit<reference.Compression, 'frequencies'> & { readonly entries: number; readonly width: number },
): Float64Array {
  const { entries: count, ratio, dim, width, overlapping, norm } = o;
  // The oracle's own pooling: an eps that dwarfs the mean square makes the norm a division by its root, 2^20.
  const ones = new Float64Array(dim).fill(1);
  const means = reference.compress(kv, gate, { ...o, norm: ones, rmsNormEps: 2 ** 40, frequencies: [] });
  return Float64Array.from({ length: count }, (_, w) => {
    const first = Math.max(0, overlapping ? w - 1 : w) * ratio;
    const candidates = largest(kv.subarray(first * width, (w + 1) * ratio * width));
    const rms = (lengthOf(means, w * dim, dim) / Math.sqrt(dim)) * 2 ** 20;
    return (candidates / Math.sqrt(rms ** 2 + o.rmsNormEps)) * largest(norm) + 1e-30;
  });
}

/**
 * Entries that the rows of a sequence read, which must be those that were last seen.
 * @returns [count, dim]
 */
export function entriesOf(
  j: Judge,
  at: Verdict,
  args: OpArgs<'attend' | 'indexSelect', Tensors>,
  s: SequenceRows,
  of: 'layer' | 'indexer',
): Float32Array {
  const { layer } = args;
  const planned = j.registry.planned(args.step);
  const { ratio, headDim, indexHeadDim = 0 } = planned.cache.specs[layer]!;
  const count = ratio === 0 ? 0 : Math.floor(s.end / ratio);
  const dim = of === 'indexer' ? indexHeadDim : headDim;
  if (count === 0) return new Float32Array(0);
  const part = PARTS[of].entries;
  const now = j.watch.guarded(at, () =>
    readCache(j.backend, planned, { layer, part, sequence: s.sequence, from: 0, end: count, width: dim }),
  );
  const seen = j.sequences[s.sequence]!.layer(layer, headDim).compressors.get(of);
  const by = of === 'indexer' ? 'attn.indexer.compressor.pool' : 'attn.compressor.pool';
  if (seen) j.watch.checkSame(at, `entries${ofSequence(s.sequence)}`, by, seen.entries, now);
  return now;
}

/** Keys of the window that the rows of a sequence read, which must be those that were last seen: zeros before the window. */
export function windowOf(j: Judge, at: Verdict, args: OpArgs<'attend', Tensors>, s: SequenceRows): Float32Array {
  const { layer, d } = args;
  const planned = j.registry.planned(args.step);
  const { window, headDim } = planned.cache.specs[layer]!;
  const { end, sequence } = s;
  const from = Math.max(0, s.first - window + 1);
  const live = j.watch.guarded(at, () =>
    readCache(j.backend, planned, { layer, part: 'window', sequence, from, end, width: d }),
  );
  const seen = j.sequences[sequence]!.layer(layer, headDim).window;
  const before = seen.keys.subarray((from - seen.from) * d);
  j.watch.checkSame(at, `the window${ofSequence(sequence)}`, 'attn.window', before, live);
  const frame = new Float32Array(end * d);
  frame.set(live, from * d);
  return frame;
}
