import type { HyperWeights, Ops, StreamShape, Tensor } from '@megamoe/model';
import * as reference from '@megamoe/reference';
import { BY_BLOCKS, COPIED, mixed, norm, ONE_ADDITION, product, SWIGLU, weighted } from './bounds';
import type { Judged, OpAt } from './recorder';
import type { LinearWeight, Registry } from './sources';
import type { Watch } from './watch';
import type { Dumper } from './dump';

/** Rows of a weight that are decoded at a time. */
const CHUNK = 512;

const lengthOf = (x: ArrayLike<number>, from: number, n: number): number => {
  let sum = 0;
  for (let i = from; i < from + n; i++) sum += x[i]! * x[i]!;
  return Math.sqrt(sum);
};

/** `x . w` in float64, a few rows of the weight at a time, and |x| |w| of every element: the scale of its rounding. */
function denseProduct(
  registry: Registry,
  w: LinearWeight,
  x: ArrayLike<number>,
  m: number,
): { want: Float64Array; scale: Float64Array } {
  const { n, k, groups } = w;
  const width = groups * n;
  const want = new Float64Array(m * width);
  const scale = new Float64Array(m * width);
  for (let g = 0; g < groups; g++) {
    const xs = new Float64Array(m * k);
    for (let r = 0; r < m; r++) for (let i = 0; i < k; i++) xs[r * k + i] = x[(r * groups + g) * k + i]!;
    const xLength = Array.from({ length: m }, (_, r) => lengthOf(xs, r * k, k));
    for (let c0 = 0; c0 < n; c0 += CHUNK) {
      const rows = Math.min(CHUNK, n - c0);
      const part = registry.linearRows(w, g * n + c0, rows);
      const y = reference.linear(xs, part, { m, n: rows, k });
      for (let c = 0; c < rows; c++) {
        const wLength = lengthOf(part, c * k, k);
        for (let r = 0; r < m; r++) {
          const at = r * width + g * n + c0 + c;
          want[at] = y[r * rows + c]!;
          scale[at] = xLength[r]! * wLength;
        }
      }
    }
  }
  return { want, scale };
}

/** What is seen of a layer's input and output on the way, for the check of whole layers. */
export interface StreamTap {
  before(layer: number, streams: Float32Array): void;
  after(layer: number, streams: Float32Array): void;
}

/** The operations on rows: linears, norms, SwiGLU, hyper-connections, copies. */
export function rowChecks(
  watch: Watch,
  dumper: Dumper,
  tap: StreamTap,
): Pick<
  Ops,
  | 'linear'
  | 'linearW4A4'
  | 'embed'
  | 'rmsNorm'
  | 'addInPlace'
  | 'swiglu'
  | 'hcPre'
  | 'hcPost'
  | 'hcHead'
  | 'takeRows'
  | 'gatherRows'
