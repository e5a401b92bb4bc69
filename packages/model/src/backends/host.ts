import type { AttentionKernels } from '@megamoe/attention';
import { checkInteger, describe, KindError, type LogitsScan } from '@megamoe/core';
import { adviseHugePages, stagedArrays, type GemmKernels } from '@megamoe/gemm-native';
import { assignSlots, createRouter, type Router } from '@megamoe/moe-router';
import {
  adoptTensor,
  HostTensor,
  hostTensor,
  onHost,
  type Backend,
  type Dtype,
  type HostArrays,
  type Operations,
  type RouterHandle,
  type RouteSpec,
  type Tensor,
} from '@megamoe/ops';

class HostRouter implements RouterHandle {
  readonly router: Router;
  readonly #isOne = true;

  /** Whether it was made here: not an object that looks like one. */
  static is(v: unknown): v is HostRouter {
    try {
      return (v as HostRouter).#isOne !== undefined; // #isOne in v takes several times as long in a running model
    } catch {
      return false;
    }
  }

  constructor(spec: RouteSpec) {
    this.router = createRouter(spec);
  }
  get numExperts(): number {
    return this.router.spec.numExperts;
  }
  get topk(): number {
    return this.router.spec.topk;
  }
}

/** Routing on typed arrays, by `@megamoe/moe-router`, which checks its arguments itself. */
const routing: Operations<HostArrays, 'route' | 'assignSlots'> = {
  route({ router, logits, rows, bias, tokenIds, tid2eid, topkIds, topkWeights }) {
    if (!HostRouter.is(router))
      throw new KindError(`route: "router" must be what createRouter made, got ${describe(router)}`);
    const r = router.router;
    if (tid2eid !== null && tokenIds !== null) r.routeHash(logits, rows, tokenIds, tid2eid, topkIds, topkWeights);
    else r.route(logits, rows, bias, topkIds, topkWeights);
  },
  assignSlots({ topkIds, rows, topk, numExperts, expertOffsets, slotToken, tokenSlots }) {
    assignSlots(topkIds, rows, topk, numExperts, expertOffsets, slotToken, tokenSlots);
  },
};

/** The memory of a tensor, of which `n` elements from `at` on are used. */
function arrayOf(fn: string, x: Tensor, at: number, n: number): HostArrays['f32' | 'i32' | 'u8' | 'bf16'] {
  if (!HostTensor.is(x)) throw new KindError(`${fn}: takes a host tensor, got ${describe(x)}`);
  const { data } = x;
  checkInteger(fn, 'n', n, 0);
  checkInteger(fn, 'from', at, 0, data.length - n);
  return data;
}

/** A backend on typed arrays, over any two sets of kernels: the JavaScript twins or the addons. */
export function createHostBackend(
  name: string,
  description: string,
  gemm: GemmKernels,
  attention: AttentionKernels,
  logitsScan: LogitsScan | null,
): Backend {
  const isNative = gemm.backend === 'native';
  const copyOut = (
    x: Tensor,
    from: number,
    n: number,
    out: { [i: number]: number; readonly length: number; set(a: ArrayLike<number>, at: number): void },
    at: number,
  ): void => {
    const data = arrayOf('download', x, from, n);
    checkInteger('download', 'at', at, 0, out.length - n);
    if (n < 64) for (let i = 0; i < n; i++) out[at + i] = data[from + i]!;
    else out.set(from === 0 && n === data.length ? data : data.subarray(from, from + n), at);
  };
  return {
    name,
    description,
    threads: gemm.threads,
    logitsScan,
    ...onHost({ ...operationsOf(gemm, attention), ...routing }),

    alloc(dtype: Dtype, shape) {
      const made = hostTensor(dtype, shape);
      if (isNative) adviseHugePages(made.data);
      return made;
    },
    tensor: (data, shape) => adoptTensor(data.slice(), shape ?? [data.length]),
    upload(out, at, data, from, n) {
      const to = arrayOf('upload', out, at, n);
      checkInteger('upload', 'from', from, 0, data.length - n);
      for (let i = 0; i < n; i++) to[at + i] = data[from + i]!;
    },
    download: copyOut,

    packLinear: (source) => gemm.packLinear(source),
    packExperts: (source) => gemm.packExperts(source),
    createExpertPool: (shape) => gemm.createExpertPool(shape),
    packedBytes: (format, matrices, n, k) => gemm.packedBytes(format, matrices, n, k),
    createStaged: (spec) => gemm.createStaged(spec),
    readStaged(staged) {
      const held = stagedArrays(staged); // views
      if (held.inputs !== 'nvfp4') return { inputs: held.inputs, rows: held.rows.slice() };
      const { inputs, codes, sf, rowScale } = held;
      return { inputs, codes: codes.slice(), sf: sf.slice(), rowScale: rowScale && rowScale.slice() };
    },
    packCompressor: (ape, norm) => attention.packCompressor(ape, norm),
    createRope: (spec) => attention.createRope(spec),
    createRouter: (spec) => new HostRouter(spec),
    createCache: (layers) => attention.createCache(layers),
    createStep: (maxRows) => attention.createStep(maxRows),
    planStep: (step, rows, cache, rope) => attention.planStep(step, rows, cache, rope),
    dispose: () => undefined,
  };
}

/** The operations of both sets, which are functions of their own: nothing stands between. */
function operationsOf(g: GemmKernels, t: AttentionKernels): Omit<Operations<HostArrays>, 'route' | 'assignSlots'> {
  return {
    embed: g.embed,
    rmsNorm: g.rmsNorm,
    linear: g.linear,
    swiglu: g.swiglu,
    add: g.add,
    gatherRows: g.gatherRows,
    hcPre: g.hcPre,
    hcPost: g.hcPost,
    hcHead: g.hcHead,
    stage: g.stage,
    swigluStage: g.swigluStage,
    groupedGemm: g.groupedGemm,
    scatterExperts: g.scatterExperts,
    ropeTables: t.ropeTables,
    rope: t.rope,
    writeWindow: t.writeWindow,
    compress: t.compress,
    indexSelect: t.indexSelect,
    attend: t.attend,
  };
}
