import { visibleEntries } from '@megamoe/attention';
import type { ModelConfig } from '@megamoe/checkpoint';
import type { Ops, RopeHandle, Segment } from '../backend/ops';
import type { StepBatch } from '../step-batch';
import type { Trace } from '../trace';
import type { AttentionWeights, CompressorBlock } from '../weights';
import type { Workspace } from '../workspace';
import { denseLinear, exactLinear, type Inputs } from './dense';

/** Rotary frequencies: sliding layers turn by `ropeTheta`; layers with compressed keys by `compressRopeTheta` with YaRN. */
export interface Ropes {
  readonly main: RopeHandle;
  readonly compress: RopeHandle;
}

/** Appends a batch's tokens to a compressor: projections of every row, then sequence by sequence. */
function compress(
  ops: Ops,
  c: ModelConfig,
  ws: Workspace,
  batch: StepBatch,
  layer: number,
  indexer: boolean,
  block: CompressorBlock,
  rope: RopeHandle,
  inputs: Inputs,
): void {
  exactLinear(ops, block.wkv, ws.normed, batch.rows, inputs, ws.compKv);
  exactLinear(ops, block.wgate, ws.normed, batch.rows, inputs, ws.compGate);
  for (let i = 0; i < batch.count; i++)
    ops.compress(batch.segment(i), layer, indexer, ws.compKv, ws.compGate, block.pool, c.rmsNormEps, rope);
}

/**
 * Attention of one layer (docs/formats.md D1 to D7): `ws.normed` [rows, D] -> `ws.blockOut` [rows, D]. Writes the window,
 * closes compressed windows, chooses compressed keys, attends, rotates back, and projects out in two steps.
 */
export function attentionBlock(
  ops: Ops,
  c: ModelConfig,
  ws: Workspace,
  w: AttentionWeights,
  ropes: Ropes,
  batch: StepBatch,
  layer: number,
  inputs: Inputs,
  trace: Trace | undefined,
): void {
  const heads = c.numAttentionHeads;
  const { rows } = batch;
  const { headDim, ropeHeadDim } = c;
  const tables = w.spec.ratio === 0 ? ws.ropeMain : ws.ropeCompress;
  const rope = w.spec.ratio === 0 ? ropes.main : ropes.compress;

  denseLinear(ops, w.wqA, ws.normed, rows, inputs, ws.qLora);
  ops.rmsNorm(ws.qLora, rows, c.qLoraRank, w.qNorm, c.rmsNormEps, ws.qLora);
  denseLinear(ops, w.wqB, ws.qLora, rows, inputs, ws.q);
  ops.rmsNorm(ws.q, rows * heads, headDim, null, c.rmsNormEps, ws.q); // per head, no weight
  ops.rope(ws.q, rows, heads, headDim, ropeHeadDim, tables.cos, tables.sin, false);

  denseLinear(ops, w.wkv, ws.normed, rows, inputs, ws.kv);
  ops.rmsNorm(ws.kv, rows, headDim, w.kvNorm, c.rmsNormEps, ws.kv);
  ops.rope(ws.kv, rows, 1, headDim, ropeHeadDim, tables.cos, tables.sin, false);
  for (let i = 0; i < batch.count; i++) ops.writeWindow(batch.segment(i), layer, ws.kv);

  if (w.compressor) compress(ops, c, ws, batch, layer, false, w.compressor, rope, inputs);
  if (w.indexer) {
    compress(ops, c, ws, batch, layer, true, w.indexer, rope, inputs);
    denseLinear(ops, w.indexer.wqB, ws.qLora, rows, inputs, ws.indexQ);
    ops.rope(ws.indexQ, rows, c.indexNHeads, c.indexHeadDim, ropeHeadDim, tables.cos, tables.sin, false);
    denseLinear(ops, w.indexer.headWeights, ws.normed, rows, inputs, ws.indexWeights);
  }

  for (let i = 0; i < batch.count; i++) {
    const s = batch.segment(i);
    if (w.indexer) ops.indexSelect(s, layer, ws.indexQ, ws.indexWeights, c.indexNHeads, c.indexTopk, ws.selected);
    const selected = w.indexer ? ws.selected : null;
    ops.attend(s, layer, w.spec, ws.q, heads, selected, c.indexTopk, w.sinks, headDim ** -0.5, ws.attnOut);
    if (trace && w.spec.ratio !== 0) traceCompressed(ops, c, ws, s, layer, w.spec.ratio, selected !== null, trace);
  }
  // K = V, so the values came in rotated by their own position: turn the sum back by the query's.
  ops.rope(ws.attnOut, rows, heads, headDim, ropeHeadDim, tables.cos, tables.sin, true);
  denseLinear(ops, w.woA, ws.attnOut, rows, inputs, ws.oLora);
  denseLinear(ops, w.woB, ws.oLora, rows, inputs, ws.blockOut);
}

/** Records the compressed keys and which of them each query of a segment sees. */
function traceCompressed(
  ops: Ops,
  c: ModelConfig,
  ws: Workspace,
  s: Segment,
  layer: number,
  ratio: number,
  chosen: boolean,
  trace: Trace,
): void {
  const entries = visibleEntries(s.p0 + s.n - 1, ratio);
  const data = new Float32Array(entries * c.headDim);
  ops.readState(s.state, layer, 'compressor', 0, entries, data);
  trace.recordCompressed(layer, entries, c.headDim, data);
  const ids = new Int32Array(chosen ? s.n * c.indexTopk : 0);
  if (chosen) ops.download(ws.selected, 0, ids.length, ids, 0);
  trace.recordVisible(
    layer,
    Array.from({ length: s.n }, (_, i) => {
      if (!chosen) return Uint32Array.from({ length: visibleEntries(s.p0 + i, ratio) }, (_, e) => e);
      return Uint32Array.from(ids.subarray(i * c.indexTopk, (i + 1) * c.indexTopk).filter((e) => e >= 0));
    }),
  );
}
