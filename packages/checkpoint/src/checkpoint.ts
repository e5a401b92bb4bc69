import { checkInteger, UnsupportedError } from '@megamoe/core';
import { dequantizeNvfp4, globalDecodeScale } from '@megamoe/nvfp4-quant';
import { readConfig } from './config/config';
import type { GenerationConfig } from './config/generation';
import { readGenerationConfig } from './config/generation';
import type { QuantizationManifest } from './config/manifest';
import { compareManifest, readManifest } from './config/manifest';
import type { ModelConfig } from './config/types';
import { badFile, listText, shapeText } from './fail';
import { elementCount } from './safetensors/dtypes';
import type { TensorInfo, TensorStore } from './safetensors/store';
import { openTensorStore } from './safetensors/store';
import { checkBlockScales, checkNoNaN, checkWeights, decodeFloats, decodeInts } from './tensors/decode';
import type { ExpertMatrix } from './tensors/layout';
import type { ModuleInfo, ModuleTable } from './tensors/modules';
import { buildModuleTable } from './tensors/modules';

/** A matrix as BF16 bits, row-major. */
export interface Bf16Tensor {
  readonly format: 'bf16';
  readonly n: number;
  readonly k: number;
  /** [N, K] BF16 bits. */
  readonly data: Uint16Array;
}

/** A matrix as float32, row-major. F16 comes as this too: it fits exactly. */
export interface F32Tensor {
  readonly format: 'f32';
  readonly n: number;
  readonly k: number;
  /** [N, K]. */
  readonly data: Float32Array;
}

/** A matrix in NVFP4, as ModelOpt stores it: `w = e2m1(code) * e4m3(sf) * weightGlobalDecodeScale`. */
export interface Nvfp4Tensor {
  readonly format: 'nvfp4';
  readonly n: number;
  readonly k: number;
  /** [N, K/2] two E2M1 codes a byte, even column in the low nibble. */
  readonly codes: Uint8Array;
  /** [N, K/16] E4M3 block scales, linear (not swizzled); none is NaN or negative. */
  readonly sf: Uint8Array;
  /** `weight_scale_2`, finite and above 0. */
  readonly weightGlobalDecodeScale: number;
  /** `input_scale`; absent for experts that no calibration token reached. */
  readonly inputGlobalDecodeScale?: number;
}

/** A dense matrix. */
export type LinearTensor = Bf16Tensor | F32Tensor;

/** A routed expert's matrix. */
export type ExpertTensor = Bf16Tensor | F32Tensor | Nvfp4Tensor;

/**
 * An open checkpoint. Opening reads headers and checks every tensor's name, dtype and shape against config.json; data is read
 * when it is asked for. Every failure is a CheckpointError that names file, tensor, what was expected and what was found.
 */
export interface Checkpoint {
  readonly dir: string;
  readonly config: ModelConfig;
  /** generation_config.json; absent when there is none. */
  readonly generation: GenerationConfig | undefined;
  /** What the files claim about quantization; `modules` says what is there. */
  readonly quantization: QuantizationManifest | undefined;
  /** All stored tensors under the files' own names. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** All matrices under canonical names, with their formats. */
  readonly modules: ReadonlyMap<string, ModuleInfo>;
  /** What is odd but not an error. May grow as tensors are read. */
  readonly warnings: readonly string[];
  /** A stored tensor's bytes, in a buffer of their own (any typed array fits over it). `name` is the file's own. */
  read(name: string): Uint8Array;
  /** F32, BF16 or F16 decoded to float32. `name` is the file's own; `shape`, when given, must be the stored one. */
  readF32(name: string, shape?: readonly number[]): Float32Array;
  /** A dense matrix by canonical module name, as in `layers.0.attn.wq_a`. NaN and infinity are errors. NVFP4 is dequantized. */
  linear(module: string, n: number, k: number): LinearTensor;
  /** Rows `[row0, row0 + rows)` of it, for readers that do not want the whole matrix in memory: the result's `n` is `rows`. */
  linearRows(module: string, n: number, k: number, row0: number, rows: number): LinearTensor;
  /** A routed expert's matrix: w1 gate [I, D], w3 up [I, D], w2 down [D, I]. Scales are checked. */
  expert(layer: number, expert: number, matrix: ExpertMatrix): ExpertTensor;
  /** A tensor that is never quantized, as float32, by canonical name, as in `layers.0.attn_norm.weight`. NaN is an error. */
  vector(name: string, length: number): Float32Array;
  /** An integer tensor by canonical name, as in `layers.0.ffn.gate.tid2eid`, whose expert ids are checked. */
  ints(name: string, shape: readonly number[]): Int32Array;
  /** Closes the files; reading after that is an error. */
  close(): void;
}

