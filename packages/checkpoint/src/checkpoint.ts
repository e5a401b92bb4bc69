import { checkInteger, checkString, describe, KindError } from '@megamoe/core';
import { takeShape } from './arguments';
import { readConfig } from './config/config';
import type { GenerationConfig } from './config/generation';
import { readGenerationConfig } from './config/generation';
import type { QuantizationManifest } from './config/manifest';
import { compareManifest, readManifest } from './config/manifest';
import type { ModelConfig } from './config/types';
import { badFile, listText, shapeText } from './fail';
import { kindOfFile } from './file-kind';
import { whatIs } from './files/there';
import { Noticed } from './noticed';
import { checkBuffers, type ReadBuffers } from './safetensors/buffers';
import { elementCount } from './safetensors/dtypes';
import type { TensorInfo, TensorStore } from './safetensors/store';
import { openTensorStore } from './safetensors/store';
import { checkVector, decodeFloats, decodeInts } from './tensors/decode';
import type { DraftLayers } from './tensors/draft';
import type { ExpertMatrix } from './tensors/layout';
import type { ExpertScales, ExpertTensor, LinearTensor } from './tensors/matrix';
import type { ModuleInfo } from './tensors/module-info';
import type { ModuleTable } from './tensors/modules';
import { buildModuleTable } from './tensors/modules';
import { MatrixReader } from './tensors/read-matrix';
import { untieStoredHead } from './tensors/tied';

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
  /** What there is of draft layers (`mtp.*`), which are no part of the model that is computed. */
  readonly draft: DraftLayers;
  /** What is odd but not an error. May grow as tensors are read. */
  readonly warnings: readonly string[];
  /** A stored tensor's bytes, or `[start, end)` of them, in a buffer of their own (any typed array fits over it). `name` is the file's own. */
  read(name: string, start?: number, end?: number, buffers?: ReadBuffers): Uint8Array;
  /** F32, BF16 or F16 decoded to float32. `name` is the file's own; `shape`, when given, must be the stored one. */
  readF32(name: string, shape?: readonly number[]): Float32Array;
  /** A dense matrix by canonical module name, as in `layers.0.attn.wq_a`, in the format that it is stored in. NaN and infinity are errors. */
  linear(module: string, n: number, k: number): LinearTensor;
  /** Rows `[row0, row0 + rows)` of it, for readers that do not want the whole matrix in memory: the result's `n` is `rows`. */
  linearRows(
    module: string,
    n: number,
    k: number,
    row0: number,
    rows: number,
    /** Memory to read into: the result is good until these are used again. */
    buffers?: ReadBuffers,
  ): LinearTensor;
  /** A routed expert's matrix: w1 gate [I, D], w3 up [I, D], w2 down [D, I]. Scales are checked. `buffers` as in linearRows. */
  expert(layer: number, expert: number, matrix: ExpertMatrix, buffers?: ReadBuffers): ExpertTensor;
  /** What `expert` would return, without its data: only scalars are read. */
  expertScales(layer: number, expert: number, matrix: ExpertMatrix): ExpertScales;
  /** The E8M0 scales [N, K/32] of a routed expert's matrix in MXFP4, without its codes; undefined for other formats. */
  expertE8m0(layer: number, expert: number, matrix: ExpertMatrix): Uint8Array | undefined;
  /** A tensor that is never quantized, as float32, by canonical name, as in `layers.0.attn_norm.weight`. NaN is an error, and so is infinity but in sinks and router biases. */
  vector(name: string, length: number): Float32Array;
  /** An integer tensor by canonical name, as in `layers.0.ffn.gate.tid2eid`, whose expert ids are checked. */
  ints(name: string, shape: readonly number[]): Int32Array;
  /** Closes the files; reading after that is an error. */
  close(): void;
}

class OpenCheckpoint implements Checkpoint {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly modules: ReadonlyMap<string, ModuleInfo>;
  readonly draft: DraftLayers;
  readonly warnings: readonly string[];
  readonly #matrices: MatrixReader;

