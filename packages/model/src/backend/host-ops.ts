import {
  buildGatherPlan,
  gatherPlanCapacity,
  createRope,
  ropeRows,
  SequenceState,
  stateBytes,
  type AttentionKernels,
  type CompressorWeights,
  type LayerState,
  type Rope,
  type SavedState,
  type StateMark,
} from '@megamoe/attention';
import { UnsupportedError } from '@megamoe/core';
import { adviseHugePages, type GemmKernels } from '@megamoe/gemm-native';
import { assignSlots, createRouter, type Router } from '@megamoe/moe-router';
import type { LogitsScan } from '@megamoe/sampler';
import type { Tensor, TensorDtype } from '../tensor';
import type { CompressorHandle, Ops, RouterHandle, RouteSpec, Segment, SequenceStateHandle } from './ops';

interface HostTensor extends Tensor {
  readonly storage: Float32Array | Int32Array | Uint8Array;
}

type HostCompressor = CompressorHandle & CompressorWeights;

interface HostRouter extends RouterHandle {
  readonly router: Router;
}

const f32 = (t: Tensor): Float32Array => (t as HostTensor).storage as Float32Array;
const i32 = (t: Tensor): Int32Array => (t as HostTensor).storage as Int32Array;
const u8 = (t: Tensor): Uint8Array => (t as HostTensor).storage as Uint8Array;
const f32OrNull = (t: Tensor | null): Float32Array | null => (t === null ? null : f32(t));
const i32OrNull = (t: Tensor | null): Int32Array | null => (t === null ? null : i32(t));

function wrap(storage: Float32Array | Int32Array | Uint8Array): HostTensor {
  const dtype: TensorDtype = storage instanceof Float32Array ? 'f32' : storage instanceof Int32Array ? 'i32' : 'u8';
  return { dtype, length: storage.length, storage };
}

/** Buffers of native kernels are worth huge pages from here on: what is walked through for a long prompt. */
const LARGE = 8 << 20;

function allocate(dtype: TensorDtype, length: number, isNative: boolean): HostTensor {
  const storage =
    dtype === 'f32' ? new Float32Array(length) : dtype === 'i32' ? new Int32Array(length) : new Uint8Array(length);
  if (isNative && storage.byteLength >= LARGE) adviseHugePages(storage);
  return wrap(storage);
}

/** The state of `@megamoe/attention`, behind the handle that the model knows. */
class HostState implements SequenceStateHandle {
  constructor(
    readonly inner: SequenceState,
    readonly maxTokens: number,
  ) {}
  get position(): number {
    return this.inner.position;
  }
  set position(p: number) {
    this.inner.position = p;
  }
  get bytes(): number {
    return this.inner.bytes;
  }
  clone(): HostState {
    return new HostState(this.inner.clone(), this.maxTokens);
  }
  save(): unknown {
    return this.inner.save();
  }
  restore(saved: unknown): void {
    this.inner.restore(saved as SavedState);
  }
  mark(): unknown {
    return this.inner.mark();
  }
  rewind(mark: unknown): void {
    this.inner.rewind(mark as StateMark);
  }
}

const layerOf = (s: Segment, layer: number): LayerState => (s.state as HostState).inner.layers[layer]!;

function needed<T>(part: T | undefined, what: string, layer: number): T {
  if (part === undefined)
    throw new UnsupportedError(`layer ${layer} has no ${what}: its compress ratio does not call for one`);
  return part;
}

