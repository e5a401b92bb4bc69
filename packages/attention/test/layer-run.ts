import { seeded } from '@megamoe/testkit';
import { buildGatherPlan, createRope, gatherPlanCapacity, SequenceState } from '../src/index';
import type { AttentionKernels, CompressorWeights, LayerSpec, Rope } from '../src/index';

/** Random inputs of one attention layer for a whole sequence: what the projections would have given. */
export interface LayerInputs {
  readonly spec: LayerSpec;
  readonly tokens: number;
  readonly heads: number;
  readonly indexHeads: number;
  readonly topk: number;
  readonly rope: Rope;
  readonly kv: Float32Array;
  readonly q: Float32Array;
  readonly sinks: Float32Array;
  readonly scale: number;
  readonly compressor: Projections;
  readonly indexer: Projections;
  readonly indexQ: Float32Array;
  readonly indexWeights: Float32Array;
}

/** kv and gate of a compressor for every token, and its weights. */
export interface Projections {
  readonly kv: Float32Array;
  readonly gate: Float32Array;
  readonly weights: CompressorWeights;
}

/** What the layer gave for every token. */
export interface LayerOutputs {
  readonly out: Float32Array;
  /** Keys of each query in plan order: `k` and the position for the window, `e` and the entry. */
  readonly keys: string[][];
}

export const EPS = 1e-6;

/** Seeded inputs; the second sink is -Infinity, the third +Infinity. */
export function makeInputs(
  spec: LayerSpec,
  {
    tokens,
    heads,
    topk = 0,
    seed,
    ropeDim = 4,
  }: { tokens: number; heads: number; topk?: number; seed: number; ropeDim?: number },
): LayerInputs {
  const random = seeded(seed);
  const d = spec.headDim;
  const indexDim = spec.indexHeadDim ?? 1;
  const indexHeads = 3;
  const project = (dim: number): Projections => {
    const width = spec.ratio === 4 ? 2 * dim : dim;
    return {
      kv: random.floats(tokens * width),
      gate: random.floats(tokens * width, 2),
      weights: { ape: random.floats(spec.ratio * width), norm: random.floats(dim) },
    };
  };
  const sinks = random.floats(heads);
  if (heads > 1) sinks[1] = -Infinity;
  if (heads > 2) sinks[2] = Infinity;
  return {
    spec,
    tokens,
    heads,
    indexHeads,
    topk,
    rope: createRope({ ropeDim, theta: 100 }),
    kv: random.floats(tokens * d),
    q: random.floats(tokens * heads * d, 2),
    sinks,
    scale: 1 / Math.sqrt(d),
    compressor: project(d),
    indexer: project(indexDim),
    indexQ: random.floats(tokens * indexHeads * indexDim),
    indexWeights: random.floats(tokens * indexHeads),
  };
}

/** A state for `inputs` at position 0, its arrays poisoned where nothing has been written. */
export function makeState(inputs: LayerInputs, maxChunk: number, extraTokens = 5): SequenceState {
  const state = new SequenceState({ layers: [inputs.spec], maxTokens: inputs.tokens + extraTokens, maxChunk });
  const layer = state.layers[0]!;
  layer.ring.fill(NaN);
  for (const c of [layer.compressor, layer.indexer]) {
    c?.entries.fill(NaN);
    c?.partialKv.fill(NaN);
    c?.partialGate.fill(NaN);
  }
  return state;
}

/** Runs tokens [state.position, state.position + n) of `inputs` as one step and adds to `outputs`. */
export function step(
  kernels: AttentionKernels,
  state: SequenceState,
  inputs: LayerInputs,
  n: number,
  outputs: LayerOutputs,
): void {
  const { spec, heads, topk, indexHeads, compressor, indexer, rope } = inputs;
  const layer = state.layers[0]!;
  const p0 = state.position;
  kernels.writeWindow(layer, inputs.kv, p0, n, p0);
  let selected: Int32Array | null = null;
  if (layer.compressor) {
    const { kv, gate, weights } = compressor;
    kernels.compress(layer.compressor, kv, gate, p0, n, p0, weights, EPS, rope);
  }
  if (layer.indexer) {
    const { kv, gate, weights } = indexer;
    kernels.compress(layer.indexer, kv, gate, p0, n, p0, weights, EPS, rope);
    selected = new Int32Array(n * topk + 2).fill(-99);
    kernels.indexSelect(layer.indexer, inputs.indexQ, inputs.indexWeights, p0, n, p0, indexHeads, topk, selected);
  }
  const keyCap = gatherPlanCapacity(spec, p0, n, topk) + 1; // one spare, to see that it is left alone
  const keyIndex = new Int32Array(n * keyCap).fill(-99);
  const keyCount = new Int32Array(n);
  buildGatherPlan(spec, layer.ringCap, p0, n, selected, topk, keyIndex, keyCap, keyCount);
  kernels.attend(layer, inputs.q, p0, n, heads, keyIndex, keyCap, keyCount, inputs.sinks, inputs.scale, outputs.out);
  for (let r = 0; r < n; r++) outputs.keys.push(nameKeys(keyIndex, r * keyCap, keyCount[r]!, layer.ringCap, p0 + r));
  state.position += n;
}

/** Ring slots back to positions (the latest at or before the query), entries to their numbers. */
function nameKeys(keyIndex: Int32Array, at: number, count: number, ringCap: number, position: number): string[] {
  return Array.from(keyIndex.subarray(at, at + count), (index) =>
    index < ringCap ? `k${position - ((((position - index) % ringCap) + ringCap) % ringCap)}` : `e${index - ringCap}`,
  );
}

/** Outputs poisoned for the whole sequence. */
export function makeOutputs(inputs: LayerInputs): LayerOutputs {
  return { out: new Float32Array(inputs.tokens * inputs.heads * inputs.spec.headDim).fill(NaN), keys: [] };
}

/** The whole sequence in the given chunks (repeated until the end). */
export function run(
  kernels: AttentionKernels,
  inputs: LayerInputs,
  chunks: readonly number[],
  state = makeState(inputs, Math.max(...chunks)),
): LayerOutputs {
  const outputs = makeOutputs(inputs);
  for (let i = 0; state.position < inputs.tokens; i++) {
    step(kernels, state, inputs, Math.min(chunks[i % chunks.length]!, inputs.tokens - state.position), outputs);
  }
  return outputs;
}
