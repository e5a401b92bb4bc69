import type { ModelConfig } from '@megamoe/checkpoint';
import type { Ops, Segment, SequenceStateHandle, Tensor } from '@megamoe/model';
import * as reference from '@megamoe/reference';
import { attended, averaged, CHOSEN, COPIED, pooled, ROTATED, TABLE } from './bounds';
import { nameless } from './check-rows';
import type { Dumper, PendingDump } from './dump';
import type { Judged, OpAt } from './recorder';
import type { RopeSpec } from './sources';
import type { Watch } from './watch';

/** How much of the attention a prompt really reached. */
export interface AttentionCoverage {
  /** Queries whose window no longer holds the first token. */
  pastWindow: number;
  /** Compressed entries that were closed, by ratio. */
  readonly entries: Map<number, number>;
  /** Queries for which the indexer had more entries than it may keep. */
  chosen: number;
}

type AttentionOps = Pick<Ops, 'ropeRows' | 'rope' | 'writeWindow' | 'compress' | 'indexSelect' | 'attend'>;

/** All rows that a state was given for one of its parts, from position 0 on. */
class History {
  private readonly rows: Float32Array[] = [];
  constructor(readonly width: number) {}
  get length(): number {
    return this.rows.length;
  }
  append(data: Float32Array, row0: number, n: number): void {
    for (let i = row0; i < row0 + n; i++) this.rows.push(data.slice(i * this.width, (i + 1) * this.width));
  }
  /** Rows [from, length), flat. */
  flat(from = 0): Float32Array {
    const out = new Float32Array((this.rows.length - from) * this.width);
    for (let i = from; i < this.rows.length; i++) out.set(this.rows[i]!, (i - from) * this.width);
    return out;
  }
}

interface PartHistory {
  readonly kv: History;
  readonly gate: History;
  /** Entries as they were last seen. */
  entries: Float32Array;
}

interface LayerHistory {
  readonly keys: History;
  readonly parts: Map<boolean, PartHistory>;
}

const ROUNDING = 2 ** -24;
const largest = (x: ArrayLike<number>): number => {
  let max = 0;
  for (let i = 0; i < x.length; i++) max = Math.max(max, Math.abs(x[i]!));
  return max;
};
const norm2 = (x: ArrayLike<number>, from: number, n: number): number => {
  let sum = 0;
  for (let i = from; i < from + n; i++) sum += x[i]! * x[i]!;
  return Math.sqrt(sum);
};

