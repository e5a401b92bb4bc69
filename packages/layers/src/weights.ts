import { matrixRows, ReadBuffers, type ExpertScales, type LinearTensor, type ModelConfig } from '@megamoe/checkpoint';
import {
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  CheckpointError,
  checkSignal,
  describe,
  KindError,
} from '@megamoe/core';
import type {
  Backend,
  CompressorHandle,
  ExpertPool,
  ExpertsSource,
  ExpertsWeight,
  InputPrecision,
  KvDtype,
  LayerSpec,
  LinearWeight,
  Tensor,
} from '@megamoe/ops';
import { setImmediate } from 'node:timers/promises';
import { expertRows, type ExpertFormats } from './expert-formats';
import { stackedLinear } from './stacked-linear';
import type { ExpertMatrix, WeightSource } from './weight-source';

/** What of a backend packs weights. */
export type Packer = Pick<Backend, 'tensor' | 'packLinear' | 'packExperts' | 'packCompressor' | 'createReadMemory'>;

/** Weights of one hyper-connection: `fn` [(2+hc)*hc, hc*D], `base` [(2+hc)*hc], `gain` [3] (pre, post, comb); those of the head are smaller. */
export interface HyperWeights {
  readonly fn: Tensor;
  readonly base: Tensor;
  readonly gain: Tensor;
}

/** A compressor: projections of the block input, and what pools them. */
export interface CompressorBlock {
  readonly wkv: LinearWeight;
  readonly wgate: LinearWeight;
  readonly pool: CompressorHandle;
}

/** The indexer of a CSA layer. */
export interface IndexerBlock extends CompressorBlock {
  readonly wqB: LinearWeight;
  readonly headWeights: LinearWeight;
}

/** Attention weights of one layer. */
export interface AttentionWeights {
  readonly spec: LayerSpec;
  readonly wqA: LinearWeight;
  readonly qNorm: Tensor;
  readonly wqB: LinearWeight;
  readonly wkv: LinearWeight;
  readonly kvNorm: Tensor;
  readonly woA: LinearWeight;
  readonly woB: LinearWeight;
  readonly sinks: Tensor;
  readonly compressor: CompressorBlock | null;
  readonly indexer: IndexerBlock | null;
}

/** How inputs of an expert GEMM are staged, and what goes with that. */
export interface ExpertInputs {
  readonly inputs: InputPrecision;
  /** NVFP4 only: global decode scale of the activations, [E]; null: taken from each row at run time. */
  readonly globalDecodeScale: Tensor | null;
  /**
   * [E * parts] for NVFP4 weights: weight scale times input scale; weight scale alone when inputs are not quantized, or by each row's own scale.
   * Null for other formats.
   */
  readonly alpha: Tensor | null;
}

/** One expert GEMM of a layer: packed weights, and the scales of each way to stage its inputs. */
export interface ExpertGemm {
  readonly weight: ExpertsWeight;
  /** Null: its inputs are never quantized. */
  readonly nvfp4: ExpertInputs | null;
  readonly f32: ExpertInputs;
  readonly bf16: ExpertInputs;
}

function expertGemm(weight: ExpertsWeight, weightScale: Tensor | null, nvfp4: ExpertInputs | null): ExpertGemm {
  const float = { globalDecodeScale: null, alpha: weightScale };
  return { weight, nvfp4, f32: { inputs: 'f32', ...float }, bf16: { inputs: 'bf16', ...float } };
}

/** Mixture-of-experts weights of one layer. */
export interface MoeWeights {
  readonly gate: LinearWeight;
  readonly bias: Tensor | null;
  /** Expert ids of each token id, [V, topk], in hash layers. */
  readonly tid2eid: Tensor | null;
  /** Gate and up (w1 then w3). */
  readonly w13: ExpertGemm;
  readonly w2: ExpertGemm;
  /** Gate and up stacked, then down. */
  readonly shared: { readonly w13: LinearWeight; readonly w2: LinearWeight } | null;
}

