/** A grouped NVFP4 GEMM and its mistakes, element by element, for the tests alone. */
import { seeded } from '@megamoe/testkit';
import type { Dump } from '../../src/index';
import { bytes, dump, floats, ints, rounded, sum, type Stored } from './build';
import { buffer, kernelReads, SCALE_IDS, type ScaleId } from './scale-planted';

export interface GemmCase {
  counts: number[];
  n: number;
  k: number;
  seed: number;
  /** All experts' global scales are the same. */
  equalScales?: boolean;
}

/** What is done wrong, and to which operand. */
export interface Plant {
  scale?: ScaleId;
  nibbles?: 'swapped' | 'half';
  side?: 'a' | 'b' | 'both';
  rows?: 'leading-zero' | 'left';
  alpha?: 'inverted' | 'missing' | 'twice' | 'first';
}

export interface GemmOptions {
  stored?: Stored;
  how?: 'float32' | 'float64';
  scaleDtype?: 'U8' | 'F8_E4M3';
  /** Include the swizzled buffers as the kernel got them. */
  swizzled?: boolean;
  /** A second mistake, in B's scales. */
  alsoB?: ScaleId;
  /** The dtype that the sum is rounded to after each `every` elements of K; Infinity: once, before alpha. */
  rounds?: { to: Stored; every: number };
  /** A's buffer back to front. */
  reversed?: boolean;
}

const MAGNITUDES = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
const e2m1 = (c: number): number => MAGNITUDES[c & 7]! * (c & 8 ? -1 : 1);
const e4m3 = Array.from({ length: 256 }, (_, b) => {
  const [e, m] = [(b >> 3) & 15, b & 7];
  return (b & 128 ? -1 : 1) * (e ? (1 + m / 8) * 2 ** (e - 7) : m * 2 ** -9);
});

/** Element k of a packed row as a kernel with a packing mistake reads it. */
function element(row: Uint8Array, k: number, how: Plant['nibbles']): number {
  if (how === 'half') {
    const byte = row[Math.floor(k / 16) * 8 + (k % 8)]!;
    return e2m1(k % 16 < 8 ? byte & 15 : byte >> 4);
  }
  const high = (k % 2 === 1) !== (how === 'swapped');
  return e2m1(high ? row[k >> 1]! >> 4 : row[k >> 1]! & 15);
}

export function inputs({ counts, n, k, seed, equalScales = false }: GemmCase) {
  const s = seeded(seed);
  const [t, e, kSf] = [counts.reduce((a, b) => a + b, 0), counts.length, k / 16];
  const scale = (): number => Math.fround(0.01 * (0.5 + s.next()));
  const [a0, b0] = [scale(), scale()];
  return {
    t,
    e,
    kSf,
    aCodes: s.bytes((t * k) / 2),
    aSf: s.scales(t * kSf),
    bCodes: s.bytes((e * n * k) / 2),
    bSf: s.scales(e * n * kSf),
    aGlobal: counts.map(() => (equalScales ? a0 : scale())),
    bGlobal: counts.map(() => (equalScales ? b0 : scale())),
  };
}

