import type { ModelConfig } from '@megamoe/checkpoint';
import type { Backend, KvCache, Step } from '@megamoe/ops';
import { denseLinear, exactLinear, type Inputs } from './dense';
import type { Probe } from './probe';
import type { AttentionWeights, CompressorBlock } from './weights';
import type { Workspace } from './workspace';

/** What attention works on besides its weights. */
export interface AttentionContext {
  readonly backend: Backend;
  readonly config: ModelConfig;
  readonly ws: Workspace;
  readonly step: Step;
  readonly cache: KvCache;
  readonly inputs: Inputs;
  readonly probe: Probe | undefined;
}

/** Appends the step's tokens to a compressor: projections of every row, then the windows that become full. */
function compress(
  { backend, config, ws, step, cache, inputs, probe }: AttentionContext,
  block: CompressorBlock,
  layer: number,
  indexer: boolean,
): void {
  const { rows } = step;
  exactLinear(backend, block.wkv, ws.normed, rows, inputs, ws.compKv);
  exactLinear(backend, block.wgate, ws.normed, rows, inputs, ws.compGate);
  const name = indexer ? 'indexer_compressor' : 'compressor';
  probe?.between?.(`${name}_kv`, layer, ws.compKv, rows, [block.wkv.n]);
  probe?.between?.(`${name}_gate`, layer, ws.compGate, rows, [block.wkv.n]);
  backend.compress({
    cache,
    step,
    layer,
    indexer,
    width: block.wkv.n,
    kv: ws.compKv,
    gate: ws.compGate,
    weights: block.pool,
    eps: config.rmsNormEps,
  });
}

/**
 * Attention of one layer (docs/formats.md D1 to D7), for all sequences of the step: `ws.normed` [rows, D] -> `ws.blockOut` [rows, D]. Writes the window, closes
 * compressed windows, chooses compressed keys, attends, rotates back, and projects out in two steps.
 */
export function attentionBlock(x: AttentionContext, w: AttentionWeights, layer: number): void {
  const { backend: b, config: c, ws, step, cache, inputs, probe } = x;
  const { rows } = step;
  const heads = c.numAttentionHeads;
  const { headDim: d, ropeHeadDim: ropeDim, rmsNormEps: eps } = c;
  const { cos, sin } = w.spec.ratio === 0 ? ws.ropeMain : ws.ropeCompress;

  denseLinear(b, w.wqA, ws.normed, rows, inputs, ws.qLora);
  b.rmsNorm({ x: ws.qLora, rows, d: c.qLoraRank, weight: w.qNorm, eps, out: ws.qLora });
  probe?.between?.('q_a', layer, ws.qLora, rows, [c.qLoraRank]);
  denseLinear(b, w.wqB, ws.qLora, rows, inputs, ws.q);
  b.rmsNorm({ x: ws.q, rows: rows * heads, d, weight: null, eps, out: ws.q }); // per head, no weight
  b.rope({ x: ws.q, rows, heads, d, ropeDim, cos, sin, inverse: false });
  probe?.between?.('q', layer, ws.q, rows, [heads, d]);

  denseLinear(b, w.wkv, ws.normed, rows, inputs, ws.kv);
  b.rmsNorm({ x: ws.kv, rows, d, weight: w.kvNorm, eps, out: ws.kv });
  b.rope({ x: ws.kv, rows, heads: 1, d, ropeDim, cos, sin, inverse: false });
  probe?.between?.('kv', layer, ws.kv, rows, [d]);
  b.writeWindow({ cache, step, layer, d, kv: ws.kv });

  if (w.compressor) compress(x, w.compressor, layer, false);
  if (w.indexer) {
    compress(x, w.indexer, layer, true);
    const [n, dim] = [c.indexNHeads, c.indexHeadDim];
    denseLinear(b, w.indexer.wqB, ws.qLora, rows, inputs, ws.indexQ);
    b.rope({ x: ws.indexQ, rows, heads: n, d: dim, ropeDim, cos, sin, inverse: false });
    denseLinear(b, w.indexer.headWeights, ws.normed, rows, inputs, ws.indexWeights);
    probe?.between?.('indexer_q', layer, ws.indexQ, rows, [n, dim]);
    probe?.between?.('indexer_weights', layer, ws.indexWeights, rows, [n]);
    b.indexSelect({
      cache,
      step,
      layer,
      q: ws.indexQ,
      headWeights: ws.indexWeights,
      heads: n,
      dim,
      topk: c.indexTopk,
      selected: ws.selected,
    });
  }
  b.attend({
    cache,
    step,
    layer,
    q: ws.q,
    heads,
    d,
    selected: w.indexer ? ws.selected : null,
    topk: c.indexTopk,
    sinks: w.sinks,
    softmaxScale: d ** -0.5,
    out: ws.attnOut,
  });
  // K = V, so the values came in rotated by their own position: turn the sum back by the query's.
  b.rope({ x: ws.attnOut, rows, heads, d, ropeDim, cos, sin, inverse: true });
  probe?.between?.('attn_context', layer, ws.attnOut, rows, [heads, d]);
  denseLinear(b, w.woA, ws.attnOut, rows, inputs, ws.oLora);
  probe?.between?.('o_a', layer, ws.oLora, rows, [c.oGroups * c.oLoraRank]);
  denseLinear(b, w.woB, ws.oLora, rows, inputs, ws.blockOut);
}
