import type { GenerationConfig, ModelConfig, Tokenizer } from '@megamoe/checkpoint';
import {
  checkInteger,
  checkKind,
  checkObject,
  checkOneOf,
  describe,
  KindError,
  plainView,
  ShapeError,
  ValueError,
} from '@megamoe/core';
import {
  Forward,
  layerSpec,
  type ExpertRanges,
  type Inputs,
  type ModelWeights,
  type Place,
  type Trace,
} from '@megamoe/layers';
import type { Backend, KvDtype } from '@megamoe/ops';
import { EngineCore } from './engine/core';
import { generate, type GenerateChunk, type GenerateOptions } from './generate';
import { checkOptionNames } from './options';
import { promptTokenIds, type Prompt } from './request';
import { Batches, WANTED } from './batch';
import { KvMemory } from './kv';
import type { MemoryPlan } from './plan';
import { Sequence } from './sequence';
import { StepRunner, wantedRows, type BatchItem, type WantedLogits } from './step-runner';

/** What {@link Model.forward} computes besides the state. */
export interface ForwardOptions {
  /** `last`: one row for each item (default). `all`: one for each token. `none`: no head. An item may say otherwise for itself. */
  readonly logits?: WantedLogits | undefined;
  /** Where the logits go, [rows, V]; default: a new array. */
  readonly out?: Float32Array | undefined;
  /** Collects per-layer tensors; the batch must then be one sequence. */
  readonly trace?: Trace | undefined;
  /** Collects the input ranges of every expert. */
  readonly ranges?: ExpertRanges | undefined;
}

const FORWARD_NAMES = ['logits', 'out', 'trace', 'ranges'];

/** What a model is put together from. */
export interface ModelParts {
  readonly backend: Backend;
  readonly config: ModelConfig;
  readonly weights: ModelWeights;
  readonly tokenizer: Tokenizer | null;
  readonly generation: GenerationConfig | undefined;
  readonly inputs: Inputs;
  readonly kv: KvDtype;
  readonly maxChunk: number;
  readonly warnings: readonly string[];
  readonly plan: MemoryPlan;
  readonly formats: string | undefined;
  /** Tells it apart from others. */
  readonly fingerprint: string;
  /** Frees weights and files. */
  readonly free: () => void;
}

/** @throws KindError for what cannot look on while a step runs */
function checkLooker(name: string, looker: unknown): void {
  if (looker === undefined || typeof (looker as { probe?: unknown } | null)?.probe === 'function') return;
  throw new KindError(`Model.forward: "${name}" must be one that was made by its class, got ${describe(looker)}`);
}

/** A loaded model: its weights packed for a backend, the buffers of a step, and the memory of its sequences. One step runs at a time. */
export class Model {
  readonly backend: Backend;
  readonly config: ModelConfig;
  readonly generationConfig: GenerationConfig | undefined;
  /** What becomes of the inputs of matrix products. */
  readonly inputs: Inputs;
  /** How keys are kept. */
  readonly kv: KvDtype;
  /** Most rows of a step. */
  readonly maxChunk: number;
  /** What the load noticed and a person should know. */
  readonly warnings: readonly string[];
  /** What its load was to put into memory. */
  readonly plan: MemoryPlan;
  /** In which formats the checkpoint's modules are stored, in a line; undefined without a checkpoint. */
  readonly formats: string | undefined;
  /** The KV memory of its sequences, for those who look on. */
  readonly memory: KvMemory;
  readonly #parts: ModelParts;
  readonly #forward: Forward;
  readonly #runner: StepRunner;
  readonly #batches = new Batches();
  /** What runs its generations; made for the first one. */
  #engine: EngineCore | undefined;
  #disposed = false;

  constructor(parts: ModelParts) {
    const { backend, config, weights, inputs, maxChunk } = parts;
    this.#parts = parts;
    this.backend = backend;
    this.config = config;
    this.generationConfig = parts.generation;
    this.inputs = inputs;
    this.kv = parts.kv;
    this.maxChunk = maxChunk;
    this.warnings = parts.warnings;
    this.plan = parts.plan;
    this.formats = parts.formats;
    this.memory = new KvMemory(
      backend,
      config.compressRatios.slice(0, config.numHiddenLayers).map((_, i) => layerSpec(config, i, parts.kv)),
      parts.fingerprint,
    );
    try {
      this.#forward = new Forward({ backend, config, weights, inputs, maxRows: maxChunk });
    } catch (error) {
      this.memory.dispose();
      throw error;
    }
    this.#runner = new StepRunner(backend, this.#forward, this.memory, config.vocabSize, maxChunk);
  }

  /**
   * Frees weights, buffers and the memory of all sequences, and closes the files, now; without it that happens when the model is
   * collected. Using the model or its sequences after that is an error. Twice is fine.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#engine?.close(new ValueError('generate: the model has been disposed'));
    this.#forward.dispose();
    this.memory.dispose();
    this.#parts.free();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** @throws ValueError when the checkpoint has no tokenizer. */
  get tokenizer(): Tokenizer {
    const { tokenizer } = this.#parts;
    if (tokenizer) return tokenizer;
    throw new ValueError('Model.tokenizer: the checkpoint has no tokenizer.json; give token ids instead of text');
  }

