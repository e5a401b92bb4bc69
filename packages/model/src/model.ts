import {
  formatSummary,
  loadTokenizer,
  openCheckpoint,
  type Checkpoint,
  type GenerationConfig,
  type ModelConfig,
  type Tokenizer,
} from '@megamoe/checkpoint';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkInteger, checkOneOf, ShapeError, ValueError } from '@megamoe/core';
import { createBackend, type BackendOptions } from './backend/create';
import type { Ops, SequenceStateHandle } from './backend/ops';
import { generate, promptTokenIds, type GenerateChunk, type GenerateOptions, type Prompt } from './generate';
import { checkTokenIds } from './token-ids';
import { attentionBlock, type Ropes } from './layers/attention';
import { exactLinear, type Activations, type FloatInputs, type Inputs } from './layers/dense';
import { moeBlock } from './layers/moe';
import { Sequence } from './sequence';
import type { ExpertRanges } from './calibrate';
import { StepBatch } from './step-batch';
import type { Tensor } from './tensor';
import type { Trace } from './trace';
import { checkPlan, planMemory, type MemoryPlan, type PlanOptions } from './plan';
import { layerSpec, loadWeights, type LoadProgress, type ModelWeights, type WeightSource } from './weights';
import { createWorkspace, type Workspace } from './workspace';

/** How to load a model. */
export interface LoadOptions extends BackendOptions {
  /** Operations to run on instead of one of our backends: a backend of your own, or one that looks on. The other choices then do not apply. */
  readonly ops?: Ops;
  /** Inputs of NVFP4 experts: quantized (W4A4, default) or left in float32 (W4A16). */
  readonly activations?: Activations;
  /**
   * Inputs of matrix products that are not quantized: `f32` (default), or `bf16`: rounded to BF16, but for router, compressors and head. With
   * AVX-512 BF16 a long prompt takes about two thirds of the time; its results are the same bits however it is cut.
   */
  readonly floatInputs?: FloatInputs;
  /** `static`: the checkpoint's calibrated `input_scale` (default, where there is one). `dynamic`: each row's own amax. */
  readonly inputScales?: 'static' | 'dynamic';
  /** Most tokens that one step computes; longer prompts go in chunks of this size. Default 256. */
  readonly maxChunk?: number;
  /**
   * Most bytes of memory that the process should take. Experts that do not fit stay on the disk and are read when tokens are routed to
   * them; results are the same bits. Default: none, everything is packed at load.
   */
  readonly memoryLimit?: number;
  /** Most routed experts, of all layers, in memory at a time. Default: as many as `memoryLimit` leaves room for. */
  readonly residentExperts?: number;
  /** Told what the load will put into memory before it reads any weights. */
  readonly onPlan?: (plan: MemoryPlan) => void;
  readonly onProgress?: LoadProgress;
  readonly signal?: AbortSignal;
}

/** Tokens to append to one sequence. */
export interface BatchItem {
  readonly sequence: Sequence;
  readonly tokenIds: ArrayLike<number>;
}

/** What {@link Model.forward} computes besides the state. */
export interface ForwardOptions {
  /** `last`: one row for each item (default). `all`: one for each token. `none`: no head. */
  readonly logits?: 'last' | 'all' | 'none';
  /** Where the logits go, [rows, V]; default: a new array. */
  readonly out?: Float32Array;
  /** Collects per-layer tensors; the batch must then be one sequence. */
  readonly trace?: Trace;
  /** Collects the input ranges of every expert. */
  readonly ranges?: ExpertRanges;
}

/**
 * Loads a checkpoint folder.
 * @throws CheckpointError when a file, tensor or config field is missing, damaged or contradicts another; UnsupportedError when
 * the backend is not there; the abort reason when `signal` fires.
 */
export async function loadModel(dir: string, o: LoadOptions = {}): Promise<Model> {
  checkLoadOptions('loadModel', o);
  o.signal?.throwIfAborted();
  const ops = o.ops ?? createBackend(o);
  const checkpoint = openCheckpoint(dir);
  let model: Model | undefined;
  try {
    const tokenizer = existsSync(join(dir, 'tokenizer.json')) ? loadTokenizer(dir) : null;
    model = await packModel(
      'loadModel',
      checkpoint,
      ops,
      o,
      tokenizer,
      checkpoint.generation,
      checkpoint.warnings,
      () => checkpoint.close(),
      formatSummary(checkpoint.modules, checkpoint.draft),
    );
    if (model.plan.fits === 'pool') unread.register(model, checkpoint, model);
    return model;
  } finally {
    if (model?.plan.fits !== 'pool') checkpoint.close();
  }
}

/** Closes the files of models that read experts from them and were collected without `dispose`. */
const unread = new FinalizationRegistry<Checkpoint>((checkpoint) => checkpoint.close());