> {
  const { inner, registry } = watch;

  const clampSeen = new Set<string>();

  const gather = (at: OpAt, x: Tensor, d: number, rows: Tensor, t: number, out: Tensor, op: () => void): void => {
    const index = watch.i32(at, rows, t);
    const highest = index.reduce((a, b) => Math.max(a, b), -1);
    const xs = watch.f32(at, x, (highest + 1) * d);
    const [got] = watch.run(at, [x, rows], [{ tensor: out, n: t * d }], op);
    const want = reference.gatherRows(xs, index, d);
    watch.judge(at, [{ output: 'rows', got: got!, want, shape: [t, d], bound: COPIED }]);
  };

  const hyper = (at: OpAt, w: HyperWeights, rows: number, gains: number, s: StreamShape) => ({
    fn: watch.f32(at, w.fn, rows * s.hc * s.d),
    base: watch.f32(at, w.base, rows),
    scale: watch.f32(at, w.gain, gains),
  });
  /** Largest sum of terms that a logit of the mix is made of: rows of fn times sqrt(hc * D), the length of a normed row. */
  const logitScale = (fn: Float32Array, gains: Float32Array, rows: number, s: StreamShape): number => {
    const k = s.hc * s.d;
    let largest = 0;
    for (let r = 0; r < rows; r++) largest = Math.max(largest, lengthOf(fn, r * k, k));
    return 1 + largest * Math.sqrt(k) * gains.reduce((a, g) => Math.max(a, Math.abs(g)), 0);
  };
  /** Sum of the magnitudes of a token's streams, by channel. */
  const magnitudes = (streams: Float32Array, t: number, { hc, d }: StreamShape): Float64Array => {
    const out = new Float64Array(t * d);
    for (let token = 0; token < t; token++)
      for (let j = 0; j < hc; j++)
        for (let c = 0; c < d; c++) out[token * d + c]! += Math.abs(streams[(token * hc + j) * d + c]!);
    return out;
  };

  return {
    linear(w, x, m, out) {
      const at = watch.at(w);
      const { n, k, groups } = w;
      const xs = watch.f32(at, x, m * groups * k);
      const [got] = watch.run(at, [x], [{ tensor: out, n: m * groups * n }], () => inner.linear(w, x, m, out));
      const { want, scale } = denseProduct(registry, w, xs, m);
      watch.judge(at, [
        { output: 'out', got: got!, want, shape: [m, groups * n], bound: product(k), scale: (i) => scale[i]! },
      ]);
    },
    linearW4A4(w, x, m, out) {
      const at = watch.at(w);
      const { n, k, groups, inputGlobalDecodeScale: input } = w;
      const source = registry.linears.get(w)!;
      const xs = watch.f32(at, x, m * groups * k);
      const [got] = watch.run(at, [x], [{ tensor: out, n: m * groups * n }], () => inner.linearW4A4(w, x, m, out));
      const [want, exact] = [new Float32Array(m * groups * n), new Float64Array(m * groups * n)];
      if (source.dtype !== 'nvfp4' || input === null) throw new Error(`${at.op} has no quantized inputs`); // the model asks before
      const parts = source.parts ?? 1;
      for (let g = 0; g < groups; g++) {
        const rows = new Float32Array(m * k);
        for (let r = 0; r < m; r++) rows.set(xs.subarray((r * groups + g) * k, (r * groups + g + 1) * k), r * k);
        const own = Float32Array.from(reference.nvfp4RowDecodeScales(rows, { m, k }), (s) => (s < 2 ** -117 ? 1 : s));
        const a = reference.quantizeNvfp4(rows, { m, k, globalDecodeScale: input === 'row' ? own : input });
        const b = registry.nvfp4Rows(w, g * n, n);
        const product = reference.groupedGemmByBlocks({
          ...{ n, k, parts, aCodes: a.codes, aSf: a.sf, bCodes: b.codes, bSf: b.sf, expertOffsets: [m] },
          alpha: source.weightGlobalDecodeScale.map((s) => (input === 'row' ? s : s * Math.fround(input))),
          rowScale: input === 'row' ? own : null,
        });
        for (let r = 0; r < m; r++) {
          want.set(product.rounded.subarray(r * n, (r + 1) * n), (r * groups + g) * n);
          exact.set(product.exact.subarray(r * n, (r + 1) * n), (r * groups + g) * n);
        }
      }
      watch.judge(at, [{ output: 'out', got: got!, want, shape: [m, groups * n], bound: BY_BLOCKS, exact }]);
    },
    embed(table, ids, t, repeat, out) {
      const at = { ...watch.at(table), op: 'embed' };
      const { k } = table;
      const tokens = watch.i32(at, ids, t);
      const [got] = watch.run(at, [ids], [{ tensor: out, n: t * repeat * k }], () =>
        inner.embed(table, ids, t, repeat, out),
      );
      const want = new Float64Array(t * repeat * k);
      tokens.forEach((id, i) => {
        const row = registry.linearRows(table, id, 1);
        for (let r = 0; r < repeat; r++) want.set(row, (i * repeat + r) * k);
      });
      watch.judge(at, [{ output: 'streams', got: got!, want, shape: [t, repeat, k], bound: COPIED }]);
    },
    rmsNorm(x, m, d, weight, eps, out) {
      const at = weight ? watch.at(weight) : { layer: watch.layer, op: nameless(watch.origin(x), 'norm') };
      const xs = watch.f32(at, x, m * d);
      const ws = weight ? watch.f32(at, weight, d) : null;
      const inPlace = x === out;
      const inputs = weight ? [x, weight] : [x];
      const [got] = watch.run(at, inputs, [{ tensor: out, n: m * d, inPlace }], () =>
        inner.rmsNorm(x, m, d, weight, eps, out),
      );
      const want = reference.rmsNorm(xs, ws, { m, d, eps });
      watch.judge(at, [
        { output: 'out', got: got!, want, shape: [m, d], bound: norm(d), scale: (i) => Math.abs(want[i]!) + 1e-30 },
      ]);
    },
    addInPlace(out, x, n) {
      const at = { layer: watch.layer, op: 'ffn.add_shared' };
      const [a, b] = [watch.f32(at, out, n), watch.f32(at, x, n)];
      const want = a.map((v, i) => v + b[i]!);
      const [got] = watch.run(at, [x], [{ tensor: out, n, inPlace: true }], () => inner.addInPlace(out, x, n));
      const d = watch.positions.length;
      watch.judge(at, [{ output: 'out', got: got!, want, shape: [d, n / d], bound: ONE_ADDITION }]);
    },
    swiglu(gateUp, m, i, limit, out) {
      const origin = watch.origin(gateUp);
      const at = { layer: watch.layer, op: origin === 'ffn.shared.w13' ? 'ffn.shared.swiglu' : 'ffn.swiglu' };
      const xs = watch.f32(at, gateUp, m * 2 * i);
      const [got] = watch.run(at, [gateUp], [{ tensor: out, n: m * i }], () => inner.swiglu(gateUp, m, i, limit, out));
      const judged = (output: string, g: ArrayLike<number>, x: Float32Array, rows: number): Judged => {
        const want = reference.swiglu(x, { m: rows, i, limit });
        // Where the result underflows, float32 has only so many digits left.
        const scale = (j: number): number => Math.abs(want[j]!) + 1e-30;
        return { output, got: g, want, shape: [rows, i], bound: SWIGLU, scale };
      };
      const outputs = [judged('out', got!, xs, m)];
      const stretched = beyondLimit(xs.subarray(0, Math.min(m, 4) * 2 * i), limit);
      if (stretched && !clampSeen.has(`${at.layer} ${at.op}`)) {
        // Trained models rarely reach the limit, so that a prompt would say nothing about the clamp: a few rows are stretched past it.
        clampSeen.add(`${at.layer} ${at.op}`);
        const rows = stretched.length / (2 * i);
        const [x, y] = [inner.tensor(stretched.slice()), inner.alloc('f32', rows * i)];
        const [clamped] = watch.run(at, [], [{ tensor: y, n: rows * i }], () => inner.swiglu(x, rows, i, limit, y));
        outputs.push(judged('out of inputs stretched past the limit', clamped!, stretched, rows));
      }
      watch.judge(at, outputs);
    },
    hcPre(streams, t, s, w, post, comb, collapsed) {
      const at = watch.at(w.fn, '.pre');
      watch.block = at.op.replace('.pre', '');
      const { hc, d } = s;
      const xs = watch.f32(at, streams, t * hc * d);
      if (watch.block === 'hc_attn') tap.before(at.layer!, xs);
      const weights = hyper(at, w, (2 + hc) * hc, 3, s);
      const outputs = [
        { tensor: post, n: t * hc },
        { tensor: comb, n: t * hc * hc },
        { tensor: collapsed, n: t * d },
      ];
      const [gotPost, gotComb, gotCollapsed] = watch.run(at, [streams, w.fn, w.base, w.gain], outputs, () =>
        inner.hcPre(streams, t, s, w, post, comb, collapsed),
      );
      const want = reference.hcPre(xs, weights, { t, ...s });
      const bound = mixed(hc * d, s.iters);
      const logits = logitScale(weights.fn, weights.scale, (2 + hc) * hc, s);
      const sums = magnitudes(xs, t, s);
      watch.judge(at, [
        { output: 'post', got: gotPost!, want: want.post, shape: [t, hc], bound, scale: () => logits },
        { output: 'comb', got: gotComb!, want: want.comb, shape: [t, hc, hc], bound, scale: () => logits },
        {
          output: 'collapsed',
          got: gotCollapsed!,
          want: want.collapsed,
          shape: [t, d],
          bound,
          scale: (i) => sums[i]! * logits,
        },
      ]);
    },
    hcPost(streams, blockOut, t, s, post, comb) {
      const at = { layer: watch.layer, op: `${watch.block}.post` };
      const { hc, d } = s;
      const xs = watch.f32(at, streams, t * hc * d);
      const out = watch.f32(at, blockOut, t * d);
      const mix = { post: watch.f32(at, post, t * hc), comb: watch.f32(at, comb, t * hc * hc) };
      const [got] = watch.run(at, [blockOut, post, comb], [{ tensor: streams, n: t * hc * d, inPlace: true }], () =>
        inner.hcPost(streams, blockOut, t, s, post, comb),
      );
      if (watch.block === 'hc_ffn') tap.after(at.layer!, got as Float32Array);
      const want = reference.hcPost(xs, out, mix, { t, hc, d });
      const absolute = (v: Float32Array): Float32Array => v.map(Math.abs);
      const scale = reference.hcPost(
        absolute(xs),
        absolute(out),
        { post: absolute(mix.post), comb: absolute(mix.comb) },
        { t, hc, d },
      );
      watch.judge(
        at,
        [
          {
            output: 'streams',
            got: got!,
            want,
            shape: [t, hc, d],
            bound: weighted(hc + 1),
            scale: (i) => scale[i]! + 1e-30,
          },
        ],
        () => dumper.residualMix(at, { xs, out, ...mix, got: got as Float32Array, t, hc, d }),
      );
    },
    hcHead(streams, t, s, w, out) {
      watch.layer = null;
      const at = { layer: null, op: 'hc_head' };
      const { hc, d } = s;
      const xs = watch.f32(at, streams, t * hc * d);
      const weights = hyper(at, w, hc, 1, s);
      const [got] = watch.run(at, [streams, w.fn, w.base, w.gain], [{ tensor: out, n: t * d }], () =>
        inner.hcHead(streams, t, s, w, out),
      );
      const want = reference.hcHead(xs, weights, { t, ...s });
      const logits = logitScale(weights.fn, weights.scale, hc, s);
      const sums = magnitudes(xs, t, s);
      const bound = mixed(hc * d, 0);
      watch.judge(at, [
        { output: 'out', got: got!, want, shape: [t, d], bound, scale: (i) => sums[i]! * logits + 1e-30 },
      ]);
    },
    takeRows(x, d, rows, t, out) {
      gather({ layer: null, op: 'head.rows' }, x, d, rows, t, out, () => inner.takeRows(x, d, rows, t, out));
    },
    gatherRows(x, d, slotToken, rows, out) {
      gather({ layer: watch.layer, op: 'ffn.w13.gather' }, x, d, slotToken, rows, out, () =>
        inner.gatherRows(x, d, slotToken, rows, out),
      );
    },
  };
}

/** Names of operations without a weight, by what they work on. */
export function nameless(origin: string, kind: 'norm' | 'rope'): string {
  const known: Record<string, string> = {
    'attn.wq_b norm': 'attn.q_head_norm',
    'attn.wq_b rope': 'attn.q_rope',
    'attn.wkv rope': 'attn.kv_rope',
    'attn.indexer.wq_b rope': 'attn.indexer.q_rope',
    'attn.attend rope': 'attn.out_rope',
  };
  return known[`${origin} ${kind}`] ?? `${origin}.${kind}`;
}

/** `x` scaled so that its largest value is three times the limit; null when there is none to pass. */
function beyondLimit(x: Float32Array, limit: number): Float32Array | null {
  const most = x.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  return Number.isFinite(limit) && most > 0 ? x.map((v) => (v / most) * 3 * limit) : null;
}
