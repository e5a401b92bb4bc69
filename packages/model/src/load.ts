import {
  formatSummary,
  isThere,
  loadTokenizer,
  openCheckpoint,
  type Checkpoint,
  type GenerationConfig,
  type Tokenizer,
} from '@megamoe/checkpoint';
import {
  checkFunction,
  checkInteger,
  checkOneOf,
  checkSignal,
  checkString,
  KindError,
  UnsupportedError,
  ValueError,
} from '@megamoe/core';
import {
  loadWeights,
  type Activations,
  type FloatInputs,
  type LoadProgress,
  type ModelWeights,
  type WeightSource,
} from '@megamoe/layers';
import { missingOperations, type Backend, type KvDtype } from '@megamoe/ops';
import { join } from 'node:path';
import { addonInfos, chooseBackend, type BackendOptions } from './backends/create';
import { FingerprintedSource } from './fingerprint';
import { Model } from './model';
import { checkOptionNames } from './options';
import { checkSource } from './source';
import { checkPlan, createPools, planMemory, type MemoryPlan, type PlanOptions } from './plan';

/** How to load a model. */
export interface LoadOptions extends Omit<BackendOptions, 'backend'> {
  /**
   * By name, or a backend of your own, or one that looks on (`observed` of `@megamoe/ops`): `threads` and `isa` then do not apply.
   */
  readonly backend?: BackendOptions['backend'] | Backend | undefined;
  /** Inputs of NVFP4 experts: quantized (W4A4, default) or left in float32 (W4A16). */
  readonly activations?: Activations | undefined;
  /**
   * Inputs of matrix products that are not quantized: `f32` (default), or `bf16`: rounded to BF16, but for router, compressors and head. With
   * AVX-512 BF16 a long prompt takes about two thirds of the time; its results are the same bits however it is cut.
   */
  readonly floatInputs?: FloatInputs | undefined;
  /** `static`: the checkpoint's calibrated `input_scale` (default, where there is one). `dynamic`: each row's own amax. */
  readonly inputScales?: 'static' | 'dynamic' | undefined;
  /**
   * How keys are kept: `f32` (default), or `bf16`, rounded once when they are written, which takes half the memory. The indexer's keys and open
   * windows stay in float32. For the `cuda` backend.
   */
  readonly kv?: KvDtype | undefined;
  /** Most tokens that one step computes; longer prompts go in chunks of this size. Default 256. */
  readonly maxChunk?: number | undefined;
  /**
   * Most bytes of memory that the process should take. Experts that do not fit stay on the disk and are read when tokens are routed to
   * them; results are the same bits. Default: none, everything is packed at load.
   */
  readonly memoryLimit?: number | undefined;
  /** Most routed experts, of all layers, in memory at a time. Default: as many as `memoryLimit` leaves room for. */
  readonly residentExperts?: number | undefined;
  /** Told what the load will put into memory before it reads any weights. */
  readonly onPlan?: ((plan: MemoryPlan) => void) | undefined;
  readonly onProgress?: LoadProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a model has besides its weights. */
interface Extras {
  readonly tokenizer: Tokenizer | null;
  readonly generation: GenerationConfig | undefined;
  readonly noticed: readonly string[];
  readonly formats: string | undefined;
  readonly close: () => void;
}

/**
 * Loads a checkpoint folder.
 * @throws CheckpointError when a file, tensor or config field is missing, damaged or contradicts another; UnsupportedError when
 * the backend is not there; the abort reason when `signal` fires.
 */
export async function loadModel(dir: string, given: LoadOptions = {}): Promise<Model> {
  checkString('loadModel', 'dir', dir);
  const o = takeLoadOptions('loadModel', given);
  o.signal?.throwIfAborted();
  const backend = backendOf('loadModel', o);
  let checkpoint: Checkpoint;
  try {
    checkpoint = openCheckpoint(dir);
  } catch (error) {
    if (isOurs(o)) backend.dispose();
    throw error;
  }
  let model: Model | undefined;
  try {
    const tokenizer = isThere(join(dir, 'tokenizer.json')) ? loadTokenizer(dir) : null;
    model = await packModel('loadModel', checkpoint, backend, o, {
      tokenizer,
      generation: checkpoint.generation,
      noticed: checkpoint.warnings,
      formats: formatSummary(checkpoint.modules, checkpoint.draft),
      close: () => checkpoint.close(),
    });
    if (model.plan.fits === 'pool') openFiles.register(model, checkpoint, model);
    return model;
  } finally {
    if (model?.plan.fits !== 'pool') checkpoint.close();
    if (model === undefined && isOurs(o)) backend.dispose();
  }
}

/** Whether the backend was made here, so that it goes with the model. */
const isOurs = (o: LoadOptions): boolean => typeof o.backend !== 'object';

/** A line when `auto` had to take JavaScript, which is many times slower, though nobody switched the addons off. */
function fallenBack(backend: Backend, o: LoadOptions): string[] {
  if (backend.name !== 'js' || (o.backend ?? 'auto') !== 'auto' || process.env['MEGAMOE_DISABLE_NATIVE']) return [];
  const missing = addonInfos().find((info) => !info.loaded);
  return missing ? [`the model runs in JavaScript, many times slower than native code: addon ${missing.name} ${missing.reason}`] : []; // prettier-ignore
}

/** Closes the files of models that read experts from them and were collected without `dispose`. */
const openFiles = new FinalizationRegistry<Checkpoint>((checkpoint) => checkpoint.close());

/** What loading a checkpoint folder would put into memory; reads no weights. @throws as {@link loadModel} for what it cannot open. */
export function planModel(dir: string, given: LoadOptions = {}): MemoryPlan {
  checkString('planModel', 'dir', dir);
  const o = takeLoadOptions('planModel', given);
  const checkpoint = openCheckpoint(dir);
  try {
    const backend = backendOf('planModel', o);
    try {
      return planMemory(checkpoint, backend, planOptions(o)).plan;
    } finally {
      if (isOurs(o)) backend.dispose();
    }
  } finally {
    checkpoint.close();
  }
}

/**
 * Builds a model from weights that need not lie in a checkpoint: made in memory, or read by other code. It has no tokenizer.
 * @throws what the source throws, and as {@link loadModel}.
 */
export async function createModel(source: WeightSource, given: LoadOptions = {}): Promise<Model> {
  checkSource('createModel', source);
  const o = takeLoadOptions('createModel', given);
  const backend = backendOf('createModel', o);
  try {
    return await packModel('createModel', source, backend, o, {
      tokenizer: null,
      generation: undefined,
      noticed: [],
      formats: undefined,
      close: () => undefined,
    });
  } catch (error) {
    if (isOurs(o)) backend.dispose();
    throw error;
  }
}

/** The backend that was asked for. @throws KindError for one of the caller's that lacks operations, naming them */
function backendOf(fn: string, o: LoadOptions): Backend {
  const { backend, threads, isa, device, gpuMath, kv = 'f32' } = o;
  if (typeof backend !== 'object') {
    const mayTakeGpu = o.memoryLimit === undefined && o.residentExperts === undefined;
    const made = chooseBackend({ backend, threads, isa, device, gpuMath }, mayTakeGpu);
    if (holds(made, kv)) return made;
    made.dispose();
    throw cannotHold(fn, made, kv);
  }
  const missing = missingOperations(backend);
  if (missing.length > 0)
    throw new KindError(`${fn}: "backend" lacks operations of the list in @megamoe/ops: ${missing.join(', ')}`);
  if (gpuMath !== undefined)
    throw new ValueError(`${fn}: "gpuMath" is for a backend by its name: one of your own has been made with its math`);
  if (!holds(backend, kv)) throw cannotHold(fn, backend, kv);
  return backend;
}

/** Whether the caches of a backend can hold keys so. */
const holds = ({ kvDtypes = ['f32'] }: Backend, kv: KvDtype): boolean => kvDtypes.includes(kv);

const cannotHold = (fn: string, { description }: Backend, kv: KvDtype): UnsupportedError =>
  new UnsupportedError(
    `${fn}: kv: '${kv}' needs the cuda backend; this is ${description}, which keeps keys in float32`,
  );

const LOAD_NAMES = [
  'backend',
  'threads',
  'isa',
  'device',
  'gpuMath',
  'activations',
  'floatInputs',
  'inputScales',
  'kv',
  'maxChunk',
  'memoryLimit',
  'residentExperts',
  'onPlan',
  'onProgress',
  'signal',
] as const satisfies readonly (keyof LoadOptions)[];

/** Other libraries' words for them. */
const LOAD_ALIASES = { n_threads: 'threads', num_threads: 'threads', batch_size: 'maxChunk', kv_cache_dtype: 'kv' };

/** A copy, each option read once. @throws ValueError, KindError naming the option */
export function takeLoadOptions(fn: string, given: LoadOptions): LoadOptions {
  checkOptionNames(fn, given, LOAD_NAMES, LOAD_ALIASES);
  const o: LoadOptions = Object.fromEntries(LOAD_NAMES.map((name) => [name, given[name]]));
  const { activations, floatInputs, inputScales, maxChunk } = o;
  if (activations !== undefined) checkOneOf(fn, 'activations', activations, ['nvfp4', 'float']);
  if (floatInputs !== undefined) checkOneOf(fn, 'floatInputs', floatInputs, ['f32', 'bf16']);
  if (inputScales !== undefined) checkOneOf(fn, 'inputScales', inputScales, ['static', 'dynamic']);
  if (o.kv !== undefined) checkOneOf(fn, 'kv', o.kv, ['f32', 'bf16']);
  if (maxChunk !== undefined) checkInteger(fn, 'maxChunk', maxChunk, 1, 65536);
  if (o.memoryLimit !== undefined) checkInteger(fn, 'memoryLimit', o.memoryLimit, 1);
  if (o.residentExperts !== undefined) checkInteger(fn, 'residentExperts', o.residentExperts, 1);
  for (const name of ['onPlan', 'onProgress'] as const) if (o[name] !== undefined) checkFunction(fn, name, o[name]);
  if (o.signal !== undefined) checkSignal(fn, 'signal', o.signal);
  return o;
}

const DEFAULT_CHUNK = 256;

function planOptions(o: LoadOptions): PlanOptions {
  const { memoryLimit, residentExperts, maxChunk, activations, floatInputs, kv } = o;
  return {
    kv: kv ?? 'f32',
    limitBytes: memoryLimit,
    residentExperts,
    maxChunk: maxChunk ?? DEFAULT_CHUNK,
    inputs: { activations: activations ?? 'nvfp4', float: floatInputs ?? 'f32' },
  };
}

async function packModel(
  fn: string,
  from: WeightSource,
  backend: Backend,
  o: LoadOptions,
  { tokenizer, generation, noticed, formats: found, close }: Extras,
): Promise<Model> {
  const options = planOptions(o);
  const source = new FingerprintedSource(from);
  const planned = planMemory(from, backend, options);
  const { plan, formats } = planned;
  o.onPlan?.(plan);
  checkPlan(fn, plan);
  const pools = createPools(planned, backend);
  let weights: ModelWeights;
  try {
    weights = await loadWeights(source, backend, {
      formats,
      staticInputScales: (o.inputScales ?? 'static') === 'static',
      totalBytes: plan.loadBytes,
      poolFor: pools.poolFor,
      onProgress: o.onProgress,
      signal: o.signal,
    });
  } catch (error) {
    pools.dispose();
    throw error;
  }
  const free = (): void => {
    weights.dispose();
    pools.dispose();
  };
  let model: Model;
  try {
    model = new Model({
      backend,
      config: source.config,
      weights,
      tokenizer,
      generation,
      inputs: options.inputs,
      kv: options.kv,
      maxChunk: options.maxChunk,
      warnings: [...noticed, ...weights.warnings, ...fallenBack(backend, o)], // `noticed` may have grown while tensors were read
      plan,
      formats: found,
      fingerprint: source.fingerprint(options.inputs, o.inputScales ?? 'static'),
      free: () => {
        openFiles.unregister(model);
        free();
        if (isOurs(o)) backend.dispose();
        close();
      },
    });
  } catch (error) {
    free(); // the device had room for the weights, and not for the buffers of a step
    throw error;
  }
  return model;
}
