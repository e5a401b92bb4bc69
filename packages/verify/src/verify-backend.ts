import {
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkSignal,
  checkString,
  KindError,
  ShapeError,
  takeIds,
  UnsupportedError,
  ValueError,
} from '@megamoe/core';
import {
  ExpertFormats,
  Forward,
  layerSpec,
  loadWeights,
  type Activations,
  type FloatInputs,
  type ModelWeights,
  type WeightSource,
} from '@megamoe/layers';
import { missingOperations, type Backend, type KvCache, type KvDtype } from '@megamoe/ops';
import type { Activations as ExpertInputs } from '@megamoe/reference';
import { CoverageNotes, type Coverage } from './coverage';
import { mistakesOf, writeDump } from './dump-file';
import { Judge } from './judge';
import { judgedBackend } from './judged-backend';
import { Names } from './names';
import { Recorder, type Found } from './recorder';
import { Registry } from './registry';
import { bestTwo, Run } from './run';
import { StopVerification, type Finding, type OpSummary } from './types';
import { checkLayer, expertActivations, LayerTap, sourceReader } from './whole-layers';

/** What to verify, and how far to go. */
export interface VerifyOptions {
  /** The weights: an open checkpoint, or anything that makes them. They are read again and again. */
  readonly source: WeightSource;
  /** The backend that is judged. It is not disposed of. */
  readonly backend: Backend;
  /** The prompt: at least one token. */
  readonly tokenIds: readonly number[];
  /** Tokens that are then chosen greedily, one step each. Default 4. */
  readonly decode?: number;
  /** Inputs of NVFP4 experts: quantized (W4A4, default) or left in float32. */
  readonly activations?: Activations;
  /** Inputs of products that are not quantized; default `f32`. */
  readonly floatInputs?: FloatInputs;
  /** `static`: the checkpoint's calibrated `input_scale` (default, where there is one). `dynamic`: each row's own amax. */
  readonly inputScales?: 'static' | 'dynamic';
  /** How keys are held; default `f32`. */
  readonly kv?: KvDtype;
  /** Most tokens of one step: a longer prompt goes through in several. Default 256. */
  readonly maxChunk?: number;
  /**
   * Judge products and staging at the precisions, too, that the two choices above leave out, on a few rows of each weight. Default true.
   */
  readonly everyPrecision?: boolean;
  /** Go on after an operation that is out of bound. Default: stop at the first. */
  readonly keepGoing?: boolean;
  /** Folder for dumps of failing operations, in the format of `megamoe explain`. */
  readonly dumpDir?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called as steps and layers are done, with a word for people. */
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined;
}

/** What came out. */
export interface VerifyResult {
  readonly passed: boolean;
  /** Operations out of bound, in the order of the run, each layer once. */
  readonly findings: readonly Finding[];
  readonly ops: readonly OpSummary[];
  /** The prompt, and what was decoded after it. */
  readonly tokenIds: readonly number[];
  readonly coverage: Coverage;
  /** What the inputs of the routed experts went through. */
  readonly activations: ExpertInputs;
  readonly warnings: readonly string[];
}

/** Findings that are explained and dumped: with `keepGoing` there may be hundreds, of one cause. */
const EXPLAINED = 8;

/** @throws KindError for what is no source of weights, naming what it lacks */
function checkSource(fn: string, source: WeightSource): void {
  checkObject(fn, 'source', source);
  for (const name of ['linear', 'expert', 'vector', 'ints'] as const) checkFunction(fn, `source.${name}`, source[name]);
  checkObject(fn, 'source.config', source.config);
}

