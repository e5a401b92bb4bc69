import type { Backend, InputPrecision, LinearWeight, Tensor } from '@megamoe/ops';

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

/** Precision of the inputs of a dense module; `exact` modules (router, compressors, head) are never rounded to BF16. */
function precisionOf(w: LinearWeight, inputs: Inputs, exact: boolean): InputPrecision {
  if (inputs.activations === 'nvfp4' && w.inputGlobalDecodeScale !== null) return 'nvfp4';
  return exact ? 'f32' : inputs.float;
}

/** A dense product, with quantized inputs where the module calls for them and `inputs` allows it. */
export function denseLinear(b: Backend, w: LinearWeight, x: Tensor, rows: number, inputs: Inputs, out: Tensor): void {
  b.linear({ w, x, rows, inputs: precisionOf(w, inputs, false), out });
}

/** The same for the modules whose inputs DeepSeek keeps in float32: router, compressors and head. */
export function exactLinear(b: Backend, w: LinearWeight, x: Tensor, rows: number, inputs: Inputs, out: Tensor): void {
  b.linear({ w, x, rows, inputs: precisionOf(w, inputs, true), out });
}
