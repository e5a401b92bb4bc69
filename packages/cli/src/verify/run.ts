import { openCheckpoint, type Checkpoint } from '@megamoe/checkpoint';
import { createModel, type Activations, type Model, type Ops, type WeightSource } from '@megamoe/model';
import { attentionChecks, type AttentionCoverage } from './check-attention';
import { expertChecks, type ExpertCoverage } from './check-experts';
import { rowChecks } from './check-rows';
import { Dumper, mistakesOf, writeDump } from './dump';
import { checkLayer, expertActivations, LayerTap, sourceReader } from './layers';
import { Recorder, StopVerification, type Finding, type OpSummary } from './recorder';
import { NamedSource, Registry } from './sources';
import { Watch } from './watch';

/** What to verify, and how far to go. */
export interface VerifyOptions {
  readonly source: WeightSource;
  /** The backend that is judged. */
  readonly ops: Ops;
  readonly activations: Activations;
  readonly inputScales: 'static' | 'dynamic';
  readonly tokenIds: readonly number[];
  /** Tokens that are then chosen greedily, one step each. */
  readonly decode: number;
  /** Most tokens of one step: a longer prompt goes through in several. */
  readonly maxChunk: number;
  /** Go on after an operation that is out of bound. */
  readonly keepGoing: boolean;
  /** Folder for dumps of failing operations. */
  readonly dumpDir?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called as steps and layers are done, with a word for people. */
  readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined;
}

/** How much of the model the prompt reached: what was not reached was not verified. */
export interface Coverage {
  readonly promptTokens: number;
  readonly decodedTokens: number;
  /** Queries whose window no longer held the first token. */
  readonly pastWindow: number;
  /** Compressed entries closed, by ratio. */
  readonly entries: Readonly<Record<string, number>>;
  /** Queries for which the indexer had to leave entries out. */
  readonly indexerChose: number;
  /** Fewest and most experts reached in a layer, of how many. */
  readonly experts: { readonly fewest: number; readonly most: number; readonly of: number };
  readonly stagedBlocks: number;
  readonly saturatedBlocks: number;
  /** What this run could not show. */
  readonly gaps: readonly string[];
}

/** What came out. */
export interface VerifyResult {
  readonly passed: boolean;
  readonly findings: readonly Finding[];
  readonly ops: readonly OpSummary[];
  readonly tokenIds: readonly number[];
  readonly coverage: Coverage;
  readonly activations: string;
  readonly warnings: readonly string[];
}

/** Findings that are explained and dumped: with --keep-going there may be hundreds, of one cause. */
const EXPLAINED = 8;

/** The backend's operations with a check around each. */
function checkedOps(watch: Watch, checks: Partial<Ops>): Ops {
  const { inner } = watch;
  return new Proxy(inner, {
    get(target, name: keyof Ops) {
      const own = checks[name];
      if (own !== undefined) return own;
      const value: unknown = target[name];
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value;
    },
  });
}

/**
 * Runs a prompt, and some tokens after it, through a backend; every operation is done again by the reference on the inputs that the
 * backend's had, then every layer as a whole. One operation's error cannot hide in another's.
 */
