import type { GemmKernels } from '@megamoe/gemm-native';
import { saturationStatistics, type Nvfp4Matrix } from '@megamoe/nvfp4-quant';
import { placeOf } from './select';

/** Error and saturation of one projection of one layer, over all its experts. */
export interface ProjectionReport {
  readonly layer: number;
  /** `w1`, `w2`, `w3` of the routed experts, or a module's name in its layer, as `attn.wq_a`. */
  readonly projection: string;
  /** `||dequantized - original|| / ||original||`. */
  relativeError: number;
  /** Lowest cosine among the matrices. */
  worstCosine: number;
  /** NVFP4 blocks of 16. */
  blocks: number;
  saturatedScales: number;
  minimumScales: number;
  zeroScales: number;
  zeroBlocks: number;
  /** MXFP4 blocks of 32 that the lossless cast could not keep; 0 for other sources. */
  inexactBlocks: number;
}

/** Sums over a matrix: of squares of the error, of the original and of the result. */
export interface ErrorSums {
  readonly error: number;
  readonly original: number;
  readonly result: number;
}

/** What quantizing `x` [M, K] to `codes`, `sf` with the global scale `g` lost. */
export function errorSums(
  kernels: GemmKernels,
  x: Float32Array,
  { codes, sf }: Nvfp4Matrix,
  { m, k, globalDecodeScale }: { readonly m: number; readonly k: number; readonly globalDecodeScale: number },
): ErrorSums {
  const sums = new Float64Array(3 * m);
  kernels.nvfp4Loss({ x, rows: m, k, globalDecodeScale, codes, sf, sums });
  let [error, original, result] = [0, 0, 0];
  for (let row = 0; row < m; row++) {
    error += sums[3 * row]!;
    original += sums[3 * row + 1]!;
    result += sums[3 * row + 2]!;
  }
  return { error, original, result };
}

/** Collects the reports of all projections. */
export class Measurements {
  private readonly entries = new Map<string, { report: ProjectionReport; error: number; original: number }>();

  get reports(): ProjectionReport[] {
    return [...this.entries.values()].map((e) => e.report);
  }

  /** Takes in a matrix; `sums` undefined: it was exact. */
  note(name: string, matrix: Nvfp4Matrix, shape: { m: number; k: number }, sums?: ErrorSums, inexactBlocks = 0): void {
    const { layer, projection } = placeOf(name);
    const key = `${layer}.${projection}`;
    let entry = this.entries.get(key);
    if (!entry) {
      const counts = {
        blocks: 0,
        saturatedScales: 0,
        minimumScales: 0,
        zeroScales: 0,
        zeroBlocks: 0,
        inexactBlocks: 0,
      };
      entry = { report: { layer, projection, relativeError: 0, worstCosine: 1, ...counts }, error: 0, original: 0 };
      this.entries.set(key, entry);
    }
    const { report } = entry;
    if (sums) {
      entry.error += sums.error;
      entry.original += sums.original;
      report.relativeError = entry.original === 0 ? 0 : Math.sqrt(entry.error / entry.original);
      const norm = Math.sqrt(sums.original * sums.result);
      if (norm > 0)
        report.worstCosine = Math.min(report.worstCosine, (sums.original + sums.result - sums.error) / 2 / norm);
    }
    const s = saturationStatistics(matrix.codes, matrix.sf, shape);
    report.blocks += s.blocks;
    report.saturatedScales += s.saturatedScales;
    report.minimumScales += s.minimumScales;
    report.zeroScales += s.zeroScales;
    report.zeroBlocks += s.zeroBlocks;
    report.inexactBlocks += inexactBlocks;
  }
}
