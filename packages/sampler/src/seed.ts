import { KindError, ValueError } from '@megamoe/core';

/** Low and high word of a seed: the key of the Philox generator. */
export type SeedWords = readonly [low: number, high: number];

const MOST = 2n ** 63n - 1n;
const LEAST = -(2n ** 63n);

/**
 * A seed as a number where that is exact, else as a bigint.
 * @throws ValueError for a number that is not exact and for what 64 bits do not hold, KindError for another type
 */
export function checkSeed(fn: string, seed: unknown): number | bigint {
  if (typeof seed === 'number') {
    if (Number.isSafeInteger(seed)) return seed;
    const hint = Number.isInteger(seed)
      ? ' (beyond 2^53 - 1 numbers are not exact: give a bigint or decimal digits)'
      : '';
    throw new ValueError(`${fn}: "seed" must be an integer of at most 64 bits, got ${seed}${hint}`);
  }
  if (typeof seed === 'string' ? !/^[+-]?\d+$/.test(seed) : typeof seed !== 'bigint') {
    const got = typeof seed === 'string' ? JSON.stringify(seed) : typeof seed;
    throw new KindError(`${fn}: "seed" must be an integer: a number, a bigint or decimal digits, got ${got}`);
  }
  const value = BigInt(seed as bigint | string);
  if (value < LEAST || value > MOST) {
    throw new ValueError(`${fn}: "seed" must be in [-2^63, 2^63), the range of the OpenAI API, got ${value}`);
  }
  const exact = Number(value);
  return Number.isSafeInteger(exact) ? exact : value;
}

/** Its two words, in two's complement. */
export function seedWords(seed: number | bigint): SeedWords {
  const bits = BigInt.asUintN(64, BigInt(seed));
  return [Number(bits & 0xffffffffn), Number(bits >> 32n)];
}

/** 53 random bits. */
export function randomSeed(): number {
  const words = crypto.getRandomValues(new Uint32Array(2));
  return (words[0]! & 0x1fffff) * 0x100000000 + words[1]!;
}
