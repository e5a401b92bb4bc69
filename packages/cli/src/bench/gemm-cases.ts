import { stagedArrays, type GemmKernels } from '@megamoe/gemm-native';
import type { ExpertsWeight, InputPrecision, Nvfp4Rows, Staged } from '@megamoe/ops';
import { checkDot, floatBuffer, lazy, nvfp4At, type Nvfp4Matrix, Random, randomNvfp4 } from './data';
import { alternate, compare, type Floor } from './measure';
import { SkipCase, type BenchCase, type BenchContext } from './types';

/** A layer's expert matrices, as DeepSeek-V4-Flash has them: hidden 4096, experts of 2048, gate and up fused. */
interface Experts {
  readonly count: number;
  readonly gateUp: Nvfp4Matrix;
  readonly down: Nvfp4Matrix;
  readonly w13: ExpertsWeight;
  readonly w2: ExpertsWeight;
}

/** Bytes of a matrix in NVFP4: half a byte and a sixteenth of a scale for each element. */
const nvfp4Bytes = (n: number, k: number): number => (n * k * 9) / 16;

/** Random experts, packed; all have the same numbers, at different places in memory. */
function packExperts(kernels: GemmKernels, count: number, d: number, inter: number): Experts {
  const random = new Random(7);
  const gateUp = randomNvfp4(random, 2 * inter, d);
  const down = randomNvfp4(random, d, inter);
  const half = { codes: inter * (d / 2), sf: inter * (d / 16) };
  const w13 = kernels.packExperts({
    numExperts: count,
    n: 2 * inter,
    k: d,
    parts: 2,
    format: 'nvfp4',
    read: (_, part) => ({
      codes: gateUp.codes.subarray(part * half.codes, (part + 1) * half.codes),
      sf: gateUp.sf.subarray(part * half.sf, (part + 1) * half.sf),
    }),
  });
  const w2 = kernels.packExperts({ numExperts: count, n: d, k: inter, format: 'nvfp4', read: () => down });
  return { count, gateUp, down, w13, w2 };
}

/** Offsets that give all `m` rows to expert `e`. */
const onlyExpert = (count: number, e: number, m: number): Int32Array =>
  Int32Array.from({ length: count }, (_, i) => (i < e ? 0 : m));

/** What is staged, as a matrix. */
function stagedMatrix(staged: Staged, n: number, k: number): Nvfp4Matrix {
  const { codes, sf } = stagedArrays(staged) as Nvfp4Rows;
  return { n, k, codes, sf };
}

