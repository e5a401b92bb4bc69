/** The attention block of one layer over a whole prompt: projections, compression, indexer, attention, output projection. */
import { decodeBf16, encodeBf16 } from '@megamoe/core';
import { attend } from './attention';
import { compress } from './compress';
import type { ReferenceConfig, WeightReader } from './config';
import { indexSelect } from './indexer';
import { linear } from './linear';
import { rmsNorm } from './norm';
import { applyRope, ropeFrequencies } from './rope';
import { visibleSet } from './visibility';

/** What the attention block gives, and what the goldens look at. */
export interface AttentionLayerResult {
  /** [S, D] */
  readonly out: Float64Array;
  /** [entries, headDim], compressed layers only. */
  readonly compressed?: Float64Array;
  /** [S, entries] u8 */
  readonly visible?: Uint8Array;
  readonly entries: number;
}

interface Rows {
  /** [S, D] normed input of the block. */
  readonly x: Float64Array;
  readonly s: number;
  readonly frequencies: Float64Array;
}

/** One compressor: its two projections of the input, pooled. `name` is `compressor` or `indexer.compressor`. */
function compressor(
  c: ReferenceConfig,
  w: WeightReader,
  name: string,
  ratio: number,
  dim: number,
  rows: Rows,
): Float64Array {
  const { x, s, frequencies } = rows;
  const overlapping = ratio === 4;
  const width = overlapping ? 2 * dim : dim;
  const shape = { m: s, n: width, k: c.hiddenSize };
  const kv = linear(x, w(`${name}.wkv.weight`, [width, c.hiddenSize]), shape);
  const gate = linear(x, w(`${name}.wgate.weight`, [width, c.hiddenSize]), shape);
  return compress(kv, gate, {
    tokens: s,
    ratio,
    dim,
    overlapping,
    ape: w(`${name}.ape`, [ratio, width]),
    norm: w(`${name}.norm.weight`, [dim]),
    rmsNormEps: c.rmsNormEps,
    frequencies,
  });
}

/** The indexer's choice for every query, [S, indexTopk] i32. `latent` [S, qLoraRank] is the normed query latent. */
function indexer(c: ReferenceConfig, w: WeightReader, latent: Float64Array, ratio: number, rows: Rows): Int32Array {
  const { x, s, frequencies } = rows;
  const heads = c.indexNHeads;
  const dim = c.indexHeadDim;
  const keys = compressor(c, w, 'indexer.compressor', ratio, dim, rows);
  const projected = linear(latent, w('indexer.wq_b.weight', [heads * dim, c.qLoraRank]), {
    m: s,
    n: heads * dim,
    k: c.qLoraRank,
  });
  const q = applyRope(projected, { positions: positionsOf(s), heads, d: dim, frequencies });
  const headWeights = linear(x, w('indexer.weights_proj.weight', [heads, c.hiddenSize]), {
    m: s,
    n: heads,
    k: c.hiddenSize,
  });
  const entries = Math.floor(s / ratio);
  return indexSelect(q, keys, headWeights, { n: s, heads, dim, entries, firstPosition: 0, ratio, topk: c.indexTopk });
}

function positionsOf(s: number): number[] {
  return Array.from({ length: s }, (_, t) => t);
}

/** How keys are kept until they are attended to: as they are, or each rounded once to BF16. The indexer's are as they are. */
export type KvPrecision = 'float' | 'bf16';

const heldAs = (kv: KvPrecision, keys: Float64Array): Float64Array =>
  kv === 'float' ? keys : keys.map((v) => decodeBf16(encodeBf16(v)));

/** Attention of layer `layer` for a prompt of `s` tokens at positions 0..; `w` reads below `layers.N.attn.`. */
export function attentionLayer(
  c: ReferenceConfig,
  w: WeightReader,
  layer: number,
  x: Float64Array,
  s: number,
  precision: KvPrecision,
): AttentionLayerResult {
  const { hiddenSize: d, headDim, numAttentionHeads: heads, qLoraRank, oGroups, oLoraRank, rmsNormEps: eps } = c;
  const ratio = c.compressRatios[layer]!;
  // Window layers: plain RoPE. Compressed layers: their own theta, with YaRN, for everything in them.
  const frequencies =
    ratio === 0
      ? ropeFrequencies({ ropeDim: c.ropeHeadDim, theta: c.ropeTheta })
      : ropeFrequencies({ ropeDim: c.ropeHeadDim, theta: c.compressRopeTheta, yarn: c.yarn });
  const positions = positionsOf(s);
  const rows = { x, s, frequencies };

  const latent = rmsNorm(
    linear(x, w('wq_a.weight', [qLoraRank, d]), { m: s, n: qLoraRank, k: d }),
    w('q_norm.weight', [qLoraRank]),
    { m: s, d: qLoraRank, eps },
  );
  const projected = linear(latent, w('wq_b.weight', [heads * headDim, qLoraRank]), {
    m: s,
    n: heads * headDim,
    k: qLoraRank,
  });
  const q = applyRope(rmsNorm(projected, null, { m: s * heads, d: headDim, eps }), {
    positions,
    heads,
    d: headDim,
    frequencies,
  });
  const keys = rmsNorm(
    linear(x, w('wkv.weight', [headDim, d]), { m: s, n: headDim, k: d }),
    w('kv_norm.weight', [headDim]),
    { m: s, d: headDim, eps },
  );
  const kv = heldAs(precision, applyRope(keys, { positions, heads: 1, d: headDim, frequencies }));

  const entries = ratio === 0 ? 0 : Math.floor(s / ratio);
  const pooled = ratio === 0 ? new Float64Array(0) : compressor(c, w, 'compressor', ratio, headDim, rows);
  const compressed = heldAs(precision, pooled);
  const selected = ratio === 4 ? indexer(c, w, latent, ratio, rows) : null;
  const visible =
    ratio === 0
      ? new Uint8Array(0)
      : visibleSet({ n: s, firstPosition: 0, ratio, entries, selected, topk: c.indexTopk });

  const attended = attend(q, {
    n: s,
    firstPosition: 0,
    heads,
    d: headDim,
    kv,
    window: c.slidingWindow,
    compressed,
    visible,
    sinks: w('attn_sink', [heads]),
    softmaxScale: headDim ** -0.5,
  });
  // Values carry the rotation of their keys; turning back by the query's position leaves what depends on the distance only.
  const values = applyRope(attended, { positions, heads, d: headDim, frequencies, inverse: true });
  const groupK = (heads * headDim) / oGroups;
  const grouped = linear(values, w('wo_a.weight', [oGroups * oLoraRank, groupK]), {
    m: s,
    n: oLoraRank,
    k: groupK,
    groups: oGroups,
  });
  const out = linear(grouped, w('wo_b.weight', [d, oGroups * oLoraRank]), { m: s, n: d, k: oGroups * oLoraRank });
  return ratio === 0 ? { out, entries } : { out, compressed, visible, entries };
}
