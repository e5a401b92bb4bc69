import { UnsupportedError } from '@megamoe/core';
import type { AddonBase } from '@megamoe/native-kit';
import { badScale, notFinite, swigluNotFinite } from './checks';
import type { Engine } from './engine';

/** Memory of packed weights, owned by the addon and freed when it is garbage. */
export interface NativeWeight {
  readonly bytes: number;
}

/** Formats as the addon numbers them. */
const FORMAT = { f32: 0, bf16: 1, nvfp4: 2, fp8: 3 } as const;

type F32 = Float32Array;
type I32 = Int32Array;
type U8 = Uint8Array;

/** Functions of the addon; native/bindings has the other side. `isa` and `threads` come first where work is done. */
export interface GemmAddon extends AddonBase {
  /** Instruction sets that can be used here. */
  readonly isas: readonly string[];
  createWeight(format: number, matrices: number, n: number, k: number): NativeWeight;
  /** Frees the memory now; the object cannot be used after that. */
  freeWeight(w: NativeWeight): void;
  weightBytes(format: number, matrices: number, n: number, k: number): number;
  putDense(w: NativeWeight, matrix: number, row0: number, rows: number, data: F32 | Uint16Array): void;
  putFp8(w: NativeWeight, matrix: number, row0: number, rows: number, codes: U8, scales: F32, threads: number): void;
  putNvfp4(w: NativeWeight, matrix: number, row0: number, rows: number, codes: U8, sf: U8, threads: number): void;
  linear(isa: number, threads: number, w: NativeWeight, x: F32, m: number, out: F32): void;
  /** alpha: null but for nvfp4; so in groupedGemmBf16. */
  linearBf16(
    isa: number,
    threads: number,
    w: NativeWeight,
    parts: number,
    alpha: F32 | null,
    x: F32,
    m: number,
    out: F32,
  ): void;
  linearNvfp4(
    isa: number,
    threads: number,
    w: NativeWeight,
    parts: number,
    alpha: F32,
    x: F32,
    m: number,
    out: F32,
  ): void;
  /** inputScale 0: each row's own. Returns -1, or the index in x of a value that is not finite. */
  linearW4A4(
    isa: number,
    threads: number,
    w: NativeWeight,
    parts: number,
    alpha: F32,
    inputScale: number,
    x: F32,
    m: number,
    out: F32,
  ): number;
  /** Returns -1, or the index in aSf of a byte that is no scale. */
  groupedGemmW4A4(
    isa: number,
    threads: number,
    w: NativeWeight,
    parts: number,
    aCodes: U8,
    aSf: U8,
    expertOffsets: I32,
    alpha: F32,
    rowScale: F32 | null,
    out: F32,
  ): number;
  groupedGemm(
    isa: number,
    threads: number,
    w: NativeWeight,
    parts: number,
    a: F32,
    expertOffsets: I32,
    alpha: F32 | null,
    out: F32,
  ): void;
  groupedGemmBf16(
    isa: number,
    threads: number,
    w: NativeWeight,
    parts: number,
    a: F32,
    expertOffsets: I32,
    alpha: F32 | null,
    out: F32,
  ): void;
  gatherRows(isa: number, threads: number, x: F32, d: number, slotToken: I32, rows: number, out: F32): void;
  /** Returns -1, or the index in x of a value that is not finite; so does stageNvfp4Dynamic. */
  stageNvfp4(
    isa: number,
    threads: number,
    x: F32,
    k: number,
    slotToken: I32 | null,
    expertOffsets: I32,
    globalDecodeScale: F32,
    codes: U8,
    sf: U8,
  ): number;
  nvfp4Loss(
    isa: number,
    threads: number,
    x: F32,
    m: number,
    k: number,
    globalDecodeScale: number,
    codes: U8,
    sf: U8,
    sums: Float64Array,
  ): void;
  stageNvfp4Dynamic(
    isa: number,
    threads: number,
    x: F32,
    k: number,
    slotToken: I32 | null,
    rows: number,
    codes: U8,
    sf: U8,
    rowScale: F32,
  ): number;
  swiglu(isa: number, threads: number, gateUp: F32, m: number, i: number, limit: number, out: F32): void;
  /** Returns -1, or the index in [R, i] of a result that is not finite; so does swigluStageNvfp4Dynamic. */
  swigluStageNvfp4(
    isa: number,
    threads: number,
    gateUp: F32,
    i: number,
    limit: number,
    expertOffsets: I32,
    globalDecodeScale: F32,
    codes: U8,
    sf: U8,
  ): number;
  swigluStageNvfp4Dynamic(
    isa: number,
    threads: number,
    gateUp: F32,
    i: number,
    limit: number,
    rows: number,
    codes: U8,
    sf: U8,
    rowScale: F32,
  ): number;
  scatterExperts(
    isa: number,
    threads: number,
    y: F32,
    d: number,
    tokenSlots: I32,
    topkWeights: F32,
    t: number,
    topk: number,
    out: F32,
  ): void;
  addInPlace(isa: number, threads: number, out: F32, x: F32, n: number): void;
  rmsNorm(isa: number, threads: number, x: F32, m: number, d: number, weight: F32 | null, eps: number, out: F32): void;
  embed(isa: number, threads: number, w: NativeWeight, ids: I32, t: number, repeat: number, out: F32): void;
  hcPre(
    isa: number,
    threads: number,
    streams: F32,
    t: number,
    hc: number,
    d: number,
    fn: F32,
    base: F32,
    scale: F32,
    rmsNormEps: number,
    hcEps: number,
    iters: number,
    post: F32,
    comb: F32,
    collapsed: F32,
  ): void;
  hcPost(
    isa: number,
    threads: number,
    streams: F32,
    blockOut: F32,
    t: number,
    hc: number,
    d: number,
    post: F32,
    comb: F32,
  ): void;
  hcHead(
    isa: number,
    threads: number,
    streams: F32,
    t: number,
    hc: number,
    d: number,
    fn: F32,
    base: F32,
    scale: F32,
    rmsNormEps: number,
    hcEps: number,
    out: F32,
  ): void;
  /** Scans of logits: see LogitsScan. */
  scanArgmax(isa: number, x: F32, n: number): number;
  scanTop(isa: number, x: F32, n: number, k: number, temperature: number, ids: I32, values: F32): number;
  scanAtLeast(isa: number, x: F32, n: number, floor: number, ids: I32, values: F32): number;
}