const WHAT_IS_READ = 'BF16, F32, F16 and ModelOpt NVFP4 (U8 weight, weight_scale, weight_scale_2)';

class OpenCheckpoint implements Checkpoint {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly modules: ReadonlyMap<string, ModuleInfo>;

  constructor(
    readonly dir: string,
    readonly config: ModelConfig,
    readonly generation: GenerationConfig | undefined,
    readonly quantization: QuantizationManifest | undefined,
    readonly warnings: string[],
    private readonly store: TensorStore,
    private readonly table: ModuleTable,
  ) {
    this.tensors = store.tensors;
    this.modules = table.modules;
  }

  read(name: string): Uint8Array {
    return this.store.read(name);
  }

  readF32(name: string, shape?: readonly number[]): Float32Array {
    const info = this.tensors.get(name);
    if (!info) throw badFile(this.dir, 'no such tensor in this checkpoint', { tensor: name });
    const same = !shape || (shape.length === info.shape.length && shape.every((n, i) => n === info.shape[i]));
    if (!same)
      throw badFile(info.file, `expected shape ${shapeText(shape)}, found ${info.dtype} ${shapeText(info.shape)}`, {
        tensor: name,
      });
    return decodeFloats(info, this.store.read(name));
  }

  linear(module: string, n: number, k: number): LinearTensor {
    return this.linearRows(module, n, k, 0, n);
  }

  linearRows(module: string, n: number, k: number, row0: number, rows: number): LinearTensor {
    checkInteger('Checkpoint.linearRows', 'row0', row0, 0, n);
    checkInteger('Checkpoint.linearRows', 'rows', rows, 0, n - row0);
    // A tied model has one matrix for both ends.
    const name = module === 'head' && this.config.tieWordEmbeddings ? 'embed' : module;
    const info = this.#module(name);
    if (info.n !== n || info.k !== k) {
      throw badFile(info.weight.file, `expected [${n}, ${k}], found [${info.n}, ${info.k}]`, {
        tensor: info.weight.name,
      });
    }
    return info.format === 'nvfp4' ? this.#dequantized(info, row0, rows) : this.#plainMatrix(info, row0, rows);
  }

  expert(layer: number, expert: number, matrix: ExpertMatrix): ExpertTensor {
    const info = this.#module(`layers.${layer}.ffn.experts.${expert}.${matrix}`);
    return info.format === 'nvfp4' ? this.#nvfp4(info, 0, info.n) : this.#plainMatrix(info, 0, info.n);
  }

  vector(name: string, length: number): Float32Array {
    const info = this.#plain(name);
    if (elementCount(info.shape) !== length) {
      throw badFile(info.file, `expected ${length} elements, found ${info.dtype} ${shapeText(info.shape)}`, {
        tensor: info.name,
      });
    }
    const data = decodeFloats(info, this.store.read(info.name));
    checkNoNaN(info, data);
    return data;
  }

  ints(name: string, shape: readonly number[]): Int32Array {
    const info = this.#plain(name);
    if (shape.length !== info.shape.length || shape.some((n, i) => n !== info.shape[i])) {
      throw badFile(info.file, `expected shape ${shapeText(shape)}, found ${info.dtype} ${shapeText(info.shape)}`, {
        tensor: info.name,
      });
    }
    const data = decodeInts(info, this.store.read(info.name));
    if (name.endsWith('.tid2eid')) {
      const at = data.findIndex((id) => id < 0 || id >= this.config.numExperts);
      if (at >= 0) {
        throw badFile(
          info.file,
          `expected expert ids in [0, ${this.config.numExperts}), found ${data[at]} at index ${at}`,
          { tensor: info.name },
        );
      }
    }
    return data;
  }

  close(): void {
    this.store.close();
  }

