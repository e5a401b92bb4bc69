import { decodeBf16 } from '@megamoe/core';
import { matrixToFloat32, ReadBuffers, type Checkpoint, type MatrixTensor, type ModuleInfo } from '@megamoe/checkpoint';
import {
  createGemmKernels,
  stagedArrays,
  type GemmKernels,
  type KernelOptions,
  type Nvfp4Rows,
} from '@megamoe/gemm-native';
import {
  amaxOf,
  castMxfp4ToNvfp4,
  globalDecodeScaleFromAmax,
  MIN_INPUT_SCALE,
  mxfp4MaxExponent,
  quantizeNvfp4,
  type Nvfp4Matrix,
} from '@megamoe/nvfp4-quant';
import { errorSums, type Measurements } from './measure';
import type { Unit } from './select';

/** A quantized matrix. */
export interface QuantizedMatrix extends Nvfp4Matrix {
  readonly weightGlobalDecodeScale: number;
}

/**
 * Quantizes the matrices of a checkpoint by ModelOpt's rule, one unit at a time: `weight_scale_2 = amax / 2688`, w1 and w3 sharing the larger
 * amax. MXFP4 is cast (exact where the exponents allow), NVFP4 of either convention is taken over. The bytes are those of
 * `@megamoe/nvfp4-quant`, whichever kernels make them.
 */
export class Quantizer {
  private readonly kernels: GemmKernels;
  /** One set of buffers for each matrix of a unit: both are in memory at once. */
  private readonly buffers = [new ReadBuffers(), new ReadBuffers()];
  private readonly scratch: Float32Array[] = [new Float32Array(0), new Float32Array(0)];

  constructor(
    private readonly checkpoint: Checkpoint,
    private readonly measurements: Measurements,
    options: KernelOptions = {},
  ) {
    this.kernels = createGemmKernels(options);
  }

  /** The matrices of a unit, quantized, in its order; good until the next call. */
  quantize(unit: Unit): QuantizedMatrix[] {
    const tensors = unit.map(({ name, n, k }, i) => this.checkpoint.linearRows(name, n, k, 0, n, this.buffers[i]));
    if (tensors.every((t) => t.format === 'mxfp4')) return this.cast(unit, tensors);
    if (tensors.every((t) => t.format === 'nvfp4')) {
      return tensors.map(({ codes, sf, weightGlobalDecodeScale, n, k }, i) => {
        this.measurements.note(unit[i]!.name, { codes, sf }, { m: n, k });
        return { codes, sf, weightGlobalDecodeScale };
      });
    }
    const values = tensors.map((t, i) => this.floats(t, i));
    const g = globalDecodeScaleFromAmax(Math.max(...values.map(({ amax }) => amax)));
    return values.map((x, i) => this.stage(unit[i]!, x.values, g));
  }

  private stage(
    { name, n, k }: ModuleInfo,
    x: Float32Array,
    g: ReturnType<typeof globalDecodeScaleFromAmax>,
  ): QuantizedMatrix {
    const shape = { m: n, k, globalDecodeScale: g };
    // The staging kernels refuse a smaller one.
    const made = g < MIN_INPUT_SCALE ? quantizeNvfp4(x, shape) : this.kernelStage(x, n, k, g);
    this.measurements.note(name, made, shape, errorSums(this.kernels, x, made, shape));
    return { ...made, weightGlobalDecodeScale: g };
  }

  /** The same bytes by the kernels that stage activations. */
  private kernelStage(x: Float32Array, slots: number, k: number, g: number): Nvfp4Matrix {
    const staged = this.kernels.createStaged({ slots, k, inputs: ['nvfp4'] });
    this.kernels.stage({
      x,
      k,
      slotToken: null,
      slots,
      expertOffsets: Int32Array.of(slots),
      inputs: 'nvfp4',
      globalDecodeScale: Float32Array.of(g),
      staged,
    });
    return stagedArrays(staged) as Nvfp4Rows;
  }

  private cast(unit: Unit, tensors: readonly Extract<MatrixTensor, { format: 'mxfp4' }>[]): QuantizedMatrix[] {
    const maxExponent = mxfp4MaxExponent(...tensors.map((t) => t.e8m0));
    return tensors.map((t, i) => {
      const shape = { m: t.n, k: t.k };
      const { codes, sf, globalDecodeScale, inexactBlocks } = castMxfp4ToNvfp4(t.codes, t.e8m0, {
        ...shape,
        maxExponent,
      });
      const sums =
        inexactBlocks > 0
          ? errorSums(this.kernels, this.floats(t, i).values, { codes, sf }, { ...shape, globalDecodeScale })
          : undefined;
      this.measurements.note(unit[i]!.name, { codes, sf }, shape, sums, inexactBlocks);
      return { codes, sf, weightGlobalDecodeScale: globalDecodeScale };
    });
  }

  /** Values of a matrix and the largest magnitude; BF16, which most are, in memory that is used again. */
  private floats(t: MatrixTensor, i: number): { readonly values: Float32Array; readonly amax: number } {
    if (t.format !== 'bf16') {
      const values = matrixToFloat32(t);
      return { values, amax: amaxOf(values) };
    }
    const size = t.n * t.k;
    if (this.scratch[i]!.length < size) this.scratch[i] = new Float32Array(size);
    const out = this.scratch[i]!.subarray(0, size);
    const bits = new Uint32Array(out.buffer, 0, size);
    const { data } = t;
    let largest = 0; // magnitudes are ordered as their bits
    for (let j = 0; j < size; j++) {
      const b = data[j]!;
      bits[j] = b << 16;
      if ((b & 0x7fff) > largest) largest = b & 0x7fff;
    }
    // Infinity or NaN: amaxOf throws and says where.
    return { values: out, amax: largest >= 0x7f80 ? amaxOf(out) : decodeBf16(largest) };
  }
}
