import { badScale, findBadScale, notFinite, swigluNotFinite } from '../checks';
import type { Engine, WeightBuilder } from '../engine';
import { MAX_HC } from '../limits';
import type { DenseRows, ExpertFormat, Fp8Rows, Nvfp4Rows } from '../types';
import { Bf16Scratch, Nvfp4Bf16 } from './bf16';
import { HyperConnections } from './hyper-connections';
import { denseRows, dot, embedRows, RowScratch } from './linear';
import type { DenseStorage, Fp8Storage } from './linear';
import { decodeNvfp4Row, groupedW4A4, makePairDot } from './nvfp4';
import type { Nvfp4Storage } from './nvfp4';
import { LinearW4A4, linearNvfp4 } from './nvfp4-linear';
import { addInPlace, gatherRows, rmsNorm, scatterExperts, swiglu } from './rows';
import { nvfp4Loss } from './loss';
import { stageDynamic, stageStatic, stageSwiglu } from './stage';

/** Storage of weights [matrices, n, k], filled row by row. */
function createWeight(format: ExpertFormat, matrices: number, n: number, k: number): WeightBuilder {
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
function packedBytes(format: ExpertFormat, matrices: number, n: number, k: number): number {
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
  const hyper = new HyperConnections(MAX_HC);
  const linearW4A4 = new LinearW4A4();
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
    linear(storage, n, k, groups, x, m, out) {
      for (let g = 0; g < groups; g++) {
        denseRows(storage as DenseStorage, g * n, n, k, x, groups * k, g * k, 0, m, out, groups * n, g * n, scratch);
      }
    },
    linearBf16(storage, { groups, n, k, parts }, alpha, x, m, out) {
      if (alpha === null) return this.linear(storage, n, k, groups, activations.rounded(x, m * groups * k), m, out);
      const w = storage as Nvfp4Storage;
      for (let g = 0; g < groups; g++)
        nvfp4Bf16.rows(w, g, n, k, parts, alpha, x, groups * k, g * k, 0, m, out, groups * n, g * n);
    },
    linearNvfp4(storage, shape, alpha, x, m, out) {
      linearNvfp4(storage as Nvfp4Storage, shape, alpha, x, m, out, scratch);
    },
    linearW4A4(storage, shape, alpha, inputScale, x, m, out) {
      const bad = linearW4A4.run(pairDot, storage as Nvfp4Storage, shape, alpha, inputScale, x, m, out);
      if (bad >= 0) throw notFinite('linearW4A4', x, bad);
    },
    groupedGemmW4A4(storage, { n, k, parts }, aCodes, aSf, expertOffsets, alpha, rowScale, out) {
      const rows = expertOffsets[expertOffsets.length - 1]!;
      const bad = findBadScale(aSf, (rows * k) / 16);
      if (bad >= 0) throw badScale('groupedGemmW4A4', 'aSf', aSf[bad]!, bad);
      groupedW4A4(pairDot, storage as Nvfp4Storage, n, k, parts, aCodes, aSf, expertOffsets, alpha, rowScale, out);
    },
    groupedGemm(storage, { n, k, parts, format }, a, expertOffsets, alpha, out) {
      let start = 0;
      for (let e = 0; e < expertOffsets.length; e++) {
        const end = expertOffsets[e]!;
        if (end === start) continue;
        if (format !== 'nvfp4') {
          denseRows(storage as DenseStorage, e * n, n, k, a, k, 0, start, end, out, n, 0, scratch);
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
    },
    groupedGemmBf16(storage, shape, a, expertOffsets, alpha, out) {
      const { n, k, parts } = shape;
      if (alpha === null) {
        const rows = expertOffsets[expertOffsets.length - 1]!;
        return this.groupedGemm(storage, shape, activations.rounded(a, rows * k), expertOffsets, null, out);
      }
      let start = 0;
      for (let e = 0; e < expertOffsets.length; e++) {
        const end = expertOffsets[e]!;
        nvfp4Bf16.rows(storage as Nvfp4Storage, e, n, k, parts, alpha, a, k, 0, start, end, out, n, 0);
        start = end;
      }
    },
    gatherRows,
    stageNvfp4(x, k, slotToken, expertOffsets, globalDecodeScale, codes, sf) {
      const bad = stageStatic(x, k, slotToken, expertOffsets, globalDecodeScale, codes, sf);
      if (bad >= 0) throw notFinite('stageNvfp4', x, bad);
    },
    nvfp4Loss,
    stageNvfp4Dynamic(x, k, slotToken, rows, codes, sf, rowScale) {
      const bad = stageDynamic(x, k, slotToken, rows, codes, sf, rowScale);
      if (bad >= 0) throw notFinite('stageNvfp4Dynamic', x, bad);
    },
    swiglu,
    swigluStageNvfp4(gateUp, i, limit, expertOffsets, globalDecodeScale, codes, sf) {
      const rows = expertOffsets[expertOffsets.length - 1]!;
      const row = scratch.floats(i);
      const bad = stageSwiglu(gateUp, rows, i, limit, expertOffsets, globalDecodeScale, codes, sf, row);
      if (bad >= 0) throw swigluNotFinite('swigluStageNvfp4', i, bad);
    },
    swigluStageNvfp4Dynamic(gateUp, rows, i, limit, codes, sf, rowScale) {
      const bad = stageSwiglu(gateUp, rows, i, limit, null, rowScale, codes, sf, scratch.floats(i));
      if (bad >= 0) throw swigluNotFinite('swigluStageNvfp4Dynamic', i, bad);
    },
    scatterExperts,
    addInPlace,
    rmsNorm,
    embed(storage, _n, k, ids, t, repeat, out) {
      embedRows(storage as DenseStorage, k, ids, t, repeat, out, scratch);
    },
    hcPre: hyper.hcPre.bind(hyper),
    hcPost: hyper.hcPost.bind(hyper),
    hcHead: hyper.hcHead.bind(hyper),
  };
}
