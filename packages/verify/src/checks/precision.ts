import * as reference from '@megamoe/reference';

/** Rows that products and staging are judged with at precisions that the model does not use. */
export const PROBED_ROWS = 4;

/** Smallest global scale of a row that has its own; below it the kernels take 1 (docs/numerics.md N2). */
const MIN_ROW_SCALE = 2 ** -117;

/** Global decode scales of rows [m, k] that have their own. */
export function rowScalesOf(x: Float32Array, m: number, k: number): Float32Array {
  return Float32Array.from(reference.nvfp4RowDecodeScales(x, { m, k }), (g) => (g < MIN_ROW_SCALE ? 1 : g));
}
