import type { ExpertScales, LinearTensor, ModelConfig } from '@megamoe/checkpoint';
import { ValueError } from '@megamoe/core';
import {
  createWorkspace,
  ExpertFormats,
  layerSpec,
  WeightLoader,
  type Allocator,
  type ExpertMatrix,
  type Inputs,
  type Packer,
  type WeightSource,
} from '@megamoe/layers';
import {
  adoptTensor,
  bytesOf,
  sequenceBytes,
  type Backend,
  type CompressorHandle,
  type ExpertPool,
  type ExpertPoolShape,
  type ExpertsSource,
  type ExpertsWeight,
  type KvDtype,
  type LinearSource,
  type LinearWeight,
  type Tensor,
} from '@megamoe/ops';
import { deviceTooSmall, givenOut, planDevice, type DevicePlan } from './device-plan';

/** One line of a {@link MemoryPlan}. */
export interface PlanPart {
  readonly name:
    | 'runtime'
    | 'embed'
    | 'head'
    | 'attention'
    | 'shared experts'
    | 'router and norms'
    | 'workspace'
    | 'state'
    | 'experts';
  /** Bytes in memory when the model is loaded. */
  readonly bytes: number;
}

/** What a load will put into memory, known before it reads any weights. */
export interface MemoryPlan {
  /**
   * `runtime` is the process as it stands and what reading needs; `state` one sequence of `stateTokens`; `experts` all of them, or the
   * pool.
   */
  readonly parts: readonly PlanPart[];
  readonly stateTokens: number;
  readonly totalBytes: number;
  /** Bytes of weights that are packed at load. */
  readonly loadBytes: number;
  /** Packed bytes of all routed experts. */
  readonly expertBytes: number;
  /** What was asked for; undefined: no limit. */
  readonly limitBytes: number | undefined;
  /** `resident`: everything is packed at load. `pool`: experts are read when they are routed to. `no`: it cannot be loaded. */
  readonly fits: 'resident' | 'pool' | 'no';
  /** With `pool`: experts (gate, up and down together) held at a time, and of how many. */
  readonly pooledExperts: number;
  readonly experts: number;
  /** The least limit that would do. */
  readonly leastBytes: number;
  /** On a backend with memory of its own, which all parts then lie in (`runtime` is left out), and which must hold all experts. */
  readonly device: DevicePlan | undefined;
}

/** Experts of one shape, over all layers. */
interface ExpertKind {
  readonly shape: Omit<ExpertPoolShape, 'slots'>;
  readonly slotBytes: number;
  count: number;
}

/** Memory that reading takes: a few megabytes of a dense matrix at a time, decoded, and what is garbage until it is collected. */
const READING_BYTES = 64e6;
const STATE_TOKENS = 4096;

/** A source that answers with formats and shapes only. Vectors and tables are counted here: they go into memory as they are. */
class Outline implements WeightSource {
  bytes = 0;

  constructor(private readonly inner: WeightSource) {}

  get config(): ModelConfig {
    return this.inner.config;
  }

  linear(module: string, n: number, k: number): LinearTensor {
    return this.linearRows(module, n, k, 0, 0);
  }

  linearRows(module: string, n: number, k: number, row0: number, rows: number): LinearTensor {
    return this.inner.linearRows ? this.inner.linearRows(module, n, k, row0, rows) : this.inner.linear(module, n, k);
  }

  expert(layer: number, expert: number, matrix: ExpertMatrix): ReturnType<WeightSource['expert']> {
    return this.inner.expert(layer, expert, matrix);
  }

  expertScales(layer: number, _expert: number, matrix: ExpertMatrix): ExpertScales {
    const { format, n, k } = this.inner.expertScales?.(layer, 0, matrix) ?? this.inner.expert(layer, 0, matrix);
    return { format, n, k, weightGlobalDecodeScale: 1, inputGlobalDecodeScale: 1 };
  }

  vector(_name: string, length: number): Float32Array {
    this.bytes += length * 4;
    return new Float32Array(0);
  }

  ints(_name: string, shape: readonly number[]): Int32Array {
    this.bytes += shape.reduce((a, b) => a * b, 4);
    return new Int32Array(0);
  }
}

/** What a module belongs to in the plan. */
function partOf(module: string): PlanPart['name'] {
  if (module === 'embed' || module === 'head') return module;
  if (module.includes('.attn.')) return 'attention';
  return module.includes('.shared_experts.') ? 'shared experts' : 'router and norms';
}

/** What a plan has to keep to. */
export interface PlanOptions {
  /** Most bytes of memory that the process may take; experts that do not fit stay on the disk. */
  readonly limitBytes: number | undefined;
  /** Most experts to hold at a time. */
  readonly residentExperts: number | undefined;
  readonly maxChunk: number;
  readonly inputs: Inputs;
  readonly kv: KvDtype;
}

