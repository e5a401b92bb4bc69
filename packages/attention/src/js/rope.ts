import type { Own } from '../own';

const f = Math.fround;

/**
 * Interleaved rotation of the last `ropeDim` of each head, in place, each product and sum rounded to f32 as torch does it
 * (`x * cos + rotate_half(x) * sin`). `inverse` negates sin.
 */
export function rope({ x, rows, heads, d, ropeDim, cos, sin, inverse }: Own<'rope'>): void {
  const sign = inverse ? -1 : 1;
  for (let r = 0; r < rows; r++) {
    for (let h = 0; h < heads; h++)
      rotateRow(x, (r * heads + h + 1) * d - ropeDim, ropeDim, cos, sin, (r * ropeDim) / 2, sign);
  }
}

/** Rotates the `ropeDim` elements at `at` by the angles at `angle`; `sign` -1 turns back. */
export function rotateRow(
  x: Float32Array,
  at: number,
  ropeDim: number,
  cos: Float32Array,
  sin: Float32Array,
  angle: number,
  sign: number,
): void {
  for (let i = 0; i < ropeDim / 2; i++) {
    const c = cos[angle + i]!;
    const s = sign * sin[angle + i]!;
    const even = x[at + 2 * i]!;
    const odd = x[at + 2 * i + 1]!;
    x[at + 2 * i] = f(even * c) - f(odd * s); // the store rounds the sum
    x[at + 2 * i + 1] = f(odd * c) + f(even * s);
  }
}
