import type { ModelConfig } from '@megamoe/checkpoint';
import { layerSpec } from '@megamoe/layers';
import { createModel, type Model, type Sequence } from '@megamoe/model';
import { sequenceBytes, type CachePart } from '@megamoe/ops';
import { Random } from '../data';
import { v4FlashBytes } from '../step-cases';
import { CountingSource, SyntheticSource, v4FlashConfig } from '../synthetic';
import type { StepShape } from '../types';
import type { GpuContext, GpuStepShape } from './context';
import type { Measurable } from './loaded';
import { watched } from './watch';

/** DeepSeek-V4-Flash's dimensions, or small ones of the same kind. */
export function configOf(quick: boolean, step: StepShape): ModelConfig {
  const config = v4FlashConfig(step);
  if (!quick) return config;
  return {
    ...config,
    ...{
      hiddenSize: 256,
      numAttentionHeads: 4,
      headDim: 64,
      ropeHeadDim: 16,
      qLoraRank: 64,
      oLoraRank: 64,
      oGroups: 2,
    },
    ...{
      slidingWindow: 16,
      indexNHeads: 4,
      indexHeadDim: 32,
      indexTopk: 16,
      moeIntermediateSize: 128,
      numExpertsPerTok: 2,
    },
  };
}

/** Bytes of the buffers of a step of so many rows: some 210,000 floats a row at V4-Flash's dimensions, and what kernels need besides. */
export const workspaceBytes = (rows: number): number => 8.5e5 * rows + 1e9;

/** The most layers of V4-Flash shape that fit into `free` bytes, with sequences of a context and steps of `rows` rows; at most 61. */
export function layersThatFit(free: number, step: GpuStepShape, sequences: number, rows: number): number {
  const config = (layers: number): ModelConfig => v4FlashConfig({ ...step, layers });
  const bytes = (layers: number): number => {
    const specs = config(layers).compressRatios.map((_, i) => layerSpec(config(layers), i));
    // Memory of keys grows by doubling.
    return v4FlashBytes({ ...step, layers }) + 2 * sequences * sequenceBytes(step.context + 1, specs);
  };
  let layers = 61;
  while (layers > 0 && bytes(layers) + workspaceBytes(rows) > 0.97 * free) layers--;
  return layers;
}

/** A model of V4-Flash shape: experts are made once for a layer and copied on the GPU, dense weights are uploaded. */
export async function syntheticModel(
  c: GpuContext,
  step: StepShape,
  maxChunk: number,
  activations: 'nvfp4' | 'float' = 'nvfp4',
): Promise<Measurable> {
  const source = new CountingSource(new SyntheticSource(configOf(c.quick, step), step.dense));
  const { backend, during } = watched(c.backend, { packExperts: (from) => c.packSameExperts(from) });
  const model = await createModel(source, {
    backend,
    activations,
    floatInputs: step.floatInputs,
    maxChunk,
    signal: c.signal,
  });
  return { model, source, count: source.count, during };
}

/** Sequences with `context` tokens behind them, whose keys are {@link fillKeys}'s. */
export function openSequences(model: Model, count: number, context: number): Sequence[] {
  const made = Array.from({ length: count }, () => model.createSequence({ maxTokens: context + 256 }));
  for (const sequence of made) sequence.pages.open(context);
  return made;
}

const POOL = 1_048_573; // a prime, so that sequences differ

/** Random numbers in all memory of keys that the model's sequences have taken. */
export function fillKeys({ memory, backend }: Model): void {
  const pool = new Random(19).floats(POOL);
  memory.layers.forEach(({ ratio }, layer) => {
    const parts: CachePart[] = ['window'];
    if (ratio !== 0) parts.push('entries', 'openKv', 'openGate');
    if (ratio === 4) parts.push('indexEntries', 'indexOpenKv', 'indexOpenGate');
    for (const part of parts) {
      const tensor = memory.cache.part(layer, part);
      for (let at = 0; at < tensor.length; at += POOL)
        backend.upload(tensor, at, pool, 0, Math.min(POOL, tensor.length - at));
    }
  });
}
