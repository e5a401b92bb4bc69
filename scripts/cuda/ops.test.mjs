/** Operations without a promise of bits, beside the CPU's: each within a few roundings. verify judges them by definition. */
import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import { call, close, cuda, model, nans, note, sameBits, seeded, sevens } from './support.mjs';

const gpu = cuda.createCudaBackend();
const host = model.createBackend({ backend: 'js' });

const both = (name, args) => [call(gpu, name, args), call(host, name, args)];

function rowsOf(r, dtype, all, k) {
  if (dtype === 'f32') return r.floats(all * k);
  if (dtype === 'bf16') return r.halves(all * k);
  if (dtype === 'fp8')
    return {
      codes: r.bytes(all * k).map((c) => ((c & 0x7f) === 0x7f ? c ^ 1 : c)),
      scales: Float32Array.from({ length: all * Math.ceil(k / 128) }, () => 0.001 + r.next()),
    };
  return { codes: r.bytes((all * k) / 2), sf: r.bytes((all * k) / 16, 127) };
}

function linearSource(r, dtype, groups, n, k) {
  const more = dtype === 'nvfp4' ? { parts: 2, weightGlobalDecodeScale: Float32Array.of(0.25, 0.5) } : {};
  return { n, k, groups, dtype, data: rowsOf(r, dtype, groups * n, k), ...more };
}

describe('products', () => {
  for (const dtype of ['f32', 'bf16', 'fp8', 'nvfp4'])
    for (const inputs of ['f32', 'bf16'])
      for (const [groups, n, k, rows] of [
        [1, 6, 16, 1],
        [1, 34, 304, 5],
        [4, 64, 512, 33],
        [1, 258, 4096, 3],
      ])
        it(`linear ${dtype}, inputs ${inputs}, ${groups} x [${n}, ${k}], ${rows} rows`, () => {
          const r = seeded(k + rows);
          const source = linearSource(r, dtype, groups, n, k);
          const args = {
            w: (b) => b.packLinear(source),
            x: r.floats(rows * groups * k),
            rows,
            inputs,
            out: nans(rows * groups * n),
          };
          const [got, want] = both('linear', args);
          close(got.out, want.out, 2e-6 * Math.sqrt(k / 16), 'out');
        });
  it('K that is no multiple of 8', () => {
    const r = seeded(3);
    for (const dtype of ['f32', 'bf16', 'fp8']) {
      const source = linearSource(r, dtype, 1, 7, 133);
      const args = { w: (b) => b.packLinear(source), x: r.floats(4 * 133), rows: 4, inputs: 'f32', out: nans(28) };
      const [got, want] = both('linear', args);
      close(got.out, want.out, 2e-6, dtype);
    }
  });
  it('a row alone has the bits that it has among 70', () => {
    const r = seeded(4);
    for (const dtype of ['f32', 'bf16', 'fp8', 'nvfp4']) {
      const [n, k] = [48, 512];
      const source = linearSource(r, dtype, 1, n, k);
      const x = r.floats(70 * k);
      const run = (from, rows) =>
        call(gpu, 'linear', {
          w: (b) => b.packLinear(source),
          x: x.slice(from * k, (from + rows) * k),
          rows,
          inputs: 'f32',
          out: nans(rows * n),
        }).out;
      const all = run(0, 70);
      for (const [from, rows] of [
        [0, 1],
        [69, 1],
        [3, 2],
        [8, 8],
        [1, 60],
      ])
        sameBits(
          run(from, rows),
          all.subarray(from * n, (from + rows) * n),
          `${dtype}: rows ${from} to ${from + rows}`,
        );
    }
  });
  for (const format of ['f32', 'bf16', 'nvfp4'])
    for (const inputs of ['f32', 'bf16'])
      it(`experts in ${format}, inputs ${inputs}`, () => {
        const r = seeded(5);
        const [numExperts, parts, n, k] = [4, 2, 32, 128];
        const rows = Array.from({ length: numExperts * parts }, () => {
          const got = rowsOf(r, format, n / parts, k);
          return format === 'nvfp4' ? got : { data: got };
        });
        const expertOffsets = Int32Array.of(1, 1, 12, 40);
        const x = r.floats(20 * k);
        const slotToken = Int32Array.from({ length: 41 }, (_, i) => (i < 40 ? i % 20 : -1));
        const alpha = format === 'nvfp4' ? r.floats(numExperts * parts) : null;
        const run = (b) => {
          const w = b.packExperts({ numExperts, n, k, parts, format, read: (e, p) => rows[e * parts + p] });
          const staged = b.createStaged({ slots: 41, k, inputs: [inputs] });
          call(b, 'stage', {
            x,
            k,
            slotToken,
            slots: 41,
            expertOffsets,
            inputs,
            globalDecodeScale: null,
            staged: () => staged,
          });
          return call(b, 'groupedGemm', {
            w: () => w,
            staged: () => staged,
            slots: 41,
            expertOffsets,
            alpha,
            out: nans(41 * n),
          }).out;
        };
        close(run(gpu).subarray(0, 40 * n), run(host).subarray(0, 40 * n), 1e-6, 'out');
      });
});