/** Everything of one layer. */
export interface LayerWeights {
  readonly attnHc: HyperWeights;
  readonly attnNorm: Tensor;
  readonly attention: AttentionWeights;
  readonly ffnHc: HyperWeights;
  readonly ffnNorm: Tensor;
  readonly moe: MoeWeights;
}

/** The whole model, packed for one backend. */
export interface ModelWeights {
  readonly embed: LinearWeight;
  readonly layers: readonly LayerWeights[];
  readonly headHc: HyperWeights;
  readonly norm: Tensor;
  readonly head: LinearWeight;
  /** True when the routed experts are NVFP4. */
  readonly nvfp4: boolean;
  readonly warnings: readonly string[];
  /** Frees all of them. */
  dispose(): void;
}

/** Loads module by module; nothing is held twice beyond one module. */
export class WeightLoader {
  readonly warnings: string[] = [];
  /** Everything packed so far, for those who want to dispose of it. */
  readonly packed: { dispose(): void }[] = [];

  constructor(
    private readonly source: WeightSource,
    private readonly backend: Packer,
    /** Take input scales of the checkpoint where there are any. */
    private readonly staticInputScales: boolean,
    private readonly formats: ExpertFormats,
    /** Where experts go that are packed when they are needed; null: all are packed now. */
    private readonly poolFor: ((source: ExpertsSource) => ExpertPool) | null = null,
    /** Told of every weight that has been packed. */
    private readonly onPacked: (bytes: number, module: string) => void = () => undefined,
    /** Memory that is read into. */
    private readonly buffers = new ReadBuffers(),
  ) {}

  private keep<T extends LinearWeight | ExpertsWeight>(weight: T, module: string): T {
    this.packed.push(weight);
    this.onPacked(weight.bytes, module);
    return weight;
  }

  /** A tensor on the backend with a copy of `data`. */
  private tensor(data: Float32Array | Int32Array, shape?: readonly number[]): Tensor {
    const tensor = this.backend.tensor(data, shape);
    this.packed.push(tensor);
    return tensor;
  }

  private get config(): ModelConfig {
    return this.source.config;
  }

  linear(module: string, n: number, k: number, groups = 1): LinearWeight {
    return this.stacked([module], n * groups, k, groups);
  }

  vector(name: string, length: number): Tensor {
    return this.tensor(this.source.vector(name, length), [length]);
  }

  private table(name: string, shape: readonly number[]): Tensor {
    return this.tensor(this.source.ints(name, shape), shape);
  }

  hyper(prefix: string, rows: number, gains: number): HyperWeights {
    const { hcMult, hiddenSize } = this.config;
    return {
      fn: this.vector(`${prefix}_fn`, rows * hcMult * hiddenSize),
      base: this.vector(`${prefix}_base`, rows),
      gain: this.vector(`${prefix}_scale`, gains),
    };
  }

  private compressor(prefix: string, ratio: number, dim: number): CompressorBlock {
    const width = ratio === 4 ? 2 * dim : dim;
    const wkv = this.linear(`${prefix}.wkv`, width, this.config.hiddenSize);
    const wgate = this.linear(`${prefix}.wgate`, width, this.config.hiddenSize);
    const pool = this.backend.packCompressor(
      this.source.vector(`${prefix}.ape`, ratio * width),
      this.source.vector(`${prefix}.norm.weight`, dim),
    );
    this.packed.push({ dispose: () => pool.dispose?.() });
    return { wkv, wgate, pool };
  }

