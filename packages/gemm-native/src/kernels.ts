import {
  checkInteger,
  checkKind,
  checkLength,
  checkMultiple,
  checkNumber,
  checkPositive,
  ShapeError,
  ValueError,
} from '@megamoe/core';
import {
  badScale,
  checkAlpha,
  checkBuffer,
  checkDisjoint,
  checkGlobalScales,
  checkIndices,
  checkOffsets,
  checkRowScale,
  findBadScale,
} from './checks';
import type { Engine } from './engine';
import { checkExpertsShape } from './expert-parts';
import { MAX_HC } from './limits';
import { packExperts, packLinear } from './pack';
import { SlotPool } from './pool';
import type {
  ExpertFormat,
  ExpertPool,
  ExpertPoolShape,
  ExpertsSource,
  ExpertsWeight,
  GemmKernels,
  KernelBackend,
  LinearSource,
  LinearWeight,
} from './types';
import { expertsWeight, linearWeight } from './weights';

/** The checks in front of an engine: what gets through cannot make a kernel read or write outside its buffers. */
export class CheckedKernels implements GemmKernels {
  readonly backend: KernelBackend;
  readonly isa: string;
  readonly threads: number;
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
    this.backend = engine.backend;
    this.isa = engine.isa;
    this.threads = engine.threads;
  }

  packLinear(source: LinearSource): LinearWeight {
    return packLinear(this.#engine, source);
  }

  packExperts(source: ExpertsSource): ExpertsWeight {
    return packExperts(this.#engine, source);
  }

  createExpertPool(shape: ExpertPoolShape): ExpertPool {
    return new SlotPool(this.#engine, shape);
  }

  packedBytes(format: ExpertFormat, matrices: number, n: number, k: number): number {
    const fn = 'packedBytes';
    checkInteger(fn, 'matrices', matrices, 1);
    checkExpertsShape(fn, { numExperts: 1, n, k, parts: 1, format });
    return this.#engine.packedBytes(format, matrices, n, k);
  }

  linear(weight: LinearWeight, x: Float32Array, m: number, out: Float32Array): void {
    const w = linearWeight('linear', 'w', weight, this.#engine);
    const { n, k, groups } = w;
    checkInteger('linear', 'm', m, 0);
    checkBuffer('linear', 'x', x, Float32Array, 'm*groups*k', m * groups * k);
    checkBuffer('linear', 'out', out, Float32Array, 'm*groups*n', m * groups * n);
    checkDisjoint('linear', 'out', out, m * groups * n, 'x', x, m * groups * k);
    if (m === 0) return;
    if (w.nvfp4 === null) this.#engine.linear(w.storage, n, k, groups, x, m, out);
    else this.#engine.linearNvfp4(w.storage, w.shape, w.nvfp4.alpha, x, m, out);
  }

  linearBf16(weight: LinearWeight, x: Float32Array, m: number, out: Float32Array): void {
    const fn = 'linearBf16';
    const w = linearWeight(fn, 'w', weight, this.#engine);
    const { n, k, groups } = w;
    checkInteger(fn, 'm', m, 0);
    checkBuffer(fn, 'x', x, Float32Array, 'm*groups*k', m * groups * k);
    checkBuffer(fn, 'out', out, Float32Array, 'm*groups*n', m * groups * n);
    checkDisjoint(fn, 'out', out, m * groups * n, 'x', x, m * groups * k);
    if (m > 0) this.#engine.linearBf16(w.storage, w.shape, w.nvfp4?.alpha ?? null, x, m, out);
  }

  linearW4A4(weight: LinearWeight, x: Float32Array, m: number, out: Float32Array): void {
    const fn = 'linearW4A4';
    const w = linearWeight(fn, 'w', weight, this.#engine);
    const { n, k, groups, nvfp4 } = w;
    if (nvfp4 === null || nvfp4.input === null)
      throw new ValueError(`${fn}: "w" must be nvfp4 with an inputGlobalDecodeScale, got ${w.dtype} without one`);
    checkInteger(fn, 'm', m, 0);
    checkBuffer(fn, 'x', x, Float32Array, 'm*groups*k', m * groups * k);
    checkBuffer(fn, 'out', out, Float32Array, 'm*groups*n', m * groups * n);
    checkDisjoint(fn, 'out', out, m * groups * n, 'x', x, m * groups * k);
    if (m === 0) return;
    const scale = nvfp4.input === 'row' ? 0 : nvfp4.input;
    this.#engine.linearW4A4(w.storage, w.shape, nvfp4.alphaW4a4, scale, x, m, out);
  }

  groupedGemmW4A4(
    weight: ExpertsWeight,
    aCodes: Uint8Array,
    aSf: Uint8Array,
    expertOffsets: Int32Array,
    alpha: Float32Array,
    rowScale: Float32Array | null,
    out: Float32Array,
  ): void {
    const fn = 'groupedGemmW4A4';
    const w = expertsWeight(fn, weight, this.#engine);
    const { numExperts, n, k, parts } = w;
    if (w.format !== 'nvfp4') throw new ValueError(`${fn}: "w" must hold nvfp4 weights, got ${w.format}`);
    const rows = checkOffsets(fn, expertOffsets);
    checkLength(fn, 'expertOffsets', expertOffsets, 'numExperts', numExperts);
    checkBuffer(fn, 'aCodes', aCodes, Uint8Array, 'R*k/2', (rows * k) / 2);
    checkBuffer(fn, 'aSf', aSf, Uint8Array, 'R*k/16', (rows * k) / 16);
    checkBuffer(fn, 'alpha', alpha, Float32Array, 'numExperts*parts', numExperts * parts);
    checkAlpha(fn, alpha, expertOffsets, parts);
    checkBuffer(fn, 'out', out, Float32Array, 'R*n', rows * n);
    if (rowScale !== null) {
      checkBuffer(fn, 'rowScale', rowScale, Float32Array, 'R', rows);
      checkRowScale(fn, rowScale, rows);
      checkDisjoint(fn, 'out', out, rows * n, 'rowScale', rowScale, rows);
    }
    const { pool } = w;
    if (pool === null) {
      if (rows > 0) this.#engine.groupedGemmW4A4(w.storage, w, aCodes, aSf, expertOffsets, alpha, rowScale, out);
      return;
    }
    const bad = findBadScale(aSf, (rows * k) / 16); // here, so that its index counts from the first row
    if (bad >= 0) throw badScale(fn, 'aSf', aSf[bad]!, bad);
    pool.eachExpert(w, expertOffsets, (storage, ends, e, start, end) => {
      this.#engine.groupedGemmW4A4(
        storage,
        pool.slotShape,
        aCodes.subarray((start * k) / 2, (end * k) / 2),
        aSf.subarray((start * k) / 16, (end * k) / 16),
        ends,
        alpha.subarray(e * parts, (e + 1) * parts),
        rowScale?.subarray(start, end) ?? null,
        out.subarray(start * n, end * n),
      );
    });
  }

  groupedGemm(
    weight: ExpertsWeight,
    a: Float32Array,
    expertOffsets: Int32Array,
    alpha: Float32Array | null,
    out: Float32Array,
  ): void {
    this.#grouped('groupedGemm', weight, a, expertOffsets, alpha, out);
  }

  groupedGemmBf16(
    weight: ExpertsWeight,
    a: Float32Array,
    expertOffsets: Int32Array,
    alpha: Float32Array | null,
    out: Float32Array,
  ): void {
    this.#grouped('groupedGemmBf16', weight, a, expertOffsets, alpha, out);
  }

  /** Rows that are not quantized against the experts of any format. */
  #grouped(
    fn: 'groupedGemm' | 'groupedGemmBf16',
    weight: ExpertsWeight,
    a: Float32Array,
    expertOffsets: Int32Array,
    alpha: Float32Array | null,
    out: Float32Array,
  ): void {
    const w = expertsWeight(fn, weight, this.#engine);
    const { numExperts, n, k, parts, format } = w;
    const rows = checkOffsets(fn, expertOffsets);
    checkLength(fn, 'expertOffsets', expertOffsets, 'numExperts', numExperts);
    checkBuffer(fn, 'a', a, Float32Array, 'R*k', rows * k);
    if (format === 'nvfp4') {
      checkBuffer(fn, 'alpha', alpha, Float32Array, 'numExperts*parts', numExperts * parts);
      checkAlpha(fn, alpha, expertOffsets, parts);
    } else if (alpha !== null) {
      throw new ValueError(`${fn}: "alpha" must be null for ${format} weights`);
    }
    checkBuffer(fn, 'out', out, Float32Array, 'R*n', rows * n);
    checkDisjoint(fn, 'out', out, rows * n, 'a', a, rows * k);
    const { pool } = w;
    if (pool === null) {
      if (rows > 0) this.#engine[fn](w.storage, w, a, expertOffsets, alpha, out);
      return;
    }
    pool.eachExpert(w, expertOffsets, (storage, ends, e, start, end) => {
      this.#engine[fn](
        storage,
        pool.slotShape,
        a.subarray(start * k, end * k),
        ends,
        alpha?.subarray(e * parts, (e + 1) * parts) ?? null,
        out.subarray(start * n, end * n),
      );
    });
  }

  gatherRows(x: Float32Array, d: number, slotToken: Int32Array, rows: number, out: Float32Array): void {
    const fn = 'gatherRows';
    checkInteger(fn, 'd', d, 1);
    checkInteger(fn, 'rows', rows, 0);
    checkKind(fn, 'x', x, Float32Array);
    checkBuffer(fn, 'slotToken', slotToken, Int32Array, 'rows', rows);
    checkIndices(fn, 'slotToken', slotToken, rows, 0, Math.floor(x.length / d));
    checkBuffer(fn, 'out', out, Float32Array, 'rows*d', rows * d);
    checkDisjoint(fn, 'out', out, rows * d, 'x', x, x.length);
    if (rows > 0) this.#engine.gatherRows(x, d, slotToken, rows, out);
  }

  stageNvfp4(
    x: Float32Array,
    k: number,
    slotToken: Int32Array | null,
    expertOffsets: Int32Array,
    globalDecodeScale: Float32Array,
    codes: Uint8Array,
    sf: Uint8Array,
  ): void {
    const fn = 'stageNvfp4';
    const rows = checkOffsets(fn, expertOffsets);
    checkStageBuffers(fn, x, k, slotToken, rows, codes, sf);
    checkBuffer(fn, 'globalDecodeScale', globalDecodeScale, Float32Array, 'E', expertOffsets.length);
    checkGlobalScales(fn, globalDecodeScale, expertOffsets);
    if (rows > 0) this.#engine.stageNvfp4(x, k, slotToken, expertOffsets, globalDecodeScale, codes, sf);
  }

  nvfp4Loss(
    x: Float32Array,
    m: number,
    k: number,
    globalDecodeScale: number,
    codes: Uint8Array,
    sf: Uint8Array,
    sums: Float64Array,
  ): void {
    const fn = 'nvfp4Loss';
    checkInteger(fn, 'm', m, 0);
    checkPositive(fn, 'globalDecodeScale', globalDecodeScale);
    checkStageBuffers(fn, x, k, null, m, codes, sf);
    checkBuffer(fn, 'sums', sums, Float64Array, 'm*3', m * 3);
    if (m > 0) this.#engine.nvfp4Loss(x, m, k, globalDecodeScale, codes, sf, sums);
  }

  stageNvfp4Dynamic(
    x: Float32Array,
    k: number,
    slotToken: Int32Array | null,
    rows: number,
    codes: Uint8Array,
    sf: Uint8Array,
    rowScale: Float32Array,
  ): void {
    const fn = 'stageNvfp4Dynamic';
    checkInteger(fn, 'rows', rows, 0);
    checkStageBuffers(fn, x, k, slotToken, rows, codes, sf);
    checkBuffer(fn, 'rowScale', rowScale, Float32Array, 'rows', rows);
    checkDisjoint(fn, 'rowScale', rowScale, rows, 'x', x, x.length);
    if (rows > 0) this.#engine.stageNvfp4Dynamic(x, k, slotToken, rows, codes, sf, rowScale);
  }

  swigluStageNvfp4(
    gateUp: Float32Array,
    i: number,
    limit: number,
    expertOffsets: Int32Array,
    globalDecodeScale: Float32Array,
    codes: Uint8Array,
    sf: Uint8Array,
  ): void {
    const fn = 'swigluStageNvfp4';
    const rows = checkOffsets(fn, expertOffsets);
    checkSwigluStage(fn, gateUp, rows, i, limit, codes, sf);
    checkBuffer(fn, 'globalDecodeScale', globalDecodeScale, Float32Array, 'E', expertOffsets.length);
    checkGlobalScales(fn, globalDecodeScale, expertOffsets);
    if (rows > 0) this.#engine.swigluStageNvfp4(gateUp, i, limit, expertOffsets, globalDecodeScale, codes, sf);
  }

  swigluStageNvfp4Dynamic(
    gateUp: Float32Array,
    rows: number,
    i: number,
    limit: number,
    codes: Uint8Array,
    sf: Uint8Array,
    rowScale: Float32Array,
  ): void {
    const fn = 'swigluStageNvfp4Dynamic';
    checkInteger(fn, 'rows', rows, 0);
    checkSwigluStage(fn, gateUp, rows, i, limit, codes, sf);
    checkBuffer(fn, 'rowScale', rowScale, Float32Array, 'rows', rows);
    checkDisjoint(fn, 'rowScale', rowScale, rows, 'gateUp', gateUp, rows * 2 * i);
    if (rows > 0) this.#engine.swigluStageNvfp4Dynamic(gateUp, rows, i, limit, codes, sf, rowScale);
  }

  swiglu(gateUp: Float32Array, m: number, i: number, limit: number, out: Float32Array): void {
    const fn = 'swiglu';
    checkInteger(fn, 'm', m, 0);
    checkInteger(fn, 'i', i, 1);
    checkSwigluLimit(fn, limit);
    checkBuffer(fn, 'gateUp', gateUp, Float32Array, 'm*2*i', m * 2 * i);
    checkBuffer(fn, 'out', out, Float32Array, 'm*i', m * i);
    checkDisjoint(fn, 'out', out, m * i, 'gateUp', gateUp, m * 2 * i);
    if (m > 0) this.#engine.swiglu(gateUp, m, i, limit, out);
  }

  scatterExperts(
    y: Float32Array,
    d: number,
    tokenSlots: Int32Array,
    topkWeights: Float32Array,
    t: number,
    topk: number,
    out: Float32Array,
  ): void {
    const fn = 'scatterExperts';
    checkInteger(fn, 'd', d, 1);
    checkInteger(fn, 't', t, 0);
    checkInteger(fn, 'topk', topk, 1);
    checkKind(fn, 'y', y, Float32Array);
    checkBuffer(fn, 'tokenSlots', tokenSlots, Int32Array, 't*topk', t * topk);
    checkIndices(fn, 'tokenSlots', tokenSlots, t * topk, -1, Math.floor(y.length / d));
    checkBuffer(fn, 'topkWeights', topkWeights, Float32Array, 't*topk', t * topk);
    checkBuffer(fn, 'out', out, Float32Array, 't*d', t * d);
    checkDisjoint(fn, 'out', out, t * d, 'y', y, y.length);
    if (t > 0) this.#engine.scatterExperts(y, d, tokenSlots, topkWeights, t, topk, out);
  }

  addInPlace(out: Float32Array, x: Float32Array, n: number): void {
    checkInteger('addInPlace', 'n', n, 0);
    checkBuffer('addInPlace', 'out', out, Float32Array, 'n', n);
    checkBuffer('addInPlace', 'x', x, Float32Array, 'n', n);
    checkDisjoint('addInPlace', 'out', out, n, 'x', x, n);
    if (n > 0) this.#engine.addInPlace(out, x, n);
  }

  rmsNorm(x: Float32Array, m: number, d: number, weight: Float32Array | null, eps: number, out: Float32Array): void {
    const fn = 'rmsNorm';
    checkInteger(fn, 'm', m, 0);
    checkInteger(fn, 'd', d, 1);
    checkNumber(fn, 'eps', eps, 0);
    checkBuffer(fn, 'x', x, Float32Array, 'm*d', m * d);
    if (weight !== null) checkBuffer(fn, 'weight', weight, Float32Array, 'd', d);
    checkBuffer(fn, 'out', out, Float32Array, 'm*d', m * d);
    if (out.byteOffset !== x.byteOffset) checkDisjoint(fn, 'out', out, m * d, 'x', x, m * d); // in place is allowed, shifted is not
    if (m > 0) this.#engine.rmsNorm(x, m, d, weight, eps, out);
  }

  embed(table: LinearWeight, ids: Int32Array, t: number, repeat: number, out: Float32Array): void {
    const fn = 'embed';
    const w = linearWeight(fn, 'table', table, this.#engine);
    if (w.groups !== 1) throw new ShapeError(`${fn}: "table" must have one group, got ${w.groups}`);
    if (w.dtype === 'nvfp4') throw new ValueError(`${fn}: "table" must be one of fp8, bf16, f32, got nvfp4`);
    checkInteger(fn, 't', t, 0);
    checkInteger(fn, 'repeat', repeat, 1);
    checkBuffer(fn, 'ids', ids, Int32Array, 't', t);
    checkIndices(fn, 'ids', ids, t, 0, w.n);
    checkBuffer(fn, 'out', out, Float32Array, 't*repeat*d', t * repeat * w.k);
    if (t > 0) this.#engine.embed(w.storage, w.n, w.k, ids, t, repeat, out);
  }

  hcPre(
    streams: Float32Array,
    t: number,
    hc: number,
    d: number,
    fnWeight: Float32Array,
    base: Float32Array,
    scale: Float32Array,
    rmsNormEps: number,
    hcEps: number,
    iters: number,
    post: Float32Array,
    comb: Float32Array,
    collapsed: Float32Array,
  ): void {
    const fn = 'hcPre';
    const mixes = (2 + hc) * hc;
    checkHcShape(fn, streams, t, hc, d);
    checkHcWeights(fn, hc, d, mixes, 3, fnWeight, base, scale);
    checkNumber(fn, 'rmsNormEps', rmsNormEps, 0);
    checkNumber(fn, 'hcEps', hcEps, 0);
    checkInteger(fn, 'iters', iters, 1, 10_000);
    checkBuffer(fn, 'post', post, Float32Array, 't*hc', t * hc);
    checkBuffer(fn, 'comb', comb, Float32Array, 't*hc*hc', t * hc * hc);
    checkBuffer(fn, 'collapsed', collapsed, Float32Array, 't*d', t * d);
    checkDisjoint(fn, 'collapsed', collapsed, t * d, 'streams', streams, t * hc * d);
    if (t > 0)
      this.#engine.hcPre(streams, t, hc, d, fnWeight, base, scale, rmsNormEps, hcEps, iters, post, comb, collapsed);
  }

  hcPost(
    streams: Float32Array,
    blockOut: Float32Array,
    t: number,
    hc: number,
    d: number,
    post: Float32Array,
    comb: Float32Array,
  ): void {
    const fn = 'hcPost';
    checkHcShape(fn, streams, t, hc, d);
    checkBuffer(fn, 'blockOut', blockOut, Float32Array, 't*d', t * d);
    checkBuffer(fn, 'post', post, Float32Array, 't*hc', t * hc);
    checkBuffer(fn, 'comb', comb, Float32Array, 't*hc*hc', t * hc * hc);
    checkDisjoint(fn, 'streams', streams, t * hc * d, 'blockOut', blockOut, t * d);
    if (t > 0) this.#engine.hcPost(streams, blockOut, t, hc, d, post, comb);
  }

  hcHead(
    streams: Float32Array,
    t: number,
    hc: number,
    d: number,
    fnWeight: Float32Array,
    base: Float32Array,
    scale: Float32Array,
    rmsNormEps: number,
    hcEps: number,
    out: Float32Array,
  ): void {
    const fn = 'hcHead';
    checkHcShape(fn, streams, t, hc, d);
    checkHcWeights(fn, hc, d, hc, 1, fnWeight, base, scale);
    checkNumber(fn, 'rmsNormEps', rmsNormEps, 0);
    checkNumber(fn, 'hcEps', hcEps, 0);
    checkBuffer(fn, 'out', out, Float32Array, 't*d', t * d);
    checkDisjoint(fn, 'out', out, t * d, 'streams', streams, t * hc * d);
    if (t > 0) this.#engine.hcHead(streams, t, hc, d, fnWeight, base, scale, rmsNormEps, hcEps, out);
  }
}

/** What both stage methods take. */
function checkSwigluLimit(fn: string, limit: number): void {
  if (!(typeof limit === 'number' && limit > 0))
    throw new ValueError(`${fn}: "limit" must be above 0 (Infinity for none), got ${String(limit)}`);
  if (Math.fround(limit) === 0) throw new ValueError(`${fn}: "limit" must be above 0 in float32, got ${limit}`);
}

function checkSwigluStage(
  fn: string,
  gateUp: Float32Array,
  rows: number,
  i: number,
  limit: number,
  codes: Uint8Array,
  sf: Uint8Array,
): void {
  checkInteger(fn, 'i', i, 16);
  checkMultiple(fn, 'i', i, 16);
  checkSwigluLimit(fn, limit);
  checkBuffer(fn, 'gateUp', gateUp, Float32Array, 'R*2*i', rows * 2 * i);
  checkBuffer(fn, 'codes', codes, Uint8Array, 'R*i/2', (rows * i) / 2);
  checkBuffer(fn, 'sf', sf, Uint8Array, 'R*i/16', (rows * i) / 16);
  checkDisjoint(fn, 'codes', codes, (rows * i) / 2, 'gateUp', gateUp, rows * 2 * i);
  checkDisjoint(fn, 'sf', sf, (rows * i) / 16, 'gateUp', gateUp, rows * 2 * i);
  checkDisjoint(fn, 'codes', codes, (rows * i) / 2, 'sf', sf, (rows * i) / 16);
}

function checkStageBuffers(
  fn: string,
  x: Float32Array,
  k: number,
  slotToken: Int32Array | null,
  rows: number,
  codes: Uint8Array,
  sf: Uint8Array,
): void {
  checkInteger(fn, 'k', k, 16);
  checkMultiple(fn, 'k', k, 16);
  if (slotToken === null) {
    checkBuffer(fn, 'x', x, Float32Array, 'R*k', rows * k);
  } else {
    checkKind(fn, 'x', x, Float32Array);
    checkBuffer(fn, 'slotToken', slotToken, Int32Array, 'R', rows);
    checkIndices(fn, 'slotToken', slotToken, rows, 0, Math.floor(x.length / k));
  }
  checkBuffer(fn, 'codes', codes, Uint8Array, 'R*k/2', (rows * k) / 2);
  checkBuffer(fn, 'sf', sf, Uint8Array, 'R*k/16', (rows * k) / 16);
  checkDisjoint(fn, 'codes', codes, (rows * k) / 2, 'x', x, x.length);
  checkDisjoint(fn, 'sf', sf, (rows * k) / 16, 'x', x, x.length);
  checkDisjoint(fn, 'codes', codes, (rows * k) / 2, 'sf', sf, (rows * k) / 16);
}

/** Shape of the residual streams. */
function checkHcShape(fn: string, streams: Float32Array, t: number, hc: number, d: number): void {
  checkInteger(fn, 't', t, 0);
  checkInteger(fn, 'hc', hc, 1, MAX_HC);
  checkInteger(fn, 'd', d, 1);
  checkBuffer(fn, 'streams', streams, Float32Array, 't*hc*d', t * hc * d);
}

/** Weights of a hyper-connection. */
function checkHcWeights(
  fn: string,
  hc: number,
  d: number,
  mixes: number,
  scales: number,
  fnWeight: Float32Array,
  base: Float32Array,
  scale: Float32Array,
): void {
  checkBuffer(fn, 'fn', fnWeight, Float32Array, 'mixes*hc*d', mixes * hc * d);
  checkBuffer(fn, 'base', base, Float32Array, 'mixes', mixes);
  checkBuffer(fn, 'scale', scale, Float32Array, 'scales', scales);
}
