import { expNegative } from './exp';
import { BUCKETS, type Candidates, type SamplerScratch } from './scratch';

const fround = Math.fround;

/** The radix passes over a 32-bit key, from the top: 11, 11 and 10 bits. */
const SHIFTS = [21, 10, 0] as const;
const MASKS = [0x7ff, 0x7ff, 0x3ff] as const;

/** A float32's bits as an unsigned key that sorts as the numbers do; -0 and +0 share one. */
function sortKey(bits: number): number {
  if (bits === -0x80000000) bits = 0;
  return bits < 0 ? ~bits : (bits | 0x80000000) >>> 0;
}

/**
 * The k-th largest candidate, 1 <= k <= count, by radix selection: one pass over all, then passes over the bucket it fell in.
 * Ties count one each.
 */
export function kthLargest(scratch: SamplerScratch, { work, bits, count }: Candidates, k: number): number {
  const { ids, counts } = scratch;
  if (k >= count) return smallest(work, count);
  counts.fill(0);
  for (let i = 0; i < count; i++) {
    const b = sortKey(bits[i]!) >>> SHIFTS[0];
    counts[b] = counts[b]! + 1;
  }
  let left = k;
  let bucket = BUCKETS - 1;
  while (counts[bucket]! < left) left -= counts[bucket--]!;
  let n = 0;
  for (let i = 0; i < count; i++) if (sortKey(bits[i]!) >>> SHIFTS[0] === bucket) ids[n++] = i;
  for (let level = 1; level < SHIFTS.length && n > 1; level++) {
    const shift = SHIFTS[level]!;
    const mask = MASKS[level]!;
    counts.fill(0);
    for (let i = 0; i < n; i++) {
      const b = (sortKey(bits[ids[i]!]!) >>> shift) & mask;
      counts[b] = counts[b]! + 1;
    }
    bucket = BUCKETS - 1;
    while (counts[bucket]! < left) left -= counts[bucket--]!;
    n = keepBucket(ids, bits, n, shift, mask, bucket);
  }
  return work[ids[0]!]!;
}

/** The smallest of the first `count`. */
function smallest(work: Float32Array, count: number): number {
  let least = work[0]!;
  for (let i = 1; i < count; i++) if (work[i]! < least) least = work[i]!;
  return least;
}

/** Cuts the first `n` of `ids` down to those whose key has `bucket` in the bits of this pass; order is kept. */
function keepBucket(ids: Int32Array, bits: Int32Array, n: number, shift: number, mask: number, bucket: number): number {
  let kept = 0;
  for (let i = 0; i < n; i++) {
    const id = ids[i]!;
    if (((sortKey(bits[id]!) >>> shift) & mask) === bucket) ids[kept++] = id;
  }
  return kept;
}

/** Where a truncation cuts: candidates above `floor` stay, of those at `floor` the ones with index up to `lastTie`. */
export interface Cut {
  floor: number;
  lastTie: number;
}

/** min_p: drops x when `exp(x - max) < minP`. Raises `cut.floor` to the smallest logit that stays. */
export function cutMinP({ work, count }: Candidates, max: number, minP: number, cut: Cut): void {
  const near = max + Math.log(minP) - 1e-6 * (1 + Math.abs(max)); // below this no exp is needed to know
  let floor = max;
  for (let i = 0; i < count; i++) {
    const x = work[i]!;
    if (x >= near && x < floor && Math.exp(x - max) >= minP) floor = x;
  }
  if (floor > cut.floor) cut.floor = floor;
}

/**
 * top_p over the tokens at or above `cut.floor`: in ascending order (equal logits: highest id first), tokens are dropped while their
 * cumulative probability is at most 1 - p, both as float32, and at least one stays. A weighted radix selection finds the place.
 */
export function cutTopP(
  scratch: SamplerScratch,
  { work, bits, count }: Candidates,
  max: number,
  topP: number,
  cut: Cut,
): void {
  const { ids, weights, masses } = scratch;
  const limit = fround(1 - fround(topP));
  const floor = cut.floor;
  let n = 0;
  let total = 0;
  for (let i = 0; i < count; i++) {
    const x = work[i]!;
    if (x < floor || x === -Infinity) continue;
    const w = expNegative(x - max);
    weights[i] = w;
    total += w;
    ids[n++] = i;
  }
  let below = 0; // mass of everything that is dropped for sure
  for (let level = 0; level < SHIFTS.length; level++) {
    if (level > 0 && n === 1) break;
    const shift = SHIFTS[level]!;
    const mask = MASKS[level]!;
    let first = BUCKETS - 1;
    let last = 0; // the last bucket with anything in it always keeps something
    for (let i = 0; i < n; i++) {
      const b = (sortKey(bits[ids[i]!]!) >>> shift) & mask;
      masses[b] = masses[b]! + weights[ids[i]!]!;
      if (b < first) first = b;
      if (b > last) last = b;
    }
    let bucket = first;
    while (bucket < last && fround((below + masses[bucket]!) / total) <= limit) below += masses[bucket++]!;
    masses.fill(0, first, last + 1); // it is all zeros between uses
    n = keepBucket(ids, bits, n, shift, mask, bucket);
  }
  // What is left is one value, indices ascending: drop from the back.
  const w = weights[ids[0]!]!;
  let kept = n;
  for (let dropped = 1; kept > 1 && fround((below + dropped * w) / total) <= limit; dropped++) kept--;
  cut.floor = work[ids[0]!]!;
  cut.lastTie = ids[kept - 1]!;
}