  private attention(prefix: string, spec: LayerSpec): AttentionWeights {
    const c = this.config;
    const heads = c.numAttentionHeads;
    const perGroup = (heads * c.headDim) / c.oGroups;
    return {
      spec,
      wqA: this.linear(`${prefix}.wq_a`, c.qLoraRank, c.hiddenSize),
      qNorm: this.vector(`${prefix}.q_norm.weight`, c.qLoraRank),
      wqB: this.linear(`${prefix}.wq_b`, heads * c.headDim, c.qLoraRank),
      wkv: this.linear(`${prefix}.wkv`, c.headDim, c.hiddenSize),
      kvNorm: this.vector(`${prefix}.kv_norm.weight`, c.headDim),
      woA: this.linear(`${prefix}.wo_a`, c.oLoraRank, perGroup, c.oGroups),
      woB: this.linear(`${prefix}.wo_b`, c.hiddenSize, c.oGroups * c.oLoraRank),
      sinks: this.vector(`${prefix}.attn_sink`, heads),
      compressor: spec.ratio === 0 ? null : this.compressor(`${prefix}.compressor`, spec.ratio, c.headDim),
      indexer:
        spec.ratio === 4
          ? {
              ...this.compressor(`${prefix}.indexer.compressor`, 4, c.indexHeadDim),
              wqB: this.linear(`${prefix}.indexer.wq_b`, c.indexNHeads * c.indexHeadDim, c.qLoraRank),
              headWeights: this.linear(`${prefix}.indexer.weights_proj`, c.indexNHeads, c.hiddenSize),
            }
          : null,
    };
  }

  /** Rows `[row0, row0 + rows)` of a matrix, as the source has them. */
  private rows(module: string, n: number, k: number, row0: number, rows: number): LinearTensor {
    const { source } = this;
    if (source.linearRows) return source.linearRows(module, n, k, row0, rows, this.buffers);
    return matrixRows(source.linear(module, n, k), row0, rows);
  }

  /** Modules [n, k] with the same input, packed as one linear: their rows in the order given. */
  private stacked(modules: readonly string[], n: number, k: number, groups = 1): LinearWeight {
    const source = stackedLinear(
      {
        modules,
        n,
        k,
        groups,
        isTable: modules[0] === 'embed',
        inputScales: this.staticInputScales ? 'static' : 'dynamic',
        read: (module, row0, rows) => this.rows(module, n, k, row0, rows),
      },
      (warning) => this.warnings.push(warning),
    );
    return this.keep(this.backend.packLinear(source), modules[0]!);
  }

  /** One expert GEMM of a layer: `names` are its row blocks, as ['w1', 'w3'] or ['w2']. */
  private experts(layer: number, names: readonly ExpertMatrix[], n: number, k: number): ExpertGemm {
    const e = this.config.numExperts;
    const parts = names.length as 1 | 2;
    const inputScale = new Float32Array(e).fill(NaN);
    const { source } = this;
    const scales = (expert: number, part: number): ExpertScales =>
      source.expertScales?.(layer, expert, names[part]!) ?? source.expert(layer, expert, names[part]!, this.buffers);
    const stored = scales(0, 0).format;
    const packing = this.formats.packing(layer, names, stored);
    const { format } = packing;
    const weightScale = packing.weightScale ?? new Float32Array(e * parts);
    if (packing.warning !== undefined) this.warnings.push(packing.warning);
    const checkSame = (t: ExpertScales, expert: number, part: number): void => {
      if (t.format === stored && t.n === n / parts && t.k === k) return;
      const name = `layers.${layer}.ffn.experts.${expert}.${names[part]!}`;
      throw new CheckpointError(
        `${name}: expected ${stored} [${n / parts}, ${k}] like the layer's other experts, found ${t.format} [${t.n}, ${t.k}]`,
        { tensor: name },
      );
    };
    const note = (t: ExpertScales, expert: number, part: number): void => {
      if (t.format !== 'nvfp4') return;
      weightScale[expert * parts + part] = t.weightGlobalDecodeScale!;
      // One staging serves w1 and w3: the larger scale holds both, and alpha uses what was staged.
      const g = t.inputGlobalDecodeScale;
      if (g !== undefined && !(inputScale[expert]! >= g)) inputScale[expert] = g;
    };
    const experts: ExpertsSource = {
      name: `layers.${layer}.ffn.experts.${names.join('')}`,
      numExperts: e,
      n,
      k,
      parts,
      format,
      read: (expert, part) => {
        const t = source.expert(layer, expert, names[part]!, this.buffers);
        checkSame(t, expert, part);
        if (!pool) note(t, expert, part);
        return expertRows(t, format);
      },
    };
    const pool = this.poolFor?.(experts);
    for (let x = 0; pool && x < e * parts; x++) {
      const [expert, part] = [Math.floor(x / parts), x % parts];
      const t = scales(expert, part);
      checkSame(t, expert, part);
      note(t, expert, part);
    }
    const weight = this.keep(
      this.backend.packExperts(pool ? { ...experts, pool } : experts),
      `layers.${layer}.ffn.experts`,
    );
    if (format !== 'nvfp4') return expertGemm(weight, null, null);
    const known = this.fillInputScales(layer, names.join('/'), inputScale);
    const scale = this.tensor(weightScale);
    if (packing.floatInputs) return expertGemm(weight, scale, null);
    if (!known) return expertGemm(weight, scale, { inputs: 'nvfp4', globalDecodeScale: null, alpha: scale });
    const alpha = weightScale.map((g, i) => g * inputScale[Math.floor(i / parts)]!);
    const globalDecodeScale = this.tensor(inputScale);
    return expertGemm(weight, scale, { inputs: 'nvfp4', globalDecodeScale, alpha: this.tensor(alpha) });
  }

