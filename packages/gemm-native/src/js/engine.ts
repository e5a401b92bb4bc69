import { plainView } from '@megamoe/core';
import { badScale, findBadScale, type DenseRows, type Fp8Rows, type Nvfp4Rows, type WeightFormat } from '@megamoe/ops';
import { notFinite, swigluNotFinite } from '../checks';
import { rowsOf } from '../engine';
import type { Engine, EngineArgs, WeightBuilder } from '../engine';
import { Bf16Scratch, Nvfp4Bf16 } from './bf16';
import { HyperConnections } from './hyper-connections';
import { denseRows, dot, embedRows, RowScratch } from './linear';
import type { DenseStorage, Fp8Storage } from './linear';
import { nvfp4Loss } from './loss';
import { decodeNvfp4Row, groupedW4A4, makePairDot } from './nvfp4';
import type { Nvfp4Storage } from './nvfp4';
import { LinearW4A4, linearNvfp4 } from './nvfp4-linear';
import { add, gatherRows, rmsNorm, scatterExperts, swiglu } from './rows';
import { stageNvfp4, swigluStageNvfp4 } from './stage';

/** Storage of weights [matrices, n, k], filled row by row. */
function createWeight(format: WeightFormat, matrices: number, n: number, k: number): WeightBuilder {
  const size = matrices * n * k;
  const bytes = packedBytes(format, matrices, n, k);
  if (format === 'nvfp4') {
    const storage: Nvfp4Storage = { codes: new Uint8Array(size / 2), sf: new Uint8Array(size / 16) };
    const put: WeightBuilder['put'] = (matrix, row0, _rows, data) => {
      const { codes, sf } = data as Nvfp4Rows;
      storage.codes.set(codes, ((matrix * n + row0) * k) / 2);
      storage.sf.set(sf, ((matrix * n + row0) * k) / 16);
    };
    return { storage, bytes, put };
  }
  if (format === 'fp8') {
    const tiles = Math.ceil(k / 128);
    const storage: Fp8Storage = { codes: new Uint8Array(size), scales: new Float32Array(matrices * n * tiles) };
    const put: WeightBuilder['put'] = (matrix, row0, _rows, data) => {
      const { codes, scales } = data as Fp8Rows;
      storage.codes.set(codes, (matrix * n + row0) * k);
      storage.scales.set(scales, (matrix * n + row0) * tiles);
    };
    return { storage, bytes, put };
  }
  const storage = format === 'f32' ? new Float32Array(size) : new Uint16Array(size);
  const put: WeightBuilder['put'] = (matrix, row0, _rows, data) =>
    storage.set((data as DenseRows).data, (matrix * n + row0) * k);
  return { storage, bytes, put };
}

/** Bytes of that storage. */
function packedBytes(format: WeightFormat, matrices: number, n: number, k: number): number {
  const size = matrices * n * k;
  if (format === 'nvfp4') return size / 2 + size / 16;
  return format === 'fp8' ? size + 4 * matrices * n * Math.ceil(k / 128) : size * (format === 'f32' ? 4 : 2);
}

