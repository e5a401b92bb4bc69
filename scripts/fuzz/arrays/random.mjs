/** Random arguments from a seed. */
import { generator } from '../mutate.mjs';

/** A well mixed number of 32 bits. */
export function mix(a, b) {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16), 0x45d9f3b);
  h = Math.imul(h ^ (h >>> 13), 0x45d9f3b);
  return (h ^ (h >>> 16)) >>> 0;
}

/** What tables make arguments with. */
export function random(seed) {
  const { below, pick } = generator(mix(seed, 1));
  const fill = (out, f) => {
    for (let i = 0; i < out.length; i++) out[i] = f(i);
    return out;
  };
  const unit = () => below(1 << 24) / (1 << 24);
  return {
    below,
    pick,
    unit,
    /** An integer in [min, max]. */
    int: (min, max) => min + below(max - min + 1),
    flag: () => below(2) === 0,
    floats: (n, scale = 4) => fill(new Float32Array(n), () => (unit() - 0.5) * scale),
    doubles: (n) => fill(new Float64Array(n), () => unit()),
    bytes: (n, max = 256) => fill(new Uint8Array(n), () => below(max)),
    /** E4M3 bytes of positive numbers. */
    scales: (n) => fill(new Uint8Array(n), () => 0x28 + below(0x20)),
    halves: (n) => fill(new Uint16Array(n), () => 0x3f00 + below(0x100)),
    /** Integers in [min, max]. */
    ints: (n, min, max) => fill(new Int32Array(n), () => min + below(max - min + 1)),
    /** Cumulative ends of `count` parts, each of at most `most`. */
    ends(count, most) {
      let end = 0;
      return fill(new Int32Array(count), () => (end += below(most + 1)));
    },
  };
}