  /** Gives experts that calibration never reached the projection's largest scale; false when no expert has one. */
  private fillInputScales(layer: number, names: string, inputScale: Float32Array): boolean {
    if (!this.staticInputScales) return false;
    const largest = inputScale.reduce((m, g) => (g > m ? g : m), 0);
    if (largest === 0) return false;
    const missing: number[] = [];
    inputScale.forEach((g, e) => {
      if (g > 0) return;
      inputScale[e] = largest;
      missing.push(e);
    });
    if (missing.length > 0) {
      this.warnings.push(
        `layers.${layer}.ffn.experts ${names}: no input_scale for experts ${missing.join(', ')}; the projection's largest is used`,
      );
    }
    return true;
  }

  private moe(prefix: string, layer: number): MoeWeights {
    const c = this.config;
    const [d, i] = [c.hiddenSize, c.moeIntermediateSize];
    const hash = layer < c.numHashLayers;
    const sharedWidth = i * c.numSharedExperts;
    return {
      gate: this.linear(`${prefix}.gate`, c.numExperts, d),
      bias: hash ? null : this.vector(`${prefix}.gate.bias`, c.numExperts),
      tid2eid: hash ? this.table(`${prefix}.gate.tid2eid`, [c.vocabSize, c.numExpertsPerTok]) : null,
      w13: this.experts(layer, ['w1', 'w3'], 2 * i, d),
      w2: this.experts(layer, ['w2'], d, i),
      shared:
        sharedWidth === 0
          ? null
          : {
              w13: this.stacked([`${prefix}.shared_experts.w1`, `${prefix}.shared_experts.w3`], sharedWidth, d),
              w2: this.linear(`${prefix}.shared_experts.w2`, d, sharedWidth),
            },
    };
  }

  layer(index: number): LayerWeights {
    const c = this.config;
    const mixes = (2 + c.hcMult) * c.hcMult;
    const prefix = `layers.${index}`;
    return {
      attnHc: this.hyper(`${prefix}.hc_attn`, mixes, 3),
      attnNorm: this.vector(`${prefix}.attn_norm.weight`, c.hiddenSize),
      attention: this.attention(`${prefix}.attn`, layerSpec(c, index)),
      ffnHc: this.hyper(`${prefix}.hc_ffn`, mixes, 3),
      ffnNorm: this.vector(`${prefix}.ffn_norm.weight`, c.hiddenSize),
      moe: this.moe(`${prefix}.ffn`, index),
    };
  }
}