/** What loading a checkpoint folder would put into memory; reads no weights. @throws as {@link loadModel} for what it cannot open. */
export function planModel(dir: string, o: LoadOptions = {}): MemoryPlan {
  checkLoadOptions('planModel', o);
  const ops = createBackend(o);
  const checkpoint = openCheckpoint(dir);
  try {
    const { plan, dispose } = planMemory(checkpoint, ops, planOptions(o));
    dispose();
    return plan;
  } finally {
    checkpoint.close();
  }
}

/**
 * Builds a model from weights that need not lie in a checkpoint: made in memory, or read by other code. It has no tokenizer.
 * @throws what the source throws, and as {@link loadModel}.
 */
export async function createModel(source: WeightSource, o: LoadOptions = {}): Promise<Model> {
  checkLoadOptions('createModel', o);
  return packModel('createModel', source, o.ops ?? createBackend(o), o, null, undefined, [], () => undefined);
}

function checkLoadOptions(fn: string, { activations, floatInputs, inputScales, maxChunk, ...o }: LoadOptions): void {
  if (activations !== undefined) checkOneOf(fn, 'activations', activations, ['nvfp4', 'float']);
  if (floatInputs !== undefined) checkOneOf(fn, 'floatInputs', floatInputs, ['f32', 'bf16']);
  if (inputScales !== undefined) checkOneOf(fn, 'inputScales', inputScales, ['static', 'dynamic']);
  if (maxChunk !== undefined) checkInteger(fn, 'maxChunk', maxChunk, 1, 65536);
  if (o.memoryLimit !== undefined) checkInteger(fn, 'memoryLimit', o.memoryLimit, 1);
  if (o.residentExperts !== undefined) checkInteger(fn, 'residentExperts', o.residentExperts, 1);
}

const DEFAULT_CHUNK = 256;

function planOptions({ memoryLimit, residentExperts, maxChunk = DEFAULT_CHUNK }: LoadOptions): PlanOptions {
  return { limitBytes: memoryLimit, residentExperts, maxChunk };
}

async function packModel(
  fn: string,
  source: WeightSource,
  ops: Ops,
  o: LoadOptions,
  tokenizer: Tokenizer | null,
  generation: GenerationConfig | undefined,
  noticed: readonly string[],
  close: () => void,
  found?: string,
): Promise<Model> {
  const {
    activations = 'nvfp4',
    floatInputs = 'f32',
    inputScales = 'static',
    maxChunk = DEFAULT_CHUNK,
    onProgress,
    signal,
  } = o;
  const { plan, formats, poolFor, dispose } = planMemory(source, ops, planOptions(o));
  o.onPlan?.(plan);
  checkPlan(fn, plan);
  const totalBytes = plan.loadBytes;
  const staticInputScales = inputScales === 'static';
  let weights: ModelWeights;
  try {
    weights = await loadWeights(source, ops, { staticInputScales, formats, totalBytes, poolFor, onProgress, signal });
  } catch (error) {
    dispose();
    throw error;
  }
  const warnings = [...noticed, ...weights.warnings]; // `noticed` may have grown while tensors were read
  const free = (): void => {
    weights.dispose();
    dispose();
    close();
  };
  return new Model(
    ops,
    source.config,
    weights,
    tokenizer,
    generation,
    { activations, float: floatInputs },
    maxChunk,
    warnings,
    plan,
    free,
    found,
  );
}

/** A loaded model: its weights packed for a backend, and the buffers of a step. One step runs at a time. */
export class Model {
  private readonly ws: Workspace;
  private readonly ropes: Ropes;
  private readonly logitsOfOne: Tensor;
  private readonly logitsOfGroup: Tensor;
  private readonly batch: StepBatch;
  private disposed = false;
  private readonly seen = new Set<SequenceStateHandle>();
  private readonly observers: { trace: Trace | undefined; ranges: ExpertRanges | undefined };

  constructor(
    readonly ops: Ops,
    readonly config: ModelConfig,
    private readonly weights: ModelWeights,
    private readonly maybeTokenizer: Tokenizer | null,
    readonly generationConfig: GenerationConfig | undefined,
    /** What becomes of the inputs of matrix products. */
    readonly inputs: Inputs,
    readonly maxChunk: number,
    /** What the load noticed and a person should know. */
    readonly warnings: readonly string[],
    /** What its load was to put into memory. */
    readonly plan: MemoryPlan,
    private readonly free: () => void,
    /** In which formats the checkpoint's modules are stored, in a line; undefined without a checkpoint. */
    readonly formats: string | undefined,
  ) {
    this.batch = new StepBatch(maxChunk);
    this.observers = { trace: undefined, ranges: undefined };
    this.ws = createWorkspace(ops, config, weights, maxChunk);
    const c = config;
    this.ropes = {
      main: ops.createRope({ ropeDim: c.ropeHeadDim, theta: c.ropeTheta }),
      compress: ops.createRope({
        ropeDim: c.ropeHeadDim,
        theta: c.compressRopeTheta,
        ...(c.yarn ? { yarn: c.yarn } : {}),
      }),
    };
    this.logitsOfOne = ops.alloc('f32', c.vocabSize);
    this.logitsOfGroup = ops.alloc('f32', Math.min(maxChunk, LOGIT_ROWS) * c.vocabSize);
  }