/** Grouped GEMMs on the gate/up matrix: a single row, and many. */
export function gemmCases(c: BenchContext): BenchCase[] {
  const [d, inter] = c.quick ? [256, 128] : [4096, 2048];
  const [some, many] = c.quick ? [16, 32] : [64, 512];
  const n = 2 * inter;
  const count = c.quick ? 4 : 16; // 16 experts are 151 MB: cold in turn
  const packed = lazy(() => packExperts(c.gemm(1), count, d, inter));
  const bytes = nvfp4Bytes(n, d);

  /** Calls for experts in turn, enough of them that a run is some milliseconds. */
  const rotated = (m: number, call: (offsets: Int32Array) => void): { calls: number; run: () => void } => {
    const calls = m === 1 ? count : Math.max(1, Math.min(count, Math.floor((c.quick ? 2e6 : 2e9) / (2 * m * n * d))));
    const offsets = Array.from({ length: count }, (_, e) => onlyExpert(count, e, m));
    let e = 0;
    return {
      calls,
      run: () => {
        for (let i = 0; i < calls; i++) {
          call(offsets[e]!);
          e = (e + 1) % count;
        }
      },
    };
  };
  const floors = (m: number, calls: number, kind: 'vpdpbusd' | 'vdpbf16ps'): Floor[] =>
    m === 1 ? [{ kind: 'read', amount: calls * bytes }] : [{ kind, amount: calls * 2 * m * n * d }];

  const w4a4 = (m: number, target: BenchCase['target']): BenchCase => ({
    name: m === 1 ? 'w4a4-gemv' : 'w4a4-gemm',
    shape: `m=${m} n=${n} k=${d}`,
    ...(target === undefined ? {} : { target }),
    run(threads) {
      const { gateUp, w13 } = packed();
      const kernels = c.gemm(threads);
      const x = new Random(m).floats(m * d);
      const scale = new Float32Array(count).fill(4 / (6 * 448));
      const alpha = new Float32Array(count * 2).fill(scale[0]!);
      const out = floatBuffer(m * n);
      const staged = kernels.createStaged({ slots: m, k: d, inputs: ['nvfp4'] });
      const { calls, run } = rotated(m, (expertOffsets) => {
        kernels.stage({
          ...{ x, k: d, slotToken: null, slots: m, expertOffsets, inputs: 'nvfp4' as const },
          ...{ globalDecodeScale: scale, staged },
        });
        kernels.groupedGemm({ w: w13, staged, slots: m, expertOffsets, alpha, out });
      });
      run();
      const a = stagedMatrix(staged, m, d);
      for (const [r, col] of [
        [0, 0],
        [m - 1, n - 1],
        [m >> 1, n >> 1],
      ] as const) {
        const b = (i: number): number => nvfp4At(gateUp, col, i);
        checkDot('groupedGemm', out[r * n + col]!, d, (i) => nvfp4At(a, r, i), b, { factor: scale[0]! });
        // Quantized inputs against the exact ones: a block of 16 is off by at most a quarter of its largest.
        checkDot('stage', out[r * n + col]!, d, (i) => x[r * d + i]!, b, { tolerance: 0.25 });
      }
      return compare(c, threads, run, floors(m, calls, 'vpdpbusd'));
    },
  });

  /** Products of activations that are not quantized: rounded to BF16, or float32 as they are. */
  const unquantized = (
    name: string,
    inputs: Exclude<InputPrecision, 'nvfp4'>,
    m: number,
    target?: BenchCase['target'],
  ): BenchCase => ({
    name,
    shape: `m=${m} n=${n} k=${d}`,
    ...(target === undefined ? {} : { target }),
    run(threads) {
      const { gateUp, w13 } = packed();
      const kernels = c.gemm(threads);
      const x = new Random(m).floats(m * d);
      const alpha = new Float32Array(count * 2).fill(0.5);
      const out = floatBuffer(m * n);
      const staged = kernels.createStaged({ slots: m, k: d, inputs: [inputs] });
      const stage = { x, k: d, slotToken: null, slots: m, inputs, globalDecodeScale: null, staged };
      kernels.stage({ ...stage, expertOffsets: onlyExpert(count, 0, m) }); // what stands in the buffer serves every expert
      const { calls, run } = rotated(m, (expertOffsets) =>
        kernels.groupedGemm({ w: w13, staged, slots: m, expertOffsets, alpha, out }),
      );
      run();
      for (const [r, col] of [
        [0, 0],
        [m - 1, n - 1],
      ] as const) {
        checkDot(
          `groupedGemm ${inputs}`,
          out[r * n + col]!,
          d,
          (i) => x[r * d + i]!,
          (i) => nvfp4At(gateUp, col, i),
          // BF16 keeps 8 bits of an activation.
          { factor: 0.5, ...(inputs === 'bf16' ? { tolerance: 0.005 } : {}) },
        );
      }
      return compare(c, threads, run, floors(m, calls, 'vdpbf16ps'));
    },
  });

  return [
    w4a4(1, (threads) => (threads === 1 ? 0.9 : 0.88)),
    w4a4(8, 0.6),
    w4a4(some, 0.6),
    w4a4(many, 0.7),
    unquantized('w4a16-gemv', 'f32', 1, 0.85), // float32 activations, which at one row cost no more
    unquantized('w4a16-gemm', 'bf16', some),
    unquantized('w4a16-gemm', 'bf16', many, 0.9),
    unquantized('w4a32-gemm', 'f32', some),
    unquantized('w4a32-gemm', 'f32', many),
  ];
}

