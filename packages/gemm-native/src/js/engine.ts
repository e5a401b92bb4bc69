import { badScale, findBadScale, notFinite } from '../checks';
import type { Engine, ExpertsBuilder, ExpertsShape, LinearBuilder } from '../engine';
import { MAX_HC } from '../limits';
import type { DenseRows, Nvfp4Rows } from '../types';
import { Bf16Scratch, FusedMultiplyAdd, groupedBf16 } from './bf16';
import { HyperConnections } from './hyper-connections';
import { denseRows, dot, embedRows, RowScratch } from './linear';
import type { DenseStorage } from './linear';
import { decodeNvfp4Row, groupedW4A4, makePairDot } from './nvfp4';
import type { Nvfp4Storage } from './nvfp4';
import { addInPlace, gatherRows, rmsNorm, scatterExperts, swiglu } from './rows';
import { stageDynamic, stageStatic } from './stage';

/** NVFP4 storage of all experts, filled part by part. */
function createNvfp4({ numExperts, n, k, parts }: ExpertsShape): ExpertsBuilder {
  const storage: Nvfp4Storage = {
    codes: new Uint8Array((numExperts * n * k) / 2),
    sf: new Uint8Array((numExperts * n * k) / 16),
  };
  return {
    storage,
    bytes: storage.codes.length + storage.sf.length,
    put(expert, part, rows) {
      const { codes, sf } = rows as Nvfp4Rows;
      const row = expert * n + (part * n) / parts;
      storage.codes.set(codes, (row * k) / 2);
      storage.sf.set(sf, (row * k) / 16);
    },
  };
}

/** BF16 or float32 storage of all experts. */
function createDense({ numExperts, n, k, parts, format }: ExpertsShape): ExpertsBuilder {
  const size = numExperts * n * k;
  const storage: DenseStorage = format === 'f32' ? new Float32Array(size) : new Uint16Array(size);
  return {
    storage,
    bytes: storage.byteLength,
    put(expert, part, rows) {
      storage.set((rows as DenseRows).data, (expert * n + (part * n) / parts) * k);
    },
  };
}

/** The kernels in TypeScript. One engine holds its scratch, so every GemmKernels has its own. */
export function createJsEngine(): Engine {
  const pairDot = makePairDot();
  const scratch = new RowScratch();
  const fma = new FusedMultiplyAdd();
  const bf16Scratch = new Bf16Scratch();
  const hyper = new HyperConnections(MAX_HC);
  return {
    backend: 'js',
    isa: 'js',
    threads: 1,
    layout: 'js',
    createLinear({ groups, n, k, dtype }) {
      const storage = dtype === 'f32' ? new Float32Array(groups * n * k) : new Uint16Array(groups * n * k);
      const put: LinearBuilder['put'] = (group, row0, _rows, data) => storage.set(data, (group * n + row0) * k);
      return { storage, bytes: storage.byteLength, put };
    },
    createExperts(shape) {
      return shape.format === 'nvfp4' ? createNvfp4(shape) : createDense(shape);
    },
    release() {
      // Typed arrays go when nobody refers to them.
    },
    packedBytes(format, matrices, n, k) {
      const size = matrices * n * k;
      return format === 'nvfp4' ? size / 2 + size / 16 : size * (format === 'f32' ? 4 : 2);
    },
    linear(storage, n, k, groups, x, m, out) {
      for (let g = 0; g < groups; g++) {
        denseRows(
          storage as DenseStorage,
          g * n * k,
          n,
          k,
          x,
          groups * k,
          g * k,
          0,
          m,
          out,
          groups * n,
          g * n,
          scratch,
        );
      }
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
          denseRows(storage as DenseStorage, e * n * k, n, k, a, k, 0, start, end, out, n, 0, scratch);
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
    groupedGemmBf16(storage, { n, k, parts }, a, expertOffsets, alpha, out) {
      groupedBf16(fma, bf16Scratch, scratch, storage as Nvfp4Storage, n, k, parts, a, expertOffsets, alpha, out);
    },
    gatherRows,
    stageNvfp4(x, k, slotToken, expertOffsets, globalDecodeScale, codes, sf) {
      const bad = stageStatic(x, k, slotToken, expertOffsets, globalDecodeScale, codes, sf);
      if (bad >= 0) throw notFinite('stageNvfp4', x, bad);
    },
    stageNvfp4Dynamic(x, k, slotToken, rows, codes, sf, rowScale) {
      const bad = stageDynamic(x, k, slotToken, rows, codes, sf, rowScale);
      if (bad >= 0) throw notFinite('stageNvfp4Dynamic', x, bad);
    },
    swiglu,
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
