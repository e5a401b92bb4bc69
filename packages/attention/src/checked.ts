import {
  checkCapacity,
  checkInteger,
  checkKind,
  checkLength,
  checkNumber,
  KindError,
  ShapeError,
  ValueError,
} from '@megamoe/core';
import type { Engine } from './engine';
import type { AttentionKernels, CompressorWeights, KernelBackend } from './kernels';
import type { CompressorState, LayerState } from './layer-state';
import { fillRopeRow } from './rope';
import type { Rope } from './rope';

const MAX = 2 ** 31 - 1;
const NO_ENTRIES = new Float32Array(0);

/** Throws unless rows row0..row0+n of a [*, width] f32 array exist. */
function checkRows(fn: string, arg: string, v: Float32Array, row0: number, n: number, width: number, formula: string) {
  checkKind(fn, arg, v, Float32Array);
  checkCapacity(fn, arg, v, formula, (row0 + n) * width);
}

function checkOverlap(fn: string, a: string, x: ArrayBufferView, b: string, y: ArrayBufferView): void {
  if (x.buffer !== y.buffer) return;
  if (x.byteOffset + x.byteLength <= y.byteOffset || y.byteOffset + y.byteLength <= x.byteOffset) return;
  throw new ValueError(`${fn}: "${a}" and "${b}" must not overlap in memory`);
}

/** Checks every argument, keeps the positions of the state, and hands plain arrays to an engine. */
export class CheckedKernels implements AttentionKernels {
  /** cos and sin of the windows that a call of compress closes; grows to the largest call. */
  #cos = new Float32Array(0);
  #sin = new Float32Array(0);

  constructor(
    private readonly engine: Engine,
    readonly backend: KernelBackend,
    readonly isa: string,
    readonly threads: number,
  ) {}

  rope(
    x: Float32Array,
    m: number,
    heads: number,
    d: number,
    ropeDim: number,
    cos: Float32Array,
    sin: Float32Array,
    inverse: boolean,
  ): void {
    const fn = 'rope';
    checkInteger(fn, 'm', m, 0, MAX);
    checkInteger(fn, 'heads', heads, 1, MAX);
    checkInteger(fn, 'd', d, 1, MAX);
    checkRopeDim(fn, ropeDim, d);
    checkRows(fn, 'x', x, 0, m, heads * d, 'm*heads*d');
    checkRows(fn, 'cos', cos, 0, m, ropeDim / 2, 'm*ropeDim/2');
    checkRows(fn, 'sin', sin, 0, m, ropeDim / 2, 'm*ropeDim/2');
    if (typeof inverse !== 'boolean') throw new KindError(`${fn}: "inverse" must be a boolean, got ${typeof inverse}`);
    checkOverlap(fn, 'x', x, 'cos', cos);
    checkOverlap(fn, 'x', x, 'sin', sin);
    if (m > 0) this.engine.rope(x, m, heads, d, ropeDim, cos, sin, inverse);
  }

  writeWindow(layer: LayerState, kv: Float32Array, row0: number, n: number, p0: number): void {
    const fn = 'writeWindow';
    const { ring, ringCap, headDim: d, maxChunk, maxTokens } = layer;
    checkInteger(fn, 'row0', row0, 0, MAX);
    checkInteger(fn, 'n', n, 0, MAX);
    checkPosition(fn, p0, layer.position);
    if (n > maxChunk) throw new ShapeError(`${fn}: "n" must be at most maxChunk = ${maxChunk}, got ${n}`);
    checkLimit(fn, p0, n, maxTokens);
    checkRows(fn, 'kv', kv, row0, n, d, '(row0+n)*headDim');
    for (let t = 0; t < n; t++) {
      const from = (row0 + t) * d;
      const to = ((p0 + t) % ringCap) * d;
      for (let i = 0; i < d; i++) ring[to + i] = kv[from + i]!;
    }
    layer.position = p0 + n;
  }

