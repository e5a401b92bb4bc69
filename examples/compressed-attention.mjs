/** Attention over a compressed cache: 128 tokens become one entry, so that a query far away still finds what it looks for. */
import { createAttentionKernels } from '@megamoe/attention';
import { pageKindsOf, PagePool, SequencePages, StepRows, visibleEntries } from '@megamoe/ops';

const [headDim, window, n, chunk] = [16, 8, 4096, 64];
const spec = /** @type {const} */ ({ ratio: 128, window, headDim }); // an HCA layer; real ones: window 128, headDim 512
const kernels = createAttentionKernels();
const cache = kernels.createCache([spec]);
const kinds = pageKindsOf([spec]);
const sequence = new SequencePages(new PagePool(kinds, window, cache));

// Keys are all alike, but for tokens 256 to 383, which point along channel 0: the passage that the query will look for.
const keys = new Float32Array(n * headDim);
for (let t = 0; t < n; t++) keys[t * headDim + (t >= 256 && t < 384 ? 0 : 1)] = 1;
const rope = kernels.createRope({ ropeDim: 2, theta: 160000 });
const gate = new Float32Array(chunk * headDim); // gates of 0: each token of a window weighs the same
const weights = kernels.packCompressor(new Float32Array(128 * headDim), new Float32Array(headDim).fill(1));

// Every query looks along channel 0. It sees the last 8 tokens as they are and one entry for each 128 tokens before.
const q = new Float32Array(chunk * headDim);
for (let t = 0; t < chunk; t++) q[t * headDim] = 8;
const sinks = Float32Array.of(-Infinity);
const attention = { q, heads: 1, d: headDim, selected: null, topk: 0, sinks, softmaxScale: headDim ** -0.5 };
const out = new Float32Array(n * headDim);

// The prompt comes in chunks, as in a server: each writes its keys, then attends.
const rows = new StepRows(chunk, kinds);
const step = kernels.createStep(chunk);
while (sequence.length < n) {
  const [from, to] = [sequence.length, sequence.length + chunk];
  sequence.reserve(to);
  rows.clear();
  rows.add(sequence, new Int32Array(chunk), 0, chunk);
  kernels.planStep(step, rows, cache, rope);
  const kv = keys.subarray(from * headDim, to * headDim);
  const layer = { cache, step, layer: 0 };
  kernels.writeWindow({ ...layer, d: headDim, kv });
  kernels.compress({ ...layer, indexer: false, width: headDim, kv, gate, weights, eps: 1e-6 });
  kernels.attend({ ...layer, ...attention, out: out.subarray(from * headDim, to * headDim) });
  sequence.commit(to);
}

console.log(`${n} tokens, ${cache.bytes} bytes of memory; every token raw would take ${n * headDim * 4} in this layer`);
console.log('query at   keys   share of the passage (channel 0) in what it reads');
for (const t of [200, 300, 383, 600, 4095]) {
  const [passage = 0, other = 0] = out.subarray(t * headDim, t * headDim + 2);
  const share = passage / (passage + other);
  const seen = Math.min(window, t + 1) + visibleEntries(t, 128);
  const note =
    t === 300 ? '  from the window' : t === 383 ? '  its entry is complete' : t === 4095 ? '  3712 tokens later' : '';
  console.log(`${String(t).padStart(8)}${String(seen).padStart(7)}   ${(100 * share).toFixed(0).padStart(3)} %${note}`);
}
