const f = Math.fround;

/** Grows to the longest sequence seen; one per kernels object. */
export interface SelectScratch {
  /** Score of every visible entry. */
  scores: Float32Array;
  /** The same, reordered by the selection. */
  order: Float32Array;
}

/**
 * Indexer: entries of each query with the highest `sum_h w_h * heads^-0.5 * relu(q_h . k) * dim^-0.5`, ties to the lowest index
 * (docs/formats.md D7, docs/numerics.md N6). Argument order as in Engine.indexSelect.
 */
export function indexSelect(
  scratch: SelectScratch,
  entries: Float32Array,
  ratio: number,
  dim: number,
  q: Float32Array,
  headWeights: Float32Array,
  row0: number,
  n: number,
  p0: number,
  heads: number,
  topk: number,
  selected: Int32Array,
): void {
  const last = Math.floor((p0 + n) / ratio);
  if (scratch.scores.length < last) {
    const cap = Math.max(last, Math.floor(entries.length / dim)); // all that the state can hold: later steps allocate nothing
    scratch.scores = new Float32Array(cap);
    scratch.order = new Float32Array(cap);
  }
  const { scores, order } = scratch;
  for (let r = 0; r < n; r++) {
    const visible = Math.floor((p0 + r + 1) / ratio);
    const at = r * topk;
    if (visible <= topk) {
      for (let w = 0; w < topk; w++) selected[at + w] = w < visible ? w : -1;
      continue;
    }
    if (topk === 0) continue;
    score(entries, dim, q, headWeights, row0 + r, heads, visible, scores);
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
}

function score(
  entries: Float32Array,
  dim: number,
  q: Float32Array,
  headWeights: Float32Array,
  row: number,
  heads: number,
  visible: number,
  scores: Float32Array,
): void {
  const dimScale = f(1 / Math.sqrt(dim));
  const headScale = f(1 / Math.sqrt(heads));
  for (let w = 0; w < visible; w++) {
    const k = w * dim;
    let sum = 0;
    for (let h = 0; h < heads; h++) {
      const qh = (row * heads + h) * dim;
      let dot = 0;
      for (let i = 0; i < dim; i++) dot += q[qh + i]! * entries[k + i]!;
      const activated = dot <= 0 ? 0 : f(f(dot) * dimScale); // relu; a NaN goes on
      sum = f(sum + f(activated * f(headWeights[row * heads + h]! * headScale)));
    }
    // A NaN ranks last, so that the selection ends and stays in range; it still shows in the attention output.
    scores[w] = sum !== sum ? -Infinity : sum;
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
