import { plainView } from '@megamoe/core';
import type { ChosenKernels } from '@megamoe/native-kit';
import { badScale, POSITIONAL } from '@megamoe/ops';
import type { GemmAddon, NativeWeight } from './addon';
import { notFinite, swigluNotFinite } from './checks';
import { rowsOf } from './engine';
import type { Engine, EngineArgs } from './engine';

/** Formats as the addon numbers them. */
const FORMAT = { f32: 0, bf16: 1, nvfp4: 2, fp8: 3 } as const;

/** The kernels of the addon with one instruction set and thread count. */
export function createNativeEngine(
  { addon, isa: isaName, table: isa }: NonNullable<ChosenKernels<GemmAddon>['native']>,
  threads: number,
): Engine {
  return {
    backend: 'native',
    isa: isaName,
    threads,
    layout: 'native',
    createWeight(format, matrices, n, k) {
      const storage = addon.createWeight(FORMAT[format], matrices, n, k);
      return {
        storage,
        bytes: storage.bytes,
        put(matrix, row0, rows, source) {
          if ('sf' in source) addon.putNvfp4(storage, matrix, row0, rows, source.codes, source.sf, threads);
          else if ('scales' in source) addon.putFp8(storage, matrix, row0, rows, source.codes, source.scales, threads);
          else addon.putDense(storage, matrix, row0, rows, source.data);
        },
      };
    },
    release(storage) {
      addon.freeWeight(storage as NativeWeight);
    },
    packedBytes: (format, matrices, n, k) => addon.weightBytes(FORMAT[format], matrices, n, k),

    rmsNorm: (a) => void POSITIONAL.rmsNorm(addon.rmsNorm, isa, threads, a),
    swiglu: (a) => void POSITIONAL.swiglu(addon.swiglu, isa, threads, a),
    add: (a) => void POSITIONAL.add(addon.add, isa, threads, a),
    gatherRows: (a) => void POSITIONAL.gatherRows(addon.gatherRows, isa, threads, a),
    hcPre: (a) => void POSITIONAL.hcPre(addon.hcPre, isa, threads, a),
    hcPost: (a) => void POSITIONAL.hcPost(addon.hcPost, isa, threads, a),
    hcHead: (a) => void POSITIONAL.hcHead(addon.hcHead, isa, threads, a),
    scatterExperts: (a) => void POSITIONAL.scatterExperts(addon.scatterExperts, isa, threads, a),

    embed({ table, ids, rows, repeat, out }) {
      addon.embed(isa, threads, table.storage as NativeWeight, ids, rows, repeat, out);
    },
    linear({ w, x, rows, inputs, out }) {
      const storage = w.storage as NativeWeight;
      const { nvfp4 } = w;
      const { parts } = w.shape;
      if (inputs === 'bf16') {
        addon.linearBf16(isa, threads, storage, parts, nvfp4 === null ? null : nvfp4.alpha, x, rows, out);
      } else if (nvfp4 === null) {
        addon.linear(isa, threads, storage, x, rows, out);
      } else if (inputs === 'f32') {
        addon.linearNvfp4(isa, threads, storage, parts, nvfp4.alpha, x, rows, out);
      } else {
        const scale = nvfp4.input === 'row' ? 0 : nvfp4.input!;
        const bad = addon.linearW4A4(isa, threads, storage, parts, nvfp4.alphaW4a4, scale, x, rows, out);
        if (bad >= 0) throw notFinite('linear', x, bad);
      }
    },
    stage(a) {
      if (a.inputs === 'nvfp4') {
        const bad = stageNvfp4(a);
        if (bad >= 0) throw notFinite('stage', a.x, bad);
        return;
      }
      const { x, k, slotToken, expertOffsets, staged } = a;
      const rows = rowsOf(expertOffsets);
      if (slotToken === null)
        staged.rows.set(x.length === rows * k ? x : plainView(x, Float32Array).subarray(0, rows * k));
      else addon.gatherRows(isa, threads, x, k, slotToken, rows, staged.rows);
    },
    swigluStage(a) {
      const { gateUp, i, limit, expertOffsets, staged } = a;
      if (a.inputs === 'nvfp4') {
        const bad = swigluStageNvfp4(a);
        if (bad >= 0) throw swigluNotFinite('swigluStage', i, bad);
        return;
      }
      addon.swiglu(isa, threads, gateUp, rowsOf(expertOffsets), i, limit, staged.rows);
    },
    groupedGemm({ w, staged, expertOffsets, alpha, out }) {
      const storage = w.storage as NativeWeight;
      const { parts } = w;
      const { inputs, codes, sf, rows } = staged;
      if (inputs === 'f32') {
        addon.groupedGemm(isa, threads, storage, parts, rows, expertOffsets, alpha, out);
      } else if (inputs === 'bf16') {
        addon.groupedGemmBf16(isa, threads, storage, parts, rows, expertOffsets, alpha, out);
      } else {
        const scale = staged.ownScales ? staged.rowScale : null;
        const bad = addon.groupedGemmW4A4(isa, threads, storage, parts, codes, sf, expertOffsets, alpha!, scale, out);
        if (bad >= 0) throw badScale('groupedGemm', 'staged', sf[bad]!, bad);
      }
    },

    nvfp4Loss({ x, rows, k, globalDecodeScale, codes, sf, sums }) {
      addon.nvfp4Loss(isa, threads, x, rows, k, globalDecodeScale, codes, sf, sums);
    },
  };

  function stageNvfp4({ x, k, slotToken, expertOffsets, globalDecodeScale: scales, staged }: EngineArgs<'stage'>) {
    const { codes, sf, rowScale } = staged;
    if (scales !== null) return addon.stageNvfp4(isa, threads, x, k, slotToken, expertOffsets, scales, codes, sf);
    return addon.stageNvfp4Dynamic(isa, threads, x, k, slotToken, rowsOf(expertOffsets), codes, sf, rowScale);
  }

  function swigluStageNvfp4(a: EngineArgs<'swigluStage'>) {
    const { gateUp, i, limit, expertOffsets: ends, globalDecodeScale: scales } = a;
    const { codes, sf, rowScale } = a.staged;
    if (scales !== null) return addon.swigluStageNvfp4(isa, threads, gateUp, i, limit, ends, scales, codes, sf);
    return addon.swigluStageNvfp4Dynamic(isa, threads, gateUp, i, limit, rowsOf(ends), codes, sf, rowScale);
  }
}
