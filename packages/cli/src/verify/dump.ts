import { writeSafetensors, type TensorToWrite } from '@megamoe/checkpoint';
import type { Segment } from '@megamoe/model';
import * as reference from '@megamoe/reference';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { OpAt } from './recorder';
import type { RopeSpec } from './sources';

const f32 = (name: string, shape: readonly number[], data: ArrayLike<number>): TensorToWrite => ({
  ...{ name, dtype: 'F32', shape },
  data: Float32Array.from(data),
});
const i32 = (name: string, shape: readonly number[], data: ArrayLike<number>): TensorToWrite => ({
  ...{ name, dtype: 'I32', shape },
  data: Int32Array.from(data),
});
const u8 = (name: string, shape: readonly number[], data: Uint8Array): TensorToWrite => ({
  ...{ name, dtype: 'U8', shape },
  data: data.slice(),
});

/** A dump that is not written yet. */
export interface PendingDump {
  readonly file: string;
  readonly op: string;
  readonly parameters: readonly (readonly [string, string])[];
  readonly tensors: readonly TensorToWrite[];
}

/** Index of the first element that differs. */
function firstDifference(got: ArrayLike<number>, want: ArrayLike<number>): number {
  for (let i = 0; i < got.length; i++) if (!Object.is(got[i], want[i])) return i;
  return 0;
}

/** Elements that a dump may have: more would take longer to copy and to explain than anybody waits. */
const MAX_ELEMENTS = 2 ** 26;

