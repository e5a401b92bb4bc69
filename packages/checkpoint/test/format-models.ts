import { seeded } from '@megamoe/testkit';
import type { TensorToWrite } from '../src/index';
import { SMALL_CONFIG, smallTensors, writeModel } from './helpers';

/** Wide enough for several FP8 tiles in both directions; I = 160 puts the tiles of a fused w3 in the middle of w1's last one. */
export const CONFIG = { ...SMALL_CONFIG, hidden_size: 288, moe_intermediate_size: 160, q_lora_rank: 320, hc_mult: 1 };
export const FILE = 'DIR/model.safetensors';
export const W = 'layers.0.attn.wq_a'; // [320, 288]
export const E = 'layers.1.ffn.experts.2.w1'; // [160, 288]

const BASE = smallTensors(CONFIG);

export type Change = Omit<TensorToWrite, 'name'> | null;
export const tensor = (dtype: TensorToWrite['dtype'], shape: readonly number[], data: ArrayBufferView): Change => ({
  dtype,
  shape,
  data,
});
export const scalar = (value: number, shape: readonly number[] = []): Change =>
  tensor('F32', shape, Float32Array.of(value));

/** A model with some tensors replaced, added or, with null, left out. */
export async function written(
  changes: Record<string, Change>,
  config: Record<string, unknown> = CONFIG,
): Promise<string> {
  const tensors = new Map(config === CONFIG ? BASE : smallTensors(config));
  for (const [name, change] of Object.entries(changes)) {
    if (change) tensors.set(name, { ...change, name });
    else tensors.delete(name);
  }
  return await writeModel(tensors.values(), config);
}

/** Values of a matrix whose blocks differ in size by far, some of them zero. */
export function values(n: number, k: number, seed = 1): Float32Array {
  const r = seeded(seed);
  const x = r.floats(n * k, 0.02);
  for (let i = 0; i < x.length; i++) x[i]! *= [1, 4, 0.25, 0][(i >> 5) % 4]!;
  return x;
}
