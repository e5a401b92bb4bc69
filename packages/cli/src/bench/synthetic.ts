import {
  matrixRowBytes,
  matrixRows,
  type ExpertTensor,
  type LinearTensor,
  type ModelConfig,
} from '@megamoe/checkpoint';
import { layerSpec } from '@megamoe/layers';
import type { SavedLayer, SavedSequence, WeightSource } from '@megamoe/model';
import { filledRows, firstLiveRow, type PageKind } from '@megamoe/ops';
import { lazy, Random, randomNvfp4, type Nvfp4Matrix } from './data';
import type { StepShape } from './types';

/** DeepSeek-V4-Flash's dimensions with fewer layers and experts; compressed layers only, ratios 4 and 128 in turn. */
export function v4FlashConfig({ layers, experts, vocab, context }: StepShape): ModelConfig {
  return {
    vocabSize: vocab,
    hiddenSize: 4096,
    numHiddenLayers: layers,
    numAttentionHeads: 64,
    headDim: 512,
    ropeHeadDim: 64,
    qLoraRank: 1024,
    oLoraRank: 1024,
    oGroups: 8,
    slidingWindow: 128,
    compressRatios: Array.from({ length: layers }, (_, i) => (i % 2 === 0 ? 4 : 128)),
    indexNHeads: 64,
    indexHeadDim: 128,
    indexTopk: 512,
    numExperts: experts,
    numSharedExperts: 1,
    numExpertsPerTok: 6,
    moeIntermediateSize: 2048,
    numHashLayers: 0,
    scoringFunc: 'sqrtsoftplus',
    normTopkProb: true,
    routedScalingFactor: 1.5,
    swigluLimit: 10,
    hcMult: 4,
    hcSinkhornIters: 20,
    hcEps: 1e-6,
    rmsNormEps: 1e-6,
    ropeTheta: 10_000,
    compressRopeTheta: 160_000,
    yarn: { factor: 16, betaFast: 32, betaSlow: 1, originalMaxPositionEmbeddings: 65_536 },
    maxPositionEmbeddings: Math.max(65_536, 2 * context),
    bosTokenId: 0,
    eosTokenIds: [1],
    tieWordEmbeddings: false,
  };
}

const POOL = 1_048_573; // a prime, so that rows of a matrix differ