/** The options with their defaults, each read once. @throws KindError, ValueError, ShapeError */
function checked(o: VerifyOptions) {
  const fn = 'verifyBackend';
  checkObject(fn, 'options', o);
  const {
    decode = 4,
    maxChunk = 256,
    activations = 'nvfp4',
    floatInputs = 'f32',
    inputScales = 'static',
    kv = 'f32',
  } = o;
  const { source, backend, tokenIds: ids, dumpDir, signal, onProgress, everyPrecision = true, keepGoing = false } = o;
  checkObject(fn, 'backend', backend);
  const missing = missingOperations(backend);
  if (missing.length > 0)
    throw new KindError(`${fn}: "backend" lacks operations of the list in @megamoe/ops: ${missing.join(', ')}`);
  checkSource(fn, source);
  checkInteger(fn, 'decode', decode, 0);
  checkInteger(fn, 'maxChunk', maxChunk, 1, 65536);
  checkOneOf(fn, 'activations', activations, ['nvfp4', 'float']);
  checkOneOf(fn, 'floatInputs', floatInputs, ['f32', 'bf16']);
  checkOneOf(fn, 'inputScales', inputScales, ['static', 'dynamic']);
  checkOneOf(fn, 'kv', kv, ['f32', 'bf16']);
  const { kvDtypes = ['f32'], description } = backend;
  if (!kvDtypes.includes(kv))
    throw new UnsupportedError(
      `${fn}: kv: '${kv}' needs the cuda backend; this is ${description}, which keeps keys in float32`,
    );
  if (dumpDir !== undefined) checkString(fn, 'dumpDir', dumpDir);
  if (onProgress !== undefined) checkFunction(fn, 'onProgress', onProgress);
  if (signal !== undefined) checkSignal(fn, 'signal', signal);
  const { vocabSize, maxPositionEmbeddings } = source.config;
  const tokenIds = Array.from(takeIds(fn, 'tokenIds', ids, vocabSize));
  if (tokenIds.length === 0) throw new ValueError(`${fn}: "tokenIds" is empty; give at least one token`);
  if (tokenIds.length + decode > maxPositionEmbeddings) {
    throw new ShapeError(
      `${fn}: ${tokenIds.length} tokens and ${decode} to decode do not fit: the model takes ${maxPositionEmbeddings}`,
    );
  }
  return {
    ...{ source, backend, tokenIds, dumpDir, signal, onProgress, decode, maxChunk, activations },
    ...{ floatInputs, inputScales, kv, everyPrecision, keepGoing },
  };
}

/** Tells how far it is and gives way to the event loop. */
type Pause = (done: number, what: string) => Promise<void>;

/**
 * Runs a prompt, and some tokens after it, through a backend; every operation is done again by the reference on the inputs that the
 * backend's had, then every layer as a whole. One operation's error cannot hide in another's. The backend runs as it does without a judge.
 * @throws KindError, ValueError, ShapeError for bad options; what the source throws; the abort reason when `signal` fires. A backend that
 * throws from an operation is a finding.
 */
