import { matrixToFloat32, openCheckpoint, writeCheckpoint, type Dtype, type TensorToWrite } from '@megamoe/checkpoint';
import { decodeBf16Array, encodeBf16Array } from '@megamoe/core';
import {
  dequantizeCompressedTensors,
  dequantizeFp8,
  dequantizeMxfp4,
  dequantizeNvfp4,
  nvfp4GlobalDecodeScale,
  quantizeCompressedTensors,
  quantizeFp8,
  quantizeMxfp4,
  quantizeNvfp4,
} from '@megamoe/reference';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { breathe } from './support';

/** How a module is written. */
export type WrittenFormat =
  | 'f32'
  | 'fp8-e8m0'
  | 'fp8-f32'
  | 'fp8-block'
  | 'mxfp4'
  | 'mxfp4-packed'
  | 'mxfp4-quark'
  | 'modelopt'
  | 'compressed-tensors';

/** A matrix in a format: its tensors, and the values that they stand for. */
interface Written {
  readonly tensors: TensorToWrite[];
  readonly values: ArrayLike<number>;
}

/** Writes one matrix by the reference's quantizers. Input scales are such that inputs up to 24 fit. */
function write(name: string, x: Float32Array, n: number, k: number, format: WrittenFormat): Written {
  const tensor = (key: string, dtype: Dtype, shape: readonly number[], data: ArrayBufferView): TensorToWrite => ({
    name: `${name}.${key}`,
    dtype,
    shape,
    data,
  });
  const tiles = [Math.ceil(n / 128), Math.ceil(k / 128)];
  switch (format) {
    case 'f32':
      return { tensors: [tensor('weight', 'F32', [n, k], x)], values: x };
    case 'fp8-e8m0': {
      const q = quantizeFp8(x, { n, k }, 'e8m0');
      return {
        tensors: [tensor('weight', 'F8_E4M3', [n, k], q.codes), tensor('scale', 'F8_E8M0', tiles, q.e8m0!)],
        values: dequantizeFp8(q, { n, k }),
      };
    }
    case 'fp8-f32': {
      const q = quantizeFp8(x, { n, k }, 'f32');
      return {
        tensors: [tensor('weight', 'F8_E4M3', [n, k], q.codes), tensor('weight_scale_inv', 'F32', tiles, q.scales)],
        values: dequantizeFp8(q, { n, k }),
      };
    }
    case 'fp8-block': {
      const q = quantizeFp8(x, { n, k }, 'f32');
      const scales = encodeBf16Array(q.scales);
      return {
        tensors: [tensor('weight', 'F8_E4M3', [n, k], q.codes), tensor('weight_scale', 'BF16', tiles, scales)],
        values: dequantizeFp8({ ...q, scales: decodeBf16Array(scales) }, { n, k }),
      };
    }
    case 'mxfp4':
    case 'mxfp4-packed':
    case 'mxfp4-quark': {
      const q = quantizeMxfp4(x, { n, k });
      const [shape, scaleShape] = [
        [n, k / 2],
        [n, k / 32],
      ];
      const tensors =
        format === 'mxfp4'
          ? [tensor('weight', 'I8', shape, q.codes), tensor('scale', 'F8_E8M0', scaleShape, q.e8m0)]
          : [
              tensor(format === 'mxfp4-packed' ? 'weight_packed' : 'weight', 'U8', shape, q.codes),
              tensor('weight_scale', 'U8', scaleShape, q.e8m0),
            ];
      return { tensors, values: dequantizeMxfp4(q, { n, k }) };
    }
    case 'modelopt': {
      const globalDecodeScale = nvfp4GlobalDecodeScale(x);
      const shape = { m: n, k, globalDecodeScale };
      const q = quantizeNvfp4(x, shape);
      return {
        tensors: [
          tensor('weight', 'U8', [n, k / 2], q.codes),
          tensor('weight_scale', 'F8_E4M3', [n, k / 16], q.sf),
          tensor('weight_scale_2', 'F32', [], Float32Array.of(globalDecodeScale)),
          tensor('input_scale', 'F32', [], Float32Array.of(24 / 2688)),
        ],
        values: dequantizeNvfp4(q, shape),
      };
    }
    case 'compressed-tensors': {
      const q = quantizeCompressedTensors(x, { n, k });
      return {
        tensors: [
          tensor('weight_packed', 'U8', [n, k / 2], q.codes),
          tensor('weight_scale', 'F8_E4M3', [n, k / 16], q.sf),
          tensor('weight_global_scale', 'F32', [1], Float32Array.of(q.globalEncodeScale)),
          tensor('input_global_scale', 'F32', [1], Float32Array.of(2688 / 24)),
        ],
        values: dequantizeCompressedTensors(q, { n, k }),
      };
    }
  }
}

/** Two checkpoints of one model. */
export interface Rewritten {
  /** In the formats that were chosen. */
  readonly quantized: string;
  /** The values of those, in float32. */
  readonly plain: string;
}

/**
 * Writes a model twice: in the formats that `choose` gives for each module, and with the values that these stand for in float32.
 * `alter` may change a matrix before it is written.
 */
export async function rewriteModel(
  dir: string,
  choose: (module: string, k: number) => WrittenFormat,
  alter: (module: string, x: Float32Array) => void = () => undefined,
): Promise<Rewritten> {
  const root = mkdtempSync(join(tmpdir(), 'megamoe-formats-'));
  const checkpoint = openCheckpoint(dir);
  try {
    const [quantized, plain]: [TensorToWrite[], TensorToWrite[]] = [[], []];
    const ours = new Set<string>();
    for (const { name, n, k, weight, companions } of checkpoint.modules.values()) {
      for (const t of [weight, ...companions.values()]) ours.add(t.name);
      const expert = /^layers\.(\d+)\.ffn\.experts\.(\d+)\.(w[123])$/.exec(name);
      const stored = expert
        ? checkpoint.expert(Number(expert[1]), Number(expert[2]), expert[3] as 'w1')
        : checkpoint.linear(name, n, k);
      const x = matrixToFloat32(stored).slice();
      alter(name, x);
      const { tensors, values } = write(name, x, n, k, choose(name, k));
      quantized.push(...tensors);
      plain.push({ name: `${name}.weight`, dtype: 'F32', shape: [n, k], data: Float32Array.from(values) });
      await breathe();
    }
    for (const { name, dtype, shape } of checkpoint.tensors.values()) {
      if (!ours.has(name))
        for (const list of [quantized, plain]) list.push({ name, dtype, shape, data: checkpoint.read(name) });
    }
    const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as Record<string, unknown>;
    delete config['quantization_config'];
    const files = { 'config.json': config };
    await writeCheckpoint(join(root, 'quantized'), quantized, { files });
    await writeCheckpoint(join(root, 'plain'), plain, { files });
  } finally {
    checkpoint.close();
  }
  return { quantized: join(root, 'quantized'), plain: join(root, 'plain') };
}
