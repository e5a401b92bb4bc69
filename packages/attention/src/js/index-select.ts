import type { Own } from '../own';
import type { HostCompressorMemory } from '../cache';
import type { CompressionPlan } from '../plan/compression-plan';
import { f32Room } from '../plan/grow';

const f = Math.fround;

/** Scratch of {@link indexSelect}; grows to the longest sequence seen. */
export interface SelectScratch {
  /** Score of every visible entry. */
  scores: Float32Array;
  /** The same, reordered by the selection. */
  order: Float32Array;
}

/** Empty scratch. */
export function createSelectScratch(): SelectScratch {
  return { scores: new Float32Array(0), order: new Float32Array(0) };
}

/**
 * Indexer: entries of each query with the highest `sum_h w_h * heads^-0.5 * relu(q_h . k) * dim^-0.5`, ties to the lowest index
 * (docs/formats.md D7, docs/numerics.md N6).
 */
export function indexSelect(scratch: SelectScratch, a: Own<'indexSelect'>): void {
  const { cache, step, layer, topk, selected } = a;
  const memory = cache.compressor('indexSelect', layer, true);
  const plan = step.compression(4);
  for (let r = 0; r < step.rows; r++) {
    const visible = plan.visible[r]!;
    if (visible <= topk) {
      for (let w = 0; w < topk; w++) selected[r * topk + w] = w < visible ? w : -1;
    } else if (topk > 0) {
      scratch.scores = f32Room(scratch.scores, visible);
      scratch.order = f32Room(scratch.order, visible);
      score(a, memory, plan, r, scratch.scores);
      selectTop(scratch, visible, topk, selected, r * topk);
    }
  }
}

/** Scores of query r against every entry that it sees. */
function score(
  a: Own<'indexSelect'>,
  memory: HostCompressorMemory,
  plan: CompressionPlan,
  r: number,
  scores: Float32Array,
) {
  const { q, headWeights, heads, dim } = a;
  const entries = memory.entries.data;
  const visible = plan.visible[r]!;
  const base = plan.entryBase[r]!;
  const dimScale = f(1 / Math.sqrt(dim));
  const headScale = f(1 / Math.sqrt(heads));
  for (let w = 0; w < visible; w++) {
    const k = plan.entries.row(base, w) * dim;
    let sum = 0;
    for (let h = 0; h < heads; h++) {
      const qh = (r * heads + h) * dim;
      let dot = 0;
      for (let i = 0; i < dim; i++) dot += q[qh + i]! * entries[k + i]!;
      const activated = dot <= 0 ? 0 : f(f(dot) * dimScale); // relu; a NaN goes on
      sum = f(sum + f(activated * f(headWeights[r * heads + h]! * headScale)));
    }
    // A NaN ranks last, so that the selection ends and stays in range; it still shows in the attention output.
    scores[w] = sum !== sum ? -Infinity : sum;
  }
}

/** The topk best of `visible` > topk scores, ascending; of those that equal the last value the first ones. */
function selectTop({ scores, order }: SelectScratch, visible: number, topk: number, selected: Int32Array, at: number) {
  for (let w = 0; w < visible; w++) order[w] = scores[w]!;
  const threshold = kthLargest(order, visible, topk);
  let above = 0;
  for (let w = 0; w < visible; w++) if (scores[w]! > threshold) above++;
  let ties = topk - above; // the earliest of those that equal the threshold
  let count = 0;
  for (let w = 0; count < topk; w++) {
    if (scores[w]! > threshold) selected[at + count++] = w;
    else if (scores[w] === threshold && ties > 0) {
      ties--;
      selected[at + count++] = w;
    }
  }
}

/** The k-th largest of the first n values (1 <= k <= n, no NaN), by Hoare's selection; reorders them. */
function kthLargest(a: Float32Array, n: number, k: number): number {
  let lo = 0;
  let hi = n - 1;
  const target = k - 1;
  while (lo < hi) {
    const pivot = median(a[lo]!, a[(lo + hi) >> 1]!, a[hi]!);
    let i = lo;
    let j = hi;
    while (i <= j) {
      while (a[i]! > pivot) i++;
      while (a[j]! < pivot) j--;
      if (i <= j) {
        const t = a[i]!;
        a[i++] = a[j]!;
        a[j--] = t;
      }
    }
    if (target <= j) hi = j;
    else if (target >= i) lo = i;
    else break;
  }
  return a[target]!;
}

function median(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}
