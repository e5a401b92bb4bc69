import { entryKeys } from '../entry-keys';
import type { Own } from '../own';
import type { RowLists } from '../plan/row-lists';

const f = Math.fround;
/** Of the class, whatever an array has in its place. */
const { fill } = Float32Array.prototype;

/** Keys taken together: scored, then folded into the running softmax. Part of the numeric contract of this backend. */
export const KEY_BLOCK = 32;

const NO_ENTRIES = new Float32Array(0);

/** Buffers of {@link attend}, made once per head size. */
export interface AttendScratch {
  /** [KEY_BLOCK, d] f32: one block of gathered key rows. */
  keys: Float32Array;
  /** [KEY_BLOCK] f32: scores, then weights. */
  weights: Float32Array;
  /** [heads] f32: running maximum and running sum. */
  max: Float32Array;
  sum: Float32Array;
}

/** Empty scratch; {@link attend} grows it. */
export function createAttendScratch(): AttendScratch {
  return {
    keys: new Float32Array(0),
    weights: new Float32Array(KEY_BLOCK),
    max: new Float32Array(0),
    sum: new Float32Array(0),
  };
}

/**
 * Attention of each query over its keys (K = V), its window first and then entries; softmax in f32 with a running maximum, the sink in the
 * denominator only. Each key row is read once for all heads. Blocks start at the first key of a query, so its result depends on nothing
 * else.
 */
export function attend(scratch: AttendScratch, a: Own<'attend'>): void {
  const { cache, step, layer, heads, d, sinks, out } = a;
  if (scratch.keys.length < KEY_BLOCK * d) scratch.keys = new Float32Array(KEY_BLOCK * d);
  if (scratch.max.length < heads) {
    scratch.max = new Float32Array(heads);
    scratch.sum = new Float32Array(heads);
  }
  const { keys, max, sum } = scratch;
  const { near } = step;
  const far = entryKeys(a);
  const { window, compressor } = cache.memory[layer]!;
  const windowRows = window.data;
  const entries = compressor === undefined ? NO_ENTRIES : compressor.entries.data;
  const scale = f(a.softmaxScale);
  for (let r = 0; r < step.rows; r++) {
    const at = r * heads * d;
    fill.call(out, 0, at, at + heads * d);
    max.fill(-Infinity);
    sum.fill(0);
    const windowKeys = near.count[r]!;
    const count = windowKeys + far.count[r]!;
    for (let k0 = 0; k0 < count; k0 += KEY_BLOCK) {
      const block = Math.min(KEY_BLOCK, count - k0);
      for (let j = 0; j < block; j++) {
        const k = k0 + j;
        if (k < windowKeys) copyKey(near, windowRows, r, k, d, keys, j * d);
        else copyKey(far, entries, r, k - windowKeys, d, keys, j * d);
      }
      for (let h = 0; h < heads; h++) foldBlock(scratch, block, d, a.q, at + h * d, h, scale, out);
    }
    for (let h = 0; h < heads; h++) finish(max[h]!, sum[h]!, sinks[h]!, out, at + h * d, d);
  }
}

/** Copies key number j of a query. */
function copyKey(lists: RowLists, rows: Float32Array, r: number, j: number, d: number, to: Float32Array, at: number) {
  const from = lists.index[lists.start[r]! + j]! * d;
  for (let i = 0; i < d; i++) to[at + i] = rows[from + i]!;
}

/** Scores of one head against the block, and their part of its running softmax; the accumulator is the output row itself. */
function foldBlock(
  { keys, weights, max, sum }: AttendScratch,
  block: number,
  d: number,
  q: Float32Array,
  at: number,
  h: number,
  scale: number,
  out: Float32Array,
): void {
  const before = max[h]!;
  let top = before;
  for (let j = 0; j < block; j++) {
    const s = f(dot(q, at, keys, j * d, d) * scale);
    weights[j] = s;
    if (!(s <= top)) top = s; // a NaN is kept, and shows in the output
  }
  if (top === -Infinity) return; // nothing but weights of zero so far
  if (top !== before) {
    const shrink = f(Math.exp(f(before - top)));
    sum[h] = sum[h]! * shrink;
    for (let i = 0; i < d; i++) out[at + i] = out[at + i]! * shrink;
    max[h] = top;
  }
  let total = sum[h]!;
  for (let j = 0; j < block; j++) {
    const p = f(Math.exp(f(weights[j]! - top)));
    weights[j] = p;
    total = f(total + p);
  }
  sum[h] = total;
  let j = 0;
  for (; j + 4 <= block; j += 4) {
    const p0 = weights[j]!;
    const p1 = weights[j + 1]!;
    const p2 = weights[j + 2]!;
    const p3 = weights[j + 3]!;
    const k0 = j * d;
    const k1 = k0 + d;
    const k2 = k1 + d;
    const k3 = k2 + d;
    for (let i = 0; i < d; i++) {
      out[at + i] = out[at + i]! + p0 * keys[k0 + i]! + p1 * keys[k1 + i]! + p2 * keys[k2 + i]! + p3 * keys[k3 + i]!;
    }
  }
  for (; j < block; j++) {
    const p = weights[j]!;
    for (let i = 0; i < d; i++) out[at + i] = out[at + i]! + p * keys[j * d + i]!;
  }
}

/** Four partial sums in double, then a fixed tree. */
function dot(a: Float32Array, at: number, b: Float32Array, bt: number, d: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let i = 0;
  for (; i + 4 <= d; i += 4) {
    s0 += a[at + i]! * b[bt + i]!;
    s1 += a[at + i + 1]! * b[bt + i + 1]!;
    s2 += a[at + i + 2]! * b[bt + i + 2]!;
    s3 += a[at + i + 3]! * b[bt + i + 3]!;
  }
  for (; i < d; i++) s0 += a[at + i]! * b[bt + i]!;
  return s0 + s1 + (s2 + s3);
}

/** Adds the sink to the denominator and divides. */
function finish(max: number, sum: number, sink: number, out: Float32Array, at: number, d: number): void {
  if (sum === 0 || sink === Infinity) {
    fill.call(out, 0, at, at + d); // no keys, or a sink that takes everything
    return;
  }
  const top = sink > max ? sink : max;
  const keep = f(Math.exp(f(max - top)));
  const total = f(f(sum * keep) + f(Math.exp(f(sink - top))));
  const weight = f(keep / total);
  for (let i = 0; i < d; i++) out[at + i] = out[at + i]! * weight;
}
