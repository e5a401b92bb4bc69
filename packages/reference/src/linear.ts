/** Dense and grouped matrix products, row gathers. */
import { checkInteger, checkMultiple } from '@megamoe/core';
import { result, takeNumbers, takeOptional, takeSizes } from './arguments';
import { toFloat64, type Numbers } from './numbers';
import { expertOfRow, rowsOf } from './slots';

/** Shape of {@link linear}: `groups` independent blocks of [N, K]. */
export interface LinearShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly groups?: number;
}

/**
 * `out[m, g*N + n] = sum_k x[m, g*K + k] * w[g*N + n, k]`: x [M, G*K], w [G*N, K], out [M, G*N]. One group is a plain linear layer;
 * more are block diagonal (the attention's `wo_a`).
 */
export function linear(x: Numbers, w: Numbers, shape: LinearShape): Float64Array {
  const fn = 'linear';
  const { m, n, k } = takeSizes(fn, 'shape', shape, 'm', 'n', 'k');
  const { groups = 1 } = shape;
  checkInteger(fn, 'groups', groups, 1);
  const xs = toFloat64(takeNumbers(fn, 'x', x, ['M*G*K', m * groups * k]));
  const ws = toFloat64(takeNumbers(fn, 'w', w, ['G*N*K', groups * n * k]));
  const out = result(fn, 'M*G*N', m * groups * n);
  if (k === 0 || out.length === 0) return out;
  for (let block = 0; block < m * groups; block++) {
    const w0 = (block % groups) * n * k;
    let feature = 0;
    for (; feature + 3 < n; feature += 4) dots4(xs, block * k, ws, w0 + feature * k, k, out, block * n + feature);
    for (; feature < n; feature++) out[block * n + feature] = dot(xs, block * k, ws, w0 + feature * k, k);
  }
  return out;
}

/** Sum of products in the order of k. */
function dot(x: Float64Array, x0: number, w: Float64Array, w0: number, k: number): number {
  let sum = 0;
  for (let i = 0; i < k; i++) sum += x[x0 + i]! * w[w0 + i]!;
  return sum;
}

/** {@link dot} with four rows of weights, the same bits: no sum waits for another, which takes half the time. */
function dots4(
  x: Float64Array,
  x0: number,
  w: Float64Array,
  w0: number,
  k: number,
  out: Float64Array,
  out0: number,
): void {
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i < k; i++) {
    const xi = x[x0 + i]!;
    a += xi * w[w0 + i]!;
    b += xi * w[w0 + k + i]!;
    c += xi * w[w0 + 2 * k + i]!;
    d += xi * w[w0 + 3 * k + i]!;
  }
  out[out0] = a;
  out[out0 + 1] = b;
  out[out0 + 2] = c;
  out[out0 + 3] = d;
}

/** Arguments of {@link groupedGemm}. */
export interface GroupedGemm {
  readonly n: number;
  readonly k: number;
  /** [E] cumulative ends; the last is R. */
  readonly expertOffsets: ArrayLike<number>;
  /** [E * parts], default all 1; see `groupedGemmExact`. */
  readonly alpha?: Numbers | null;
  readonly parts?: number;
}

/** Grouped product of float rows `a` [R, K] with float weights `b` [E, N, K], [R, N] (give it dequantized weights). */
export function groupedGemm(a: Numbers, b: Numbers, args: GroupedGemm): Float64Array {
  const fn = 'groupedGemm';
  const { n, k } = takeSizes(fn, 'args', args, 'n', 'k');
  const { parts = 1, expertOffsets: ends, alpha: factors } = args;
  const expertOffsets = takeNumbers(fn, 'expertOffsets', ends);
  const rows = rowsOf(fn, expertOffsets);
  checkInteger(fn, 'k', k, 1);
  checkInteger(fn, 'parts', parts, 1);
  checkMultiple(fn, 'n', n, parts);
  const alpha = takeOptional(fn, 'alpha', factors, ['E*parts', expertOffsets.length * parts]);
  const as = toFloat64(takeNumbers(fn, 'a', a, ['R*K', rows * k]));
  const bs = toFloat64(takeNumbers(fn, 'b', b, ['E*N*K', expertOffsets.length * n * k]));
  const out = result(fn, 'R*N', rows * n);
  for (let r = 0; r < rows; r++) {
    const e = expertOfRow(expertOffsets, r);
    const x = as.subarray(r * k, (r + 1) * k);
    const y = linear(x, bs.subarray(e * n * k, (e + 1) * n * k), { m: 1, n, k });
    for (let c = 0; c < n; c++) {
      out[r * n + c] = y[c]! * (alpha ? alpha[e * parts + Math.floor(c / (n / parts))]! : 1);
    }
  }
  return out;
}

/** `out[r] = x[index[r]]` for rows of `d` elements; an index outside `x` is an error. */
export function gatherRows(values: Numbers, rows: ArrayLike<number>, d: number): Float64Array {
  const fn = 'gatherRows';
  const x = takeNumbers(fn, 'x', values);
  const index = takeNumbers(fn, 'index', rows);
  checkInteger(fn, 'd', d, 1);
  checkMultiple(fn, 'x.length', x.length, d);
  const out = result(fn, 'index.length*D', index.length * d);
  for (let r = 0; r < index.length; r++) {
    checkInteger(fn, `index[${r}]`, index[r]!, 0, x.length / d - 1);
    for (let c = 0; c < d; c++) out[r * d + c] = x[index[r]! * d + c]!;
  }
  return out;
}
