import type { ExpertsWeight, RopeSpec, StagedRows } from '@megamoe/ops';
import * as reference from '@megamoe/reference';
import type { Nvfp4Codes } from './decode';
import type { DumpTensor, PendingDump } from './types';

const f32 = (name: string, shape: readonly number[], data: ArrayLike<number>): DumpTensor => ({
  ...{ name, dtype: 'F32', shape },
  data: Float32Array.from(data),
});
const i32 = (name: string, shape: readonly number[], data: ArrayLike<number>): DumpTensor => ({
  ...{ name, dtype: 'I32', shape },
  data: Int32Array.from(data),
});
const u8 = (name: string, shape: readonly number[], data: Uint8Array): DumpTensor => ({
  ...{ name, dtype: 'U8', shape },
  data: data.slice(),
});

/** Elements that a dump may have: more would take longer to copy and to explain than anybody waits. */
const MAX_ELEMENTS = 2 ** 26;

/** Index of the first element that differs. */
function firstDifference(got: ArrayLike<number>, want: ArrayLike<number>): number {
  for (let i = 0; i < want.length; i++) if (!Object.is(got[i], want[i])) return i;
  return 0;
}

/** NVFP4 rows. */
type Quantized = Extract<StagedRows, { readonly inputs: 'nvfp4' }>;

/** What was staged: the rows that share the scale of the first wrong row. */
export function quantizeDump(o: {
  readonly floats: Float32Array;
  readonly k: number;
  readonly scales: Float32Array;
  readonly got: Quantized;
  readonly want: Quantized;
}): PendingDump {
  const { floats, k, scales, got, want } = o;
  const same = want.sf.every((byte, i) => byte === got.sf[i]);
  const row = same
    ? Math.floor(firstDifference(got.codes, want.codes) / (k / 2))
    : Math.floor(firstDifference(got.sf, want.sf) / (k / 16));
  const rows = Array.from(scales.keys()).filter((r) => scales[r] === scales[row]);
  const take = (x: ArrayLike<number>, width: number): number[] =>
    rows.flatMap((r) => Array.from({ length: width }, (_, c) => x[r * width + c]!));
  return {
    op: 'quantize_nvfp4',
    parameters: {},
    tensors: [
      f32('in.x', [rows.length, k], take(floats, k)),
      f32('in.global_decode_scale', [], [scales[row]!]),
      u8('out.codes', [rows.length, k / 2], Uint8Array.from(take(got.codes, k / 2))),
      u8('out.sf', [rows.length, k / 16], Uint8Array.from(take(got.sf, k / 16))),
    ],
  };
}

/** One part of a grouped product (gate, up or down), since each may have its own global scale. */
export function groupedGemmDump(o: {
  readonly w: ExpertsWeight;
  readonly ends: Int32Array;
  readonly staged: Quantized;
  readonly alpha: Float32Array | null;
  /** [E] input scales of the staging: alpha is only their product with the weights'. */
  readonly inputScales: Float32Array | null;
  readonly got: ArrayLike<number>;
  readonly want: ArrayLike<number>;
  readonly weights: () => readonly Nvfp4Codes[];
}): PendingDump | undefined {
  const { ends, staged, alpha, inputScales, got } = o;
  const { n, k, parts } = o.w;
  const e = ends.length;
  const rows = got.length / n;
  const width = n / parts;
  const part = Math.floor((firstDifference(got, o.want) % n) / width);
  if (e * width * k > MAX_ELEMENTS) return undefined;
  const cut = (x: Uint8Array, perRow: number): Uint8Array =>
    x.subarray(part * width * perRow, (part + 1) * width * perRow);
  const weights = o.weights();
  const own = Float64Array.from({ length: e }, (_, i) => inputScales?.[i] ?? 1);
  const out = Float32Array.from(
    { length: rows * width },
    (_, i) => got[Math.floor(i / width) * n + part * width + (i % width)]!,
  );
  return {
    op: 'grouped_gemm_nvfp4',
    parameters: {},
    tensors: [
      u8('in.a_codes', [rows, k / 2], staged.codes.subarray(0, (rows * k) / 2)),
      u8('in.a_sf', [rows, k / 16], staged.sf.subarray(0, (rows * k) / 16)),
      u8('in.b_codes', [e, width, k / 2], joined(weights.map((w) => cut(w.codes, k / 2)))),
      u8('in.b_sf', [e, width, k / 16], joined(weights.map((w) => cut(w.sf, k / 16)))),
      i32('in.expert_offsets', [e], ends),
      f32('in.a_global_decode', [e], own),
      f32(
        'in.b_global_decode',
        [e],
        own.map((g, i) => (alpha?.[i * parts + part] ?? 1) / g),
      ),
      f32('out', [rows, width], out),
    ],
  };
}

