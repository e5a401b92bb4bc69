/** Reproducible random data. */
export interface Seeded {
  /** Uniform in [0, 1). */
  next(): number;
  /** Integer in [0, n). */
  int(n: number): number;
  /** Standard normal. */
  normal(): number;
  /** `n` float32 values, normal with standard deviation `sigma`. */
  floats(n: number, sigma?: number): Float32Array;
  /** `n` bytes in [0, below). */
  bytes(n: number, below?: number): Uint8Array;
  /** `n` finite, positive E4M3 bytes: 0x08 to 0x7E, one in ten subnormal or zero when `edges`. */
  scales(n: number, edges?: boolean): Uint8Array;
  /** `k` different integers in [0, n), in random order. */
  choose(n: number, k: number): number[];
}

/** A generator that gives the same data for the same `seed` on every machine (mulberry32). */
export function seeded(seed: number): Seeded {
  let a = seed >>> 0;
  const next = (): number => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const int = (n: number): number => Math.floor(next() * n);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return {
    next,
    int,
    normal,
    floats: (n, sigma = 1) => Float32Array.from({ length: n }, () => normal() * sigma),
    bytes: (n, below = 256) => Uint8Array.from({ length: n }, () => int(below)),
    scales: (n, edges = false) =>
      Uint8Array.from({ length: n }, () => (edges && next() < 0.1 ? int(8) : 8 + int(0x77))),
    choose: (n, k) => {
      const all = Array.from({ length: n }, (_, i) => i);
      for (let i = 0; i < k; i++) {
        const j = i + int(n - i);
        [all[i], all[j]] = [all[j]!, all[i]!];
      }
      return all.slice(0, k);
    },
  };
}
