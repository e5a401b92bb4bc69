/** Float rows staged to NVFP4, and how near they lie to where another rounding would give another value. */
import { E2M1_VALUES, E4M3_VALUES, encodeE2m1, encodeE4m3 } from '@megamoe/core';

/** Codes and block scales of rows. */
export interface Staged {
  /** [R, K/2] */
  readonly codes: Uint8Array;
  /** [R, K/16] */
  readonly sf: Uint8Array;
  /** Blocks whose scale would be above 448 (rounded), and blocks that are not all zero. */
  readonly saturated: number;
  readonly filled: number;
}

/** `amax / (6 * 448)` in float32, 1 for zeros. */
export function amaxRule(x: ArrayLike<number>): number {
  let amax = 0;
  for (let i = 0; i < x.length; i++) amax = Math.max(amax, Math.abs(Math.fround(x[i]!)));
  return amax === 0 ? 1 : Math.fround(amax / 2688);
}

/** How quantizers divide, each step in float32: a block's scale from its amax, and an element by its step. */
export interface Division {
  readonly scale: (amax: number, g: number) => number;
  readonly element: (x: number, sf: number, g: number) => number;
}

const f = Math.fround;

/** ModelOpt's rule (docs/numerics.md N2). */
export const QUOTIENTS: Division = {
  scale: (amax, g) => f(amax / f(6 * g)),
  element: (x, sf, g) => f(x / f(sf * g)),
};

/** Rows of `k` elements with a global decode scale each. */
export function stage(
  x: ArrayLike<number>,
  k: number,
  scaleOfRow: (row: number) => number,
  { scale, element }: Division = QUOTIENTS,
): Staged {
  const codes = new Uint8Array(x.length / 2);
  const sf = new Uint8Array(x.length / 16);
  let [saturated, filled] = [0, 0];
  for (let block = 0; block < sf.length; block++) {
    const start = block * 16;
    const g = Math.fround(scaleOfRow(Math.floor(start / k)));
    let amax = 0;
    for (let i = start; i < start + 16; i++) amax = Math.max(amax, Math.abs(Math.fround(x[i]!)));
    const s = scale(amax, g);
    if (amax > 0) filled++;
    if (s > 464) saturated++; // 464 and below round to 448
    sf[block] = encodeE4m3(s === 0 ? 1 : Math.min(Math.max(s, 2 ** -9), 448));
    const decoded = E4M3_VALUES[sf[block]!]!;
    for (let i = start; i < start + 16; i++) {
      const code = encodeE2m1(element(Math.fround(x[i]!), decoded, g));
      codes[i >> 1]! |= i % 2 === 0 ? code : code << 4;
    }
  }
  return { codes, sf, saturated, filled };
}

/** More than half of the blocks that hold anything want a scale above 448. */
export function mostlySaturated({ saturated, filled }: { saturated: number; filled: number }): boolean {
  return saturated * 2 > filled;
}

/** Element `i` of staged rows, without the global scale. */
function stagedValue({ codes, sf }: { codes: Uint8Array; sf: Uint8Array }, i: number): number {
  const byte = codes[i >> 1]!;
  return E2M1_VALUES[i % 2 === 0 ? byte & 15 : byte >> 4]! * E4M3_VALUES[sf[i >> 4]!]!;
}

/**
 * How far each staged value (without the global scale) moves when `x` moves by `error`: zero for nearly all, a step for those on a
 * rounding boundary. Undefined when none moves.
 */
export function stagingSlack(
  x: ArrayLike<number>,
  error: ArrayLike<number>,
  k: number,
  scaleOfRow: (row: number) => number,
): Float64Array | undefined {
  const grown = Float64Array.from(x, (v, i) => v + Math.sign(v) * error[i]!);
  const shrunk = Float64Array.from(x, (v, i) => v - Math.sign(v) * error[i]!);
  const [a, b] = [stage(grown, k, scaleOfRow), stage(shrunk, k, scaleOfRow)];
  const out = new Float64Array(x.length);
  let any = false;
  for (let i = 0; i < out.length; i++) {
    out[i] = Math.abs(stagedValue(a, i) - stagedValue(b, i));
    if (out[i]! > 0) any = true;
  }
  return any ? out : undefined;
}