/** `Ops` on typed arrays, over any two kernel sets: the JavaScript twins or the addons. */
export function createHostOps(
  name: string,
  description: string,
  gemm: GemmKernels,
  attention: AttentionKernels,
  logitsScan: LogitsScan | null,
): Ops {
  let keyIndex = new Int32Array(0); // gather plan, grown to the largest seen
  let keyCount = new Int32Array(0);

  return {
    name,
    description,
    threads: gemm.threads,
    logitsScan,

    alloc: (dtype, length) => allocate(dtype, length, gemm.backend === 'native'),
    tensor: wrap,
    upload(out, data, n, from) {
      const to = (out as HostTensor).storage;
      for (let i = 0; i < n; i++) to[i] = data[from + i]!;
    },
    download(x, from, n, out, at) {
      const { storage } = x as HostTensor;
      if (n === storage.length) out.set(storage, at);
      else for (let i = 0; i < n; i++) out[at + i] = storage[from + i]!;
    },

    packLinear: (source) => gemm.packLinear(source),
    packExperts: (source) => gemm.packExperts(source),
    createExpertPool: (shape) => gemm.createExpertPool(shape),
    packedBytes: (format, matrices, n, k) => gemm.packedBytes(format, matrices, n, k),
    packCompressor: (ape, norm): HostCompressor => ({ kind: 'compressor', ape, norm }),
    createRope,

    linear: (w, x, m, out) => gemm.linear(w, f32(x), m, f32(out)),
    linearBf16: (w, x, m, out) => gemm.linearBf16(w, f32(x), m, f32(out)),
    linearW4A4: (w, x, m, out) => gemm.linearW4A4(w, f32(x), m, f32(out)),
    embed: (table, ids, t, repeat, out) => gemm.embed(table, i32(ids), t, repeat, f32(out)),
    rmsNorm: (x, m, d, weight, eps, out) => gemm.rmsNorm(f32(x), m, d, f32OrNull(weight), eps, f32(out)),
    addInPlace: (out, x, n) => gemm.addInPlace(f32(out), f32(x), n),
    swiglu: (gateUp, m, i, limit, out) => gemm.swiglu(f32(gateUp), m, i, limit, f32(out)),
    hcPre: (x, t, s, w, post, comb, out) =>
      gemm.hcPre(
        f32(x),
        t,
        s.hc,
        s.d,
        f32(w.fn),
        f32(w.base),
        f32(w.gain),
        s.rmsNormEps,
        s.hcEps,
        s.iters,
        f32(post),
        f32(comb),
        f32(out),
      ),
    hcPost: (x, blockOut, t, s, post, comb) => gemm.hcPost(f32(x), f32(blockOut), t, s.hc, s.d, f32(post), f32(comb)),
    hcHead: (x, t, s, w, out) =>
      gemm.hcHead(f32(x), t, s.hc, s.d, f32(w.fn), f32(w.base), f32(w.gain), s.rmsNormEps, s.hcEps, f32(out)),
    takeRows: (x, d, rows, t, out) => gemm.gatherRows(f32(x), d, i32(rows), t, f32(out)),

    createRouter: (spec: RouteSpec): HostRouter => ({ spec, router: createRouter(spec) }),
    route: (r, logits, t, bias, ids, weights) =>
      (r as HostRouter).router.route(f32(logits), t, f32OrNull(bias), i32(ids), f32(weights)),
    routeHash: (r, logits, t, tokens, table, ids, weights) =>
      (r as HostRouter).router.routeHash(f32(logits), t, i32(tokens), i32(table), i32(ids), f32(weights)),
    assignSlots: ({ spec }, ids, t, offsets, slotToken, tokenSlots) =>
      assignSlots(i32(ids), t, spec.topk, spec.numExperts, i32(offsets), i32(slotToken), i32(tokenSlots)),
    gatherRows: (x, d, slotToken, rows, out) => gemm.gatherRows(f32(x), d, i32(slotToken), rows, f32(out)),
    stageNvfp4: (x, k, slots, offsets, decode, codes, sf) =>
      gemm.stageNvfp4(f32(x), k, i32OrNull(slots), i32(offsets), f32(decode), u8(codes), u8(sf)),
    stageNvfp4Dynamic: (x, k, slots, rows, codes, sf, rowScale) =>
      gemm.stageNvfp4Dynamic(f32(x), k, i32OrNull(slots), rows, u8(codes), u8(sf), f32(rowScale)),
    swigluStageNvfp4: (gateUp, i, limit, offsets, decode, codes, sf) =>
      gemm.swigluStageNvfp4(f32(gateUp), i, limit, i32(offsets), f32(decode), u8(codes), u8(sf)),
    swigluStageNvfp4Dynamic: (gateUp, rows, i, limit, codes, sf, rowScale) =>
      gemm.swigluStageNvfp4Dynamic(f32(gateUp), rows, i, limit, u8(codes), u8(sf), f32(rowScale)),
    groupedGemmW4A4: (w, codes, sf, offsets, alpha, rowScale, out) =>
      gemm.groupedGemmW4A4(w, u8(codes), u8(sf), i32(offsets), f32(alpha), f32OrNull(rowScale), f32(out)),
    groupedGemm: (w, a, offsets, alpha, out) => gemm.groupedGemm(w, f32(a), i32(offsets), f32OrNull(alpha), f32(out)),
    groupedGemmBf16: (w, a, offsets, alpha, out) =>
      gemm.groupedGemmBf16(w, f32(a), i32(offsets), f32OrNull(alpha), f32(out)),
    scatterExperts: (y, d, slots, weights, t, topk, out) =>
      gemm.scatterExperts(f32(y), d, i32(slots), f32(weights), t, topk, f32(out)),

    createState: (spec) => new HostState(new SequenceState(spec), spec.maxTokens),
    stateBytes,
    ropeRows: (rope, positions, n, cos, sin) => ropeRows(rope as Rope, i32(positions), n, f32(cos), f32(sin)),
    rope: (x, m, heads, d, dim, cos, sin, inverse) =>
      attention.rope(f32(x), m, heads, d, dim, f32(cos), f32(sin), inverse),
    writeWindow: (s, layer, kv) => attention.writeWindow(layerOf(s, layer), f32(kv), s.row0, s.n, s.p0),
    compress(s, layer, indexer, kv, gate, w, eps, rope) {
      const state = indexer ? layerOf(s, layer).indexer : layerOf(s, layer).compressor;
      const part = needed(state, indexer ? 'indexer' : 'compressor', layer);
      attention.compress(part, f32(kv), f32(gate), s.row0, s.n, s.p0, w as HostCompressor, eps, rope as Rope);
    },
    indexSelect(s, layer, q, headWeights, heads, topk, selected) {
      const part = needed(layerOf(s, layer).indexer, 'indexer', layer);
      attention.indexSelect(part, f32(q), f32(headWeights), s.row0, s.n, s.p0, heads, topk, i32(selected));
    },
    attend(s, layer, spec, q, heads, selected, topk, sinks, softmaxScale, out) {
      const state = layerOf(s, layer);
      const cap = gatherPlanCapacity(spec, s.p0, s.n, topk);
      if (keyIndex.length < s.n * cap) {
        // Room for the last position too, so that no later step allocates.
        const { maxTokens } = s.state as HostState;
        keyIndex = new Int32Array(s.n * gatherPlanCapacity(spec, maxTokens - s.n, s.n, topk));
      }
      if (keyCount.length < s.n) keyCount = new Int32Array(s.n);
      buildGatherPlan(spec, state.ringCap, s.p0, s.n, i32OrNull(selected), topk, keyIndex, cap, keyCount);
      attention.attend(state, f32(q), s.row0, s.n, heads, keyIndex, cap, keyCount, f32(sinks), softmaxScale, f32(out));
    },
    readState(s, layer, part, from, n, out) {
      const state = (s as HostState).inner.layers[layer]!;
      if (part === 'window') {
        const { ring, ringCap, headDim: d } = state;
        for (let r = 0; r < n; r++) {
          const at = ((from + r) % ringCap) * d;
          out.set(ring.subarray(at, at + d), r * d);
        }
        return;
      }
      const { entries, dim } = needed(state[part], part, layer);
      out.set(entries.subarray(from * dim, (from + n) * dim));
    },
  };
}