/** The kernels in TypeScript. One engine holds its scratch, so every GemmKernels has its own. */
export function createJsEngine(): Engine {
  const pairDot = makePairDot();
  const scratch = new RowScratch();
  const activations = new Bf16Scratch();
  const nvfp4Bf16 = new Nvfp4Bf16(activations, scratch);
  const hyper = new HyperConnections();
  const linearW4A4 = new LinearW4A4();

  /** Dense weights; rows that have been rounded are given in the place of x. */
  function linearDense({ w, rows, out }: EngineArgs<'linear'>, x: Float32Array): void {
    const { groups, n, k } = w.shape;
    for (let g = 0; g < groups; g++) {
      const weight = { w: w.storage as DenseStorage, first: g * n, n, k };
      const to = { data: out, stride: groups * n, column: g * n };
      denseRows(weight, { data: x, stride: groups * k, column: g * k }, to, 0, rows, scratch);
    }
  }

  function linearNvfp4Bf16({ w, x, rows, out }: EngineArgs<'linear'>): void {
    const { groups, n, k, parts } = w.shape;
    for (let g = 0; g < groups; g++) {
      const weight = { w: w.storage as Nvfp4Storage, matrix: g, n, k, parts, alpha: w.nvfp4!.alpha };
      const to = { data: out, stride: groups * n, column: g * n };
      nvfp4Bf16.rows(weight, { data: x, stride: groups * k, column: g * k }, to, 0, rows);
    }
  }

  /** Rows that are not quantized: `a` [R, K]. */
  function groupedFloat({ w, staged, expertOffsets, alpha, out }: EngineArgs<'groupedGemm'>, a: Float32Array): void {
    const { storage, n, k, parts, format } = w;
    const isBf16 = staged.inputs === 'bf16';
    const [x, to] = [
      { data: a, stride: k, column: 0 },
      { data: out, stride: n, column: 0 },
    ];
    let start = 0;
    for (let e = 0; e < expertOffsets.length; e++) {
      const end = expertOffsets[e]!;
      if (end === start) continue;
      if (format !== 'nvfp4') {
        denseRows({ w: storage as DenseStorage, first: e * n, n, k }, x, to, start, end, scratch);
      } else if (isBf16) {
        nvfp4Bf16.rows({ w: storage as Nvfp4Storage, matrix: e, n, k, parts, alpha: alpha! }, x, to, start, end);
      } else {
        const row = scratch.floats(k);
        for (let c = 0; c < n; c++) {
          decodeNvfp4Row(storage as Nvfp4Storage, e * n + c, k, row);
          const scale = alpha![e * parts + Math.floor((c * parts) / n)]!;
          for (let r = start; r < end; r++) out[r * n + c] = scale * dot(a, r * k, row, 0, k);
        }
      }
      start = end;
    }
  }

  return {
    backend: 'js',
    isa: 'js',
    threads: 1,
    layout: 'js',
    createWeight,
    release() {
      // Typed arrays go when nobody refers to them.
    },
    packedBytes,
    embed(a) {
      embedRows(a, scratch);
    },
    rmsNorm,
    linear(a) {
      const { w, x, rows, inputs } = a;
      const { groups, k } = w.shape;
      if (inputs === 'nvfp4') {
        const bad = linearW4A4.run(pairDot, a);
        if (bad >= 0) throw notFinite('linear', x, bad);
      } else if (w.nvfp4 === null) {
        linearDense(a, inputs === 'bf16' ? activations.rounded(x, rows * groups * k) : x);
      } else if (inputs === 'bf16') {
        linearNvfp4Bf16(a);
      } else {
        linearNvfp4(a, scratch);
      }
    },
    swiglu,
    add,
    gatherRows,
    hcPre: (a) => hyper.hcPre(a),
    hcPost: (a) => hyper.hcPost(a),
    hcHead: (a) => hyper.hcHead(a),
    stage(a) {
      if (a.inputs === 'nvfp4') {
        const bad = stageNvfp4(a);
        if (bad >= 0) throw notFinite('stage', a.x, bad);
        return;
      }
      const { x, k, slotToken: index, expertOffsets, staged } = a;
      const rows = rowsOf(expertOffsets);
      if (index === null) staged.rows.set(plainView(x, Float32Array).subarray(0, rows * k));
      else gatherRows({ x, d: k, index, rows, out: staged.rows });
    },
    swigluStage(a) {
      const { gateUp, i, limit, expertOffsets, staged } = a;
      if (a.inputs === 'nvfp4') {
        const bad = swigluStageNvfp4(a, scratch.floats(i));
        if (bad >= 0) throw swigluNotFinite('swigluStage', i, bad);
        return;
      }
      swiglu({ gateUp, rows: rowsOf(expertOffsets), i, limit, out: staged.rows });
    },
    groupedGemm(a) {
      const { w, staged, expertOffsets, alpha, out } = a;
      const size = rowsOf(expertOffsets) * w.k;
      if (staged.inputs === 'nvfp4') {
        const { codes, sf, rowScale, ownScales } = staged;
        const bad = findBadScale(sf, size / 16);
        if (bad >= 0) throw badScale('groupedGemm', 'staged', sf[bad]!, bad);
        groupedW4A4(pairDot, {
          w: w.storage as Nvfp4Storage,
          shape: w,
          a: { codes, sf },
          expertOffsets,
          alpha: alpha!,
          rowScale: ownScales ? rowScale : null,
          out,
        });
      } else {
        const isRounded = staged.inputs === 'bf16' && w.format !== 'nvfp4';
        groupedFloat(a, isRounded ? activations.rounded(staged.rows, size) : staged.rows);
      }
    },
    scatterExperts,
    nvfp4Loss,
  };
}
