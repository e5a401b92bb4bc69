import { FP8_TILE, openCheckpoint, readConfig, type MatrixTensor } from '@megamoe/checkpoint';
import { encodeBf16Array } from '@megamoe/core';
import type { WeightSource } from '@megamoe/layers';
import { nvfp4GlobalDecodeScale, quantizeFp8, quantizeMxfp4, quantizeNvfp4 } from '@megamoe/reference';
import { repositoryFile } from '@megamoe/testkit';
import { afterAll } from 'vitest';

export const MICRO = repositoryFile('models/micro-flash');

export const MICRO_CONFIG = readConfig(MICRO).config;

/** The micro model, open until the tests of the file are done. */
export function openMicro(): WeightSource {
  const checkpoint = openCheckpoint(MICRO);
  afterAll(() => checkpoint.close());
  return checkpoint;
}

/** Token ids that look like nothing in particular. */
export function someTokens(n: number, vocabSize: number): number[] {
  return Array.from({ length: n }, (_, i) => (7 + i * 37 + ((i * i) % 13)) % vocabSize);
}

/** A format that matrices can be given. */
export type Stored = 'f32' | 'bf16' | 'fp8-e8m0' | 'fp8-f32' | 'mxfp4' | 'nvfp4';

/** A matrix in a format, by the reference's quantizers. */
function stored(data: Float32Array, n: number, k: number, format: Stored, inputScale: number): MatrixTensor {
  if (format === 'f32') return { format, n, k, data };
  if (format === 'bf16') return { format, n, k, data: encodeBf16Array(data) };
  if (format === 'mxfp4') return { format, n, k, ...quantizeMxfp4(data, { n, k }) };
  if (format === 'nvfp4') {
    const globalDecodeScale = Math.fround(nvfp4GlobalDecodeScale(data));
    const scales = { weightGlobalDecodeScale: globalDecodeScale, inputGlobalDecodeScale: Math.fround(inputScale) };
    return { format, n, k, ...quantizeNvfp4(data, { m: n, k, globalDecodeScale }), ...scales };
  }
  const { codes, scales } = quantizeFp8(data, { n, k }, format === 'fp8-e8m0' ? 'e8m0' : 'f32');
  const tiles = Math.ceil(k / FP8_TILE);
  const perRow = Float32Array.from(
    { length: n * tiles },
    (_, i) => scales[Math.floor(Math.floor(i / tiles) / FP8_TILE) * tiles + (i % tiles)]!,
  );
  return { format: 'fp8', n, k, codes, scales: perRow };
}

/** A float32 model with its matrices in other formats, in memory. Input scales are such that few inputs saturate, an expert's its own. */
export function inFormats(source: WeightSource, choose: (module: string, k: number) => Stored): WeightSource {
  const known = new Map<string, MatrixTensor>();
  const written = (module: string, read: () => MatrixTensor, inputScale: number): MatrixTensor => {
    let t = known.get(module);
    if (t === undefined) {
      const float = read();
      if (float.format !== 'f32') throw new Error(`${module} is ${float.format}`);
      known.set(module, (t = stored(float.data, float.n, float.k, choose(module, float.k), inputScale)));
    }
    return t;
  };
  return {
    config: source.config,
    vector: (...args) => source.vector(...args),
    ints: (...args) => source.ints(...args),
    linear: (module, n, k) => written(module, () => source.linear(module, n, k), 1 / 64),
    expert: (layer, expert, matrix) =>
      written(
        `layers.${layer}.ffn.experts.${expert}.${matrix}`,
        () => source.expert(layer, expert, matrix),
        (1 + expert / 8) / 64,
      ),
  };
}

export const isExpert = (module: string): boolean => module.includes('.ffn.experts.');

/** A model with its experts in NVFP4. */
export function withNvfp4Experts(source: WeightSource): WeightSource {
  return inFormats(source, (module) => (isExpert(module) ? 'nvfp4' : 'f32'));
}
