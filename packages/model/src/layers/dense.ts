import type { LinearWeight } from '@megamoe/gemm-native';
import type { Ops } from '../backend/ops';
import type { Tensor } from '../tensor';

/**
 * What goes into matrix products. `nvfp4`: inputs of routed experts in NVFP4, and of dense NVFP4 modules that have an input scale, are quantized
 * (W4A4). `float`: they stay float32 (W4A16). Inputs of modules in other formats stay float32 either way.
 */
export type Activations = 'nvfp4' | 'float';

/** A dense product, with quantized inputs where the module calls for them and `activations` allows it. */
export function denseLinear(
  ops: Ops,
  w: LinearWeight,
  x: Tensor,
  m: number,
  activations: Activations,
  out: Tensor,
): void {
  if (activations === 'nvfp4' && w.inputGlobalDecodeScale !== null) ops.linearW4A4(w, x, m, out);
  else ops.linear(w, x, m, out);
}
