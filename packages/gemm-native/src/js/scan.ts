import type { ScanEngine } from '../scan';

/** The scans in TypeScript, by their definition. */
export function createJsScan(): ScanEngine {
  let copy = new Float32Array(0); // what a selection sorts; it only ever grows, so that a warm call allocates nothing
  return {
    argmax(logits, n) {
      let best = 0;
      for (let i = 0; i < n; i++) {
        const x = logits[i]!;
        if (!(x < Infinity)) return -1 - i;
        if (x > logits[best]!) best = i;
      }
      return best;
    },

    kthLargest(logits, n, k) {
      if (copy.length < n) copy = new Float32Array(n);
      for (let i = 0; i < n; i++) {
        const x = logits[i]!;
        if (!(x < Infinity)) return NaN;
        copy[i] = x;
      }
      return quickSelect(copy, n, n - k);
    },

    atLeast(logits, n, floor, ids, values) {
      const capacity = Math.min(ids.length, values.length);
      let count = 0;
      for (let i = 0; i < n; i++) {
        const x = logits[i]!;
        if (!(x >= floor)) continue;
        if (count < capacity) {
          ids[count] = i;
          values[count] = x;
        }
        count++;
      }
      return count;
    },
  };
}

/** The value that would stand at `rank` if the first n of `a` were sorted, ascending; changes their order (Hoare's selection). */
function quickSelect(a: Float32Array, n: number, rank: number): number {
  let low = 0;
  let high = n - 1;
  while (low < high) {
    const pivot = a[low + ((high - low) >> 1)]!;
    let i = low;
    let j = high;
    while (i <= j) {
      while (a[i]! < pivot) i++;
      while (a[j]! > pivot) j--;
      if (i > j) break;
      const x = a[i]!;
      a[i++] = a[j]!;
      a[j--] = x;
    }
    if (rank <= j) high = j;
    else if (rank >= i) low = i;
    else break;
  }
  return a[rank]!;
}