  #module(name: string): ModuleInfo {
    const info = this.modules.get(name);
    if (!info) throw badFile(this.dir, 'config.json calls for no such module', { tensor: name });
    return info;
  }

  #plain(name: string): TensorInfo {
    const info = this.table.plain.get(name);
    if (!info) throw badFile(this.dir, 'config.json calls for no such tensor', { tensor: name });
    return info;
  }

  #unsupported(info: ModuleInfo): UnsupportedError {
    const { name, format, weight } = info;
    return new UnsupportedError(
      `${weight.file}: module "${name}" is stored as ${format}; what can be read is ${WHAT_IS_READ}`,
    );
  }

  #plainMatrix(info: ModuleInfo, row0: number, n: number): LinearTensor {
    const { format, k, weight } = info;
    if (format !== 'bf16' && format !== 'f32' && format !== 'f16') throw this.#unsupported(info);
    const rowBytes = k * (format === 'f32' ? 4 : 2);
    const start = info.offset + row0 * rowBytes;
    const bytes = this.store.read(weight.name, start, start + n * rowBytes);
    const data = format === 'bf16' ? new Uint16Array(bytes.buffer, 0, n * k) : decodeFloats(weight, bytes);
    checkWeights(weight, data, k, row0);
    return data instanceof Uint16Array ? { format: 'bf16', n, k, data } : { format: 'f32', n, k, data };
  }

  #dequantized(info: ModuleInfo, row0: number, rows: number): F32Tensor {
    const { n, k, codes, sf, weightGlobalDecodeScale } = this.#nvfp4(info, row0, rows);
    this.#warnOnce('NVFP4 matrices outside the routed experts are dequantized to float32 when they are read');
    const shape = { m: n, k, globalDecodeScale: globalDecodeScale(weightGlobalDecodeScale) };
    return { format: 'f32', n, k, data: dequantizeNvfp4(codes, sf, shape) };
  }

  #nvfp4(info: ModuleInfo, row0: number, n: number): Nvfp4Tensor {
    const { k, weight, companions } = info;
    const sfInfo = companions.get('weight_scale')!;
    const codes = this.store.read(weight.name, (row0 * k) / 2, ((row0 + n) * k) / 2);
    const sf = this.store.read(sfInfo.name, (row0 * k) / 16, ((row0 + n) * k) / 16);
    checkBlockScales(sfInfo, sf, codes, k / 16, row0);
    const globalInfo = companions.get('weight_scale_2')!;
    const weightGlobalDecodeScale = this.#scalar(globalInfo);
    if (!(weightGlobalDecodeScale > 0 && weightGlobalDecodeScale < Infinity)) {
      throw badFile(globalInfo.file, `expected a finite number above 0, found ${weightGlobalDecodeScale}`, {
        tensor: globalInfo.name,
      });
    }
    const inputInfo = companions.get('input_scale');
    const input = inputInfo ? this.#scalar(inputInfo) : 0;
    if (!(input >= 0 && input < Infinity)) {
      throw badFile(inputInfo!.file, `expected a finite number above 0, found ${input}`, { tensor: inputInfo!.name });
    }
    if (inputInfo && input === 0)
      this.#warnOnce(`${inputInfo.file}: tensor "${inputInfo.name}" is 0 and counts as absent`);
    const common = { format: 'nvfp4', n, k, codes, sf, weightGlobalDecodeScale } as const;
    return input === 0 ? common : { ...common, inputGlobalDecodeScale: input };
  }

  #scalar(info: TensorInfo): number {
    return decodeFloats(info, this.store.read(info.name))[0]!;
  }

  #warnOnce(warning: string): void {
    if (!this.warnings.includes(warning)) this.warnings.push(warning);
  }
}

/** Routed experts without `input_scale` beside others that have one: no calibration token reached them. */
function uncalibratedWarning(modules: ReadonlyMap<string, ModuleInfo>): string[] {
  const nvfp4 = [...modules.values()].filter((m) => m.format === 'nvfp4');
  const without = nvfp4.filter((m) => !m.companions.has('input_scale'));
  if (without.length === 0) return [];
  return [
    `${without.length} of ${nvfp4.length} NVFP4 modules have no input_scale: ${listText(
      without.map((m) => m.name),
      3,
    )}`,
  ];
}

/**
 * Opens a checkpoint folder: `config.json`, `model.safetensors` or shards with their index, `generation_config.json` when there.
 * Names may be DeepSeek's or transformers'. Throws CheckpointError.
 *
 * @param dir path of the folder
 */
export function openCheckpoint(dir: string): Checkpoint {
  const { config, quantizationConfig, warnings } = readConfig(dir);
  const generation = readGenerationConfig(dir, config.vocabSize);
  const manifest = readManifest(dir, quantizationConfig);
  const store = openTensorStore(dir);
  try {
    const table = buildModuleTable(config, store.tensors, dir);
    const all = [
      ...warnings,
      ...store.warnings,
      ...table.warnings,
      ...compareManifest(manifest, table.modules),
      ...uncalibratedWarning(table.modules),
    ];
    return new OpenCheckpoint(dir, config, generation, manifest, all, store, table);
  } catch (error) {
    store.close();
    throw error;
  }
}
