import type { AttentionKernels } from '@megamoe/attention';
import type { LogitsScan } from '@megamoe/core';
import { adviseHugePages, stagedArrays, type GemmKernels } from '@megamoe/gemm-native';
import { assignSlots, createRouter, type Router } from '@megamoe/moe-router';
import type { HostTensor } from '@megamoe/ops';
import {
  adoptTensor,
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
    const r = (router as HostRouter).router;
    if (tid2eid !== null && tokenIds !== null) r.routeHash(logits, rows, tokenIds, tid2eid, topkIds, topkWeights);
    else r.route(logits, rows, bias, topkIds, topkWeights);
  },
  assignSlots({ topkIds, rows, topk, numExperts, expertOffsets, slotToken, tokenSlots }) {
    assignSlots(topkIds, rows, topk, numExperts, expertOffsets, slotToken, tokenSlots);
  },
};

const arrayOf = (x: Tensor): HostArrays['f32' | 'i32' | 'u8' | 'bf16'] => (x as HostTensor).data;

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
    out: { [i: number]: number; set(a: ArrayLike<number>, at: number): void },
    at: number,
  ): void => {
    const data = arrayOf(x);
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
      const to = arrayOf(out);
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
