import type { Ops, Tensor } from '@megamoe/model';
import * as reference from '@megamoe/reference';
import { BY_BLOCKS, BYTES, CHOSEN, INTEGERS, product, ROUTED, weighted, type Bound } from './bounds';
import type { Dumper } from './dump';
import type { Judged, OpAt } from './recorder';
import { fp8Values, numbersOf, type ExpertsWeight } from './sources';
import type { Watch } from './watch';

/** What the router and the staging of a run did: how much of the model a prompt really reached. */
export interface ExpertCoverage {
  /** Experts chosen by some token, by layer. */
  readonly reached: Map<number, Set<number>>;
  stagedBlocks: number;
  /** Block scales at 448: inputs larger than the input scale was calibrated for. */
  saturatedBlocks: number;
}

type ExpertOps = Pick<
  Ops,
  | 'route'
  | 'routeHash'
  | 'assignSlots'
  | 'stageNvfp4'
  | 'stageNvfp4Dynamic'
  | 'swigluStageNvfp4'
  | 'swigluStageNvfp4Dynamic'
  | 'groupedGemmW4A4'
  | 'groupedGemm'
  | 'scatterExperts'
>;

/** Smallest global scale of a row; below it the kernels take 1 (their contract). */
const MIN_ROW_SCALE = 2 ** -117;
const ROUNDING = 2 ** -24;

/**
 * The operations of the mixture of experts.
 * @param swiglu the checked SwiGLU: codes that are made in one pass are judged as those of its result
 */