export function gemmDump(c: GemmCase, plant: Plant = {}, options: GemmOptions = {}): Dump {
  const { stored = 'F32', how = 'float64', scaleDtype = 'U8', swizzled = false, alsoB, reversed = false } = options;
  const { counts, n, k } = c;
  const { rounds } = options;
  const { t, e, kSf, aCodes, aSf, bCodes, bSf, aGlobal, bGlobal } = inputs(c);
  const hits = (side: 'a' | 'b'): boolean => (plant.side ?? 'a') === 'both' || (plant.side ?? 'a') === side;
  const nCounts = counts.map(() => n);
  const aBuffer = buffer(hits('a') ? plant.scale : undefined, aSf, kSf, counts, '2d');
  if (reversed) aBuffer.reverse();
  const bBuffer = buffer(alsoB ?? (hits('b') ? plant.scale : undefined), bSf, kSf, nCounts, '3d');
  const aSeen = kernelReads(aBuffer, kSf, counts);
  const bSeen = kernelReads(bBuffer, kSf, nCounts);
  const ends: number[] = [];
  for (const count of counts) ends.push((ends.at(-1) ?? 0) + count);
  const used = plant.rows === 'leading-zero' ? [0, ...ends].slice(0, e) : ends;
  const alpha = (x: number): number => {
    const a = aGlobal[x]!;
    const seen = { inverted: 1 / a, missing: 1, twice: a * a, first: aGlobal[0]!, right: a }[plant.alpha ?? 'right'];
    return seen * bGlobal[x]!;
  };
  const decoded = (codes: Uint8Array, sf: Uint8Array, side: 'a' | 'b'): number[][] =>
    Array.from({ length: (codes.length * 2) / k }, (_, row) =>
      Array.from({ length: k }, (_, i) => {
        const code = element(
          codes.subarray((row * k) / 2, ((row + 1) * k) / 2),
          i,
          hits(side) ? plant.nibbles : undefined,
        );
        return code * e4m3[sf[row * kSf + (i >> 4)]!]!;
      }),
    );
  const [as, bs] = [decoded(aCodes, aSeen, 'a'), decoded(bCodes, bSeen, 'b')];
  const out: number[] = [];
  const terms = new Float64Array(k);
  for (let r = 0; r < t; r++) {
    const x = used.findIndex((end) => (plant.rows === 'left' ? end >= r : end > r));
    for (let col = 0; col < n; col++) {
      if (x < 0) {
        out.push(0);
        continue;
      }
      const [ar, br] = [as[r]!, bs[x * n + col]!];
      for (let i = 0; i < k; i++) terms[i] = ar[i]! * br[i]!;
      let total = rounds ? 0 : sum(terms, how);
      for (let i = 0; rounds && i < k; i += rounds.every)
        total = rounded(total + sum(terms.slice(i, i + rounds.every), how), rounds.to);
      out.push(total * alpha(x));
    }
  }
  return dump(
    { op: 'grouped_gemm_nvfp4' },
    {
      'in.a_codes': bytes([t, k / 2], aCodes),
      'in.a_sf': bytes([t, kSf], aSf, scaleDtype),
      'in.b_codes': bytes([e, n, k / 2], bCodes),
      'in.b_sf': bytes([e, n, kSf], bSf, scaleDtype),
      'in.expert_offsets': ints([e], ends),
      'in.a_global_decode': floats([e], aGlobal),
      'in.b_global_decode': floats([e], bGlobal),
      'in.a_sf_swizzled': swizzled ? bytes([aBuffer.length], aBuffer) : undefined,
      'in.b_sf_swizzled': swizzled ? bytes([bBuffer.length], bBuffer) : undefined,
      out: floats([t, n], out, stored),
    },
  );
}

/** Every mistake of a GEMM by id, with what to plant. */
export const GEMM_PLANTS: [string, Plant][] = [
  ...SCALE_IDS.flatMap((scale): [string, Plant][] =>
    scale === 'scales-empty-expert-padded'
      ? [[scale, { scale }]]
      : [
          [scale, { scale }],
          [scale, { scale, side: 'b' }],
          [scale, { scale, side: 'both' }],
        ],
  ),
  ['nibbles-swapped', { nibbles: 'swapped' }],
  ['nibbles-swapped', { nibbles: 'swapped', side: 'b' }],
  ['nibbles-half-split', { nibbles: 'half' }],
  ['nibbles-half-split', { nibbles: 'half', side: 'b' }],
  ['offsets-leading-zero', { rows: 'leading-zero' }],
  ['offsets-searchsorted-left', { rows: 'left' }],
  ['global-scale-inverted', { alpha: 'inverted' }],
  ['global-scale-missing', { alpha: 'missing' }],
  ['global-scale-twice', { alpha: 'twice' }],
  ['global-scale-of-first-expert', { alpha: 'first' }],
];