/** Elements `[from, from + out.length)` of a pool that repeats without end. */
function fromPool<T extends Uint8Array | Uint16Array>(pool: T, from: number, out: T): T {
  let start = from % pool.length;
  for (let at = 0; at < out.length; start = 0) {
    const piece = pool.subarray(start, start + Math.min(pool.length - start, out.length - at));
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

/**
 * Random weights made when they are asked for. A dense matrix repeats a pool of a million numbers; every expert of a shape is the
 * same one (packing copies it). Sizes are such that values neither grow nor vanish from layer to layer.
 */
export class SyntheticSource implements WeightSource {
  private readonly random = new Random(17);
  private readonly pools = new Map<number, Uint16Array>();
  private readonly matrices = new Map<string, Nvfp4Matrix>();
  private readonly bytes = lazy(() => this.random.bytes(POOL));
  private readonly scales = lazy(() => this.random.scales(POOL));
  private readonly fp8 = lazy(() => this.random.bytes(POOL).map((b) => (b & 0x80) | (0x38 + (b & 15)))); // 1 to 4

  constructor(
    readonly config: ModelConfig,
    private readonly dense: StepShape['dense'] = 'bf16',
  ) {}

  linear(module: string, n: number, k: number): LinearTensor {
    return this.linearRows(module, n, k, 0, n);
  }

  linearRows(module: string, _n: number, k: number, row0: number, rows: number): LinearTensor {
    const exponent = -Math.round(Math.log2(k) / 2) - 1;
    const format = /\.attn\.|\.shared_experts\./.test(module) ? this.dense : 'bf16';
    if (format === 'fp8') {
      const scales = new Float32Array(rows * Math.ceil(k / 128)).fill(2 ** exponent);
      return { format, n: rows, k, codes: fromPool(this.fp8(), row0 * k, new Uint8Array(rows * k)), scales };
    }
    if (format === 'nvfp4') {
      const codes = fromPool(this.bytes(), (row0 * k) / 2, new Uint8Array((rows * k) / 2));
      const sf = fromPool(this.scales(), (row0 * k) / 16, new Uint8Array((rows * k) / 16));
      return { format, n: rows, k, codes, sf, ...nvfp4Scales(k) };
    }
    let pool = this.pools.get(exponent);
    if (pool === undefined) this.pools.set(exponent, (pool = this.random.bf16(POOL, exponent)));
    return { format: 'bf16', n: rows, k, data: fromPool(pool, row0 * k, new Uint16Array(rows * k)) };
  }

  expert(_layer: number, _expert: number, matrix: 'w1' | 'w2' | 'w3'): ExpertTensor {
    const { hiddenSize: d, moeIntermediateSize: i } = this.config;
    const [n, k] = matrix === 'w2' ? [d, i] : [i, d];
    const key = `${n}x${k}`;
    let made = this.matrices.get(key);
    if (made === undefined) this.matrices.set(key, (made = randomNvfp4(this.random, n, k)));
    return { format: 'nvfp4', ...made, ...nvfp4Scales(k) };
  }

  vector(name: string, length: number): Float32Array {
    if (name.endsWith('norm.weight')) return new Float32Array(length).fill(1);
    if (name.endsWith('_scale')) return new Float32Array(length).fill(1);
    return this.random.floats(length, name.endsWith('_fn') ? 0.01 : 0.1);
  }

  ints(name: string): Int32Array {
    throw new Error(`${name}: this model has no hash layers`);
  }
}

/** Global scales of random NVFP4 weights: codes times block scales are about 3, inputs up to 8. */
function nvfp4Scales(k: number): { weightGlobalDecodeScale: number; inputGlobalDecodeScale: number } {
  return { weightGlobalDecodeScale: 0.25 / Math.sqrt(k), inputGlobalDecodeScale: 8 / (6 * 448) };
}

/** What a model's weights amount to, counted as they are read. */
export interface WeightCount {
  /** Bytes of all of them in their own format. */
  bytes: number;
  /** Bytes that a step of one token reads: everything but the embedding table and the experts that were not chosen. */
  activeBytes: number;
  /** Elements of dense matrices that each token is multiplied by; without embedding and head. */
  denseElements: number;
  headElements: number;
  /** Elements of routed experts that each token is multiplied by. */
  expertElements: number;
  /** Bytes of all routed experts. */
  expertBytes: number;
}

/** Passes weights on and counts them, each once. */
export class CountingSource implements WeightSource {
  readonly count: WeightCount = {
    bytes: 0,
    activeBytes: 0,
    denseElements: 0,
    headElements: 0,
    expertElements: 0,
    expertBytes: 0,
  };
  private readonly seen = new Set<string>();

  constructor(private readonly inner: WeightSource) {}

  get config(): ModelConfig {
    return this.inner.config;
  }

  linear(module: string, n: number, k: number): LinearTensor {
    return this.linearRows(module, n, k, 0, n);
  }

  linearRows(module: string, n: number, k: number, row0: number, rows: number): LinearTensor {
    const { inner } = this;
    const made = inner.linearRows
      ? inner.linearRows(module, n, k, row0, rows)
      : matrixRows(inner.linear(module, n, k), row0, rows);
    if (this.first(module)) {
      const tied = module === 'embed' && this.config.tieWordEmbeddings;
      this.add(n * matrixRowBytes(made), module !== 'embed' || tied ? 1 : 0);
      if (module === 'head' || tied) this.count.headElements += n * k;
      else if (module !== 'embed') this.count.denseElements += n * k;
    }
    return made;
  }

  expert(layer: number, expert: number, matrix: 'w1' | 'w2' | 'w3'): ExpertTensor {
    const made = this.inner.expert(layer, expert, matrix);
    if (this.first(`${layer}.${expert}.${matrix}`)) {
      const share = this.config.numExpertsPerTok / this.config.numExperts;
      this.add(made.n * matrixRowBytes(made), share);
      this.count.expertBytes += made.n * matrixRowBytes(made);
      this.count.expertElements += made.n * made.k * share;
    }
    return made;
  }

  vector(name: string, length: number): Float32Array {
    const made = this.inner.vector(name, length);
    if (this.first(name)) this.add(made.byteLength, 1);
    return made;
  }

  ints(name: string, shape: readonly number[]): Int32Array {
    const made = this.inner.ints(name, shape);
    if (this.first(name)) this.add(made.byteLength, 0); // one row of a table
    return made;
  }

  private first(key: string): boolean {
    if (this.seen.has(key)) return false;
    this.seen.add(key);
    return true;
  }

  private add(bytes: number, active: number): void {
    this.count.bytes += bytes;
    this.count.activeBytes += bytes * active;
  }
}

/** Keys that the query at `position` attends to in a layer of this ratio. */
export function keysAt(c: ModelConfig, ratio: number, position: number): number {
  const entries = ratio === 0 ? 0 : Math.floor((position + 1) / ratio);
  return Math.min(c.slidingWindow, position + 1) + (ratio === 4 ? Math.min(c.indexTopk, entries) : entries);
}

/** Bytes of keys that the token at `position` reads in all layers: attended keys, and every indexer key. */
export function keyBytes(c: ModelConfig, position: number): number {
  return c.compressRatios.reduce<number>((sum, ratio) => {
    const index = ratio === 4 ? Math.floor((position + 1) / 4) * c.indexHeadDim : 0;
    return sum + 4 * (keysAt(c, ratio, position) * c.headDim + index);
  }, 0);
}

/** Float32 operations of attention and indexer scores for the tokens at positions [from, to). */
export function attentionOperations(c: ModelConfig, from: number, to: number): number {
  let sum = 0;
  for (const ratio of c.compressRatios) {
    for (let p = from; p < to; p++) {
      sum += 4 * keysAt(c, ratio, p) * c.numAttentionHeads * c.headDim;
      if (ratio === 4) sum += 2 * Math.floor((p + 1) / 4) * c.indexNHeads * c.indexHeadDim;
    }
  }
  return sum;
}

/** The state of a sequence that has seen `position` tokens, filled with random keys: what a long prefill would leave. */
export function randomState(c: ModelConfig, position: number): SavedSequence {
  const random = new Random(19);
  const layers = c.compressRatios.map((ratio, i): SavedLayer => {
    const spec = layerSpec(c, i);
    const rows = (kind: PageKind): number => filledRows(kind, position) - firstLiveRow(kind, position, spec.window);
    const window = random.floats(rows('window') * c.headDim);
    if (ratio === 0) return { ...spec, parts: { window } };
    const [open, entries] = ratio === 4 ? (['open4', 'entries4'] as const) : (['open128', 'entries128'] as const);
    const wide = ratio === 4 ? 2 : 1;
    const compressor = (dim: number): Float32Array[] => [
      random.floats(rows(entries) * dim),
      random.floats(rows(open) * wide * dim),
      random.floats(rows(open) * wide * dim),
    ];
    const [keys, openKv, openGate] = compressor(c.headDim) as [Float32Array, Float32Array, Float32Array];
    const parts = { window, entries: keys, openKv, openGate };
    if (ratio === 128) return { ...spec, parts };
    const [indexEntries, indexOpenKv, indexOpenGate] = compressor(c.indexHeadDim) as (typeof parts.openKv)[];
    return {
      ...spec,
      parts: { ...parts, indexEntries: indexEntries!, indexOpenKv: indexOpenKv!, indexOpenGate: indexOpenGate! },
    };
  });
  return { format: 'megamoe-sequence', version: 2, tokenIds: randomTokens(c.vocabSize, position), layers };
}

/** Token ids that end nothing. */
export function randomTokens(vocab: number, n: number): Int32Array {
  const random = new Random(23);
  return Int32Array.from({ length: n }, () => 2 + random.below(vocab - 2));
}
