import type { Own } from '../own';
import { fillRopeRow } from '../rope';

/** Row r of `cos` and `sin` is that of `positions[r]`, on any instruction set. */
export function ropeTables({ rope, positions, rows, cos, sin }: Own<'ropeTables'>): void {
  const half = rope.invFreq.length;
  for (let r = 0; r < rows; r++) fillRopeRow(rope.invFreq, positions[r]!, cos, sin, r * half);
}