/** Index of an instruction set of the addon; throws UnsupportedError when it lacks the set here. */
export function isaIndex(fn: string, addon: GemmAddon, name: string): number {
  const isa = addon.isas.indexOf(name);
  if (isa < 0)
    throw new UnsupportedError(
      `${fn}: instruction set "${name}" is not available; available: ${addon.isas.join(', ')}`,
    );
  return isa;
}

/** The kernels of the addon with one instruction set and thread count. Throws UnsupportedError when it lacks the set here. */
export function createNativeEngine(addon: GemmAddon, isaName: string, threads: number): Engine {
  const isa = isaIndex('createGemmKernels', addon, isaName);
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
    linear(w, _n, _k, _groups, x, m, out) {
      addon.linear(isa, threads, w as NativeWeight, x, m, out);
    },
    linearBf16(w, { parts }, alpha, x, m, out) {
      addon.linearBf16(isa, threads, w as NativeWeight, parts, alpha, x, m, out);
    },
    linearNvfp4(w, { parts }, alpha, x, m, out) {
      addon.linearNvfp4(isa, threads, w as NativeWeight, parts, alpha, x, m, out);
    },
    linearW4A4(w, { parts }, alpha, inputScale, x, m, out) {
      const bad = addon.linearW4A4(isa, threads, w as NativeWeight, parts, alpha, inputScale, x, m, out);
      if (bad >= 0) throw notFinite('linearW4A4', x, bad);
    },
    groupedGemmW4A4(w, { parts }, aCodes, aSf, offsets, alpha, rowScale, out) {
      const bad = addon.groupedGemmW4A4(
        isa,
        threads,
        w as NativeWeight,
        parts,
        aCodes,
        aSf,
        offsets,
        alpha,
        rowScale,
        out,
      );
      if (bad >= 0) throw badScale('groupedGemmW4A4', 'aSf', aSf[bad]!, bad);
    },
    groupedGemm(w, { parts }, a, offsets, alpha, out) {
      addon.groupedGemm(isa, threads, w as NativeWeight, parts, a, offsets, alpha, out);
    },
    groupedGemmBf16(w, { parts }, a, offsets, alpha, out) {
      addon.groupedGemmBf16(isa, threads, w as NativeWeight, parts, a, offsets, alpha, out);
    },
    gatherRows(x, d, slotToken, rows, out) {
      addon.gatherRows(isa, threads, x, d, slotToken, rows, out);
    },
    stageNvfp4(x, k, slotToken, offsets, globalDecodeScale, codes, sf) {
      const bad = addon.stageNvfp4(isa, threads, x, k, slotToken, offsets, globalDecodeScale, codes, sf);
      if (bad >= 0) throw notFinite('stageNvfp4', x, bad);
    },
    nvfp4Loss(x, m, k, globalDecodeScale, codes, sf, sums) {
      addon.nvfp4Loss(isa, threads, x, m, k, globalDecodeScale, codes, sf, sums);
    },
    stageNvfp4Dynamic(x, k, slotToken, rows, codes, sf, rowScale) {
      const bad = addon.stageNvfp4Dynamic(isa, threads, x, k, slotToken, rows, codes, sf, rowScale);
      if (bad >= 0) throw notFinite('stageNvfp4Dynamic', x, bad);
    },
    swiglu(gateUp, m, i, limit, out) {
      addon.swiglu(isa, threads, gateUp, m, i, limit, out);
    },
    swigluStageNvfp4(gateUp, i, limit, offsets, globalDecodeScale, codes, sf) {
      const bad = addon.swigluStageNvfp4(isa, threads, gateUp, i, limit, offsets, globalDecodeScale, codes, sf);
      if (bad >= 0) throw swigluNotFinite('swigluStageNvfp4', i, bad);
    },
    swigluStageNvfp4Dynamic(gateUp, rows, i, limit, codes, sf, rowScale) {
      const bad = addon.swigluStageNvfp4Dynamic(isa, threads, gateUp, i, limit, rows, codes, sf, rowScale);
      if (bad >= 0) throw swigluNotFinite('swigluStageNvfp4Dynamic', i, bad);
    },
    scatterExperts(y, d, tokenSlots, topkWeights, t, topk, out) {
      addon.scatterExperts(isa, threads, y, d, tokenSlots, topkWeights, t, topk, out);
    },
    addInPlace(out, x, n) {
      addon.addInPlace(isa, threads, out, x, n);
    },
    rmsNorm(x, m, d, weight, eps, out) {
      addon.rmsNorm(isa, threads, x, m, d, weight, eps, out);
    },
    embed(w, _n, _k, ids, t, repeat, out) {
      addon.embed(isa, threads, w as NativeWeight, ids, t, repeat, out);
    },
    hcPre(streams, t, hc, d, fn, base, scale, rmsNormEps, hcEps, iters, post, comb, collapsed) {
      addon.hcPre(isa, threads, streams, t, hc, d, fn, base, scale, rmsNormEps, hcEps, iters, post, comb, collapsed);
    },
    hcPost(streams, blockOut, t, hc, d, post, comb) {
      addon.hcPost(isa, threads, streams, blockOut, t, hc, d, post, comb);
    },
    hcHead(streams, t, hc, d, fn, base, scale, rmsNormEps, hcEps, out) {
      addon.hcHead(isa, threads, streams, t, hc, d, fn, base, scale, rmsNormEps, hcEps, out);
    },
  };
}
