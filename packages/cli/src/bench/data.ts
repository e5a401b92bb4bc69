import { E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';
import { adviseHugePages } from '@megamoe/gemm-native';
import { BenchError } from './types';

/** A buffer as the model's: in huge pages when it is large. */
export function floatBuffer(n: number): Float32Array {
  const out = new Float32Array(n);
  adviseHugePages(out);
  return out;
}

/** Random numbers that are the same in every run: xorshift32. */
export class Random {
  constructor(private state = 0x9e3779b9) {}

  /** A 32-bit integer, 0 or above. */
  word(): number {
    let s = this.state;
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    this.state = s;
    return s >>> 0;
  }

  /** An integer in [0, n). */
  below(n: number): number {
    return this.word() % n;
  }

  /** Floats about normal around 0, of about this size. */
  floats(n: number, size = 1): Float32Array {
    const out = floatBuffer(n);
    const unit = (size * 1.7) / 2 ** 31;
    for (let i = 0; i < n; i++) out[i] = ((this.word() >>> 1) + (this.word() >>> 1) - 2 ** 31) * unit;
    return out;
  }

  bytes(n: number): Uint8Array {
    const words = new Uint32Array(Math.ceil(n / 4));
    for (let i = 0; i < words.length; i++) words[i] = this.word();
    return new Uint8Array(words.buffer, 0, n);
  }

  /** E4M3 block scales from 0.5 to 2. */
  scales(n: number): Uint8Array {
    const out = this.bytes(n);
    for (let i = 0; i < n; i++) out[i] = 0x30 + (out[i]! & 15);
    return out;
  }

  /** BF16 bits of both signs with absolute values from `2^exponent` to `4 * 2^exponent`. */
  bf16(n: number, exponent: number): Uint16Array {
    const out = new Uint16Array(n);
    const base = (127 + exponent) << 7;
    for (let i = 0; i < n; i++) {
      const w = this.word();
      out[i] = ((w & 1) << 15) | (base + ((w >>> 8) & 0xff));
    }
    return out;
  }
}

/** A matrix [n, k] in NVFP4. */
export interface Nvfp4Matrix {
  readonly n: number;
  readonly k: number;
  readonly codes: Uint8Array;
  readonly sf: Uint8Array;
}

/** A random matrix. */
export function randomNvfp4(random: Random, n: number, k: number): Nvfp4Matrix {
  return { n, k, codes: random.bytes((n * k) / 2), sf: random.scales((n * k) / 16) };
}

/** Element `i` of row `row`. */
export function nvfp4At({ k, codes, sf }: Nvfp4Matrix, row: number, i: number): number {
  const code = (codes[(row * k + i) >> 1]! >> ((i & 1) * 4)) & 15;
  return E2M1_VALUES[code]! * E4M3_VALUES[sf[(row * k + i) >> 4]!]!;
}

/**
 * Throws unless `got` is the sum of `a(i) * b(i)` over k, times `factor`, within `tolerance` of the sum of magnitudes. Summed in
 * double, by other code than any kernel.
 */
export function checkDot(
  what: string,
  got: number,
  k: number,
  a: (i: number) => number,
  b: (i: number) => number,
  { factor = 1, tolerance = 1e-5 }: { factor?: number; tolerance?: number } = {},
): void {
  let sum = 0;
  let size = 0;
  for (let i = 0; i < k; i++) {
    const product = a(i) * b(i);
    sum += product;
    size += Math.abs(product);
  }
  checkClose(what, got, sum * factor, Math.abs(size * factor) * tolerance);
}

/** Throws unless `got` is within `bound` of `want`. */
export function checkClose(what: string, got: number, want: number, bound: number): void {
  if (Math.abs(got - want) <= bound) return;
  throw new BenchError(`${what}: wrong answer ${got}, expected ${want} within ${bound}; speed is not measured`);
}

/** Throws unless two arrays hold the same numbers; the message has the first place where they differ. */
export function checkSame(what: string, got: ArrayLike<number>, want: ArrayLike<number>): void {
  for (let i = 0; i < want.length; i++) {
    if (got[i] === want[i]) continue;
    throw new BenchError(`${what}: wrong answer ${got[i]} at ${i}, expected ${want[i]}; speed is not measured`);
  }
}

/** Makes a value when it is first asked for. */
export function lazy<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