  constructor(
    readonly dir: string,
    readonly config: ModelConfig,
    readonly generation: GenerationConfig | undefined,
    readonly quantization: QuantizationManifest | undefined,
    noticed: Noticed,
    private readonly store: TensorStore,
    private readonly table: ModuleTable,
  ) {
    this.tensors = store.tensors;
    this.modules = table.modules;
    this.draft = table.draft;
    this.warnings = noticed.warnings;
    this.#matrices = new MatrixReader(store, noticed);
  }

  read(name: string, start?: number, end?: number, buffers?: ReadBuffers): Uint8Array {
    checkString('Checkpoint.read', 'name', name);
    checkBuffers('Checkpoint.read', 'buffers', buffers);
    return this.store.into(buffers, () => this.store.read(name, start, end));
  }

  readF32(name: string, shape?: readonly number[]): Float32Array {
    const fn = 'Checkpoint.readF32';
    checkString(fn, 'name', name);
    const want = shape === undefined ? undefined : takeShape(fn, 'shape', shape);
    const info = this.tensors.get(name);
    if (!info) throw badFile(this.dir, 'no such tensor in this checkpoint', { tensor: name });
    if (want && !isSameShape(want, info.shape))
      throw badFile(info.file, `expected shape ${shapeText(want)}, found ${info.dtype} ${shapeText(info.shape)}`, {
        tensor: name,
      });
    return decodeFloats(info, this.store.read(name));
  }

  linear(module: string, n: number, k: number): LinearTensor {
    return this.#rows('Checkpoint.linear', module, n, k, 0, n);
  }

  linearRows(module: string, n: number, k: number, row0: number, rows: number, buffers?: ReadBuffers): LinearTensor {
    return this.#rows('Checkpoint.linearRows', module, n, k, row0, rows, buffers);
  }

