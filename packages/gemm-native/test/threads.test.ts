import { expectBytes, seeded } from '@megamoe/testkit';
import { expect, it } from 'vitest';
import { createGemmKernels } from '../src/index';
import type { GemmKernels } from '../src/index';
import { BACKENDS, bf16, ISAS, pack, poisoned } from './backends';

const r = seeded(31);
const [T, D, N, E] = [70, 512, 300, 3];
const x = r.floats(T * D);
const w0 = (i: number): number => ((i * 2654435761) % 1000) / 500 - 1;
const tall = Float32Array.from({ length: N * 20 * D }, (_, i) => w0(i));
const gateUp = r.floats(T * 2 * D);
const w = r.floats(N * D);
const experts = {
  numExperts: E,
  n: N,
  k: D,
  parts: 2 as const,
  codes: r.bytes((E * N * D) / 2),
  sf: r.scales((E * N * D) / 16),
};
const offsets = Int32Array.of(30, 30, T);
const few = Int32Array.of(1, 1, 3);
const alpha = r.floats(E * 2);
const scales = Float32Array.of(0.01, 0.02, 0.03);
const slots = Int32Array.from({ length: T * 4 }, () => r.int(T + 1) - 1);
const weights = r.floats(T * 4);
const hcWeights = [r.floats(24 * D, 0.1), r.floats(24), r.floats(3)] as const;
const identity = Int32Array.from({ length: T }, (_, i) => T - 1 - i);

/** Every operation, at sizes where the native backend does use several threads. */
const OPERATIONS: Record<string, (k: GemmKernels) => ArrayLike<number>> = {
  linear(k) {
    const out = poisoned(T * N);
    k.linear(k.packLinear({ n: N, k: D, dtype: 'bf16', data: bf16(w).bits }), x, T, out);
    return out;
  },
  'linear of one row'(k) {
    const out = poisoned(N * 20);
    k.linear(k.packLinear({ n: N * 20, k: D, dtype: 'f32', data: tall }), x, 1, out);
    return out;
  },
  linearBf16(k) {
    const out = poisoned(T * N);
    k.linearBf16(k.packLinear({ n: N, k: D, dtype: 'bf16', data: bf16(w).bits }), x, T, out);
    return out;
  },
  groupedGemmW4A4(k) {
    const codes = new Uint8Array((T * D) / 2);
    const sf = new Uint8Array((T * D) / 16);
    k.stageNvfp4(x, D, identity, offsets, scales, codes, sf);
    const out = poisoned(T * N);
    k.groupedGemmW4A4(pack(k, experts), codes, sf, offsets, alpha, null, out);
    return [...codes, ...sf, ...out];
  },
  groupedGemm(k) {
    const out = poisoned(T * N);
    k.groupedGemm(pack(k, experts), x, offsets, alpha, out);
    return out;
  },
  groupedGemmBf16(k) {
    const out = poisoned(few[2]! * N);
    k.groupedGemmBf16(pack(k, experts), x, few, alpha, out);
    return out;
  },
  nvfp4Loss(k) {
    const [codes, sf] = [new Uint8Array((T * D) / 2), new Uint8Array((T * D) / 16)];
    k.stageNvfp4(x, D, null, Int32Array.of(T), Float32Array.of(2 ** -9), codes, sf);
    const sums = new Float64Array(T * 3).fill(NaN);
    k.nvfp4Loss(x, T, D, 2 ** -9, codes, sf, sums);
    return new Uint8Array(sums.buffer);
  },
  stageNvfp4Dynamic(k) {
    const all = [new Uint8Array((T * D) / 2), new Uint8Array((T * D) / 16), new Float32Array(T)] as const;
    k.stageNvfp4Dynamic(x, D, null, T, ...all);
    return all.flatMap((a) => [...a]);
  },
  gatherRows(k) {
    const out = poisoned(T * D);
    k.gatherRows(x, D, identity, T, out);
    return out;
  },
  swiglu(k) {
    const out = poisoned(T * D);
    k.swiglu(gateUp, T, D, 1, out);
    return out;
  },
  swigluStageNvfp4(k) {
    const all = [new Uint8Array((T * D) / 2), new Uint8Array((T * D) / 16)] as const;
    k.swigluStageNvfp4(gateUp, D, 1, offsets, scales, ...all);
    return Float32Array.from([...all[0], ...all[1]]);
  },
  scatterExperts(k) {
    const out = poisoned(T * D);
    k.scatterExperts(x, D, slots, weights, T, 4, out);
    return out;
  },
  addInPlace(k) {
    const out = x.slice();
    k.addInPlace(out, x, T * D);
    return out;
  },
  rmsNorm(k) {
    const out = poisoned(T * D);
    k.rmsNorm(x, T, D, w, 1e-6, out);
    return out;
  },
  embed(k) {
    const out = poisoned(T * 3 * D);
    k.embed(k.packLinear({ n: N, k: D, dtype: 'f32', data: w }), identity, T, 3, out);
    return out;
  },
  'hcPre, hcPost, hcHead'(k) {
    const d = D / 4;
    const [post, comb, collapsed, out] = [poisoned(T * 4), poisoned(T * 16), poisoned(T * d), poisoned(T * d)];
    const streams = x.slice();
    k.hcPre(streams, T, 4, d, ...hcWeights, 1e-6, 1e-6, 20, post, comb, collapsed);
    k.hcPost(streams, collapsed, T, 4, d, post, comb);
    k.hcHead(streams, T, 4, d, ...hcWeights, 1e-6, 1e-6, out);
    return [...post, ...comb, ...collapsed, ...streams, ...out];
  },
};