/** A whole mixture of experts: stage, gate/up, SwiGLU, stage, down, weighted sum; the router is not in it. */
export function moeCases(c: BenchContext): BenchCase[] {
  const [d, inter, count, topk] = c.quick ? [128, 64, 8, 2] : [4096, 2048, 64, 6];
  const packed = lazy(() => packExperts(c.gemm(1), count, d, inter));
  const moe = (t: number, target?: number): BenchCase => ({
    name: 'moe',
    shape: `tokens=${t} experts=${count} topk=${topk} d=${d} inter=${inter}`,
    ...(target === undefined ? {} : { target }),
    run(threads) {
      const experts = packed();
      const kernels = c.gemm(threads);
      const slots = t * topk;
      const route = randomRoute(t, topk, count);
      const { expertOffsets, tokenSlots } = route;
      const x = new Random(t).floats(t * d);
      const scale13 = new Float32Array(count).fill(4 / (6 * 448));
      const scale2 = new Float32Array(count).fill(4 / (6 * 448));
      const alpha13 = new Float32Array(count * 2).fill(scale13[0]! / Math.sqrt(d)); // hidden values of about 1
      const alpha2 = new Float32Array(count).fill(scale2[0]!);
      const staged = kernels.createStaged({ slots, k: Math.max(d, inter), inputs: ['nvfp4'] });
      const gateUp = floatBuffer(slots * 2 * inter);
      const hidden = floatBuffer(slots * inter);
      const down = floatBuffer(slots * d);
      const out = floatBuffer(t * d);
      const run = (): void => {
        const to = { slots, expertOffsets, inputs: 'nvfp4', staged } as const;
        kernels.stage({ ...to, x, k: d, slotToken: route.slotToken, globalDecodeScale: scale13 });
        kernels.groupedGemm({ w: experts.w13, staged, slots, expertOffsets, alpha: alpha13, out: gateUp });
        kernels.swigluStage({ ...to, gateUp, i: inter, limit: 10, globalDecodeScale: scale2 });
        kernels.groupedGemm({ w: experts.w2, staged, slots, expertOffsets, alpha: alpha2, out: down });
        kernels.scatterExperts({ y: down, d, tokenSlots, topkWeights: route.weights, rows: t, topk, out });
      };
      run();
      // For the check: the fused operation keeps no floats.
      kernels.swiglu({ gateUp, rows: slots, i: inter, limit: 10, out: hidden });
      const a = stagedMatrix(staged, slots, inter);
      checkMoe(
        { experts, x, a, shape: { t, topk, d, inter }, route, gateUp, hidden, down, out },
        alpha13[0]!,
        alpha2[0]!,
      );
      const operations = 2 * slots * (2 * inter * d + d * inter);
      const read = route.active * (nvfp4Bytes(2 * inter, d) + nvfp4Bytes(d, inter));
      const floors: Floor[] = [{ kind: 'vpdpbusd', amount: operations }];
      if (target === undefined) floors.push({ kind: 'read', amount: read });
      return compare(c, threads, run, floors);
    },
  });
  const [some, many] = c.quick ? [16, 32] : [64, 512];
  return [moe(1), moe(8), moe(some), moe(many, 0.58)];
}

interface Route {
  readonly expertOffsets: Int32Array;
  readonly slotToken: Int32Array;
  readonly tokenSlots: Int32Array;
  readonly weights: Float32Array;
  /** Experts with at least one row. */
  readonly active: number;
}