describe('rows', () => {
  const r = seeded(21);
  it('embed', () => {
    for (const dtype of ['f32', 'bf16', 'fp8']) {
      const source = { n: 9, k: 130, dtype, data: rowsOf(r, dtype, 9, 130) };
      const args = {
        table: (b) => b.packLinear(source),
        ids: Int32Array.of(8, 0, 3),
        rows: 3,
        repeat: 4,
        out: nans(3 * 4 * 130),
      };
      const [got, want] = both('embed', args);
      sameBits(got.out, want.out, dtype);
    }
  });
  it('rmsNorm, swiglu, add, gatherRows, scatterExperts', () => {
    const d = 515;
    const x = r.floats(7 * d);
    for (const weight of [null, r.floats(d)]) {
      const [got, want] = both('rmsNorm', { x, rows: 7, d, weight, eps: 1e-6, out: nans(7 * d) });
      close(got.out, want.out, 1e-7, 'rmsNorm');
    }
    const gateUp = r.floats(5 * 2 * 33, 8);
    for (const limit of [7, Infinity]) {
      const [got, want] = both('swiglu', { gateUp, rows: 5, i: 33, limit, out: nans(5 * 33) });
      close(got.out, want.out, 1e-7, 'swiglu');
    }
    const [added, sum] = both('add', { out: x, x: r.floats(7 * d), n: 7 * d });
    sameBits(added.out, sum.out, 'add');
    const [gathered, rows] = both('gatherRows', { x, d, index: Int32Array.of(6, 0, 2, 2), rows: 4, out: nans(4 * d) });
    sameBits(gathered.out, rows.out, 'gatherRows');
    const tokenSlots = Int32Array.of(0, 6, -1, 3, 5, 5);
    const [spread, weighted] = both('scatterExperts', {
      y: x,
      d,
      tokenSlots,
      topkWeights: r.floats(6),
      rows: 2,
      topk: 3,
      out: nans(2 * d),
    });
    sameBits(spread.out, weighted.out, 'scatterExperts');
  });
  it('hyper-connections', () => {
    for (const [hc, d, rows] of [
      [4, 260, 5],
      [1, 3, 1],
      [2, 64, 3],
    ]) {
      const mixes = (2 + hc) * hc;
      const input = {
        streams: r.floats(rows * hc * d),
        rows,
        hc,
        d,
        fn: r.floats(mixes * hc * d, 0.05),
        base: r.floats(mixes),
        gain: r.floats(3),
      };
      const eps = { rmsNormEps: 1e-6, hcEps: 1e-6 };
      const [a, b] = both('hcPre', {
        ...input,
        ...eps,
        iters: 20,
        post: nans(rows * hc),
        comb: nans(rows * hc * hc),
        collapsed: nans(rows * d),
      });
      for (const name of ['post', 'comb', 'collapsed']) close(a[name], b[name], 3e-7, `hcPre ${name}`);
      const [p, q] = both('hcPost', {
        streams: input.streams,
        blockOut: r.floats(rows * d),
        rows,
        hc,
        d,
        post: b.post,
        comb: b.comb,
      });
      sameBits(p.streams, q.streams, 'hcPost');
      const head = { ...input, fn: r.floats(hc * hc * d, 0.05), base: r.floats(hc), gain: r.floats(1) };
      const [h, i] = both('hcHead', { ...head, ...eps, out: nans(rows * d) });
      close(h.out, i.out, 3e-7, 'hcHead');
    }
  });
  it('rope and its tables', () => {
    for (const yarn of [undefined, { factor: 16, betaFast: 32, betaSlow: 1, originalMaxPositionEmbeddings: 65536 }]) {
      const rope = (b) => b.createRope({ ropeDim: 64, theta: 10000, yarn });
      const positions = Int32Array.of(0, 1, 77, 4095, 1000000);
      const [a, b] = both('ropeTables', { rope, positions, rows: 5, cos: nans(5 * 32), sin: nans(5 * 32) });
      close(a.cos, b.cos, 1e-7, 'cos');
      close(a.sin, b.sin, 1e-7, 'sin');
      for (const inverse of [false, true]) {
        const [x, y] = both('rope', {
          x: r.floats(5 * 3 * 96),
          rows: 5,
          heads: 3,
          d: 96,
          ropeDim: 64,
          cos: b.cos,
          sin: b.sin,
          inverse,
        });
        sameBits(x.x, y.x, 'rope');
      }
    }
  });
});

