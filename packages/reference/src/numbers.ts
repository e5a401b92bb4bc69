/** What the oracle reads: any array of numbers (Float32Array, Float64Array, plain). It answers in Float64Array. */
export type Numbers = ArrayLike<number>;

/** `x` as float64: itself when it already is, else a copy. Float32 values convert exactly. */
export function toFloat64(x: Numbers): Float64Array {
  return x instanceof Float64Array ? x : new Float64Array(x);
}