it.each(Object.keys(OPERATIONS))('%s: the same bits for every number of threads', (name) => {
  const operation = OPERATIONS[name]!;
  for (const isa of ISAS) {
    const want = operation(createGemmKernels({ backend: 'native', isa, threads: 1 }));
    for (const threads of [2, 3, 7, 64])
      expectBytes(operation(createGemmKernels({ backend: 'native', isa, threads })), want);
  }
});

it.each([
  'groupedGemmW4A4',
  'groupedGemmBf16',
  'stageNvfp4Dynamic',
  'nvfp4Loss',
  'gatherRows',
  'scatterExperts',
  'addInPlace',
  'rmsNorm',
  'embed',
])('%s: the same bits on every backend', (name) => {
  const want = OPERATIONS[name]!(BACKENDS[0]!.kernels);
  for (const { kernels } of BACKENDS) expectBytes(OPERATIONS[name]!(kernels), want);
});

it('groupedGemm of NVFP4 weights: the same bits on every instruction set, alone or among many, NaN where a row has one', () => {
  const bad = x.slice();
  bad[5 * D + 7] = NaN;
  bad[40 * D] = -Infinity;
  const results = ISAS.map((isa) => {
    const kernels = createGemmKernels({ backend: 'native', isa, threads: 2 });
    const packed = pack(kernels, experts);
    const out = poisoned(T * N);
    kernels.groupedGemm(packed, bad, offsets, alpha, out);
    for (const row of [0, 29]) {
      const alone = poisoned(N);
      kernels.groupedGemm(packed, bad.subarray(row * D, (row + 1) * D), Int32Array.of(1, 1, 1), alpha, alone);
      expectBytes(alone, out.subarray(row * N, (row + 1) * N));
    }
    return out;
  });
  for (const out of results) {
    expectBytes(out, results[0]!);
    for (let i = 0; i < out.length; i++) {
      const row = Math.floor(i / N);
      if (Number.isNaN(out[i]!) !== (row === 5 || row === 40)) expect.fail(`row ${row} is ${out[i]}`);
    }
  }
});

it.each(BACKENDS)('$name allocates no buffers once warm', ({ kernels }) => {
  const d = D / 4;
  const packed = kernels.packLinear({ n: N, k: D, dtype: 'bf16', data: bf16(w).bits });
  const wide = kernels.packLinear({ n: 8, k: 64, dtype: 'bf16', data: bf16(w.subarray(0, 512)).bits });
  const weight = pack(kernels, experts);
  const codes = new Uint8Array((T * D) / 2);
  const sf = new Uint8Array((T * D) / 16);
  const rowScale = new Float32Array(T);
  const out = poisoned(T * 2 * D);
  const streams = x.slice();
  const [post, comb] = [poisoned(T * 4), poisoned(T * 16)];
  const step = (): void => {
    kernels.linear(packed, x, 2, out);
    kernels.linear(wide, x, 2, out);
    kernels.embed(packed, identity, T, 1, out);
    kernels.stageNvfp4(x, D, identity, offsets, scales, codes, sf);
    kernels.stageNvfp4Dynamic(x, D, null, 3, codes, sf, rowScale);
    kernels.groupedGemmW4A4(weight, codes, sf, few, alpha, rowScale, out);
    kernels.groupedGemm(weight, x, offsets, alpha, out);
    kernels.groupedGemmBf16(weight, x, few, alpha, out);
    kernels.swiglu(gateUp, T, D, 10, out);
    kernels.swigluStageNvfp4(gateUp, D, 10, offsets, scales, codes, sf);
    kernels.scatterExperts(x, D, slots, weights, T, 4, out);
    kernels.hcPre(streams, T, 4, d, ...hcWeights, 1e-6, 1e-6, 20, post, comb, out);
    kernels.hcPost(streams, out, T, 4, d, post, comb);
  };
  step();
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 5; i++) step();
  expect(process.memoryUsage().arrayBuffers).toBeLessThanOrEqual(before);
});