/** Rotary tables, rotations, the key window, compressed keys, the indexer and attention. */
export function attentionChecks(
  watch: Watch,
  dumper: Dumper,
  coverage: AttentionCoverage,
  config: ModelConfig,
): AttentionOps {
  const { inner, registry } = watch;
  const { compressRatios: ratios, ropeHeadDim: ropeDim } = config;
  const histories = new Map<SequenceStateHandle, Map<number, LayerHistory>>();
  const frequenciesOf = new Map<RopeSpec, Float64Array>();
  const frequencies = (spec: RopeSpec): Float64Array => {
    let f = frequenciesOf.get(spec);
    if (!f) frequenciesOf.set(spec, (f = reference.ropeFrequencies(spec)));
    return f;
  };
  const historyOf = ({ state }: Segment, layer: number): LayerHistory => {
    let layers = histories.get(state);
    if (!layers) histories.set(state, (layers = new Map()));
    let h = layers.get(layer);
    if (!h) {
      const { headDim } = registry.states.get(state)!.layers[layer]!;
      layers.set(layer, (h = { keys: new History(headDim), parts: new Map() }));
    }
    return h;
  };
  /** The rotation that belongs to a layer: by the config, not by the table that the model happened to pass. */
  const plain: RopeSpec = { ropeDim, theta: config.ropeTheta };
  const stretched: RopeSpec = {
    ...{ ropeDim, theta: config.compressRopeTheta },
    ...(config.yarn ? { yarn: config.yarn } : {}),
  };
  const ropeOf = (layer: number): RopeSpec => (ratios[layer] === 0 ? plain : stretched);
  const entriesOf = (s: Segment, layer: number, part: 'compressor' | 'indexer', n: number, d: number): Float32Array => {
    const out = new Float32Array(n * d);
    if (n > 0) inner.readState(s.state, layer, part, 0, n, out);
    return out;
  };
  /** Keys of the live window before and at the step, in a frame of the whole history: what lies before them is never read. */
  const windowOf = (s: Segment, layer: number, window: number, d: number): Float32Array => {
    const first = Math.max(0, s.p0 - window + 1);
    const live = new Float32Array((s.p0 + s.n - first) * d);
    inner.readState(s.state, layer, 'window', first, s.p0 + s.n - first, live);
    const frame = new Float32Array((s.p0 + s.n) * d);
    frame.set(live, first * d);
    return frame;
  };

  return {
    ropeRows(rope, positions, n, cos, sin) {
      const at: OpAt = { layer: null, op: 'rope_tables' };
      const spec = registry.ropes.get(rope)!;
      const half = spec.ropeDim / 2;
      watch.positions = Array.from(watch.i32(at, positions, n));
      const outputs = [
        { tensor: cos, n: n * half },
        { tensor: sin, n: n * half },
      ];
      const [gotCos, gotSin] = watch.run(at, [positions], outputs, () => inner.ropeRows(rope, positions, n, cos, sin));
      const f = frequencies(spec);
      const angles = watch.positions.flatMap((p) => Array.from(f, (w) => Math.fround(p * w)));
      const judged = (output: string, got: ArrayLike<number>, want: number[]): Judged => ({
        ...{ output, got, want, shape: [n, half], bound: TABLE, scale: () => 1 },
      });
      watch.judge(at, [judged('cos', gotCos!, angles.map(Math.cos)), judged('sin', gotSin!, angles.map(Math.sin))]);
    },
    rope(x, m, heads, d, ropeDim, cos, sin, inverse) {
      const at: OpAt = { layer: watch.layer, op: nameless(watch.origin(x), 'rope') };
      const xs = watch.f32(at, x, m * heads * d);
      for (const table of [cos, sin]) watch.f32(at, table, (m * ropeDim) / 2);
      const [got] = watch.run(at, [cos, sin], [{ tensor: x, n: m * heads * d, inPlace: true }], () =>
        inner.rope(x, m, heads, d, ropeDim, cos, sin, inverse),
      );
      const spec = ropeOf(at.layer!);
      const positions = watch.positions;
      // The attention output turns back, everything else forward, whatever the model asked for.
      const back = at.op === 'attn.out_rope';
      const want = reference.applyRope(xs, { positions, heads, d, frequencies: frequencies(spec), inverse: back });
      const first = d - ropeDim;
      const scale = (i: number): number => {
        const c = i % d;
        const pair = c < first ? i : i - ((c - first) % 2);
        return Math.hypot(xs[pair]!, c < first ? 0 : xs[pair + 1]!) + 1e-30;
      };
      watch.judge(at, [{ output: 'out', got: got!, want, shape: [m, heads, d], bound: ROTATED, scale }], () =>
        dumper.rope(at, {
          xs,
          positions,
          heads,
          d,
          spec,
          compressed: ratios[at.layer!] !== 0,
          back,
          got: got as Float32Array,
          want,
        }),
      );
    },
    writeWindow(s, layer, kv) {
      const at: OpAt = { layer, op: 'attn.window' };
      const { headDim: d, window } = registry.states.get(s.state)!.layers[layer]!;
      const rows = watch.f32(at, kv, (s.row0 + s.n) * d);
      const h = historyOf(s, layer);
      h.keys.append(rows, s.row0, s.n);
      watch.run(at, [kv], [], () => inner.writeWindow(s, layer, kv));
      // Old keys of the window must stand where they stood, new ones beside them.
      const first = Math.max(0, s.p0 - window + 1);
      const got = new Float32Array((s.p0 + s.n - first) * d);
      inner.readState(s.state, layer, 'window', first, s.p0 + s.n - first, got);
      const want = h.keys.flat(first);
      watch.judge(at, [{ output: `positions ${first}..`, got, want, shape: [got.length / d, d], bound: COPIED }]);
    },
    compress(s, layer, indexer, kv, gate, w, eps, rope) {
      const at: OpAt = { layer, op: indexer ? 'attn.indexer.compressor.pool' : 'attn.compressor.pool' };
      const spec = registry.states.get(s.state)!.layers[layer]!;
      const dim = indexer ? spec.indexHeadDim! : spec.headDim;
      const { ratio } = spec;
      const overlapping = ratio === 4;
      const width = overlapping ? 2 * dim : dim;
      const h = historyOf(s, layer);
      let part = h.parts.get(indexer);
      if (!part) {
        h.parts.set(
          indexer,
          (part = { kv: new History(width), gate: new History(width), entries: new Float32Array(0) }),
        );
      }
      part.kv.append(watch.f32(at, kv, (s.row0 + s.n) * width), s.row0, s.n);
      part.gate.append(watch.f32(at, gate, (s.row0 + s.n) * width), s.row0, s.n);
      watch.run(at, [kv, gate], [], () => inner.compress(s, layer, indexer, kv, gate, w, eps, rope));
      const tokens = part.kv.length;
      const entries = Math.floor(tokens / ratio);
      const before = part.entries;
      const got = entriesOf(s, layer, indexer ? 'indexer' : 'compressor', entries, dim);
      part.entries = got;
      const old: Judged = {
        ...{ output: 'earlier entries', got: got.subarray(0, before.length), want: before, bound: COPIED },
        shape: [before.length / dim, dim],
      };
      if (got.length === before.length) return watch.judge(at, [old]);
      if (!indexer) coverage.entries.set(ratio, Math.max(coverage.entries.get(ratio) ?? 0, entries));
      const { ape, norm } = registry.compressors.get(w)!;
      const [allKv, allGate] = [part.kv.flat(), part.gate.flat()];
      const common = { tokens, ratio, dim, overlapping, ape, rmsNormEps: eps };
      const want = reference.compress(allKv, allGate, { ...common, norm, frequencies: frequencies(ropeOf(layer)) });
      const scale = pooledScale(allKv, allGate, { ...common, norm, entries, width });
      const bound = pooled(ratio * (overlapping ? 2 : 1), dim, largest(allGate) + largest(ape));
      watch.judge(at, [
        old,
        { output: 'entries', got, want, shape: [entries, dim], bound, scale: (i) => scale[Math.floor(i / dim)]! },
      ]);
    },
    indexSelect(s, layer, q, headWeights, heads, topk, selected) {
      const at: OpAt = { layer, op: 'attn.indexer.select' };
      const spec = registry.states.get(s.state)!.layers[layer]!;
      const dim = spec.indexHeadDim!;
      const qs = watch.f32(at, q, (s.row0 + s.n) * heads * dim).subarray(s.row0 * heads * dim);
      const ws = watch.f32(at, headWeights, (s.row0 + s.n) * heads).subarray(s.row0 * heads);
      const entries = Math.floor((s.p0 + s.n) / spec.ratio);
      const keys = entriesOf(s, layer, 'indexer', entries, dim);
      const [got] = watch.run(at, [q, headWeights], [{ tensor: selected, n: s.n * topk }], () =>
        inner.indexSelect(s, layer, q, headWeights, heads, topk, selected),
      );
      for (let r = 0; r < s.n; r++) if (reference.visibleEntries(s.p0 + r, spec.ratio) > topk) coverage.chosen++;
      const args = { n: s.n, heads, dim, entries, firstPosition: s.p0, ratio: spec.ratio, topk };
      watch.judge(at, [selectedSets(qs, keys, ws, got as Int32Array, args)]);
    },
    attend(s, layer, spec, q, heads, selected, topk, sinks, softmaxScale, out) {
      const at: OpAt = { layer, op: 'attn.attend' };
      const { headDim: d, ratio, window } = registry.states.get(s.state)!.layers[layer]!;
      if (s.row0 !== 0) throw new Error('verify runs one sequence at a time'); // poison and reads start at row 0
      const n = s.n;
      const qs = watch.f32(at, q, n * heads * d);
      const sink = watch.f32(at, sinks, heads);
      const chosen = selected ? watch.i32(at, selected, n * topk) : null;
      const entries = ratio === 0 ? 0 : Math.floor((s.p0 + n) / ratio);
      const compressed = entriesOf(s, layer, 'compressor', entries, d);
      const kv = windowOf(s, layer, window, d);
      coverage.pastWindow += Math.max(0, Math.min(n, s.p0 + n - window));
      const visible =
        ratio === 0
          ? new Uint8Array(0)
          : watch.guarded(at, () =>
              reference.visibleSet({ n, firstPosition: s.p0, ratio, entries, selected: chosen, topk }),
            );
      const args = { n, firstPosition: s.p0, heads, d, kv, window, compressed, visible };
      const inputs = [q, sinks, ...(selected ? [selected] : [])];
      const keys = Math.min(window, s.p0 + n) + (selected ? Math.min(topk, entries) : entries);
      const values = Math.max(largest(kv), largest(compressed)) + 1e-30;

      // First which keys are seen: a zero query weighs all of them alike, so a single one more or less cannot hide in a small weight.
      const seenAt: OpAt = { layer, op: 'attn.visible' };
      const probe = probes(watch, n * heads * d, heads);
      watch.guarded(seenAt, () =>
        inner.attend(s, layer, spec, probe.zero, heads, selected, topk, probe.noSinks, softmaxScale, probe.out),
      );
      const mean = new Float32Array(n * heads * d);
      inner.download(probe.out, 0, mean.length, mean, 0);
      const zero = new Float32Array(n * heads * d);
      const wantMean = reference.attend(zero, {
        ...args,
        sinks: new Float32Array(heads).fill(-Infinity),
        softmaxScale,
      });
      const shape = [n, heads, d];
      const meanJudged: Judged = {
        ...{ output: 'mean of visible keys', got: mean, want: wantMean, shape, bound: averaged(keys) },
        scale: () => values,
      };
      const dumped = (got: Float32Array) => (): PendingDump | undefined =>
        dumper.attention(at, {
          ...{ s, qs, got, sinks: sink, kv, compressed, visible, entries, heads, d, ratio, window, softmaxScale },
          spec: ropeOf(layer),
        });
      const [got] = watch.run(at, inputs, [{ tensor: out, n: n * heads * d }], () =>
        inner.attend(s, layer, spec, q, heads, selected, topk, sinks, softmaxScale, out),
      );
      watch.judge(seenAt, [meanJudged], dumped(got as Float32Array));

      const want = reference.attend(qs, { ...args, sinks: sink, softmaxScale });
      let longest = 0;
      for (let i = 0; i < n * heads; i++) longest = Math.max(longest, norm2(qs, i * d, d));
      let key = 0;
      for (let i = 0; i < kv.length / d; i++) key = Math.max(key, norm2(kv, i * d, d));
      for (let i = 0; i < entries; i++) key = Math.max(key, norm2(compressed, i * d, d));
      const bound = attended(keys, d, longest * key * softmaxScale);
      watch.judge(
        at,
        [{ output: 'out', got: got!, want, shape, bound, scale: () => values }],
        dumped(got as Float32Array),
      );
    },
  };
}

