import type { Own } from '../own';

/** Copies each row to its place in the window. */
export function writeWindow({ cache, step, layer, d, kv }: Own<'writeWindow'>): void {
  const window = cache.memory[layer]!.window.data;
  for (let r = 0; r < step.rows; r++) {
    const to = step.windowRow[r]! * d;
    for (let i = 0; i < d; i++) window[to + i] = kv[r * d + i]!;
  }
}
