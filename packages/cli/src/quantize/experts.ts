import { matrixToFloat32, type Checkpoint, type TensorToWrite } from '@megamoe/checkpoint';
import { UnsupportedError, ValueError } from '@megamoe/core';
import {
  amaxOf,
  dequantizeNvfp4,
  globalDecodeScaleFromAmax,
  quantizationError,
  quantizeNvfp4,
  saturationStatistics,
  type GlobalDecodeScale,
  type Nvfp4Matrix,
} from '@megamoe/nvfp4-quant';
import type { Calibration } from './calibration';

/** A routed expert's matrices. */
export type ExpertMatrix = 'w1' | 'w2' | 'w3';

/** Error and saturation of one projection over all experts of a layer. */
export interface ProjectionReport {
  readonly layer: number;
  readonly projection: ExpertMatrix;
  /** `||dequantized - original|| / ||original||` over all experts. */
  relativeError: number;
  /** Lowest cosine among the experts. */
  worstCosine: number;
  blocks: number;
  saturatedScales: number;
  minimumScales: number;
  zeroBlocks: number;
}

const MATRICES: readonly ExpertMatrix[] = ['w1', 'w3', 'w2'];

/** Sums that make the relative error of a projection. */
interface Sums {
  error: number;
  power: number;
}

/**
 * Quantizes routed experts one matrix at a time by ModelOpt's rule: `weight_scale_2 = amax / 2688`, where w1 and w3 share the larger amax;
 * `input_scale = amax of the inputs / 2688`. Nothing but one expert is held in memory.
 */
export class ExpertQuantizer {
  readonly reports: ProjectionReport[] = [];
  private readonly byKey = new Map<string, { report: ProjectionReport; sums: Sums }>();
  private readonly scales = new Map<string, GlobalDecodeScale>();

  constructor(
    private readonly checkpoint: Checkpoint,
    private readonly calibration: Calibration | undefined,
  ) {}

  /** The tensors of one expert, made when the writer asks for them. */
  tensors(layer: number, expert: number): TensorToWrite[] {
    return MATRICES.flatMap((matrix) => this.matrix(layer, expert, matrix));
  }

  private matrix(layer: number, expert: number, matrix: ExpertMatrix): TensorToWrite[] {
    const { hiddenSize: d, moeIntermediateSize: i } = this.checkpoint.config;
    const [n, k] = matrix === 'w2' ? [d, i] : [i, d];
    const prefix = `layers.${layer}.ffn.experts.${expert}.${matrix}`;
    // The writer asks for all scales before all codes: keeping what the first ask made would hold every expert, so it is made twice.
    const list: TensorToWrite[] = [
      {
        name: `${prefix}.weight`,
        dtype: 'U8',
        shape: [n, k / 2],
        data: () => this.quantize(layer, expert, matrix, n, k, true).codes,
      },
      {
        name: `${prefix}.weight_scale`,
        dtype: 'F8_E4M3',
        shape: [n, k / 16],
        data: () => this.quantize(layer, expert, matrix, n, k, false).sf,
      },
      {
        name: `${prefix}.weight_scale_2`,
        dtype: 'F32',
        shape: [],
        data: () => Float32Array.of(this.globalScale(layer, expert, matrix)),
      },
    ];
    const amax = this.calibration?.amax(layer, expert, matrix === 'w2' ? 'w2' : 'w13');
    if (amax !== undefined) {
      const scale = globalDecodeScaleFromAmax(amax);
      list.push({ name: `${prefix}.input_scale`, dtype: 'F32', shape: [], data: Float32Array.of(scale) });
    }
    return list;
  }

  private values(layer: number, expert: number, matrix: ExpertMatrix): Float32Array {
    const t = this.checkpoint.expert(layer, expert, matrix);
    if (t.format === 'nvfp4') {
      throw new UnsupportedError(
        `quantize: layers.${layer}.ffn.experts.${expert}.${matrix} is NVFP4 already; give experts in another format`,
      );
    }
    if (t.k % 16 !== 0)
      throw new ValueError(
        `quantize: layers.${layer}.ffn.experts.${expert}.${matrix} has K = ${t.k}, which is no multiple of 16`,
      );
    return matrixToFloat32(t);
  }

  /** `weight_scale_2` of a matrix; w1 and w3 share one, so that a fused GEMM can use it. */
  private globalScale(layer: number, expert: number, matrix: ExpertMatrix): GlobalDecodeScale {
    const key = `${layer}.${expert}.${matrix === 'w2' ? 'w2' : 'w13'}`;
    let scale = this.scales.get(key);
    if (scale === undefined) {
      const shared: readonly ExpertMatrix[] = matrix === 'w2' ? ['w2'] : ['w1', 'w3'];
      scale = globalDecodeScaleFromAmax(Math.max(...shared.map((m) => amaxOf(this.values(layer, expert, m)))));
      this.scales.set(key, scale);
    }
    return scale;
  }

  private quantize(
    layer: number,
    expert: number,
    matrix: ExpertMatrix,
    n: number,
    k: number,
    report: boolean,
  ): Nvfp4Matrix {
    const x = this.values(layer, expert, matrix);
    const shape = { m: n, k, globalDecodeScale: this.globalScale(layer, expert, matrix) };
    const { codes, sf } = quantizeNvfp4(x, shape);
    if (report) this.note(layer, matrix, x, dequantizeNvfp4(codes, sf, shape), codes, sf, shape);
    return { codes, sf };
  }

  private note(
    layer: number,
    projection: ExpertMatrix,
    want: Float32Array,
    got: Float32Array,
    codes: Uint8Array,
    sf: Uint8Array,
    shape: { m: number; k: number },
  ): void {
    const key = `${layer}.${projection}`;
    let entry = this.byKey.get(key);
    if (!entry) {
      const report = {
        layer,
        projection,
        relativeError: 0,
        worstCosine: 1,
        blocks: 0,
        saturatedScales: 0,
        minimumScales: 0,
        zeroBlocks: 0,
      };
      this.byKey.set(key, (entry = { report, sums: { error: 0, power: 0 } }));
      this.reports.push(report);
    }
    const { report, sums } = entry;
    const { relative, cosine } = quantizationError(got, want);
    const power = want.reduce((s, v) => s + v * v, 0);
    sums.error += power * relative ** 2;
    sums.power += power;
    report.relativeError = sums.power === 0 ? 0 : Math.sqrt(sums.error / sums.power);
    report.worstCosine = Math.min(report.worstCosine, cosine);
    const saturation = saturationStatistics(codes, sf, shape);
    report.blocks += saturation.blocks;
    report.saturatedScales += saturation.saturatedScales;
    report.minimumScales += saturation.minimumScales;
    report.zeroBlocks += saturation.zeroBlocks;
  }
}
