import { firstNonFinite, philox4x32 } from '@megamoe/core';
import { massBefore } from './mass';
import { checkApart, type ScanEngine } from '../scan';

/** Floats that {@link floorOf} tries before it gives up. */
const MAX_STEPS = 64;

/** Less than one by more than rounding: what is nearly good enough counts. */
const NEARLY = 1 - 1e-9;

/** 1 - u of a random word, exact: q = -log(u) is at least that, and at most (1 - u) / u. */
const rest = (word: number): number => (2 ** 32 - 0.5 - word) * 2 ** -32;
const least = (p: number, r: number): number => ((p * (1 - r)) / r) * NEARLY;

/** The scans in TypeScript, by their definition. */
export function createJsScan(): ScanEngine {
  let copy = new Float32Array(0); // what a selection sorts; it only ever grows, so that a warm call allocates nothing
  const word = new Float32Array(1);
  const wordBits = new Int32Array(word.buffer);
  const words = new Uint32Array(4);

  /**
   * The smallest float32 whose quotient by `temperature` is that of `kth`, rounded: division may round smaller logits to one value. NaN
   * when it is far away (overflow, underflow).
   */
  function floorOf(kth: number, temperature: number): number {
    const quotient = Math.fround(kth / temperature);
    word[0] = kth;
    for (let step = 0; step < MAX_STEPS; step++) {
      const x = word[0]!;
      if (x === 0)
        wordBits[0] = -0x7fffffff; // below both zeros: the negative number nearest to them
      else wordBits[0] = wordBits[0]! + (x > 0 ? -1 : 1);
      if (!(Math.fround(word[0]! / temperature) >= quotient)) return x;
    }
    return NaN;
  }

  return {
    firstNonFinite,

    argmax(logits, n) {
      let best = 0;
      for (let i = 0; i < n; i++) {
        const x = logits[i]!;
        if (!(x < Infinity)) return -1 - i;
        if (x > logits[best]!) best = i;
      }
      return best;
    },

    top(logits, n, k, temperature, ids, values) {
      checkApart('top', logits, n, ids, values);
      if (copy.length < n) copy = new Float32Array(n);
      for (let i = 0; i < n; i++) {
        const x = logits[i]!;
        if (!(x < Infinity)) return -1;
        copy[i] = x;
      }
      const floor = floorOf(quickSelect(copy, n, n - k), Math.fround(temperature));
      return Number.isNaN(floor) ? -1 : atLeast(logits, n, floor, ids, values);
    },

    atLeast(logits, n, floor, ids, values) {
      checkApart('atLeast', logits, n, ids, values);
      return atLeast(logits, n, floor, ids, values);
    },

    mayWin(logits, n, t, draw, ids, values) {
      checkApart('mayWin', logits, n, ids, values, draw);
      const best = this.argmax(logits, n);
      if (best < 0) return -1;
      const temperature = Math.fround(t);
      const most = Math.fround(logits[best]! / temperature);
      if (!Number.isFinite(most)) return -1;
      const [k0, k1, sequence, position] = [draw[0]!, draw[1]!, draw[2]!, draw[3]!];
      philox4x32(best >>> 2, position, sequence, 0, k0, k1, words);
      let score = least(1, rest(words[best & 3]!)); // of the likeliest; later of the best so far, a little too low
      let count = 0;
      for (let i = 0; i < n; i++) {
        if (i % 4 === 0) philox4x32(i >>> 2, position, sequence, 0, k0, k1, words);
        const r = rest(words[i & 3]!);
        const p = Math.exp(Math.fround(logits[i]! / temperature) - most);
        if (p < score * r * NEARLY) continue;
        if (count < ids.length && count < values.length) {
          ids[count] = i;
          values[count] = logits[i]!;
        }
        count++;
        score = Math.max(score, least(p, r));
      }
      return count;
    },

    massBefore(logits, n, temperature, id) {
      return massBefore(logits, n, this.argmax(logits, n), temperature, id);
    },
  };
}

function atLeast(logits: Float32Array, n: number, floor: number, ids: Int32Array, values: Float32Array): number {
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