describe('routing', () => {
  for (const scoring of ['sqrtsoftplus', 'softmax', 'sigmoid'])
    it(scoring, () => {
      const r = seeded(31);
      const [numExperts, topk, rows] = [256, 6, 40];
      const logits = r.floats(rows * numExperts, 3);
      logits.fill(1.5, 0, 20); // ties
      const bias = r.floats(numExperts, 0.5);
      [bias[3], bias[9]] = [Infinity, -Infinity];
      const router = (normTopkProb) => (b) =>
        b.createRouter({ maxTokens: rows, numExperts, topk, scoring, normTopkProb, routedScalingFactor: 1.5 });
      const outs = () => ({ topkIds: sevens(rows * topk), topkWeights: nans(rows * topk) });
      for (const [own, norm] of [
        [null, true],
        [bias, true],
        [bias, false],
      ]) {
        const [a, b] = both('route', {
          router: router(norm),
          logits,
          rows,
          bias: own,
          tokenIds: null,
          tid2eid: null,
          ...outs(),
        });
        sameBits(a.topkIds, b.topkIds, 'ids');
        close(a.topkWeights, b.topkWeights, 1e-6, 'weights');
      }
      const tid2eid = Int32Array.from({ length: 50 * topk }, () => r.int(numExperts));
      const tokenIds = Int32Array.from({ length: rows }, () => r.int(50));
      const [a, b] = both('route', { router: router(true), logits, rows, bias: null, tokenIds, tid2eid, ...outs() });
      sameBits(a.topkIds, b.topkIds, 'hashed ids');
      close(a.topkWeights, b.topkWeights, 1e-6, 'hashed weights');
    });
  it('slots', () => {
    const r = seeded(32);
    for (const [rows, topk, numExperts] of [
      [0, 2, 3],
      [1, 6, 256],
      [40, 6, 256],
      [700, 6, 256],
      [5000, 8, 64],
      [3, 2, 2000],
    ]) {
      const topkIds = Int32Array.from({ length: rows * topk }, () => r.int(numExperts + 1) - 1);
      const n = rows * topk;
      const [a, b] = both('assignSlots', {
        topkIds,
        rows,
        topk,
        numExperts,
        expertOffsets: sevens(numExperts),
        slotToken: sevens(n),
        tokenSlots: sevens(n),
      });
      for (const name of ['expertOffsets', 'slotToken', 'tokenSlots']) sameBits(a[name], b[name], name);
    }
  });
});

describe('data errors', () => {
  const codes = (f) => {
    try {
      f();
    } catch (error) {
      return `${error.code} ${error.message}`;
    }
    return 'nothing';
  };
  it('surface when results are read, name operation and place, and are gone after', () => {
    const args = { x: new Float32Array(8), d: 2, index: Int32Array.of(0, 4), rows: 2, out: nans(4) };
    assert.match(
      codes(() => call(gpu, 'gatherRows', args)),
      /ERR_VALUE gatherRows: "index" .* at index 1/,
    );
    sameBits(call(gpu, 'gatherRows', { ...args, index: Int32Array.of(0, 3) }).out, new Float32Array(4), 'after');
    const staged = gpu.createStaged({ slots: 2, k: 16, inputs: ['nvfp4'] });
    const x = new Float32Array(32).fill(1);
    x[20] = NaN;
    gpu.stage({
      ...{ x: gpu.tensor(x), k: 16, slotToken: null, slots: 2, expertOffsets: gpu.tensor(Int32Array.of(2)) },
      ...{ inputs: 'nvfp4', globalDecodeScale: null, staged },
    });
    assert.match(
      codes(() => gpu.synchronize()),
      /ERR_VALUE stage: "x" must be finite .* at index 20/,
    );
    gpu.synchronize();
    note('data errors are named');
  });
});