export async function verifyBackend(o: VerifyOptions): Promise<VerifyResult> {
  const own = checked(o);
  const { decode, maxChunk, activations, floatInputs, inputScales, kv, everyPrecision, keepGoing } = own;
  const { source, backend, signal, dumpDir, onProgress } = own;
  const { config } = source;
  const recorder = new Recorder(keepGoing);
  const registry = new Registry();
  const notes = new CoverageNotes();
  const tap = new LayerTap();
  const judge = new Judge({ backend, registry, recorder, config, notes, tap, everyPrecision });
  const judged = judgedBackend(judge);

  const steps = 1 + decode;
  const total = steps + config.numHiddenLayers;
  const pause: Pause = async (done, what) => {
    onProgress?.(done, total, what);
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
  };
  const tokenIds = [...own.tokenIds];
  const used = expertActivations(source, activations, inputScales === 'static');
  const weights = await loadWeights(source, judged, {
    formats: new ExpertFormats(source),
    staticInputScales: inputScales === 'static',
    totalBytes: 0,
    poolFor: null,
    signal,
  });
  try {
    await runSteps(
      { judge, judged, weights, tokenIds, decode, maxChunk, kv, inputs: { activations, float: floatInputs } },
      pause,
    );
    // The oracle's layers have float32 inputs in dense modules; with others its answer would be another model's.
    const quantized = activations === 'nvfp4' && registry.linears.some((w) => w.inputGlobalDecodeScale !== null);
    if (quantized) notes.gap('layers as a whole: dense modules have quantized inputs');
    else if (floatInputs === 'bf16') notes.gap('layers as a whole: inputs are rounded to BF16');
    else {
      const layers = { recorder, tap, weights: sourceReader(source), config, tokenIds, activations: used, kv };
      for (let layer = 0; layer < config.numHiddenLayers; layer++) {
        await pause(steps + layer, `layer ${layer} as a whole`);
        recorder.step = { kind: 'prefill', position: 0, tokens: tokenIds.length };
        checkLayer(layers, layer);
      }
    }
  } catch (e) {
    if (!(e instanceof StopVerification)) throw e;
  } finally {
    weights.dispose();
  }
  const findings = await explained(recorder.found, dumpDir, (what) => pause(total, what));
  onProgress?.(total, total, 'done');
  return {
    passed: findings.length === 0,
    findings,
    ops: recorder.ops,
    tokenIds,
    coverage: notes.coverage(config, own.tokenIds.length, tokenIds.length - own.tokenIds.length),
    activations: used,
    warnings: weights.warnings,
  };
}

/** What runs through a judged backend. */
interface Steps {
  readonly judge: Judge;
  readonly judged: Backend;
  readonly weights: ModelWeights;
  /** The prompt; what is decoded is added. */
  readonly tokenIds: number[];
  readonly decode: number;
  readonly maxChunk: number;
  readonly kv: KvDtype;
  readonly inputs: { readonly activations: Activations; readonly float: FloatInputs };
}

/** The prompt, then `decode` greedy tokens. */
async function runSteps(s: Steps, pause: Pause): Promise<void> {
  const { judge, judged, weights, tokenIds, maxChunk } = s;
  const { config, recorder } = judge;
  const forward = new Forward({ backend: judged, config, weights, inputs: s.inputs, maxRows: maxChunk });
  let cache: KvCache | undefined;
  try {
    judge.begin(new Names(weights, forward.ws), forward.place);
    cache = judged.createCache(
      config.compressRatios.slice(0, config.numHiddenLayers).map((_, i) => layerSpec(config, i, s.kv)),
    );
    const { vocabSize, maxPositionEmbeddings: maxTokens } = config;
    const run = new Run({ judge, forward, cache, vocabSize, maxChunk, maxTokens });
    let logits = await run.prefill(tokenIds, async (position, tokens) => {
      await pause(0, `prefill from token ${position}`);
      recorder.step = { kind: 'prefill', position, tokens };
    });
    let others: readonly number[] = [];
    for (let i = 0; i < s.decode; i++) {
      const [best, second] = bestTwo(logits);
      if (i === 0) others = [second, best]; // the clone takes another way
      await pause(1 + i, `decode ${i + 1}`);
      recorder.step = { kind: 'decode', position: tokenIds.length, tokens: 1 };
      tokenIds.push(best);
      const [mine, clones] = run.decode(best, others);
      logits = mine!;
      if (clones) others = [bestTwo(clones)[0]];
    }
  } finally {
    cache?.dispose();
    forward.dispose();
  }
}

/** Findings with the known mistakes behind them, and a file each where a folder is given. */
async function explained(
  found: readonly Found[],
  dumpDir: string | undefined,
  pause: (what: string) => Promise<void>,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  let dumps = 0;
  for (const { finding, dump } of found) {
    if (dump === undefined || dumps === EXPLAINED) {
      findings.push(finding);
      continue;
    }
    dumps++;
    await pause(`explaining ${finding.op}`);
    const mistakes = mistakesOf(dump);
    findings.push({
      ...finding,
      mistakes,
      ...(dumpDir === undefined ? {} : { dump: await writeDump(dumpDir, finding, dump) }),
    });
  }
  return findings;
}
