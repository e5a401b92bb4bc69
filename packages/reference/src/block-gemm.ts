/** The grouped NVFP4 x NVFP4 GEMM by the kernels' own rule: float32 after every block of 16. */
import { E2M1_VALUES, E4M3_VALUES, newArray } from '@megamoe/core';
import { result } from './arguments';
import { takeExactGemm, type ExactGemm } from './exact-gemm';
import { expertOfRow } from './slots';

const f = Math.fround;

/** The same product, twice. */
export interface BlockGemmResult {
  /** [R, N] by the rule: what a kernel must give, bit for bit. */
  readonly rounded: Float32Array;
  /** [R, N] in float64 throughout: the true product to 2^-45 of its terms. */
  readonly exact: Float64Array;
}

/**
 * `acc = f32(acc + dot * sa * sb)` over the 16-element blocks in ascending k, `out = f32(alpha * acc)` and, with `rowScale`,
 * `f32(out * rowScale[r])`. The block dot is an integer and its product with both scales is exact in float32, so nothing else rounds.
 */
export function groupedGemmByBlocks(args: ExactGemm): BlockGemmResult {
  const fn = 'groupedGemmByBlocks';
  const { n, k, aCodes, aSf, bCodes, bSf, expertOffsets, alpha, parts, rowScale, rows } = takeExactGemm(fn, args);
  const kSf = k / 16;
  const a = decode(aCodes);
  const b = decode(bCodes);
  const rounded = newArray(fn, 'result', Float32Array, 'R*N', rows * n);
  const exact = result(fn, 'R*N', rows * n);
  for (let r = 0; r < rows; r++) {
    const e = expertOfRow(expertOffsets, r);
    const perRow = f(rowScale ? rowScale[r]! : 1);
    for (let c = 0; c < n; c++) {
      const scale = f(alpha[e * parts + Math.floor(c / (n / parts))]!);
      const bRow = e * n + c;
      let acc = 0;
      let sum = 0;
      for (let block = 0; block < kSf; block++) {
        const a0 = r * k + block * 16;
        const b0 = bRow * k + block * 16;
        let dot = 0;
        for (let i = 0; i < 16; i++) dot += a[a0 + i]! * b[b0 + i]!;
        const term = dot * E4M3_VALUES[aSf[r * kSf + block]!]! * E4M3_VALUES[bSf[bRow * kSf + block]!]!;
        acc = f(acc + term);
        sum += term;
      }
      const out = f(scale * acc);
      rounded[r * n + c] = rowScale ? f(out * perRow) : out;
      exact[r * n + c] = scale * sum * perRow;
    }
  }
  return { rounded, exact };
}

/** Codes as numbers, two a byte, the even column in the low nibble. */
function decode(codes: Uint8Array): Float32Array {
  const out = new Float32Array(codes.length * 2);
  for (let i = 0; i < out.length; i++) out[i] = E2M1_VALUES[(codes[i >> 1]! >> ((i & 1) * 4)) & 15]!;
  return out;
}
