import { afterEach, expect, it, vi } from 'vitest';
import { BACKENDS } from './backends';
import { makeInputs, makeOutputs, makeState, step } from './layer-run';
import { buildGatherPlan } from '../src/index';

afterEach(() => vi.unstubAllGlobals());

it.each(BACKENDS)('a warm step on $name makes no arrays', ({ kernels }) => {
  const spec = { ratio: 4, window: 5, headDim: 8, indexHeadDim: 4 } as const;
  const inputs = makeInputs(spec, { tokens: 64, heads: 2, topk: 3, seed: 1 });
  const state = makeState(inputs, 8);
  const outputs = makeOutputs(inputs);
  while (state.position < 48) step(kernels, state, inputs, 8, outputs);
  const layer = state.layers[0]!;
  const selected = new Int32Array(8 * 3);
  const keyIndex = new Int32Array(8 * 8);
  const keyCount = new Int32Array(8);
  const out = new Float32Array(outputs.out.length);
  const oneStep = (p0: number): void => {
    const { compressor, indexer, indexQ, indexWeights } = inputs;
    kernels.writeWindow(layer, inputs.kv, p0, 8, p0);
    kernels.compress(
      layer.compressor!,
      compressor.kv,
      compressor.gate,
      p0,
      8,
      p0,
      compressor.weights,
      1e-6,
      inputs.rope,
    );
    kernels.compress(layer.indexer!, indexer.kv, indexer.gate, p0, 8, p0, indexer.weights, 1e-6, inputs.rope);
    kernels.indexSelect(layer.indexer!, indexQ, indexWeights, p0, 8, p0, 3, 3, selected);
    buildGatherPlan(spec, layer.ringCap, p0, 8, selected, 3, keyIndex, 8, keyCount);
    kernels.attend(layer, inputs.q, p0, 8, 2, keyIndex, 8, keyCount, inputs.sinks, 0.3, out);
  };
  oneStep(48); // scratch of the selection may still grow
  let made = 0;
  for (const name of ['Float32Array', 'Float64Array', 'Int32Array', 'ArrayBuffer'] as const) {
    vi.stubGlobal(
      name,
      new Proxy(globalThis[name], {
        construct(target, args: [number]) {
          made++;
          return new target(...args);
        },
      }),
    );
  }
  oneStep(56);
  expect(made).toBe(0);
  expect(new Float32Array(1).length + made).toBe(2); // the count works
});