  /** Whether text can be given and shown. */
  get hasTokenizer(): boolean {
    return this.#parts.tokenizer !== null;
  }

  /** True when routed experts are NVFP4. */
  get nvfp4(): boolean {
    return this.#parts.weights.nvfp4;
  }

  /** The packed weights, for those who look on. */
  get weights(): ModelWeights {
    return this.#parts.weights;
  }

  /** Where the running step is, for those who look on from underneath. */
  get place(): Place {
    return this.#forward.place;
  }

  /** Equal for the same weights with the same treatment of inputs: what saved sequences are checked by. */
  get fingerprint(): string {
    return this.#parts.fingerprint;
  }

  /** Bytes of KV pages that its sequences hold. */
  get kvBytes(): number {
    return this.memory.usedBytes;
  }

  /** Token ids of a prompt, as {@link Model.generate} would feed them. */
  promptTokenIds(prompt: Prompt): number[] {
    return promptTokenIds(this, prompt, 'Model.promptTokenIds');
  }

  /**
   * Generates token by token; greedy unless `temperature` is given. Generations that run at the same time share steps, and each gets the
   * tokens and log-probabilities that it gets alone, bit for bit. Nothing is computed before somebody waits for it; leaving the loop ends it.
   * @throws ValueError, KindError at once for options that cannot be; ContextLengthError for a prompt too long. In the loop: the reason of
   * `signal`, within one step
   */
  generate(options: GenerateOptions): AsyncGenerator<GenerateChunk, void, undefined> {
    if (this.#disposed) throw new ValueError('generate: the model has been disposed');
    this.#engine ??= new EngineCore(this, {
      maxSequences: Infinity,
      maxQueue: Infinity,
      maxStepTokens: this.maxChunk,
      kvBytes: Infinity,
      cacheBytes: 0,
      promptMs: 100,
      preemption: 'save',
    });
    return generate(this.#engine, options);
  }

  /** A new, empty sequence that can hold `maxTokens` tokens (default: the model's limit). It takes memory as tokens come. */
  createSequence(options: { maxTokens?: number | undefined } = {}): Sequence {
    checkObject('Model.createSequence', 'options', options);
    checkOptionNames('Model.createSequence', options, ['maxTokens']);
    const { maxTokens = this.config.maxPositionEmbeddings } = options;
    checkInteger('Model.createSequence', 'maxTokens', maxTokens, 1, this.config.maxPositionEmbeddings);
    if (this.#disposed) throw new ValueError('Model.createSequence: the model has been disposed');
    return new Sequence(this.memory, maxTokens);
  }

  /**
   * Appends tokens to any number of sequences, of different lengths; a long prompt goes through in steps of at most `maxChunk` rows. The
   * logits of a row do not depend on its neighbours, on the chunking or on the number of threads, bit for bit. A step that fails leaves its
   * sequences as they were before it.
   * @returns logits [rows, V]: for each item in order its last token's row, or all its rows.
   * @throws ValueError for a token id out of range, an item without tokens, a sequence twice or of another model, and for logits or hidden
   * states that are not finite, naming the first operation that made such a value; ShapeError past a sequence's capacity; StepError when
   * some items fail because of their own data: the others have gone on.
   */
  forward(batch: readonly BatchItem[], options: ForwardOptions = {}): Float32Array {
    const { vocabSize } = this.config;
    checkObject('Model.forward', 'options', options);
    checkOptionNames('Model.forward', options, FORWARD_NAMES);
    const { logits = 'last', out, trace, ranges } = options;
    checkOneOf('Model.forward', 'logits', logits, WANTED);
    checkLooker('trace', trace);
    checkLooker('ranges', ranges);
    if (this.#disposed) throw new ValueError('Model.forward: the model has been disposed');
    const items = this.#batches.take(batch, this.memory, vocabSize);
    if (trace && items.length > 1)
      throw new ValueError(`Model.forward: "trace" takes one sequence, got ${items.length}`);
    if (out !== undefined) checkKind('Model.forward', 'out', out, Float32Array);
    let rows = 0;
    for (const item of items) rows += wantedRows(item, logits);
    if (out !== undefined && out.length !== rows * vocabSize) {
      throw new ShapeError(
        `Model.forward: "out" must have length rows*V = ${rows}*${vocabSize} = ${rows * vocabSize}, got ${out.length}`,
      );
    }
    const result = out === undefined ? new Float32Array(rows * vocabSize) : plainView(out, Float32Array);
    const probe = trace || ranges ? { ...trace?.probe(this.backend), ...ranges?.probe(this.backend) } : undefined;
    this.#runner.run(items, logits, result, probe);
    this.#batches.giveBack(items);
    return out ?? result;
  }
}