/** Distinct random experts for each token, slots ordered by expert and then token. */
function randomRoute(t: number, topk: number, experts: number): Route {
  const random = new Random(t + 1);
  const chosen = Array.from({ length: t }, () => {
    const ids = new Set<number>();
    while (ids.size < topk) ids.add(random.below(experts));
    return [...ids];
  });
  const expertOffsets = new Int32Array(experts);
  const slotToken = new Int32Array(t * topk);
  const tokenSlots = new Int32Array(t * topk);
  let slot = 0;
  let active = 0;
  for (let e = 0; e < experts; e++) {
    const first = slot;
    chosen.forEach((ids, token) => {
      const j = ids.indexOf(e);
      if (j < 0) return;
      slotToken[slot] = token;
      tokenSlots[token * topk + j] = slot++;
    });
    expertOffsets[e] = slot;
    if (slot > first) active++;
  }
  return { expertOffsets, slotToken, tokenSlots, weights: random.floats(t * topk, 0.5), active };
}

/** What stands between the steps of a mixture of experts. */
interface MoeValues {
  readonly experts: Experts;
  readonly x: Float32Array;
  /** Staged inputs of the down projection. */
  readonly a: Nvfp4Matrix;
  readonly shape: { readonly t: number; readonly topk: number; readonly d: number; readonly inter: number };
  readonly route: Route;
  readonly gateUp: Float32Array;
  readonly hidden: Float32Array;
  readonly down: Float32Array;
  readonly out: Float32Array;
}

/** Checks each stage at a few places against the stage before it. */
function checkMoe({ experts, x, a, shape, route, ...values }: MoeValues, alpha13: number, alpha2: number): void {
  const { t, topk, d, inter } = shape;
  const { slotToken, tokenSlots, weights } = route;
  const { gateUp, hidden, down, out } = values;
  const slots = t * topk;
  for (const slot of [0, slots - 1]) {
    const row = slotToken[slot]! * d;
    const scale13 = 4 / (6 * 448);
    for (const col of [0, 2 * inter - 1]) {
      checkDot(
        'moe gate/up',
        gateUp[slot * 2 * inter + col]!,
        d,
        (i) => x[row + i]! / scale13,
        (i) => nvfp4At(experts.gateUp, col, i),
        { factor: alpha13, tolerance: 0.25 },
      );
    }
    const [g, u] = [gateUp[slot * 2 * inter]!, gateUp[slot * 2 * inter + inter]!];
    checkDot(
      'moe SwiGLU',
      hidden[slot * inter]!,
      1,
      () => Math.min(g, 10) / (1 + Math.exp(-Math.min(g, 10))),
      () => Math.max(-10, Math.min(10, u)),
    );
    for (const col of [0, d - 1]) {
      checkDot(
        'moe down',
        down[slot * d + col]!,
        inter,
        (i) => nvfp4At(a, slot, i),
        (i) => nvfp4At(experts.down, col, i),
        { factor: alpha2 },
      );
    }
  }
  for (const token of [0, t - 1]) {
    checkDot(
      'moe sum',
      out[token * d]!,
      topk,
      (j) => weights[token * topk + j]!,
      (j) => down[tokenSlots[token * topk + j]! * d]!,
    );
  }
}

/** The machine itself, for the record: a later run on another machine can be read only beside these. */
export function ceilingCases(c: BenchContext): BenchCase[] {
  const kinds = [
    ['read', 2 ** 28, 'GB/s'],
    ['copy', 2 ** 27, 'GB/s'],
    ['vpdpbusd', 2 ** 30, 'GOPS'],
    ['vdpbf16ps', 2 ** 30, 'GFLOPS'],
    ['fma', 2 ** 29, 'GFLOPS'],
  ] as const;
  return kinds.map(([kind, amount, unit]) => ({
    name: `ceiling-${kind}`,
    shape: kind === 'read' || kind === 'copy' ? `bytes=${c.quick ? amount / 16 : amount}` : `ops=${amount}`,
    run(threads) {
      if (!c.ceilings.has(kind)) throw new SkipCase('this processor has no such instruction, or there is no addon');
      const floor = { kind, amount: c.quick ? amount / 16 : amount };
      const { rates } = alternate(c, threads, () => undefined, [floor]);
      return { median: rates[0]! / 1e9, unit, ceiling: rates[0]! / 1e9 };
    },
  }));
}
