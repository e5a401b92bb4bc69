import { expectBytes, seeded } from '@megamoe/testkit';
import { expect, it } from 'vitest';
import { createGemmKernels } from '../src/index';
import type { GemmKernels } from '../src/index';
import { BACKENDS, bf16, ISAS, pack, poisoned, product, stageNvfp4 } from './backends';

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
    k.linear({ w: k.packLinear({ n: N, k: D, dtype: 'bf16', data: bf16(w).bits }), x, rows: T, inputs: 'f32', out });
    return out;
  },
  'linear of one row'(k) {
    const out = poisoned(N * 20);
    k.linear({ w: k.packLinear({ n: N * 20, k: D, dtype: 'f32', data: tall }), x, rows: 1, inputs: 'f32', out });
    return out;
  },
  'linear of BF16'(k) {
    const out = poisoned(T * N);
    k.linear({ w: k.packLinear({ n: N, k: D, dtype: 'bf16', data: bf16(w).bits }), x, rows: T, inputs: 'bf16', out });
    return out;
  },
  'groupedGemm of NVFP4'(k) {
    const staged = stageNvfp4(k, {
      ...{ x, k: D, slotToken: identity, expertOffsets: offsets, globalDecodeScale: scales },
    });
    const out = poisoned(T * N);
    product(k, { w: pack(k, experts), ...staged, expertOffsets: offsets, alpha, out });
    return [...staged.codes, ...staged.sf, ...out];
  },
  groupedGemm(k) {
    const out = poisoned(T * N);
    product(k, { w: pack(k, experts), rows: x, expertOffsets: offsets, inputs: 'f32', alpha, out });
    return out;
  },
  'groupedGemm of BF16'(k) {
    const out = poisoned(few[2]! * N);
    product(k, { w: pack(k, experts), rows: x, expertOffsets: few, inputs: 'bf16', alpha, out });
    return out;
  },
  nvfp4Loss(k) {
    const globalDecodeScale = 2 ** -9;
    const { codes, sf } = stageNvfp4(k, { x, k: D, globalDecodeScale: Float32Array.of(globalDecodeScale) });
    const sums = new Float64Array(T * 3).fill(NaN);
    k.nvfp4Loss({ x, rows: T, k: D, globalDecodeScale, codes, sf, sums });
    return new Uint8Array(sums.buffer);
  },
  'stage with own scales'(k) {
    const { codes, sf, rowScale } = stageNvfp4(k, { x, k: D });
    return [...codes, ...sf, ...rowScale!];
  },
  gatherRows(k) {
    const out = poisoned(T * D);
    k.gatherRows({ x, d: D, index: identity, rows: T, out });
    return out;
  },
  swiglu(k) {
    const out = poisoned(T * D);
    k.swiglu({ gateUp, rows: T, i: D, limit: 1, out });
    return out;
  },
  swigluStage(k) {
    const { codes, sf } = stageNvfp4(k, {
      ...{ gateUp, i: D, limit: 1, expertOffsets: offsets, globalDecodeScale: scales },
    });
    return [...codes, ...sf];
  },
  scatterExperts(k) {
    const out = poisoned(T * D);
    k.scatterExperts({ y: x, d: D, tokenSlots: slots, topkWeights: weights, rows: T, topk: 4, out });
    return out;
  },
  add(k) {
    const out = x.slice();
    k.add({ out, x, n: T * D });
    return out;
  },
  rmsNorm(k) {
    const out = poisoned(T * D);
    k.rmsNorm({ x, rows: T, d: D, weight: w, eps: 1e-6, out });
    return out;
  },
  embed(k) {
    const out = poisoned(T * 3 * D);
    k.embed({ table: k.packLinear({ n: N, k: D, dtype: 'f32', data: w }), ids: identity, rows: T, repeat: 3, out });
    return out;
  },
  'hcPre, hcPost, hcHead'(k) {
    const d = D / 4;
    const [post, comb, collapsed, out] = [poisoned(T * 4), poisoned(T * 16), poisoned(T * d), poisoned(T * d)];
    const streams = x.slice();
    k.hcPre({
      streams,
      rows: T,
      hc: 4,
      d,
      fn: hcWeights[0],
      base: hcWeights[1],
      gain: hcWeights[2],
      rmsNormEps: 1e-6,
      hcEps: 1e-6,
      iters: 20,
      post,
      comb,
      collapsed,
    });
    k.hcPost({ streams, blockOut: collapsed, rows: T, hc: 4, d, post, comb });
    k.hcHead({
      streams,
      rows: T,
      hc: 4,
      d,
      fn: hcWeights[0],
      base: hcWeights[1],
      gain: hcWeights[2],
      rmsNormEps: 1e-6,
      hcEps: 1e-6,
      out,
    });
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
  'groupedGemm of NVFP4',
  'groupedGemm of BF16',
  'stage with own scales',
  'nvfp4Loss',
  'gatherRows',
  'scatterExperts',
  'add',
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
    product(kernels, { w: packed, rows: bad, expertOffsets: offsets, inputs: 'f32', alpha, out });
    for (const row of [0, 29]) {
      const alone = poisoned(N);
      product(kernels, {
        w: packed,
        rows: bad.subarray(row * D, (row + 1) * D),
        expertOffsets: Int32Array.of(1, 1, 1),
        inputs: 'f32',
        alpha,
        out: alone,
      });
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
  const staged = kernels.createStaged({ slots: T, k: D, inputs: ['f32', 'bf16', 'nvfp4'] });
  const rows = { x, k: D, slotToken: identity, slots: T, expertOffsets: few, staged };
  const grouped = { w: weight, staged, slots: T, expertOffsets: few, alpha, out: poisoned(T * N) };
  const out = poisoned(T * 2 * D);
  const streams = x.slice();
  const [post, comb] = [poisoned(T * 4), poisoned(T * 16)];
  const hyper = { streams, rows: T, hc: 4, d, rmsNormEps: 1e-6, hcEps: 1e-6 };
  const [fn, base, gain] = hcWeights;
  const step = (): void => {
    kernels.linear({ w: packed, x, rows: 2, inputs: 'f32', out });
    kernels.linear({ w: wide, x, rows: 2, inputs: 'bf16', out });
    kernels.embed({ table: packed, ids: identity, rows: T, repeat: 1, out });
    for (const inputs of ['f32', 'bf16', 'nvfp4'] as const) {
      for (const globalDecodeScale of inputs === 'nvfp4' ? [scales, null] : [null]) {
        kernels.stage({ ...rows, inputs, globalDecodeScale });
        kernels.groupedGemm(grouped);
        kernels.swigluStage({
          ...{ gateUp, slots: T, i: D, limit: 10, expertOffsets: few },
          ...{ inputs, globalDecodeScale, staged },
        });
      }
    }
    kernels.swiglu({ gateUp, rows: T, i: D, limit: 10, out });
    kernels.scatterExperts({ y: x, d: D, tokenSlots: slots, topkWeights: weights, rows: T, topk: 4, out });
    kernels.hcPre({ ...hyper, fn, base, gain, iters: 20, post, comb, collapsed: out });
    kernels.hcPost({ streams, blockOut: out, rows: T, hc: 4, d, post, comb });
    kernels.hcHead({ ...hyper, fn, base, gain, out });
  };
  step();
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 5; i++) step();
  expect(process.memoryUsage().arrayBuffers).toBeLessThanOrEqual(before);
});