const probesOf = new WeakMap<Watch, { zero: Tensor; noSinks: Tensor; out: Tensor }>();

/** A zero query, no sinks, and somewhere to write, poisoned. */
function probes(watch: Watch, n: number, heads: number): { zero: Tensor; noSinks: Tensor; out: Tensor } {
  let p = probesOf.get(watch);
  if (!p || p.zero.length < n) {
    const { inner } = watch;
    p = {
      zero: inner.alloc('f32', n),
      noSinks: inner.tensor(new Float32Array(heads).fill(-Infinity)),
      out: inner.alloc('f32', n),
    };
    inner.upload(p.zero, new Float32Array(n), n, 0);
    probesOf.set(watch, p);
  }
  watch.inner.upload(p.out, new Float32Array(n).fill(NaN), n, 0);
  return p;
}

/**
 * Scale of the rounding of each entry: its largest candidate over the RMS of their mean, times the largest weight of the norm.
 * Candidates that cancel leave a small mean, which the norm blows up again, rounding included.
 */
function pooledScale(
  kv: Float32Array,
  gate: Float32Array,
  o: Omit<reference.Compression, 'frequencies'> & { entries: number; width: number },
): Float64Array {
  const { entries, ratio, dim, width, overlapping, norm } = o;
  // The oracle's own pooling: an eps that dwarfs the mean square makes the norm a division by its root, 2^20.
  const ones = new Float64Array(dim).fill(1);
  const means = reference.compress(kv, gate, { ...o, norm: ones, rmsNormEps: 2 ** 40, frequencies: [] });
  return Float64Array.from({ length: entries }, (_, w) => {
    const first = Math.max(0, overlapping ? w - 1 : w) * ratio;
    const candidates = largest(kv.subarray(first * width, (w + 1) * ratio * width));
    const rms = Math.sqrt(norm2(means, w * dim, dim) ** 2 / dim) * 2 ** 20;
    return (candidates / Math.sqrt(rms ** 2 + o.rmsNormEps)) * largest(norm) + 1e-30;
  });
}

/** Chosen entries as sets, with the room that float32 scores need; see the router's. Scores that ReLU made zero tie exactly. */
function selectedSets(
  q: Float32Array,
  keys: Float32Array,
  weights: Float32Array,
  got: Int32Array,
  args: reference.IndexSelection,
): Judged {
  const { n, heads, dim, entries, firstPosition, ratio, topk } = args;
  const right = reference.indexSelect(q, keys, weights, args);
  const scores = reference.indexScores(q, keys, weights, args);
  const want = new Int32Array(right);
  const keyLength = Float64Array.from({ length: entries }, (_, e) => norm2(keys, e * dim, dim));
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
    for (let h = 0; h < heads; h++) terms += Math.abs(weights[r * heads + h]!) * norm2(q, (r * heads + h) * dim, dim);
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
  return { output: 'selected', got, want, shape: [n, topk], bound: CHOSEN };
}