/** A choice of experts by score. */
export function routeDump(
  o: Omit<reference.Routing, 'bias'> & {
    readonly logits: Float32Array;
    readonly bias: Float32Array | null;
    readonly ids: Int32Array;
    readonly weights: Float32Array;
  },
): PendingDump {
  const { t, topk, numExperts, scoring, normTopkProb, routedScalingFactor } = o;
  return {
    op: 'route',
    parameters: { topk, scoring, norm_topk_prob: normTopkProb, routed_scaling_factor: routedScalingFactor },
    tensors: [
      f32('in.logits', [t, numExperts], o.logits),
      ...(o.bias ? [f32('in.bias', [numExperts], o.bias)] : []),
      i32('out.topk_ids', [t, topk], o.ids),
      f32('out.topk_weights', [t, topk], o.weights),
    ],
  };
}

/** Attention of a prompt from its first position on: the format knows no cache. */
export function attentionDump(o: {
  readonly firstPosition: number;
  readonly n: number;
  readonly q: Float32Array;
  readonly got: Float32Array;
  readonly sinks: Float32Array;
  readonly kv: Float32Array;
  readonly compressed: Float32Array;
  readonly visible: Uint8Array;
  readonly heads: number;
  readonly d: number;
  readonly ratio: number;
  readonly window: number;
  readonly softmaxScale: number;
  readonly rope: RopeSpec;
}): PendingDump | undefined {
  const { n, heads, d, ratio, window, rope } = o;
  if (o.firstPosition !== 0 || o.got.some((x) => !Number.isFinite(x))) return undefined;
  const positions = Array.from({ length: n }, (_, i) => i);
  const frequencies = reference.ropeFrequencies(rope);
  const out = reference.applyRope(o.got, { positions, heads, d, frequencies, inverse: true });
  const entries = o.compressed.length / d;
  return {
    op: 'attention',
    parameters: { ratio, window, ...ropeParameters(rope), scale: o.softmaxScale },
    tensors: [
      f32('in.q', [n, heads, d], o.q),
      f32('in.kv', [n, d], o.kv),
      f32('in.sinks', [heads], o.sinks),
      ...(ratio === 0 ? [] : [f32('in.kv_comp', [entries, d], o.compressed)]),
      ...(ratio === 4 ? [u8('in.selected', [n, entries], o.visible)] : []),
      f32('out', [n, heads, d], out),
    ],
  };
}

/** A rotation: the head that holds the first wrong element. */
export function ropeDump(o: {
  readonly x: Float32Array;
  readonly got: Float32Array;
  readonly want: ArrayLike<number>;
  readonly positions: ArrayLike<number>;
  readonly heads: number;
  readonly d: number;
  readonly rope: RopeSpec;
  /** It belongs to a compressed layer. */
  readonly isCompressed: boolean;
}): PendingDump {
  const { x, got, want, heads, d, rope } = o;
  const positions = Array.from(o.positions);
  let worst = 0;
  for (let i = 0; i < want.length; i++) {
    if (!(Math.abs(got[i]! - want[i]!) <= Math.abs(got[worst]! - want[worst]!))) worst = i;
  }
  const head = Math.floor(worst / d) % heads;
  const one = (of: Float32Array): number[] =>
    positions.flatMap((_, r) => Array.from(of.subarray((r * heads + head) * d, (r * heads + head + 1) * d)));
  return {
    op: 'rope',
    parameters: { ...ropeParameters(rope), layer: o.isCompressed ? 'compressed' : 'window' },
    tensors: [
      f32('in.x', [positions.length, d], one(x)),
      i32('in.positions', [positions.length], positions),
      f32('out', [positions.length, d], one(got)),
    ],
  };
}

/** A hyper-connection after a block. */
export function residualMixDump(o: {
  readonly streams: Float32Array;
  readonly blockOut: Float32Array;
  readonly post: Float32Array;
  readonly comb: Float32Array;
  readonly got: Float32Array;
  readonly t: number;
  readonly hc: number;
  readonly d: number;
}): PendingDump {
  const { t, hc, d } = o;
  return {
    op: 'residual_mix',
    parameters: {},
    tensors: [
      f32('in.streams', [t, hc, d], o.streams),
      f32('in.out', [t, d], o.blockOut),
      f32('in.post', [t, hc], o.post),
      f32('in.comb', [t, hc, hc], o.comb),
      f32('out.streams', [t, hc, d], o.got),
    ],
  };
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Rotary parameters by the names of config.json. */
function ropeParameters({ ropeDim, theta, yarn }: RopeSpec): Record<string, unknown> {
  const base = { rope_dim: ropeDim, rope_theta: theta };
  if (!yarn) return base;
  return {
    ...base,
    yarn: {
      type: 'yarn',
      factor: yarn.factor,
      beta_fast: yarn.betaFast,
      beta_slow: yarn.betaSlow,
      original_max_position_embeddings: yarn.originalMaxPositionEmbeddings,
    },
  };
}
