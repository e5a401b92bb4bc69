/** The grouped NVFP4 x NVFP4 GEMM in exact integer arithmetic, rounded to float32 once, at the very end. */
import {
  checkFinite,
  checkInteger,
  checkMultiple,
  describe,
  E2M1_VALUES,
  E4M3_VALUES,
  KindError,
  newArray,
  ValueError,
} from '@megamoe/core';
import { takeBytes, takeNumbers, takeOptional, takeSizes } from './arguments';
import type { Numbers } from './numbers';
import { expertOfRow, rowsOf } from './slots';

// An E2M1 value times 2 and an E4M3 value times 2^9 are integers.
const E2M1_TIMES_2 = Int32Array.from(E2M1_VALUES, (v) => v * 2);
const E4M3_TIMES_512 = Int32Array.from(E4M3_VALUES, (v) => v * 512); // NaN becomes 0; checkSf refuses it before

/** The float32 nearest to `mantissa * 2^exponent`, ties to even, with subnormals and overflow to infinity. */
export function roundToFloat32(mantissa: bigint, exponent: number): number {
  if (typeof mantissa !== 'bigint')
    throw new KindError(`roundToFloat32: "mantissa" must be a bigint, got ${describe(mantissa)}`);
  checkInteger('roundToFloat32', 'exponent', exponent, Number.MIN_SAFE_INTEGER);
  if (mantissa === 0n) return 0;
  const negative = mantissa < 0n;
  const magnitude = negative ? -mantissa : mantissa;
  const bits = magnitude.toString(2).length;
  const top = bits - 1 + exponent; // exponent of the leading bit
  const last = Math.max(top - 23, -149); // exponent of the last bit that float32 keeps there
  const drop = last - exponent;
  if (drop > bits) return negative ? -0 : 0; // less than half of the smallest
  let kept = magnitude << BigInt(Math.max(-drop, 0));
  if (drop > 0) {
    kept = magnitude >> BigInt(drop);
    const rest = magnitude - (kept << BigInt(drop));
    const half = 1n << BigInt(drop - 1);
    if (rest > half || (rest === half && kept % 2n === 1n)) kept += 1n;
  }
  const value = Math.fround(Number(kept) * 2 ** last); // exact but for overflow, which fround turns into infinity
  return negative ? -value : value;
}

/** A finite float32 as `mantissa * 2^exponent`. */
function exactFloat32(x: number): { mantissa: bigint; exponent: number } {
  let value = Math.fround(x);
  let exponent = 0;
  while (!Number.isInteger(value)) {
    value *= 2;
    exponent--;
  }
  return { mantissa: BigInt(value), exponent };
}

/** Arguments of {@link groupedGemmExact}. */
export interface ExactGemm {
  /** Out features; `parts` equal parts of them have an alpha each. */
  readonly n: number;
  /** Reduction, in elements; a multiple of 16. */
  readonly k: number;
  /** [R, K/2] and [R, K/16]: rows of all experts, one after the other. */
  readonly aCodes: Uint8Array;
  readonly aSf: Uint8Array;
  /** [E, N, K/2] and [E, N, K/16]. */
  readonly bCodes: Uint8Array;
  readonly bSf: Uint8Array;
  /** [E] cumulative ends; the last is R. */
  readonly expertOffsets: ArrayLike<number>;
  /** [E * parts] f32: `alpha[e * parts + part]` is aDecode * bDecode. */
  readonly alpha: Numbers;
  /** 2 when the rows of B are gate rows, then up rows. Default 1. */
  readonly parts?: number;
  /** [R] f32, multiplies each row's result (dynamic activations). */
  readonly rowScale?: Numbers | null;
}