/** Attention shape of one layer, whose keys are held in float32 unless `kv` says otherwise. */
export function layerSpec(c: ModelConfig, index: number, kv: KvDtype = 'f32'): LayerSpec {
  const fn = 'layerSpec';
  checkObject(fn, 'config', c);
  const { compressRatios, slidingWindow: window, headDim, indexHeadDim } = c;
  if (!Array.isArray(compressRatios))
    throw new KindError(`${fn}: "config.compressRatios" must be a list, got ${describe(compressRatios)}`);
  checkInteger(fn, 'index', index, 0, compressRatios.length - 1);
  const ratio = compressRatios[index]!;
  for (const [name, n] of Object.entries({ ratio, slidingWindow: window, headDim })) checkInteger(fn, name, n, 0);
  checkOneOf(fn, 'kv', kv, ['f32', 'bf16'] as const);
  const spec = { ratio, window, headDim, ...(kv === 'f32' ? {} : { kv }) };
  if (ratio !== 4) return spec;
  checkInteger(fn, 'indexHeadDim', indexHeadDim, 0);
  return { ...spec, indexHeadDim };
}

/** Called after each weight of a load, with the bytes packed so far and in all. */
export type LoadProgress = (doneBytes: number, totalBytes: number, module: string) => void;

/** What a load needs besides the weights' source. */
export interface LoadWeightsOptions {
  readonly formats: ExpertFormats;
  readonly staticInputScales: boolean;
  readonly totalBytes: number;
  readonly poolFor: ((source: ExpertsSource) => ExpertPool) | null;
  readonly onProgress?: LoadProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The options, each read once. */
function takeOptions(o: LoadWeightsOptions): LoadWeightsOptions {
  const fn = 'loadWeights';
  checkObject(fn, 'options', o);
  const { formats, staticInputScales, totalBytes, poolFor, onProgress, signal } = o;
  checkObject(fn, 'formats', formats);
  checkFunction(fn, 'formats.packing', formats.packing);
  if (poolFor !== null) checkFunction(fn, 'poolFor', poolFor);
  if (onProgress !== undefined) checkFunction(fn, 'onProgress', onProgress);
  if (signal !== undefined) checkSignal(fn, 'signal', signal);
  return { formats, staticInputScales, totalBytes, poolFor, onProgress, signal };
}

/**
 * Reads and packs weights for a backend, giving way to the event loop between layers. What was packed before a failure is freed.
 * @throws CheckpointError for a tensor that is missing, misshapen or not a number; the abort reason when `signal` fires.
 */
export async function loadWeights(
  source: WeightSource,
  backend: Packer,
  options: LoadWeightsOptions,
): Promise<ModelWeights> {
  const o = takeOptions(options);
  checkObject('loadWeights', 'source', source);
  checkObject('loadWeights', 'backend', backend);
  for (const name of ['tensor', 'packLinear', 'packExperts', 'packCompressor'] as const)
    checkFunction('loadWeights', `backend.${name}`, backend[name]);
  const c = source.config;
  checkObject('loadWeights', 'source.config', c);
  let done = 0;
  const onPacked = (bytes: number, module: string): void => {
    done += bytes;
    o.onProgress?.(done, o.totalBytes, module);
  };
  // Experts of a pool are read when they are needed, long after a load.
  const memory = o.poolFor === null ? backend.createReadMemory?.() : undefined;
  const buffers = new ReadBuffers(memory);
  const loader = new WeightLoader(source, backend, o.staticInputScales, o.formats, o.poolFor, onPacked, buffers);
  const letOthersRun = async (): Promise<void> => {
    await setImmediate();
    o.signal?.throwIfAborted();
  };
  const dispose = (): void => loader.packed.forEach((weight) => weight.dispose());
  try {
    await letOthersRun();
    const embed = loader.linear('embed', c.vocabSize, c.hiddenSize);
    const layers: LayerWeights[] = [];
    for (let i = 0; i < c.numHiddenLayers; i++) {
      await letOthersRun();
      layers.push(loader.layer(i));
    }
    await letOthersRun();
    const head = c.tieWordEmbeddings ? embed : loader.linear('head', c.vocabSize, c.hiddenSize);
    const headHc = loader.hyper('hc_head', c.hcMult, 1);
    const norm = loader.vector('norm.weight', c.hiddenSize);
    const nvfp4 = layers.some((l) => l.moe.w13.weight.format === 'nvfp4');
    return { embed, layers, headHc, norm, head, nvfp4, warnings: loader.warnings, dispose };
  } catch (error) {
    dispose();
    throw error;
  } finally {
    memory?.dispose();
  }
}
