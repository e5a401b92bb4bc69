import { checkPositive } from '@megamoe/core';
import { result, takeNumbers, takeSizes } from './arguments';
import type { Numbers } from './numbers';

/** `silu(min(g, limit)) * clamp(u, -limit, limit)`: gateUp [M, 2I], gate first, gives [M, I]. The gate has no lower clamp. */
export function swiglu(
  values: Numbers,
  shape: { readonly m: number; readonly i: number; readonly limit: number },
): Float64Array {
  const fn = 'swiglu';
  const { m, i } = takeSizes(fn, 'shape', shape, 'm', 'i');
  const { limit } = shape;
  checkPositive(fn, 'limit', limit);
  const gateUp = takeNumbers(fn, 'gateUp', values, ['M*2*I', m * 2 * i]);
  const out = result(fn, 'M*I', m * i);
  for (let row = 0; row < m; row++)
    for (let c = 0; c < i; c++) {
      const gate = Math.min(gateUp[row * 2 * i + c]!, limit);
      const up = Math.min(Math.max(gateUp[row * 2 * i + i + c]!, -limit), limit);
      out[row * i + c] = (gate / (1 + Math.exp(-gate))) * up;
    }
  return out;
}