  /**
   * Frees the packed weights and closes the files now; without it that happens when the model is collected. Sequences made by it keep
   * their state. Using the model after that is a ValueError. Twice is fine.
   */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    unread.unregister(this);
    this.free();
  }

  /** @throws ValueError when the checkpoint has no tokenizer. */
  get tokenizer(): Tokenizer {
    if (this.maybeTokenizer) return this.maybeTokenizer;
    throw new ValueError('Model.tokenizer: the checkpoint has no tokenizer.json; give token ids instead of text');
  }

  /** Whether text can be given and shown. */
  get hasTokenizer(): boolean {
    return this.maybeTokenizer !== null;
  }

  /** True when routed experts are NVFP4. */
  get nvfp4(): boolean {
    return this.weights.nvfp4;
  }

  /** Token ids of a prompt, as {@link Model.generate} would feed them. */
  promptTokenIds(prompt: Prompt): number[] {
    return promptTokenIds(this, prompt);
  }

  /** Generates token by token; see {@link generate}. */
  generate(options: GenerateOptions): AsyncGenerator<GenerateChunk, void, undefined> {
    return generate(this, options);
  }

  /** A new, empty sequence that can hold `maxTokens` tokens (default: the model's limit, at most 4096). */
  createSequence({
    maxTokens = Math.min(4096, this.config.maxPositionEmbeddings),
  }: { maxTokens?: number } = {}): Sequence {
    checkInteger('Model.createSequence', 'maxTokens', maxTokens, 1, this.config.maxPositionEmbeddings);
    const layers = this.config.compressRatios.map((_, i) => layerSpec(this.config, i));
    return new Sequence(
      this.ops.createState({ layers, maxTokens, maxChunk: Math.min(this.maxChunk, maxTokens) }),
      maxTokens,
    );
  }

  /**
   * Appends tokens to any number of sequences, of different lengths, in one step; a long prompt goes through in chunks. The logits
   * of a row do not depend on its neighbours, on the chunking or on the number of threads, bit for bit.
   * @returns logits [rows, V]: for each item in order its last token's row, or all its rows.
   * @throws ValueError for a token id out of range, an item without tokens or a sequence twice; ShapeError past a sequence's capacity.
   */
  forward(batch: readonly BatchItem[], { logits = 'last', out, trace, ranges }: ForwardOptions = {}): Float32Array {
    const { vocabSize } = this.config;
    this.checkBatch(batch, trace);
    let total = 0;
    for (let i = 0; i < batch.length; i++) total += batch[i]!.tokenIds.length;
    const rows = logits === 'none' ? 0 : logits === 'last' ? batch.length : total;
    if (out !== undefined && out.length !== rows * vocabSize) {
      throw new ShapeError(
        `Model.forward: "out" must have length rows*V = ${rows}*${vocabSize} = ${rows * vocabSize}, got ${out.length}`,
      );
    }
    const result = out ?? new Float32Array(rows * vocabSize);
    this.observers.trace = trace;
    this.observers.ranges = ranges;
    // Earlier items first, each as far as the buffers hold; what is left goes into the next step.
    let item = 0;
    let done = 0;
    let before = 0; // tokens of the items before this one
    while (item < batch.length) {
      const first = item;
      const firstDone = done;
      this.batch.clear();
      while (item < batch.length && this.batch.rows < this.maxChunk) {
        const { sequence, tokenIds } = batch[item]!;
        const row0 = this.batch.rows;
        const n = Math.min(tokenIds.length - done, this.maxChunk - row0);
        this.batch.add(sequence.state, tokenIds, done, n);
        if (logits === 'all') for (let j = 0; j < n; j++) this.batch.want(row0 + j, before + done + j);
        else if (logits === 'last' && done + n === tokenIds.length) this.batch.want(row0 + n - 1, item);
        done += n;
        if (done < tokenIds.length) break;
        before += tokenIds.length;
        item++;
        done = 0;
      }
      this.layers(this.batch);
      for (let i = 0; i < this.batch.count; i++) {
        const { state, p0, n } = this.batch.segment(i);
        state.position = p0 + n;
        batch[first + i]!.sequence.noteTokens(batch[first + i]!.tokenIds, i === 0 ? firstDone : 0, n);
      }
      this.head(this.batch, result);
    }
    return result;
  }

  private checkBatch(batch: readonly BatchItem[], trace: Trace | undefined): void {
    if (this.disposed) throw new ValueError('Model.forward: the model has been disposed');
    if (trace && batch.length > 1)
      throw new ValueError(`Model.forward: "trace" takes one sequence, got ${batch.length}`);
    const { seen } = this;
    seen.clear();
    for (let i = 0; i < batch.length; i++) {
      const { sequence, tokenIds } = batch[i]!;
      if (seen.has(sequence.state)) {
        throw new ValueError(`Model.forward: batch item ${i} repeats a sequence of the batch`);
      }
      seen.add(sequence.state);
      if (tokenIds.length === 0)
        throw new ValueError(`Model.forward: batch item ${i} has no tokens; give at least one`);
      checkTokenIds('Model.forward', tokenIds, this.config.vocabSize);
      if (sequence.length + tokenIds.length > sequence.maxTokens) {
        throw new ShapeError(
          `Model.forward: batch item ${i} needs ${sequence.length} + ${tokenIds.length} tokens, the sequence holds maxTokens = ${sequence.maxTokens}`,
        );
      }
    }
  }

  private layers(batch: StepBatch): void {
    const { ops, ws, config: c, weights, observers } = this;
    const { trace } = observers;
    const { rows } = batch;
    const { hc } = ws.shape;
    const d = c.hiddenSize;
    ops.upload(ws.ids, batch.ids, rows, 0);
    ops.upload(ws.positions, batch.positions, rows, 0);
    ops.ropeRows(this.ropes.main, ws.positions, rows, ws.ropeMain.cos, ws.ropeMain.sin);
    ops.ropeRows(this.ropes.compress, ws.positions, rows, ws.ropeCompress.cos, ws.ropeCompress.sin);
    ops.embed(weights.embed, ws.ids, rows, hc, ws.streams);
    for (let i = 0; i < weights.layers.length; i++) {
      const w = weights.layers[i]!;
      ops.hcPre(ws.streams, rows, ws.shape, w.attnHc, ws.post, ws.comb, ws.collapsed);
      trace?.record(ops, `layers.${i}.attn_hc_collapsed`, ws.collapsed, rows, [d]);
      trace?.record(ops, `layers.${i}.attn_hc_post`, ws.post, rows, [hc]);
      trace?.record(ops, `layers.${i}.attn_hc_comb`, ws.comb, rows, [hc, hc]);
      ops.rmsNorm(ws.collapsed, rows, d, w.attnNorm, c.rmsNormEps, ws.normed);
      attentionBlock(ops, c, ws, w.attention, this.ropes, batch, i, this.inputs, trace);
      trace?.record(ops, `layers.${i}.attn_out`, ws.blockOut, rows, [d]);
      ops.hcPost(ws.streams, ws.blockOut, rows, ws.shape, ws.post, ws.comb);

      ops.hcPre(ws.streams, rows, ws.shape, w.ffnHc, ws.post, ws.comb, ws.collapsed);
      ops.rmsNorm(ws.collapsed, rows, d, w.ffnNorm, c.rmsNormEps, ws.normed);
      moeBlock(ops, c, ws, w.moe, rows, i, this.inputs, observers);
      trace?.record(ops, `layers.${i}.ffn_out`, ws.blockOut, rows, [d]);
      ops.hcPost(ws.streams, ws.blockOut, rows, ws.shape, ws.post, ws.comb);
      trace?.record(ops, `layers.${i}.streams`, ws.streams, rows, [hc, d]);
    }
    ops.hcHead(ws.streams, rows, ws.shape, weights.headHc, ws.collapsed);
    ops.rmsNorm(ws.collapsed, rows, d, weights.norm, c.rmsNormEps, ws.normed);
    trace?.record(ops, 'final_norm', ws.normed, rows, [d]);
  }

  /** Logits of the wanted rows of `ws.normed`, a few at a time: [rows, V] of a long prompt never stands twice. */
  private head({ wanted, wantedRow, wantedTo }: StepBatch, result: Float32Array): void {
    const { ops, ws, config: c } = this;
    const v = c.vocabSize;
    const group = Math.min(this.maxChunk, LOGIT_ROWS);
    for (let at = 0; at < wanted; at += group) {
      const n = Math.min(group, wanted - at);
      ops.upload(ws.lastRows, wantedRow, n, at);
      ops.takeRows(ws.normed, c.hiddenSize, ws.lastRows, n, ws.blockOut);
      const logits = n === 1 ? this.logitsOfOne : this.logitsOfGroup;
      exactLinear(ops, this.weights.head, ws.blockOut, n, this.inputs, logits);
      for (let i = 0; i < n; i++) ops.download(logits, i * v, v, result, wantedTo[at + i]! * v);
    }
  }
}

/** Rows of logits computed at a time. */
const LOGIT_ROWS = 32;
