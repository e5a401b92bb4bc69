/** Routed experts and their mistakes, slot by slot, for the tests alone. */
import { seeded } from '@megamoe/testkit';
import { dequantizeNvfp4, nvfp4GlobalDecodeScale, quantizeNvfp4, type Dump } from '../../src/index';
import { bytes, dump, floats, ints, rounded, sum, type Stored } from './build';
import { buffer, kernelReads, type ScaleId } from './scale-planted';

export interface MoeCase {
  t: number;
  h: number;
  i: number;
  experts: number;
  topk: number;
  limit: number;
  /** Float activations. */
  float?: boolean;
  /** First expert of the rank, among `total`. */
  start?: number;
  total?: number;
  seed: number;
}

export interface MoePlant {
  /** Weights' scales of all projections, or of activations in both layers. */
  scale?: ScaleId;
  of?: 'weights' | 'activations';
  nibbles?: 'swapped' | 'half';
  slots?: 'not-gathered' | 'token-0';
  rows?: 'leading-zero' | 'left';
  ids?: 'global';
  alpha?: 'inverted' | 'missing' | 'twice' | 'first';
  l2?: 'l1-scale' | 'l1-alpha';
  saturated?: 'l1' | 'l2';
  swap?: boolean;
  unclamped?: boolean;
}

/** What a kernel rounds on its way, and to what. */
export interface MoeRounds {
  to: Stored;
  gateUp?: boolean;
  silu?: boolean;
  hidden?: boolean;
  down?: boolean;
  /** Each expert's output times its weight. */
  weighted?: boolean;
}

interface Matrix {
  codes: Uint8Array;
  sf: Uint8Array;
  global: Float32Array;
  rows: number;
  k: number;
}

/** Codes packed in a wrong order. */
function mispacked(codes: Uint8Array, how: MoePlant['nibbles']): Uint8Array {
  if (!how) return codes;
  return codes.map((byte, at) => {
    if (how === 'swapped') return (byte >> 4) | ((byte & 15) << 4);
    const block = Math.floor(at / 8) * 8;
    // Read as pairs, element 2j of the block is what a half-split reader takes for it: nibble 2j of [lows, highs].
    const wrong = (e: number): number => (e < 8 ? codes[block + e]! & 15 : codes[block + e - 8]! >> 4);
    const j = at % 8;
    return wrong(2 * j) | (wrong(2 * j + 1) << 4);
  });
}

/** What a case is given; remembered, for quantizing the weights is most of the work. */
function makeInputs(c: MoeCase) {
  const { t, h, i, experts, topk, start = 0, total = experts + start } = c;
  const r = seeded(c.seed);
  const x = r.floats(t * h);
  const matrix = (rows: number, k: number): Matrix => {
    const global = new Float32Array(experts);
    const [codes, sf] = [new Uint8Array((experts * rows * k) / 2), new Uint8Array((experts * rows * k) / 16)];
    for (let e = 0; e < experts; e++) {
      const w = r.floats(rows * k, 0.5 + r.next()).map((v, at) => v * 2 ** ((at >> 4) % 5)); // block scales that differ a lot
      const g = nvfp4GlobalDecodeScale(w);
      global[e] = g;
      const q = quantizeNvfp4(w, { m: rows, k, globalDecodeScale: g });
      codes.set(q.codes, e * q.codes.length);
      sf.set(q.sf, e * q.sf.length);
    }
    return { codes, sf, global, rows, k };
  };
  const [w1, w3, w2] = [matrix(i, h), matrix(i, h), matrix(h, i)];
  const ids = Array.from({ length: t }, () => r.choose(total, topk)).flat();
  const weights = Float32Array.from({ length: t * topk }, () => r.next() + 0.1);
  return { x, w1, w3, w2, ids, weights };
}

const known = new Map<string, ReturnType<typeof makeInputs>>();

function inputs(c: MoeCase): ReturnType<typeof makeInputs> {
  const key = JSON.stringify(c);
  let made = known.get(key);
  if (!made) known.set(key, (made = makeInputs(c)));
  return made;
}