  compress(
    state: CompressorState,
    kv: Float32Array,
    gate: Float32Array,
    row0: number,
    n: number,
    p0: number,
    weights: CompressorWeights,
    rmsNormEps: number,
    rope: Rope,
  ): void {
    const fn = 'compress';
    const { ratio, dim, width, maxTokens } = state;
    checkInteger(fn, 'row0', row0, 0, MAX);
    checkInteger(fn, 'n', n, 0, MAX);
    checkPosition(fn, p0, state.position);
    checkLimit(fn, p0, n, maxTokens);
    checkRows(fn, 'kv', kv, row0, n, width, '(row0+n)*width');
    checkRows(fn, 'gate', gate, row0, n, width, '(row0+n)*width');
    checkKind(fn, 'weights.ape', weights.ape, Float32Array);
    checkLength(fn, 'weights.ape', weights.ape, 'ratio*width', ratio * width);
    checkKind(fn, 'weights.norm', weights.norm, Float32Array);
    checkLength(fn, 'weights.norm', weights.norm, 'dim', dim);
    checkNumber(fn, 'rmsNormEps', rmsNormEps, 0);
    checkRopeDim(fn, rope.ropeDim, dim);
    checkLength(fn, 'rope.invFreq', rope.invFreq, 'ropeDim/2', rope.ropeDim / 2);
    if (n === 0) return;
    const first = Math.floor(p0 / ratio);
    const closed = Math.floor((p0 + n) / ratio) - first;
    const half = rope.ropeDim / 2;
    if (this.#cos.length < closed * half) {
      this.#cos = new Float32Array(closed * half);
      this.#sin = new Float32Array(closed * half);
    }
    for (let i = 0; i < closed; i++) fillRopeRow(rope.invFreq, (first + i) * ratio, this.#cos, this.#sin, i * half);
    this.engine.compress(
      kv,
      gate,
      row0,
      n,
      p0,
      ratio,
      dim,
      width,
      weights.ape,
      weights.norm,
      rmsNormEps,
      rope.ropeDim,
      this.#cos,
      this.#sin,
      state.entries,
      state.partialKv,
      state.partialGate,
      state.overlapKv,
      state.overlapGate,
    );
    state.position = p0 + n;
  }

  indexSelect(
    state: CompressorState,
    q: Float32Array,
    headWeights: Float32Array,
    row0: number,
    n: number,
    p0: number,
    heads: number,
    topk: number,
    selected: Int32Array,
  ): void {
    const fn = 'indexSelect';
    const { ratio, dim, entries, position } = state;
    checkInteger(fn, 'row0', row0, 0, MAX);
    checkInteger(fn, 'n', n, 0, MAX);
    checkInteger(fn, 'p0', p0, 0, MAX);
    checkInteger(fn, 'heads', heads, 1, MAX);
    checkInteger(fn, 'topk', topk, 0, MAX);
    if (p0 + n > position) {
      throw new ValueError(
        `${fn}: positions [${p0}, ${p0 + n}) must have been compressed first: the state has seen ${position} tokens`,
      );
    }
    checkRows(fn, 'q', q, row0, n, heads * dim, '(row0+n)*heads*dim');
    checkRows(fn, 'headWeights', headWeights, row0, n, heads, '(row0+n)*heads');
    checkKind(fn, 'selected', selected, Int32Array);
    checkCapacity(fn, 'selected', selected, 'n*topk', n * topk);
    checkOverlap(fn, 'selected', selected, 'q', q);
    checkOverlap(fn, 'selected', selected, 'headWeights', headWeights);
    if (n > 0) this.engine.indexSelect(entries, ratio, dim, q, headWeights, row0, n, p0, heads, topk, selected);
  }

  attend(
    layer: LayerState,
    q: Float32Array,
    row0: number,
    n: number,
    heads: number,
    keyIndex: Int32Array,
    keyCap: number,
    keyCount: Int32Array,
    sinks: Float32Array,
    softmaxScale: number,
    out: Float32Array,
  ): void {
    const fn = 'attend';
    const { ring, ringCap, headDim: d } = layer;
    checkInteger(fn, 'row0', row0, 0, MAX);
    checkInteger(fn, 'n', n, 0, MAX);
    checkInteger(fn, 'heads', heads, 1, MAX);
    checkInteger(fn, 'keyCap', keyCap, 0, MAX);
    checkNumber(fn, 'softmaxScale', softmaxScale);
    checkRows(fn, 'q', q, row0, n, heads * d, '(row0+n)*heads*headDim');
    checkRows(fn, 'out', out, row0, n, heads * d, '(row0+n)*heads*headDim');
    checkKind(fn, 'keyIndex', keyIndex, Int32Array);
    checkKind(fn, 'keyCount', keyCount, Int32Array);
    checkCapacity(fn, 'keyIndex', keyIndex, 'n*keyCap', n * keyCap);
    checkCapacity(fn, 'keyCount', keyCount, 'n', n);
    checkKind(fn, 'sinks', sinks, Float32Array);
    checkLength(fn, 'sinks', sinks, 'heads', heads);
    for (let h = 0; h < heads; h++) {
      if (Number.isNaN(sinks[h]!)) throw new ValueError(`${fn}: "sinks" must not be NaN, got NaN at index ${h}`);
    }
    checkKeys(fn, layer, n, keyIndex, keyCap, keyCount);
    checkOverlap(fn, 'out', out, 'q', q);
    const entries = layer.compressor?.entries ?? NO_ENTRIES;
    if (n > 0) {
      this.engine.attend(
        ring,
        ringCap,
        entries,
        d,
        q,
        row0,
        n,
        heads,
        keyIndex,
        keyCap,
        keyCount,
        sinks,
        softmaxScale,
        out,
      );
    }
  }
}

function checkRopeDim(fn: string, ropeDim: number, d: number): void {
  checkInteger(fn, 'ropeDim', ropeDim, 0, d);
  if (ropeDim % 2 !== 0) throw new ShapeError(`${fn}: "ropeDim" must be a multiple of 2, got ${ropeDim}`);
}

function checkPosition(fn: string, p0: number, expected: number): void {
  if (p0 !== expected) {
    throw new ValueError(`${fn}: "p0" must be the next position = ${expected}, got ${String(p0)}`);
  }
}

function checkLimit(fn: string, p0: number, n: number, maxTokens: number): void {
  if (p0 + n > maxTokens) {
    throw new ShapeError(`${fn}: position p0+n-1 = ${p0 + n - 1} is beyond maxTokens = ${maxTokens}`);
  }
}

/** Throws unless every listed key is a written ring row or a closed entry. */
function checkKeys(
  fn: string,
  layer: LayerState,
  n: number,
  keyIndex: Int32Array,
  keyCap: number,
  keyCount: Int32Array,
): void {
  const { ringCap, compressor } = layer;
  const rows = Math.min(layer.position, ringCap);
  const end = ringCap + (compressor ? Math.floor(compressor.position / compressor.ratio) : 0);
  for (let r = 0; r < n; r++) {
    const count = keyCount[r]!;
    if (count < 0 || count > keyCap) checkInteger(fn, `keyCount[${r}]`, count, 0, keyCap);
    for (let j = 0; j < count; j++) {
      const index = keyIndex[r * keyCap + j]!;
      if ((index >= 0 && index < rows) || (index >= ringCap && index < end)) continue;
      throw new ValueError(
        `${fn}: "keyIndex" must be in [0, ${rows}) (ring) or [${ringCap}, ${end}) (entries), got ${index} at row ${r}, index ${j}`,
      );
    }
  }
}