export function expertChecks(watch: Watch, dumper: Dumper, coverage: ExpertCoverage, swiglu: Ops['swiglu']): ExpertOps {
  const { inner, registry } = watch;

  /** One expert's weights in NVFP4: all parts, one after the other. */
  const nvfp4Of = (w: ExpertsWeight, expert: number): { codes: Uint8Array; sf: Uint8Array } => {
    const source = registry.experts.get(w)!;
    const [codes, sf] = [new Uint8Array((w.n * w.k) / 2), new Uint8Array((w.n * w.k) / 16)];
    for (let p = 0; p < w.parts; p++) {
      const rows = source.read(expert, p);
      if (!('sf' in rows)) throw new Error('an NVFP4 expert was read without codes'); // the packer refuses it before
      codes.set(rows.codes, (p * codes.length) / w.parts);
      sf.set(rows.sf, (p * sf.length) / w.parts);
    }
    return { codes, sf };
  };
  const denseOf = (w: ExpertsWeight, expert: number): Float64Array => {
    if (w.format === 'nvfp4')
      return reference.dequantizeNvfp4(nvfp4Of(w, expert), { m: w.n, k: w.k, globalDecodeScale: 1 });
    const source = registry.experts.get(w)!;
    const out = new Float64Array(w.n * w.k);
    for (let p = 0; p < w.parts; p++) {
      const rows = source.read(expert, p);
      if ('data' in rows) out.set(numbersOf(rows.data), (p * out.length) / w.parts);
      else if ('scales' in rows) out.set(fp8Values(rows, w.k), (p * out.length) / w.parts);
    }
    return out;
  };

  /** Calls `each` for every expert that has rows. */
  const forExperts = (offsets: Int32Array, each: (e: number, start: number, rows: number) => void): void => {
    let start = 0;
    offsets.forEach((end, e) => {
      if (end > start) each(e, start, end - start);
      start = end;
    });
  };

  const judgeRoute = (
    at: OpAt,
    spec: { numExperts: number; topk: number },
    args: { logits: Float32Array; bias: Float32Array | null; hashed: Int32Array | null; t: number },
    got: { ids: Int32Array; weights: Float32Array },
    routing: Omit<reference.Routing, 't' | 'bias' | 'topkIds'>,
  ): void => {
    const { logits, bias, hashed, t } = args;
    const { topk, numExperts } = spec;
    const ids: Judged = hashed
      ? { output: 'topk_ids', got: got.ids, want: hashed, shape: [t, topk], bound: INTEGERS }
      : chosenSets(logits, bias, got.ids, { t, ...routing });
    const usable = got.ids.every((id) => id >= 0 && id < numExperts);
    // The weights belong to the experts that were chosen: a wrong choice is one error, not two.
    const want = reference.route(logits, { t, ...routing, bias, topkIds: usable ? got.ids : (hashed ?? null) });
    const scale = (i: number): number => Math.abs(want.topkWeights[i]!) + 1e-30;
    const weights = { output: 'topk_weights', got: got.weights, want: want.topkWeights, shape: [t, topk] };
    watch.judge(at, [ids, { ...weights, bound: ROUTED, scale }], () =>
      hashed ? undefined : dumper.route(at, { logits, bias, ...got, t, ...routing }),
    );
    const layer = at.layer ?? -1;
    const reached = coverage.reached.get(layer) ?? new Set<number>();
    got.ids.forEach((id) => reached.add(id));
    coverage.reached.set(layer, reached);
  };

  const stagedRows = (at: OpAt, x: Tensor, k: number, slotToken: Tensor | null, rows: number): Float32Array => {
    if (!slotToken) return watch.f32(at, x, rows * k);
    const slots = watch.i32(at, slotToken, rows);
    const xs = watch.f32(at, x, (slots.reduce((a, b) => Math.max(a, b), -1) + 1) * k);
    return Float32Array.from(reference.gatherRows(xs, slots, k));
  };
  const stageAt = (x: Tensor): OpAt => ({
    layer: watch.layer,
    op: watch.origin(x) === 'ffn.swiglu' ? 'ffn.w2.stage' : 'ffn.w13.stage',
  });
  const judgeStaged = (
    at: OpAt,
    xs: Float32Array,
    k: number,
    scales: Float32Array,
    codes: Uint8Array,
    sf: Uint8Array,
    more: readonly Judged[] = [],
  ): void => {
    const m = scales.length;
    const want = reference.quantizeNvfp4(xs, { m, k, globalDecodeScale: scales });
    const outputs: Judged[] = [
      { output: 'scales', got: sf, want: want.sf, shape: [m, k / 16], bound: BYTES },
      { output: 'codes', got: codes, want: want.codes, shape: [m, k / 2], bound: BYTES },
      ...more,
    ];
    watch.judge(at, outputs, () => dumper.quantize(at, { xs, k, scales, codes, sf, want }));
    coverage.stagedBlocks += sf.length;
    sf.forEach((byte) => (coverage.saturatedBlocks += byte === 0x7e ? 1 : 0));
  };

  const staged = (
    x: Tensor,
    k: number,
    slotToken: Tensor | null,
    expertOffsets: Tensor,
    globalDecodeScale: Tensor,
    codes: Tensor,
    sf: Tensor,
    read: readonly Tensor[],
    op: () => void,
  ): void => {
    const at = stageAt(x);
    const experts = expertOffsets.length;
    const offsets = watch.i32(at, expertOffsets, experts);
    const rows = offsets[experts - 1]!;
    const xs = stagedRows(at, x, k, slotToken, rows);
    const perExpert = watch.f32(at, globalDecodeScale, experts);
    const outputs = [
      { tensor: codes, n: (rows * k) / 2 },
      { tensor: sf, n: (rows * k) / 16 },
    ];
    const [gotCodes, gotSf] = watch.run(at, [...read, expertOffsets, globalDecodeScale], outputs, op);
    const scales = new Float32Array(rows);
    forExperts(offsets, (e, start, n) => scales.fill(perExpert[e]!, start, start + n));
    dumper.inputScales = perExpert;
    judgeStaged(at, xs, k, scales, gotCodes as Uint8Array, gotSf as Uint8Array);
  };
  const stagedDynamic = (
    x: Tensor,
    k: number,
    slotToken: Tensor | null,
    rows: number,
    codes: Tensor,
    sf: Tensor,
    rowScale: Tensor,
    read: readonly Tensor[],
    op: () => void,
  ): void => {
    const at = stageAt(x);
    const xs = stagedRows(at, x, k, slotToken, rows);
    const outputs = [
      { tensor: codes, n: (rows * k) / 2 },
      { tensor: sf, n: (rows * k) / 16 },
      { tensor: rowScale, n: rows },
    ];
    const [gotCodes, gotSf, gotScale] = watch.run(at, read, outputs, op);
    const own = reference.nvfp4RowDecodeScales(xs, { m: rows, k });
    const scales = Float32Array.from(own, (g) => (g < MIN_ROW_SCALE ? 1 : g));
    dumper.inputScales = null;
    judgeStaged(at, xs, k, scales, gotCodes as Uint8Array, gotSf as Uint8Array, [
      { output: 'row_scale', got: gotScale!, want: scales, shape: [rows], bound: BYTES },
    ]);
  };

  return {
    route(r, logits, t, bias, topkIds, topkWeights) {
      const at = { layer: watch.layer, op: 'ffn.route' };
      const { numExperts, topk } = r.spec;
      const xs = watch.f32(at, logits, t * numExperts);
      const bs = bias ? watch.f32(at, bias, numExperts) : null;
      const outputs = [
        { tensor: topkIds, n: t * topk },
        { tensor: topkWeights, n: t * topk },
      ];
      const [ids, weights] = watch.run(at, bias ? [logits, bias] : [logits], outputs, () =>
        inner.route(r, logits, t, bias, topkIds, topkWeights),
      );
      const got = { ids: ids as Int32Array, weights: weights as Float32Array };
      judgeRoute(at, r.spec, { logits: xs, bias: bs, hashed: null, t }, got, r.spec);
    },
    routeHash(r, logits, t, ids, tid2eid, topkIds, topkWeights) {
      const at = { layer: watch.layer, op: 'ffn.route' };
      const { numExperts, topk } = r.spec;
      const xs = watch.f32(at, logits, t * numExperts);
      const tokens = watch.i32(at, ids, t);
      const hashed = reference.hashIds(tokens, watch.i32(at, tid2eid, tid2eid.length), topk);
      const outputs = [
        { tensor: topkIds, n: t * topk },
        { tensor: topkWeights, n: t * topk },
      ];
      const [chosen, weights] = watch.run(at, [logits, ids], outputs, () =>
        inner.routeHash(r, logits, t, ids, tid2eid, topkIds, topkWeights),
      );
      const got = { ids: chosen as Int32Array, weights: weights as Float32Array };
      judgeRoute(at, r.spec, { logits: xs, bias: null, hashed, t }, got, r.spec);
    },
    assignSlots(r, topkIds, t, expertOffsets, slotToken, tokenSlots) {
      const at = { layer: watch.layer, op: 'ffn.slots' };
      const { numExperts, topk } = r.spec;
      const ids = watch.i32(at, topkIds, t * topk);
      const outputs = [
        { tensor: expertOffsets, n: numExperts },
        { tensor: slotToken, n: t * topk },
        { tensor: tokenSlots, n: t * topk },
      ];
      const [offsets, tokens, slots] = watch.run(at, [topkIds], outputs, () =>
        inner.assignSlots(r, topkIds, t, expertOffsets, slotToken, tokenSlots),
      );
      const want = watch.guarded(at, () => reference.assignSlots(ids, { t, topk, numExperts }));
      watch.judge(at, [
        { output: 'expert_offsets', got: offsets!, want: want.expertOffsets, shape: [numExperts], bound: INTEGERS },
        { output: 'slot_token', got: tokens!, want: want.slotToken, shape: [t * topk], bound: INTEGERS },
        { output: 'token_slots', got: slots!, want: want.tokenSlots, shape: [t, topk], bound: INTEGERS },
      ]);
    },
    stageNvfp4(x, k, slotToken, expertOffsets, globalDecodeScale, codes, sf) {
      const inputs = [x, ...(slotToken ? [slotToken] : [])];
      staged(x, k, slotToken, expertOffsets, globalDecodeScale, codes, sf, inputs, () =>
        inner.stageNvfp4(x, k, slotToken, expertOffsets, globalDecodeScale, codes, sf),
      );
    },
    stageNvfp4Dynamic(x, k, slotToken, rows, codes, sf, rowScale) {
      stagedDynamic(x, k, slotToken, rows, codes, sf, rowScale, slotToken ? [x, slotToken] : [x], () =>
        inner.stageNvfp4Dynamic(x, k, slotToken, rows, codes, sf, rowScale),
      );
    },
    swigluStageNvfp4(gateUp, i, limit, expertOffsets, globalDecodeScale, codes, sf) {
      const experts = expertOffsets.length;
      const rows = watch.i32({ layer: watch.layer, op: 'ffn.w2.stage' }, expertOffsets, experts)[experts - 1]!;
      const x = inner.alloc('f32', rows * i);
      swiglu(gateUp, rows, i, limit, x);
      staged(x, i, null, expertOffsets, globalDecodeScale, codes, sf, [gateUp], () =>
        inner.swigluStageNvfp4(gateUp, i, limit, expertOffsets, globalDecodeScale, codes, sf),
      );
    },
    swigluStageNvfp4Dynamic(gateUp, rows, i, limit, codes, sf, rowScale) {
      const x = inner.alloc('f32', rows * i);
      swiglu(gateUp, rows, i, limit, x);
      stagedDynamic(x, i, null, rows, codes, sf, rowScale, [gateUp], () =>
        inner.swigluStageNvfp4Dynamic(gateUp, rows, i, limit, codes, sf, rowScale),
      );
    },
    groupedGemmW4A4(w, codes, sf, expertOffsets, alpha, rowScale, out) {
      const at = watch.at(w, '.gemm');
      const { n, k, parts, numExperts } = w;
      const offsets = watch.i32(at, expertOffsets, numExperts);
      const rows = offsets[numExperts - 1]!;
      const a = watch.u8(at, codes, (rows * k) / 2);
      const aSf = watch.u8(at, sf, (rows * k) / 16);
      const alphas = watch.f32(at, alpha, numExperts * parts);
      const perRow = rowScale ? watch.f32(at, rowScale, rows) : null;
      const inputs = [codes, sf, expertOffsets, alpha, ...(rowScale ? [rowScale] : [])];
      const [got] = watch.run(at, inputs, [{ tensor: out, n: rows * n }], () =>
        inner.groupedGemmW4A4(w, codes, sf, expertOffsets, alpha, rowScale, out),
      );
      const [want, exact] = [new Float32Array(rows * n), new Float64Array(rows * n)];
      forExperts(offsets, (e, start, count) => {
        const b = nvfp4Of(w, e);
        const part = reference.groupedGemmByBlocks({
          ...{ n, k, parts, bCodes: b.codes, bSf: b.sf, expertOffsets: [count] },
          aCodes: a.subarray((start * k) / 2, ((start + count) * k) / 2),
          aSf: aSf.subarray((start * k) / 16, ((start + count) * k) / 16),
          alpha: alphas.subarray(e * parts, (e + 1) * parts),
          rowScale: perRow?.subarray(start, start + count) ?? null,
        });
        want.set(part.rounded, start * n);
        exact.set(part.exact, start * n);
      });
      watch.judge(at, [{ output: 'out', got: got!, want, shape: [rows, n], bound: BY_BLOCKS, exact }], () =>
        dumper.groupedGemm(at, {
          ...{ n, k, parts, offsets, a, aSf, alphas, want, got: got as Float32Array },
          weights: () => Array.from({ length: numExperts }, (_, e) => nvfp4Of(w, e)),
        }),
      );
    },
    groupedGemm(w, a, expertOffsets, alpha, out) {
      const at = watch.at(w, '.gemm');
      const { n, k, parts, numExperts } = w;
      const offsets = watch.i32(at, expertOffsets, numExperts);
      const rows = offsets[numExperts - 1]!;
      const xs = watch.f32(at, a, rows * k);
      const alphas = alpha ? watch.f32(at, alpha, numExperts * parts) : null;
      const [got] = watch.run(at, [a, expertOffsets, ...(alpha ? [alpha] : [])], [{ tensor: out, n: rows * n }], () =>
        inner.groupedGemm(w, a, expertOffsets, alpha, out),
      );
      const [want, scale] = [new Float64Array(rows * n), new Float64Array(rows * n)];
      forExperts(offsets, (e, start, count) => {
        const b = denseOf(w, e);
        const own = alphas?.subarray(e * parts, (e + 1) * parts) ?? null;
        const rowsOfE = xs.subarray(start * k, (start + count) * k);
        want.set(reference.groupedGemm(rowsOfE, b, { n, k, expertOffsets: [count], alpha: own, parts }), start * n);
        for (let c = 0; c < n; c++) {
          const factor = Math.abs(own ? own[Math.floor((c * parts) / n)]! : 1) * norm2(b, c * k, k);
          for (let r = start; r < start + count; r++) scale[r * n + c] = factor * norm2(xs, r * k, k) + 1e-30;
        }
      });
      watch.judge(at, [
        { output: 'out', got: got!, want, shape: [rows, n], bound: product(k), scale: (i) => scale[i]! },
      ]);
    },
    scatterExperts(y, d, tokenSlots, topkWeights, t, topk, out) {
      const at = { layer: watch.layer, op: 'ffn.scatter' };
      const slots = watch.i32(at, tokenSlots, t * topk);
      const weights = watch.f32(at, topkWeights, t * topk);
      const ys = watch.f32(at, y, (slots.reduce((a, b) => Math.max(a, b), -1) + 1) * d);
      const [got] = watch.run(at, [y, tokenSlots, topkWeights], [{ tensor: out, n: t * d }], () =>
        inner.scatterExperts(y, d, tokenSlots, topkWeights, t, topk, out),
      );
      const [want, scale] = [new Float64Array(t * d), new Float64Array(t * d).fill(1e-30)];
      slots.forEach((slot, at2) => {
        if (slot < 0) return;
        const token = Math.floor(at2 / topk);
        for (let c = 0; c < d; c++) {
          const term = weights[at2]! * ys[slot * d + c]!;
          want[token * d + c]! += term;
          scale[token * d + c]! += Math.abs(term);
        }
      });
      watch.judge(at, [
        { output: 'out', got: got!, want, shape: [t, d], bound: weighted(topk), scale: (i) => scale[i]! },
      ]);
    },
  };
}

function norm2(x: ArrayLike<number>, from: number, n: number): number {
  let sum = 0;
  for (let i = from; i < from + n; i++) sum += x[i]! * x[i]!;
  return Math.sqrt(sum);
}

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
  return { output: 'topk_ids', got: shown, want, shape: [t, topk], bound: CHOSEN as Bound };
}