export function moeDump(
  c: MoeCase,
  plant: MoePlant = {},
  stored: Stored = 'F32',
  how: 'float32' | 'float64' = 'float64',
  rounds: MoeRounds = { to: 'F32' },
): Dump {
  const at = (point: keyof Omit<MoeRounds, 'to'>, x: number): number => (rounds[point] ? rounded(x, rounds.to) : x);
  const { t, h, i, experts, topk, start = 0 } = c;
  const { x, w1, w3, w2, ids, weights } = inputs(c);
  const change = (g: number, first: number): number =>
    ({ inverted: 1 / g, missing: 1, twice: g * g, first, right: g })[plant.alpha ?? 'right'];

  /** A projection's weights of expert e as the kernel sees them. */
  const decode = (m: Matrix, e: number): Float64Array => {
    const id = plant.of === 'activations' ? undefined : plant.scale;
    const counts = Array.from({ length: experts }, () => m.rows);
    const seen = kernelReads(buffer(id, m.sf, m.k / 16, counts, '3d'), m.k / 16, counts);
    const codes = plant.of === 'activations' ? m.codes : mispacked(m.codes, plant.nibbles);
    const [n, s] = [(m.rows * m.k) / 2, (m.rows * m.k) / 16];
    const g = c.float ? change(m.global[e]!, m.global[0]!) : m.global[e]!;
    const unit = dequantizeNvfp4(
      { codes: codes.slice(e * n, (e + 1) * n), sf: seen.slice(e * s, (e + 1) * s) },
      { m: m.rows, k: m.k, globalDecodeScale: 1 },
    );
    return unit.map((v) => v * g);
  };
  const decoded = [w1, w3, w2].map((m) => Array.from({ length: experts }, (_, e) => decode(m, e))) as [
    Float64Array[],
    Float64Array[],
    Float64Array[],
  ];

  const slots: { token: number; weight: number; e: number }[] = [];
  ids.forEach((id, at) => {
    const e = plant.ids === 'global' ? id : id - start;
    if (e >= 0 && e < experts) slots.push({ token: Math.floor(at / topk), weight: weights[at]!, e });
  });
  slots.sort((a, b) => a.e - b.e || a.token - b.token);
  const counts = Array.from({ length: experts }, (_, e) => slots.filter((s) => s.e === e).length);
  const ends: number[] = [];
  for (const n of counts) ends.push((ends.at(-1) ?? 0) + n);
  const used = plant.rows === 'leading-zero' ? [0, ...ends].slice(0, experts) : ends;
  const owner = slots.map((_, row) => used.findIndex((end) => (plant.rows === 'left' ? end >= row : end > row)));
  const read = slots.map(({ token }, s) => {
    const from = plant.slots === 'token-0' ? 0 : plant.slots === 'not-gathered' ? s : token;
    return from < t ? x.slice(from * h, (from + 1) * h) : new Float32Array(h);
  });

  /** The inputs of a layer for all slots, quantized and back. */
  const staged = (
    rows: (Float32Array | Float64Array)[],
    k: number,
    scales: Float32Array,
    alphas: Float32Array,
  ): Float64Array[] => {
    if (c.float) return rows.map((row) => Float64Array.from(row));
    const q = rows.map((row, s) => quantizeNvfp4(row, { m: 1, k, globalDecodeScale: scales[Math.max(owner[s]!, 0)]! }));
    const id = plant.of === 'activations' ? plant.scale : undefined;
    const all = q.flatMap(({ sf }) => Array.from(sf));
    const seen = kernelReads(buffer(id, all, k / 16, counts, '2d'), k / 16, counts);
    return q.map(({ codes }, s) => {
      const packed = plant.of === 'activations' ? mispacked(codes, plant.nibbles) : codes;
      const e = Math.max(owner[s]!, 0);
      const unit = dequantizeNvfp4(
        { codes: packed, sf: seen.slice((s * k) / 16, ((s + 1) * k) / 16) },
        { m: 1, k, globalDecodeScale: 1 },
      );
      return unit.map((v) => v * change(alphas[e]!, alphas[0]!));
    });
  };
  const product = (row: Float64Array, w: Float64Array, n: number): number =>
    sum(
      Array.from(row, (v, at) => v * w[n * row.length + at]!),
      how,
    );
  const l1Scale = Float32Array.from(
    { length: experts },
    (_, e) => (nvfp4GlobalDecodeScale(x) * (1 + e / 7)) / (plant.saturated === 'l1' ? 9 : 1),
  );
  const xs = staged(read, h, l1Scale, l1Scale);
  const hidden = slots.map((_, s) => {
    const e = owner[s]!;
    const out = new Float32Array(i);
    if (e < 0) return out;
    for (let n = 0; n < i; n++) {
      let [g, u] = [at('gateUp', product(xs[s]!, decoded[0][e]!, n)), at('gateUp', product(xs[s]!, decoded[1][e]!, n))];
      if (plant.swap) [g, u] = [u, g];
      if (!plant.unclamped) [g, u] = [Math.min(g, c.limit), Math.max(-c.limit, Math.min(u, c.limit))];
      out[n] = at('hidden', at('silu', g / (1 + Math.exp(-g))) * u);
    }
    return out;
  });
  // Input scales as calibration would give them, from the hidden rows of the right run.
  const amax = hidden.length > 0 ? Math.max(...hidden.map((row) => nvfp4GlobalDecodeScale(row))) : 1;
  const l2Scale = Float32Array.from(
    { length: experts },
    (_, e) => (amax * (1 + e / 5)) / (plant.saturated === 'l2' ? 5000 : 1),
  );
  const l2Used = plant.l2 === 'l1-scale' ? l1Scale : l2Scale;
  const hs = staged(hidden, i, l2Used, plant.l2 ? l1Scale : l2Scale);
  const out = new Float64Array(t * h);
  slots.forEach(({ token, weight }, s) => {
    const e = owner[s]!;
    if (e < 0) return;
    for (let n = 0; n < h; n++)
      out[token * h + n]! += at('weighted', weight * at('down', product(hs[s]!, decoded[2][e]!, n)));
  });
  return dump(
    { op: 'moe_nvfp4', swiglu_limit: c.limit, ...(start > 0 ? { experts_start: start } : {}) },
    {
      'in.x': floats([t, h], x),
      'in.topk_ids': ints([t, topk], ids),
      'in.topk_weights': floats([t, topk], weights),
      ...Object.fromEntries(
        Object.entries({ w1, w3, w2 }).flatMap(([name, m]) => [
          [`in.${name}_codes`, bytes([experts, m.rows, m.k / 2], m.codes)],
          [`in.${name}_sf`, bytes([experts, m.rows, m.k / 16], m.sf, 'F8_E4M3')],
          [`in.${name}_global_decode`, floats([experts], m.global)],
        ]),
      ),
      'in.w13_input_scale': c.float ? undefined : floats([experts], l1Scale),
      'in.w2_input_scale': c.float ? undefined : floats([experts], l2Scale),
      out: floats([t, h], out, stored),
    },
  );
}