/** What {@link planMemory} found, and what the loader needs of it. */
export interface PlannedLoad {
  readonly plan: MemoryPlan;
  /** How experts are packed, for the loader to do as planned. */
  readonly formats: ExpertFormats;
  /** Shapes of the pools to be made, by the experts they are for; none when all are packed at load. */
  readonly pools: ReadonlyMap<string, ExpertPoolShape>;
}

/** Which experts share a pool. */
const poolKey = ({ format, n, k, parts = 1 }: Pick<ExpertsSource, 'format' | 'n' | 'k' | 'parts'>): string =>
  `${format} ${n} ${k} ${parts}`;

const NOTHING = { bytes: 0, dispose: () => undefined };

/** What a load packs, measured by going through it without data. */
class Meter implements Packer {
  readonly dense = new Map<PlanPart['name'], number>();
  readonly experts = new Map<string, ExpertKind>();
  nvfp4 = false;
  /** Bytes that a device loses to what is packed. */
  givenOut = 0;

  constructor(private readonly packedBytes: Backend['packedBytes']) {}

  add(name: PlanPart['name'], bytes: number): void {
    this.dense.set(name, (this.dense.get(name) ?? 0) + bytes);
  }

  tensor(): Tensor {
    return adoptTensor(new Float32Array(0));
  }

  packCompressor(): CompressorHandle {
    return { kind: 'compressor' };
  }

  packLinear({ name = '', n, k, groups = 1, dtype }: LinearSource): LinearWeight {
    const bytes = this.packedBytes(dtype, groups, n, k);
    this.add(partOf(name), bytes);
    this.givenOut += givenOut(bytes);
    return { ...NOTHING, name, n, k, groups, dtype, inputGlobalDecodeScale: null, bytes };
  }

  packExperts({ name = '', numExperts, n, k, parts = 1, format }: ExpertsSource): ExpertsWeight {
    const shape = { n, k, parts, format };
    const key = poolKey(shape);
    const kind = this.experts.get(key) ?? { shape, slotBytes: this.packedBytes(format, 1, n, k), count: 0 };
    kind.count += numExperts;
    this.givenOut += givenOut(numExperts * kind.slotBytes);
    this.experts.set(key, kind);
    this.nvfp4 ||= format === 'nvfp4';
    return { ...NOTHING, name, numExperts, ...shape };
  }
}

/** Bytes of the buffers of a step, and what a device loses to them. */
function workspaceBytes(
  c: ModelConfig,
  nvfp4: boolean,
  inputs: Inputs,
  maxRows: number,
): { readonly bytes: number; readonly given: number } {
  let bytes = 4 * c.vocabSize; // the row of logits that a caller reads
  let given = 0;
  const add = (n: number): void => {
    bytes += n;
    given += givenOut(n);
  };
  const none = adoptTensor(new Float32Array(0));
  const counting: Allocator = {
    alloc(dtype, shape) {
      add(shape.reduce((a, b) => a * b, bytesOf(dtype)));
      return none;
    },
    createRouter: ({ numExperts, topk }) => ({ numExperts, topk }),
    createStaged(spec) {
      const row = spec.inputs.map((p) => (p === 'nvfp4' ? (spec.k * 9) / 16 + 4 : 4 * spec.k));
      bytes += spec.slots * Math.max(...row); // in one place on the host
      given += givenOut(spec.slots * row.reduce((a, b) => a + b, 0)); // beside each other on a device
      return { ...NOTHING, spec, slots: 0, k: 0, inputs: 'f32' };
    },
  };
  createWorkspace(counting, c, nvfp4, inputs, maxRows);
  return { bytes, given };
}

/**
 * Works out what a load puts into memory, by going through it without data: no weight is read, nothing is packed.
 */
