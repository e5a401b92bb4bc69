import { describe, expect, it } from 'vitest';
import {
  decodeBf16,
  decodeBf16Array,
  decodeF16,
  E2M1_VALUES,
  E4M3_VALUES,
  E8M0_VALUES,
  encodeBf16,
  encodeBf16Array,
  encodeE2m1,
  encodeE4m3,
} from '../src/index';

/** Nearest value of `grid` (ascending, non-negative), ties to the even index: the definition, by search. */
function nearest(grid: number[], x: number): number {
  let best = 0;
  for (let i = 1; i < grid.length; i++) {
    const d = Math.abs(grid[i]! - x);
    const b = Math.abs(grid[best]! - x);
    if (d < b || (d === b && i % 2 === 0)) best = i;
  }
  return best;
}

describe('E2M1', () => {
  it('sends the published midpoints to the even code', () => {
    const ties: [number, number][] = [
      [0.25, 0],
      [0.75, 1],
      [1.25, 1],
      [1.75, 2],
      [2.5, 2],
      [3.5, 4],
      [5, 4],
      [7, 6],
      [1e30, 6],
    ];
    for (const [x, want] of ties) expect(E2M1_VALUES[encodeE2m1(x)]).toBe(want);
  });
  it('is the nearest value for a dense sweep, with the sign of x < 0', () => {
    const grid = [...E2M1_VALUES.slice(0, 8)];
    for (let x = 0; x <= 7; x += 1 / 256) {
      expect(encodeE2m1(x)).toBe(nearest(grid, Math.min(x, 6)));
      if (x > 0) expect(encodeE2m1(-x)).toBe(nearest(grid, Math.min(x, 6)) | 8);
    }
    expect(encodeE2m1(-0)).toBe(0);
    expect(encodeE2m1(-1e-9)).toBe(8);
  });
});

describe('E4M3', () => {
  it('round-trips all 254 finite bytes', () => {
    for (let b = 0; b < 256; b++) if ((b & 0x7f) !== 0x7f) expect(encodeE4m3(E4M3_VALUES[b]!)).toBe(b);
    expect(encodeE4m3(NaN)).toBe(0x7f);
  });
  it('rounds to nearest even between all neighbours', () => {
    for (let b = 0; b < 0x7e; b++) {
      const lo = E4M3_VALUES[b]!;
      const hi = E4M3_VALUES[b + 1]!;
      const mid = (lo + hi) / 2;
      expect(encodeE4m3(mid)).toBe(b % 2 === 0 ? b : b + 1);
      expect(encodeE4m3(mid - (hi - lo) / 1024)).toBe(b);
      expect(encodeE4m3(mid + (hi - lo) / 1024)).toBe(b + 1);
      expect(encodeE4m3(Math.fround(hi * (1 - 2 ** -24)))).toBe(b + 1);
    }
  });
  it('saturates', () => {
    expect(encodeE4m3(448)).toBe(0x7e);
    expect(encodeE4m3(1e9)).toBe(0x7e);
    expect(encodeE4m3(-Infinity)).toBe(0xfe);
  });
});

it('E8M0 is 2^(byte - 127)', () => {
  expect(E8M0_VALUES[127]).toBe(1);
  expect(E8M0_VALUES[0]).toBe(2 ** -127);
  expect(E8M0_VALUES[254]).toBe(2 ** 127);
  expect(E8M0_VALUES[255]).toBeNaN();
});

describe('BF16 and F16', () => {
  it('round-trips every BF16 pattern that is a number', () => {
    for (let b = 0; b < 65536; b++) {
      const v = decodeBf16(b);
      if (Number.isNaN(v)) expect(decodeBf16(encodeBf16(v))).toBeNaN();
      else expect(encodeBf16(v)).toBe(b);
    }
  });
  it('rounds ties to even', () => {
    expect(encodeBf16(1 + 2 ** -8)).toBe(encodeBf16(1));
    expect(encodeBf16(1 + 3 * 2 ** -8)).toBe(encodeBf16(1 + 2 ** -6));
  });
  it('decodes arrays at odd offsets', () => {
    const bits = Uint16Array.of(9, 0x3f80, 0xc000).subarray(1);
    const out = new Float32Array(3).subarray(1);
    expect([...decodeBf16Array(bits, out)]).toEqual([1, -2]);
    expect([...encodeBf16Array(out)]).toEqual([0x3f80, 0xc000]);
  });
  it('decodes halves', () => {
    expect(decodeF16(0x3c00)).toBe(1);
    expect(decodeF16(0xc000)).toBe(-2);
    expect(decodeF16(1)).toBe(2 ** -24);
    expect(decodeF16(0x7c00)).toBe(Infinity);
    expect(decodeF16(0x7e00)).toBeNaN();
  });
});
