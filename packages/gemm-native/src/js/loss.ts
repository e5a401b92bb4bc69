import { E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';
import type { Nvfp4LossArgs } from '../types';

/** Values of the low and the high code of each byte. */
const LOW = Float64Array.from({ length: 256 }, (_, byte) => E2M1_VALUES[byte & 15]!);
const HIGH = Float64Array.from({ length: 256 }, (_, byte) => E2M1_VALUES[byte >> 4]!);

/** See GemmKernels.nvfp4Loss; sums are in the order that native/kernels/nvfp4/loss.cc has. */
export function nvfp4Loss({ x, rows, k, globalDecodeScale, codes, sf, sums }: Nvfp4LossArgs): void {
  const g = Math.fround(globalDecodeScale);
  let [at, byte] = [0, 0];
  for (let row = 0; row < rows; row++) {
    let [error, original, result] = [0, 0, 0];
    for (let block = 0; block < k / 16; block++) {
      const d = Math.fround(E4M3_VALUES[sf[(row * k) / 16 + block]!]! * g);
      let [e0, e1, o0, o1, r0, r1] = [0, 0, 0, 0, 0, 0];
      for (const end = byte + 8; byte < end; byte++, at += 2) {
        const [x0, x1] = [x[at]!, x[at + 1]!];
        const [y0, y1] = [LOW[codes[byte]!]! * d, HIGH[codes[byte]!]! * d];
        const [d0, d1] = [y0 - x0, y1 - x1];
        e0 += d0 * d0;
        e1 += d1 * d1;
        o0 += x0 * x0;
        o1 += x1 * x1;
        r0 += y0 * y0;
        r1 += y1 * y1;
      }
      error += e0 + e1;
      original += o0 + o1;
      result += r0 + r1;
    }
    sums[3 * row] = error;
    sums[3 * row + 1] = original;
    sums[3 * row + 2] = result;
  }
}