/** Every mistake by id; those with `of: activations` and of input scales need NVFP4 activations. */
export const MOE_PLANTS: [string, MoePlant][] = [
  ...(
    [
      'scales-swizzled-globally',
      'scales-left-linear',
      'scales-swizzled-twice',
      'scales-mk-swapped',
      'scales-only-k-group-0',
      'scales-source-transposed',
    ] as const
  ).flatMap((scale): [string, MoePlant][] => [
    [scale, { scale, of: 'weights' }],
    [scale, { scale, of: 'activations' }],
  ]),
  ['scales-empty-expert-padded', { scale: 'scales-empty-expert-padded', of: 'activations' }],
  ['nibbles-swapped', { nibbles: 'swapped' }],
  ['nibbles-swapped', { nibbles: 'swapped', of: 'activations' }],
  ['nibbles-half-split', { nibbles: 'half' }],
  ['slots-not-gathered', { slots: 'not-gathered' }],
  ['slots-all-token-0', { slots: 'token-0' }],
  ['offsets-leading-zero', { rows: 'leading-zero' }],
  ['offsets-searchsorted-left', { rows: 'left' }],
  ['expert-ids-global', { ids: 'global' }],
  ['global-scale-inverted', { alpha: 'inverted' }],
  ['global-scale-missing', { alpha: 'missing' }],
  ['global-scale-twice', { alpha: 'twice' }],
  ['global-scale-of-first-expert', { alpha: 'first' }],
  ['global-scale-l1-for-l2', { l2: 'l1-scale' }],
  ['global-scale-l1-for-l2', { l2: 'l1-alpha' }],
  ['input-scale-saturated', { saturated: 'l1' }],
  ['input-scale-saturated', { saturated: 'l2' }],
  ['gate-up-swapped', { swap: true }],
  ['swiglu-unclamped', { unclamped: true }],
];