function bytesOf({ data }: TensorToWrite): Uint8Array {
  if (typeof data === 'function') throw new Error('tensors of a dump are in memory'); // all are made here
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Tries the known mistakes on a dump: ids of those that reproduce it, best first. */
export function mistakesOf({ op, parameters, tensors, file }: PendingDump): string[] {
  const metadata = new Map([['op', op], ...parameters]);
  const entries = tensors.map((t) => [t.name, { dtype: t.dtype, shape: t.shape, bytes: bytesOf(t) }] as const);
  return reference.explainDump({ metadata, tensors: new Map(entries), file }).mistakes.map((m) => m.id);
}

/** Writes a dump, in the format of `megamoe explain`, into a folder that is made when it is not there; returns its path. */
export async function writeDump(dir: string, { file, op, parameters, tensors }: PendingDump): Promise<string> {
  mkdirSync(dir, { recursive: true });
  const path = join(dir, file);
  await writeSafetensors(path, tensors, { metadata: { op, ...Object.fromEntries(parameters) } });
  return path;
}

/** Takes down what an operation was given and what came out, in the terms of `megamoe explain`, for operations that it knows. */
export class Dumper {
  /** The input scales of the last staging, [E]: the GEMM after it is only given their product with the weights'. */
  inputScales: Float32Array | null = null;

  private pending(
    { layer, op }: OpAt,
    kind: string,
    parameters: Readonly<Record<string, unknown>>,
    tensors: readonly TensorToWrite[],
  ): PendingDump {
    const text = Object.entries(parameters).map(
      ([k, v]) => [k, typeof v === 'string' ? v : JSON.stringify(v)] as const,
    );
    const file = `${layer === null ? 'model' : `layer-${layer}`}.${op}.safetensors`;
    return { file, op: kind, parameters: text, tensors };
  }

  /** The rows that share the scale of the first wrong row. */
  quantize(
    at: OpAt,
    o: {
      xs: Float32Array;
      k: number;
      scales: Float32Array;
      codes: Uint8Array;
      sf: Uint8Array;
      want: reference.Nvfp4Matrix;
    },
  ): PendingDump | undefined {
    const { xs, k, scales, codes, sf, want } = o;
    const same = sf.every((byte, i) => byte === want.sf[i]);
    const row = same
      ? Math.floor(firstDifference(codes, want.codes) / (k / 2))
      : Math.floor(firstDifference(sf, want.sf) / (k / 16));
    const rows = Array.from(scales.keys()).filter((r) => scales[r] === scales[row]);
    const take = (x: ArrayLike<number>, width: number): number[] =>
      rows.flatMap((r) => Array.from({ length: width }, (_, c) => x[r * width + c]!));
    return this.pending(at, 'quantize_nvfp4', {}, [
      f32('in.x', [rows.length, k], take(xs, k)),
      f32('in.global_decode_scale', [], [scales[row]!]),
      u8('out.codes', [rows.length, k / 2], Uint8Array.from(take(codes, k / 2))),
      u8('out.sf', [rows.length, k / 16], Uint8Array.from(take(sf, k / 16))),
    ]);
  }

  /** One part of the GEMM (gate, up or down), since each may have its own global scale. */
  groupedGemm(
    at: OpAt,
    o: {
      n: number;
      k: number;
      parts: number;
      offsets: Int32Array;
      a: Uint8Array;
      aSf: Uint8Array;
      alphas: Float32Array;
      got: Float32Array;
      want: Float32Array;
      weights: () => readonly { codes: Uint8Array; sf: Uint8Array }[];
    },
  ): PendingDump | undefined {
    const { n, k, parts, offsets, a, aSf, alphas, got } = o;
    const e = offsets.length;
    const rows = got.length / n;
    const width = n / parts;
    const part = Math.floor((firstDifference(got, o.want) % n) / width);
    const cut = (x: Uint8Array, perRow: number): Uint8Array =>
      x.subarray(part * width * perRow, (part + 1) * width * perRow);
    if (e * width * k > MAX_ELEMENTS) return undefined;
    const weights = o.weights();
    const own = Float64Array.from({ length: e }, (_, i) => this.inputScales?.[i] ?? 1);
    const out = Float32Array.from(
      { length: rows * width },
      (_, i) => got[Math.floor(i / width) * n + part * width + (i % width)]!,
    );
    return this.pending(at, 'grouped_gemm_nvfp4', {}, [
      u8('in.a_codes', [rows, k / 2], a),
      u8('in.a_sf', [rows, k / 16], aSf),
      u8('in.b_codes', [e, width, k / 2], joined(weights.map((w) => cut(w.codes, k / 2)))),
      u8('in.b_sf', [e, width, k / 16], joined(weights.map((w) => cut(w.sf, k / 16)))),
      i32('in.expert_offsets', [e], offsets),
      f32('in.a_global_decode', [e], own),
      f32(
        'in.b_global_decode',
        [e],
        own.map((g, i) => alphas[i * parts + part]! / g),
      ),
      f32('out', [rows, width], out),
    ]);
  }

  route(
    at: OpAt,
    o: Omit<reference.Routing, 'bias'> & {
      logits: Float32Array;
      bias: Float32Array | null;
      ids: Int32Array;
      weights: Float32Array;
    },
  ): PendingDump | undefined {
    const { t, topk, numExperts, scoring, normTopkProb, routedScalingFactor } = o;
    return this.pending(
      at,
      'route',
      { topk, scoring, norm_topk_prob: normTopkProb, routed_scaling_factor: routedScalingFactor },
      [
        f32('in.logits', [t, numExperts], o.logits),
        ...(o.bias ? [f32('in.bias', [numExperts], o.bias)] : []),
        i32('out.topk_ids', [t, topk], o.ids),
        f32('out.topk_weights', [t, topk], o.weights),
      ],
    );
  }

  /** A prompt from its first position on: the format knows no cache. */
  attention(
    at: OpAt,
    o: {
      s: Segment;
      qs: Float32Array;
      got: Float32Array;
      sinks: Float32Array;
      kv: Float32Array;
      compressed: Float32Array;
      visible: Uint8Array;
      entries: number;
      heads: number;
      d: number;
      ratio: number;
      window: number;
      softmaxScale: number;
      spec: RopeSpec;
    },
  ): PendingDump | undefined {
    const { s, heads, d, entries, ratio, window, spec } = o;
    if (s.p0 !== 0 || o.got.some((x) => !Number.isFinite(x))) return undefined;
    const positions = Array.from({ length: s.n }, (_, i) => i);
    const frequencies = reference.ropeFrequencies(spec);
    const out = reference.applyRope(o.got, { positions, heads, d, frequencies, inverse: true });
    return this.pending(at, 'attention', { ratio, window, ...ropeParameters(spec), scale: o.softmaxScale }, [
      f32('in.q', [s.n, heads, d], o.qs),
      f32('in.kv', [s.n, d], o.kv),
      f32('in.sinks', [heads], o.sinks),
      ...(ratio === 0 ? [] : [f32('in.kv_comp', [entries, d], o.compressed)]),
      ...(ratio === 4 ? [u8('in.selected', [s.n, entries], o.visible)] : []),
      f32('out', [s.n, heads, d], out),
    ]);
  }

  /** The head that holds the first wrong element; rotations back are part of `attention`. */
  rope(
    at: OpAt,
    o: {
      xs: Float32Array;
      got: Float32Array;
      want: Float64Array;
      positions: readonly number[];
      heads: number;
      d: number;
      spec: RopeSpec;
      compressed: boolean;
      back: boolean;
    },
  ): PendingDump | undefined {
    const { heads, d, positions, spec } = o;
    if (o.back) return undefined;
    let worst = 0;
    o.want.forEach((w, i) => {
      if (!(Math.abs(o.got[i]! - w) <= Math.abs(o.got[worst]! - o.want[worst]!))) worst = i;
    });
    const head = Math.floor(worst / d) % heads;
    const one = (x: Float32Array): number[] =>
      positions.flatMap((_, r) => Array.from(x.subarray((r * heads + head) * d, (r * heads + head + 1) * d)));
    const layer = o.compressed ? 'compressed' : 'window';
    return this.pending(at, 'rope', { ...ropeParameters(spec), layer }, [
      f32('in.x', [positions.length, d], one(o.xs)),
      i32('in.positions', [positions.length], positions),
      f32('out', [positions.length, d], one(o.got)),
    ]);
  }

  residualMix(
    at: OpAt,
    o: {
      xs: Float32Array;
      out: Float32Array;
      post: Float32Array;
      comb: Float32Array;
      got: Float32Array;
      t: number;
      hc: number;
      d: number;
    },
  ): PendingDump | undefined {
    const { t, hc, d } = o;
    return this.pending(at, 'residual_mix', {}, [
      f32('in.streams', [t, hc, d], o.xs),
      f32('in.out', [t, d], o.out),
      f32('in.post', [t, hc], o.post),
      f32('in.comb', [t, hc, hc], o.comb),
      f32('out.streams', [t, hc, d], o.got),
    ]);
  }
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
  return {
    rope_dim: ropeDim,
    rope_theta: theta,
    ...(yarn
      ? {
          yarn: {
            type: 'yarn',
            factor: yarn.factor,
            beta_fast: yarn.betaFast,
            beta_slow: yarn.betaSlow,
            original_max_position_embeddings: yarn.originalMaxPositionEmbeddings,
          },
        }
      : {}),
  };
}