  #rows(
    fn: string,
    module: string,
    n: number,
    k: number,
    row0: number,
    rows: number,
    buffers?: ReadBuffers,
  ): LinearTensor {
    checkString(fn, 'module', module);
    checkInteger(fn, 'n', n, 0);
    checkInteger(fn, 'k', k, 0);
    checkInteger(fn, 'row0', row0, 0, n);
    checkInteger(fn, 'rows', rows, 0, n - row0);
    checkBuffers(fn, 'buffers', buffers);
    // A tied model has one matrix for both ends.
    const name = module === 'head' && this.config.tieWordEmbeddings ? 'embed' : module;
    const info = this.#module(name);
    if (info.n !== n || info.k !== k) {
      throw badFile(info.weight.file, `expected [${n}, ${k}], found [${info.n}, ${info.k}]`, {
        tensor: info.weight.name,
      });
    }
    return this.store.into(buffers, () => this.#matrices.read(info, row0, rows));
  }

  expert(layer: number, expert: number, matrix: ExpertMatrix, buffers?: ReadBuffers): ExpertTensor {
    const info = this.#expertModule('Checkpoint.expert', layer, expert, matrix);
    checkBuffers('Checkpoint.expert', 'buffers', buffers);
    return this.store.into(buffers, () => this.#matrices.read(info, 0, info.n));
  }

  expertScales(layer: number, expert: number, matrix: ExpertMatrix): ExpertScales {
    return this.#matrices.scales(this.#expertModule('Checkpoint.expertScales', layer, expert, matrix));
  }

  expertE8m0(layer: number, expert: number, matrix: ExpertMatrix): Uint8Array | undefined {
    const info = this.#expertModule('Checkpoint.expertE8m0', layer, expert, matrix);
    return info.format === 'mxfp4' ? this.#matrices.e8m0(info, 0, info.n) : undefined;
  }

  vector(name: string, length: number): Float32Array {
    checkString('Checkpoint.vector', 'name', name);
    checkInteger('Checkpoint.vector', 'length', length, 0);
    const info = this.#plain(name);
    if (elementCount(info.shape) !== length) {
      throw badFile(info.file, `expected ${length} elements, found ${info.dtype} ${shapeText(info.shape)}`, {
        tensor: info.name,
      });
    }
    const data = decodeFloats(info, this.store.read(info.name));
    checkVector(info, name, data);
    return data;
  }

  ints(name: string, shape: readonly number[]): Int32Array {
    checkString('Checkpoint.ints', 'name', name);
    const want = takeShape('Checkpoint.ints', 'shape', shape);
    const info = this.#plain(name);
    if (!isSameShape(want, info.shape)) {
      throw badFile(info.file, `expected shape ${shapeText(want)}, found ${info.dtype} ${shapeText(info.shape)}`, {
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

  #expertModule(fn: string, layer: number, expert: number, matrix: ExpertMatrix): ModuleInfo {
    if (typeof layer !== 'number' || typeof expert !== 'number')
      throw new KindError(
        `${fn}: "layer" and "expert" must be numbers, got ${describe(layer)} and ${describe(expert)}`,
      );
    checkString(fn, 'matrix', matrix);
    return this.#module(`layers.${layer}.ffn.experts.${expert}.${matrix}`);
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
}

/** Whether two shapes are one. */
function isSameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

/** Routed experts without `input_scale` beside others that have one: no calibration token reached them. */
function uncalibratedWarning(modules: ReadonlyMap<string, ModuleInfo>): string[] {
  const nvfp4 = [...modules.values()].filter((m) => m.format === 'nvfp4');
  const without = nvfp4.filter((m) => !m.companions.has('input_scale') && !m.companions.has('input_global_scale'));
  if (without.length === 0 || without.length === nvfp4.length) return []; // none at all: every input is scaled by its own
  return [
    `${without.length} of ${nvfp4.length} NVFP4 modules have no input_scale: ${listText(
      without.map((m) => m.name),
      3,
    )}`,
  ];
}

/** A single file given as the folder is told from a folder that is not there. */
function checkFolder(dir: string): void {
  if (!whatIs(dir)?.isFile()) return;
  throw badFile(
    dir,
    `expected a checkpoint folder, found ${kindOfFile(dir) ?? 'a file: give the folder that holds it'}`,
  );
}

/** Those of the fields of `from` that are named and there. */
function pick<T extends object, K extends keyof T>(from: T, names: readonly K[]): Partial<Pick<T, K>> {
  return Object.fromEntries(names.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]]))) as Partial<
    Pick<T, K>
  >;
}

/**
 * Opens a checkpoint folder: `config.json`, `model.safetensors` or shards with their index, `generation_config.json` when there.
 * Names may be DeepSeek's or transformers'. Throws CheckpointError.
 *
 * @param dir path of the folder
 */
export function openCheckpoint(dir: string): Checkpoint {
  checkString('openCheckpoint', 'dir', dir);
  checkFolder(dir);
  const { config: written, openIds, quantizationConfig, expertDtype, warnings: assumed } = readConfig(dir);
  const warnings = [...assumed];
  const generation = readGenerationConfig(dir, written.vocabSize, (warning) => warnings.push(warning));
  const declared = { ...written, ...pick(generation ?? {}, openIds) };
  const manifest = readManifest(dir, quantizationConfig, expertDtype);
  const store = openTensorStore(dir);
  try {
    const config = untieStoredHead(declared, store, (warning) => warnings.push(warning));
    const table = buildModuleTable(config, store.tensors, dir);
    const all = [
      ...warnings,
      ...store.warnings,
      ...table.warnings,
      ...compareManifest(manifest, table.modules),
      ...uncalibratedWarning(table.modules),
    ];
    return new OpenCheckpoint(dir, config, generation, manifest, new Noticed(all), store, table);
  } catch (error) {
    store.close();
    throw error;
  }
}
