import { E2M1_VALUES, E4M3_VALUES } from '@megamoe/core';
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

/** Values of the low and the high code of each byte. */
const LOW = Float64Array.from({ length: 256 }, (_, b) => E2M1_VALUES[b & 15]!);
const HIGH = Float64Array.from({ length: 256 }, (_, b) => E2M1_VALUES[b >> 4]!);

/** Sums over a matrix: of squares of the error, of the original, of the result, and of the products of these two. */
export interface ErrorSums {
  readonly error: number;
  readonly original: number;
  readonly result: number;
  readonly product: number;
}

/** What quantizing `x` [M*K] to `codes`, `sf` with the global scale `g` lost; one pass. */
export function errorSums(x: Float32Array, { codes, sf }: Nvfp4Matrix, g: number): ErrorSums {
  let [error, original, result, product] = [0, 0, 0, 0];
  for (let b = 0; b < sf.length; b++) {
    const d = Math.fround(E4M3_VALUES[sf[b]!]! * g);
    for (let i = b * 8; i < b * 8 + 8; i++) {
      const [byte, x0, x1] = [codes[i]!, x[2 * i]!, x[2 * i + 1]!];
      const [y0, y1] = [LOW[byte]! * d, HIGH[byte]! * d];
      const [e0, e1] = [y0 - x0, y1 - x1];
      error += e0 * e0 + e1 * e1;
      original += x0 * x0 + x1 * x1;
      result += y0 * y0 + y1 * y1;
      product += x0 * y0 + x1 * y1;
    }
  }
  return { error, original, result, product };
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
      if (norm > 0) report.worstCosine = Math.min(report.worstCosine, sums.product / norm);
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