/** The arguments, each read once, and how many rows there are. */
export function takeExactGemm(fn: string, args: ExactGemm): Required<ExactGemm> & { readonly rows: number } {
  const { n, k } = takeSizes(fn, 'args', args, 'n', 'k');
  const { parts = 1, expertOffsets: ends, aCodes, aSf, bCodes, bSf, alpha, rowScale } = args;
  checkInteger(fn, 'k', k, 16);
  checkMultiple(fn, 'k', k, 16);
  checkInteger(fn, 'parts', parts, 1);
  checkMultiple(fn, 'n', n, parts);
  const expertOffsets = takeNumbers(fn, 'expertOffsets', ends);
  const experts = expertOffsets.length;
  const rows = rowsOf(fn, expertOffsets);
  const kSf = k / 16;
  return {
    ...{ n, k, parts, expertOffsets, rows },
    aCodes: takeBytes(fn, 'aCodes', aCodes, ['R*K/2', (rows * k) / 2]),
    aSf: takeBytes(fn, 'aSf', aSf, ['R*K/16', rows * kSf]),
    bCodes: takeBytes(fn, 'bCodes', bCodes, ['E*N*K/2', (experts * n * k) / 2]),
    bSf: takeBytes(fn, 'bSf', bSf, ['E*N*K/16', experts * n * kSf]),
    alpha: takeNumbers(fn, 'alpha', alpha, ['E*parts', experts * parts]),
    rowScale: takeOptional(fn, 'rowScale', rowScale, ['R', rows]),
  };
}

function checkSf(arg: string, sf: Uint8Array): void {
  const at = sf.findIndex((byte) => (byte & 0x7f) === 0x7f);
  if (at >= 0) throw new ValueError(`groupedGemmExact: "${arg}" holds NaN (0x7F) at index ${at}`);
}

/**
 * `out[r, n] = alpha * rowScale[r] * sum_k a[r, k] * b[e, n, k]`, [R, N] float32, e = {@link expertOfRow}. The sum and both products
 * are exact; the result is rounded once. The kernels' own rule (docs/numerics.md N4) rounds after every block: their distance from this, in
 * ulp, is their error.
 */
export function groupedGemmExact(args: ExactGemm): Float32Array {
  const fn = 'groupedGemmExact';
  const { n, k, aCodes, aSf, bCodes, bSf, expertOffsets, alpha, parts, rowScale, rows } = takeExactGemm(fn, args);
  const kSf = k / 16;
  checkFinite(fn, 'alpha', Float32Array.from(alpha));
  if (rowScale) checkFinite(fn, 'rowScale', Float32Array.from(rowScale));
  checkSf('aSf', aSf);
  checkSf('bSf', bSf);
  const out = newArray(fn, 'result', Float32Array, 'R*N', rows * n);
  for (let r = 0; r < rows; r++) {
    const e = expertOfRow(expertOffsets, r);
    const perRow = exactFloat32(rowScale ? rowScale[r]! : 1);
    for (let c = 0; c < n; c++) {
      const sum = exactDot(aCodes, aSf, r, bCodes, bSf, e * n + c, kSf);
      const a = exactFloat32(alpha[e * parts + Math.floor(c / (n / parts))]!);
      // Codes carry 2^-1 each and scales 2^-9 each: 2^-20 in all.
      out[r * n + c] = roundToFloat32(sum * a.mantissa * perRow.mantissa, a.exponent + perRow.exponent - 20);
    }
  }
  return out;
}

/** Sum over all blocks of (dot of codes) * aSf * bSf, times 2^20, as an integer. */
function exactDot(
  aCodes: Uint8Array,
  aSf: Uint8Array,
  aRow: number,
  bCodes: Uint8Array,
  bSf: Uint8Array,
  bRow: number,
  kSf: number,
): bigint {
  let total = 0n;
  let partial = 0; // exact: one block is at most 16 * 144 * (448 * 512)^2 < 2^47, so 32 of them stay below 2^53
  for (let block = 0; block < kSf; block++) {
    let dot = 0;
    for (let byte = 0; byte < 8; byte++) {
      const a = aCodes[(aRow * kSf + block) * 8 + byte]!;
      const b = bCodes[(bRow * kSf + block) * 8 + byte]!;
      dot += E2M1_TIMES_2[a & 15]! * E2M1_TIMES_2[b & 15]! + E2M1_TIMES_2[a >> 4]! * E2M1_TIMES_2[b >> 4]!;
    }
    partial += dot * E4M3_TIMES_512[aSf[aRow * kSf + block]!]! * E4M3_TIMES_512[bSf[bRow * kSf + block]!]!;
    if (block % 32 === 31) {
      total += BigInt(partial);
      partial = 0;
    }
  }
  return total + BigInt(partial);
}
