/** Attention over a compressed cache: 128 tokens become one entry, so that a query far away still finds what it looks for. */
import {
  buildGatherPlan,
  createAttentionKernels,
  createRope,
  gatherPlanCapacity,
  SequenceState,
} from '@megamoe/attention';

const [headDim, window, n, chunk] = [16, 8, 4096, 64];
const spec = /** @type {const} */ ({ ratio: 128, window, headDim }); // an HCA layer; real ones: window 128, headDim 512
const kernels = createAttentionKernels();
const state = new SequenceState({ layers: [spec], maxTokens: n, maxChunk: chunk });
const [layer] = state.layers;
if (layer?.compressor === undefined) throw new Error('an HCA layer has a compressor');

// Keys are all alike, but for tokens 256 to 383, which point along channel 0: the passage that the query will look for.
const keys = new Float32Array(n * headDim);
for (let t = 0; t < n; t++) keys[t * headDim + (t >= 256 && t < 384 ? 0 : 1)] = 1;
const rope = createRope({ ropeDim: 2, theta: 160000 });
const even = new Float32Array(n * headDim); // gates of 0: each token of a window weighs the same
const weights = { ape: new Float32Array(128 * headDim), norm: new Float32Array(headDim).fill(1) };

// Every query looks along channel 0. It sees the last 8 tokens as they are and one entry for each 128 tokens before.
const queries = new Float32Array(n * headDim);
for (let t = 0; t < n; t++) queries[t * headDim] = 8;
const out = new Float32Array(n * headDim);
const sinks = Float32Array.of(-Infinity);
const counts = new Int32Array(n);

// The prompt comes in chunks, as in a server: each writes its keys, then attends.
for (let row = 0; row < n; row += chunk) {
  const position = state.position;
  kernels.writeWindow(layer, keys, row, chunk, position);
  kernels.compress(layer.compressor, keys, even, row, chunk, position, weights, 1e-6, rope);
  const keyCap = gatherPlanCapacity(spec, position, chunk, 0);
  const keyIndex = new Int32Array(chunk * keyCap);
  const keyCount = counts.subarray(row, row + chunk);
  buildGatherPlan(spec, layer.ringCap, position, chunk, null, 0, keyIndex, keyCap, keyCount);
  kernels.attend(layer, queries, row, chunk, 1, keyIndex, keyCap, keyCount, sinks, headDim ** -0.5, out);
  state.position += chunk;
}

console.log(`${n} tokens, ${state.bytes} bytes of state; every token raw would take ${n * headDim * 4} in this layer`);
console.log('query at   keys   share of the passage (channel 0) in what it reads');
for (const t of [200, 300, 383, 600, 4095]) {
  const [passage = 0, other = 0] = out.subarray(t * headDim, t * headDim + 2);
  const share = passage / (passage + other);
  const note =
    t === 300 ? '  from the window' : t === 383 ? '  its entry is complete' : t === 4095 ? '  3712 tokens later' : '';
  console.log(
    `${String(t).padStart(8)}${String(counts[t]).padStart(7)}   ${(100 * share).toFixed(0).padStart(3)} %${note}`,
  );
}
