import { checkLength, checkPositive } from '@megamoe/core';
import type { Numbers } from './numbers';

/** `silu(min(g, limit)) * clamp(u, -limit, limit)`: gateUp [M, 2I], gate first, gives [M, I]. The gate has no lower clamp. */
export function swiglu(gateUp: Numbers, { m, i, limit }: { m: number; i: number; limit: number }): Float64Array {
  checkLength('swiglu', 'gateUp', gateUp, 'M*2*I', m * 2 * i);
  checkPositive('swiglu', 'limit', limit);
  const out = new Float64Array(m * i);
  for (let row = 0; row < m; row++)
    for (let c = 0; c < i; c++) {
      const gate = Math.min(gateUp[row * 2 * i + c]!, limit);
      const up = Math.min(Math.max(gateUp[row * 2 * i + i + c]!, -limit), limit);
      out[row * i + c] = (gate / (1 + Math.exp(-gate))) * up;
    }
  return out;
}
