import type { LinearWeight } from '@megamoe/gemm-native';
import type { Ops } from '../backend/ops';
import type { Tensor } from '../tensor';

/**
 * What goes into matrix products. `nvfp4`: inputs of routed experts in NVFP4, and of dense NVFP4 modules that have an input scale, are quantized
 * (W4A4). `float`: they stay as they are (W4A16), like those of modules in other formats.
 */
export type Activations = 'nvfp4' | 'float';

/** What becomes of inputs that {@link Activations} leaves as they are: `f32`, or `bf16`: rounded to BF16, to be multiplied by pairs. */
export type FloatInputs = 'f32' | 'bf16';

/** Both choices together. */
export interface Inputs {
  readonly activations: Activations;
  readonly float: FloatInputs;
}

/** A dense product, with quantized inputs where the module calls for them and `inputs` allows it. */
export function denseLinear(ops: Ops, w: LinearWeight, x: Tensor, m: number, inputs: Inputs, out: Tensor): void {
  if (inputs.float === 'f32' || isQuantized(w, inputs)) exactLinear(ops, w, x, m, inputs, out);
  else ops.linearBf16(w, x, m, out);
}

/** The same for the modules whose inputs DeepSeek keeps in float32: router, compressors and head. */
export function exactLinear(ops: Ops, w: LinearWeight, x: Tensor, m: number, inputs: Inputs, out: Tensor): void {
  if (isQuantized(w, inputs)) ops.linearW4A4(w, x, m, out);
  else ops.linear(w, x, m, out);
}

function isQuantized(w: LinearWeight, { activations }: Inputs): boolean {
  return activations === 'nvfp4' && w.inputGlobalDecodeScale !== null;
}
