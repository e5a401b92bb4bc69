import { E2M1_VALUES, E4M3_VALUES, encodeE2m1, encodeE4m3 } from '@megamoe/core';
import { expect, it } from 'vitest';
import { CODES, codeIndex, e4m3FromFloat32, SIGNED_CODES } from '../src/rounding';

const f32 = new Float32Array(1);
const i32 = new Int32Array(f32.buffer);
const fromBits = (b: number): number => {
  i32[0] = b;
  return f32[0]!;
};
const toBits = (x: number): number => {
  f32[0] = x;
  return i32[0]!;
};

/** Every value and midpoint of a grid of non-negative numbers, with its float32 neighbours on either side. */
function* edges(grid: readonly number[]): Generator<number> {
  for (let i = 0; i < grid.length; i++) {
    for (const x of i === 0 ? [grid[i]!] : [grid[i]!, (grid[i]! + grid[i - 1]!) / 2]) {
      for (let d = -2; d <= 2; d++) if (toBits(x) + d >= 0) yield fromBits(toBits(x) + d);
    }
  }
}

/** Runs `same` on every value and fails on the first for which it is false: an `expect` per value would take half a minute. */
function all(values: Iterable<number>, same: (x: number) => boolean): number {
  let count = 0;
  for (const x of values) {
    if (!same(x)) expect.fail(`differs at ${x} (bits 0x${toBits(x).toString(16)})`);
    count++;
  }
  return count;
}

/** Float32 values from 0 to `max` through all exponents, mantissas in steps of a prime. */
function* sweep(max: number): Generator<number> {
  for (let b = 0; b <= toBits(max); b += 1987) yield fromBits(b);
}

const upTo = (max: number, values: Iterable<number>): number[] => [...values].filter((x) => x <= max);

it('e4m3FromFloat32 equals core on every value, midpoint and neighbour', () => {
  const grid = Array.from(E4M3_VALUES.subarray(0, 0x7f));
  expect(all(upTo(448, edges(grid)), (x) => e4m3FromFloat32(x) === encodeE4m3(x))).toBeGreaterThan(1200);
});

it('e4m3FromFloat32 equals core across the exponents', () => {
  expect(all(sweep(448), (x) => e4m3FromFloat32(x) === encodeE4m3(x))).toBeGreaterThan(500_000);
});

const sameCodes = (x: number): boolean =>
  CODES[codeIndex(toBits(x))] === encodeE2m1(x) &&
  CODES[codeIndex(toBits(-x))] === encodeE2m1(-x) &&
  SIGNED_CODES[codeIndex(toBits(x))] === encodeE2m1(x) &&
  SIGNED_CODES[codeIndex(toBits(-x))] === (encodeE2m1(x) | 8);

it('the code tables equal core on every value, midpoint and neighbour, both signs', () => {
  const max = 3.4028234663852886e38;
  const grid = [...E2M1_VALUES.subarray(0, 8), 8, 1e30, max];
  expect(all([...upTo(max, edges(grid)), Infinity, 2 ** -149, 2 ** -126], sameCodes)).toBeGreaterThan(90);
  expect(CODES[codeIndex(toBits(-0))]).toBe(0);
  expect(SIGNED_CODES[codeIndex(toBits(-0))]).toBe(8);
});

it('the code tables equal core across the exponents', () => {
  expect(all(sweep(1e6), sameCodes)).toBeGreaterThan(500_000);
});
