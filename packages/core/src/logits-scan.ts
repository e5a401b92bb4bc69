import { lengthOf } from './arrays';

/**
 * Passes over the logits of one sequence, for a sampler: exact and the same on every backend. Logits may hold -Infinity; the signs of
 * zeros mean nothing.
 */
export interface LogitsScan {
  /** The first i of [begin, end) whose value is NaN or infinite; -1 when all are finite. */
  firstNonFinite(logits: Float32Array, begin: number, end: number): number;
  /**
   * Index of the largest of the first n, ties to the lowest index.
   * @returns -1 - i when `logits[i]` is the first NaN or +Infinity
   */
  argmax(logits: Float32Array, n: number): number;
  /**
   * The k largest of the first n, and all that tie with the k-th after a division: every i with
   * `fround(logits[i] / temperature) >= fround(kth / temperature)`, kth being the k-th largest, ties counted one each.
   * @param k           1 to n
   * @param temperature a float32 number above 0
   * @param ids         i32
   * @param values      f32, not divided
   * @returns how many there are; the first of them, as many as fit, are in `ids` and `values`, ids ascending. -1 when a NaN or +Infinity is
   *          among the logits, or when the quotients overflow or underflow.
   */
  top(logits: Float32Array, n: number, k: number, temperature: number, ids: Int32Array, values: Float32Array): number;
  /**
   * Every i of the first n with `logits[i] >= floor`, answered as by `top`.
   * @param floor a float32 number
   */
  atLeast(logits: Float32Array, n: number, floor: number, ids: Int32Array, values: Float32Array): number;
  /**
   * Some i of the first n, those among them that a draw may give, answered as by `top`: the draw is the i with the largest `exp(x) / q`,
   * `x = fround(logits[i] / temperature)`, `q = -log(u)`, `u = (word + 0.5) / 2^32` with word `i % 4` of the Philox block whose counter is
   * (floor(i / 4), position, sequence, 0).
   * @param temperature a float32 number above 0
   * @param draw        i32 [4], the bits of: low and high word of the key, sequence, position
   */
  mayWin(
    logits: Float32Array,
    n: number,
    temperature: number,
    draw: Int32Array,
    ids: Int32Array,
    values: Float32Array,
  ): number;
  /**
   * The share of the probability that other tokens at least as likely as `id` have, within 1e-5: sums of `exp(x)`, x as in `mayWin`.
   * @returns -1 as `top`
   */
  massBefore(logits: Float32Array, n: number, temperature: number, id: number): number;
}

/** Index of the first of `x[begin, end)` that is NaN or infinite; -1 when all are finite. Quick where they are. */
export function firstNonFinite(x: Float32Array, begin: number, end: number): number {
  // Zero times a number is a zero, times NaN or infinity it is NaN. Four sums, which do not wait for each other.
  begin = Math.max(0, begin);
  end = Math.min(end, lengthOf(x));
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  let i = begin;
  for (; i + 4 <= end; i += 4) {
    a += x[i]! * 0;
    b += x[i + 1]! * 0;
    c += x[i + 2]! * 0;
    d += x[i + 3]! * 0;
  }
  for (; i < end; i++) a += x[i]! * 0;
  if (a + b + c + d === 0) return -1;
  for (i = begin; i < end; i++) if (!Number.isFinite(x[i])) return i;
  return -1;
}