export function planMemory(
  source: WeightSource,
  backend: Pick<Backend, 'packedBytes' | 'deviceMemory'>,
  { limitBytes, residentExperts, maxChunk, inputs, kv }: PlanOptions,
): PlannedLoad {
  const c = source.config;
  const outline = new Outline(source);
  const meter = new Meter((...a) => backend.packedBytes(...a));
  const formats = new ExpertFormats(source);
  const loader = new WeightLoader(outline, meter, false, formats);
  loader.linear('embed', c.vocabSize, c.hiddenSize);
  for (let i = 0; i < c.numHiddenLayers; i++) loader.layer(i);
  if (!c.tieWordEmbeddings) loader.linear('head', c.vocabSize, c.hiddenSize);
  loader.hyper('hc_head', c.hcMult, 1);
  loader.vector('norm.weight', c.hiddenSize);
  meter.add('router and norms', outline.bytes);
  const { dense } = meter;
  const { bytes: workspace, given } = workspaceBytes(c, meter.nvfp4, inputs, maxChunk);

  const stateTokens = Math.min(STATE_TOKENS, c.maxPositionEmbeddings);
  const layers = c.compressRatios.slice(0, c.numHiddenLayers).map((_, i) => layerSpec(c, i, kv));
  const state = sequenceBytes(stateTokens, layers);
  const all = [...meter.experts.values()];
  const largest = Math.max(0, ...all.map((k) => k.slotBytes));
  const expertBytes = all.reduce((sum, k) => sum + k.count * k.slotBytes, 0);
  const denseBytes = [...dense.values()].reduce((a, b) => a + b, 0);
  const memory = backend.deviceMemory?.();
  const runtime = memory ? 0 : process.memoryUsage().rss + READING_BYTES + largest;
  const fixed = runtime + denseBytes + workspace + state;
  const taken = meter.givenOut + outline.bytes + given;
  const device = memory && planDevice(memory, limitBytes, taken, layers, stateTokens);
  const leastBytes = device?.neededBytes ?? Math.ceil(fixed + all.reduce((sum, k) => sum + k.slotBytes, 0));
  const experts = c.numExperts * c.numHiddenLayers;
  // Every kind of expert gets the same share: one that is routed to needs all of its matrices.
  const share = Math.min(
    limitBytes === undefined || device ? 1 : (limitBytes - fixed) / expertBytes,
    residentExperts === undefined ? 1 : residentExperts / experts,
  );
  const slots = all.map((k) => Math.max(1, Math.min(k.count, Math.floor(k.count * share))));
  const room = Math.min(limitBytes ?? Infinity, memory?.freeBytes ?? Infinity);
  const fits = room < leastBytes ? 'no' : share < 1 ? 'pool' : 'resident';
  const held =
    fits === 'resident' || device ? expertBytes : all.reduce((sum, k, i) => sum + slots[i]! * k.slotBytes, 0);
  const names = ['embed', 'head', 'attention', 'shared experts', 'router and norms'] as const;
  const parts: PlanPart[] = [
    ...(memory ? [] : [{ name: 'runtime', bytes: runtime } as const]),
    ...names.flatMap((name) => (dense.has(name) ? [{ name, bytes: dense.get(name)! }] : [])),
    { name: 'workspace', bytes: workspace },
    { name: 'state', bytes: state },
    { name: 'experts', bytes: held },
  ];
  const plan: MemoryPlan = {
    parts,
    stateTokens,
    totalBytes: fixed + held,
    loadBytes: denseBytes + (fits === 'resident' ? expertBytes : 0),
    expertBytes,
    limitBytes,
    fits,
    pooledExperts: fits === 'resident' ? experts : Math.min(...slots),
    experts,
    leastBytes,
    device,
  };
  const pools = new Map(all.map(({ shape }, i) => [poolKey(shape), { ...shape, slots: slots[i]! }]));
  return { plan, formats, pools: fits === 'pool' ? pools : new Map<string, ExpertPoolShape>() };
}

/** Pools of a planned load. */
export interface Pools {
  /** The pool for experts of a shape; null when all are packed at load. */
  readonly poolFor: ((source: ExpertsSource) => ExpertPool) | null;
  readonly dispose: () => void;
}

/** Makes the pools that a plan asks for. */
export function createPools({ pools: shapes }: PlannedLoad, backend: Pick<Backend, 'createExpertPool'>): Pools {
  if (shapes.size === 0) return { poolFor: null, dispose: () => undefined };
  const pools = new Map([...shapes].map(([key, shape]) => [key, backend.createExpertPool(shape)]));
  return {
    poolFor: (source) => pools.get(poolKey(source))!,
    dispose: () => pools.forEach((pool) => pool.dispose()),
  };
}

/** Throws ValueError when the plan says that the model cannot be loaded within its limit, or on its device. */
export function checkPlan(fn: string, plan: MemoryPlan): void {
  if (plan.fits !== 'no') return;
  if (plan.device) throw deviceTooSmall(fn, plan.device, plan.limitBytes, plan.parts);
  const mb = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
  const rest = plan.parts.filter((p) => p.name !== 'experts');
  throw new ValueError(
    `${fn}: this model needs at least ${mb(plan.leastBytes)} of memory with its experts left on the disk ` +
      `(${rest.map((p) => `${p.name} ${mb(p.bytes)}`).join(', ')}, and one expert of each shape), the limit is ${mb(plan.limitBytes!)}`,
  );
}