export async function verifyModel(o: VerifyOptions): Promise<VerifyResult> {
  const source = new NamedSource(o.source);
  const { config } = o.source;
  const recorder = new Recorder(o.keepGoing);
  const registry = new Registry(source);
  const watch = new Watch(o.ops, registry, recorder);
  const dumper = new Dumper();
  const tap = new LayerTap();
  const experts: ExpertCoverage = { reached: new Map(), stagedBlocks: 0, saturatedBlocks: 0 };
  const attention: AttentionCoverage = { pastWindow: 0, entries: new Map(), chosen: 0 };
  const rows = rowChecks(watch, dumper, tap);
  const ops = checkedOps(watch, {
    ...registry.packing(o.ops),
    ...rows,
    ...expertChecks(watch, dumper, experts, rows.swiglu),
    ...attentionChecks(watch, dumper, attention, config),
    upload(out, data, n, from) {
      o.ops.upload(out, data, n, from);
      watch.note(out, n, 'upload');
    },
  });
  const { activations, inputScales, signal } = o;
  const model = await createModel(source, {
    ...{ ops, activations, inputScales, maxChunk: o.maxChunk },
    ...(signal ? { signal } : {}),
  });
  const steps = 1 + o.decode;
  const total = steps + config.numHiddenLayers;
  const tokenIds = [...o.tokenIds];
  const gaps: string[] = [];
  const pause = async (done: number, what: string): Promise<void> => {
    o.onProgress?.(done, total, what);
    await new Promise((resolve) => setImmediate(resolve));
    signal?.throwIfAborted();
  };
  const used = expertActivations(o.source, activations, inputScales === 'static');
  try {
    await run(model, recorder, tokenIds, o.decode, pause);
    const weights = sourceReader(o.source);
    // The oracle's layers have float inputs in dense modules; with quantized ones its answer would be another model's.
    const whole = !(
      activations === 'nvfp4' && [...registry.linears.keys()].some((w) => w.inputGlobalDecodeScale !== null)
    );
    if (!whole) gaps.push('layers as a whole: dense modules have quantized inputs');
    for (let layer = 0; whole && layer < config.numHiddenLayers; layer++) {
      await pause(steps + layer, `layer ${layer} as a whole`);
      recorder.step = { kind: 'prefill', position: 0, tokens: tokenIds.length };
      checkLayer(recorder, tap, weights, config, layer, tokenIds, used);
    }
  } catch (e) {
    if (!(e instanceof StopVerification)) throw e;
  }
  for (const { finding, pending } of recorder.dumps.slice(0, EXPLAINED)) {
    await pause(total, `explaining ${finding.op}`);
    finding.mistakes = mistakesOf(pending);
    if (o.dumpDir !== undefined) finding.dump = await writeDump(o.dumpDir, pending);
  }
  o.onProgress?.(total, total, 'done');
  return {
    passed: recorder.findings.length === 0,
    findings: recorder.findings,
    ops: [...recorder.ops.values()],
    tokenIds,
    coverage: coverageOf(o, experts, attention, gaps),
    activations: used,
    warnings: model.warnings,
  };
}

/** The prompt, then `decode` greedy tokens; their ids are appended to `tokenIds`. */
async function run(
  model: Model,
  recorder: Recorder,
  tokenIds: number[],
  decode: number,
  pause: (done: number, what: string) => Promise<void>,
): Promise<void> {
  const sequence = model.createSequence({
    maxTokens: Math.min(tokenIds.length + decode, model.config.maxPositionEmbeddings),
  });
  let logits: Float32Array = new Float32Array(0);
  for (let at = 0; at < tokenIds.length; at += model.maxChunk) {
    const chunk = tokenIds.slice(at, at + model.maxChunk);
    await pause(0, `prefill from token ${at}`);
    recorder.step = { kind: 'prefill', position: at, tokens: chunk.length };
    logits = model.forward([{ sequence, tokenIds: chunk }]);
  }
  for (let i = 0; i < decode; i++) {
    const next = logits.reduce((best, x, id) => (x > logits[best]! ? id : best), 0);
    await pause(1 + i, `decode ${i + 1}`);
    recorder.step = { kind: 'decode', position: tokenIds.length, tokens: 1 };
    tokenIds.push(next);
    logits = model.forward([{ sequence, tokenIds: [next] }]);
  }
}

function coverageOf(o: VerifyOptions, experts: ExpertCoverage, attention: AttentionCoverage, gaps: string[]): Coverage {
  const { config } = o.source;
  const counts = [...experts.reached.values()].map((s) => s.size);
  const [fewest, most] = counts.length === 0 ? [0, 0] : [Math.min(...counts), Math.max(...counts)];
  if (attention.pastWindow === 0) gaps.push(`no query was past the window of ${config.slidingWindow} tokens`);
  for (const ratio of new Set(config.compressRatios)) {
    if (ratio !== 0 && !attention.entries.get(ratio)) gaps.push(`no window of ${ratio} tokens was closed`);
  }
  if (config.compressRatios.includes(4) && attention.chosen === 0)
    gaps.push(`the indexer never had more than index_topk = ${config.indexTopk} entries to choose from`);
  if (fewest < config.numExperts) gaps.push(`a layer used only ${fewest} of its ${config.numExperts} experts`);
  if (o.decode === 0) gaps.push('no token was decoded');
  return {
    promptTokens: o.tokenIds.length,
    decodedTokens: o.decode,
    pastWindow: attention.pastWindow,
    entries: Object.fromEntries(attention.entries),
    indexerChose: attention.chosen,
    experts: { fewest, most, of: config.numExperts },
    stagedBlocks: experts.stagedBlocks,
    saturatedBlocks: experts.saturatedBlocks,
    gaps,
  };
}

/** Opens a checkpoint for as long as `use` takes: the reference reads its weights again and again. */
export async function withCheckpoint<T>(dir: string, use: (checkpoint: Checkpoint) => Promise<T>): Promise<T> {
  const checkpoint = openCheckpoint(dir);
  try {
    return await use(checkpoint);
  } finally {
    checkpoint.close();
  }
}
