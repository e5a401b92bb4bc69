import type { ModelConfig } from '@megamoe/checkpoint';
import { visibleEntries, type InputPrecision, type OpArgs, type OpName, type Tensors } from '@megamoe/ops';
import { keysAt } from '../synthetic';

/** Sequences of a step that all stand at the same place and take in as many tokens. */
export interface Situation {
  readonly sequences: number;
  /** Tokens before the step. */
  readonly context: number;
  /** Tokens that the step takes in, of each sequence. */
  readonly tokens: number;
}

/** Its part of a row's shape. */
export const situationText = ({ sequences, context, tokens }: Situation): string =>
  tokens === 1 ? `sequences=${sequences} context=${context}` : `tokens=${tokens}`;

/** What is known of the step that an operation is part of. */
export interface StepFacts extends Situation {
  readonly config: ModelConfig;
  /** Experts of the layer that have rows. */
  readonly active: number;
}

/** What an operation must at least do. */
export interface Cost {
  /** Bytes of weights, keys and rows that it reads and writes. */
  readonly bytes: number;
  /** Multiplications and additions of products. */
  readonly operations: number;
}

/** A kernel's row: its name, what it works on, and its cost. */
export interface Described extends Cost {
  readonly name: string;
  readonly what: string;
}

type Args<N extends OpName> = OpArgs<N, Tensors>;
type Describers = { readonly [N in OpName]: (a: Args<N>, s: StepFacts) => Omit<Described, 'name'> & { name?: string } };

/** Bytes of a row of k elements as it is staged. */
const stagedBytes = (inputs: InputPrecision, k: number): number => (inputs === 'nvfp4' ? (k * 9) / 16 : 4 * k);

/** Without the layers' numbers: the same operation of all layers is one row. */
const moduleOf = (name: string): string => name.replaceAll(/layers\.\d+\./g, '');

const PRODUCT = { nvfp4: 'w4a4', bf16: 'w4a16', f32: 'w4a32' } as const;

const DESCRIBERS: Describers = {
  embed: ({ table, rows, repeat }) => ({
    what: `k=${table.k} repeat=${repeat}`,
    bytes: (rows * table.bytes) / table.n + 4 * rows * repeat * table.k,
    operations: 0,
  }),
  rmsNorm: ({ rows, d, weight }, s) => ({
    what: `d=${d}${rows === s.sequences * s.tokens ? '' : ` heads=${rows / (s.sequences * s.tokens)}`}`,
    bytes: 8 * rows * d + (weight === null ? 0 : 4 * d),
    operations: 0,
  }),
  linear: ({ w, rows, inputs }) => ({
    name: inputs === 'nvfp4' ? 'gpu-linear-w4a4' : 'gpu-linear',
    what: `${moduleOf(w.name)} n=${w.groups * w.n} k=${w.k} ${w.dtype} inputs=${inputs}`,
    bytes: w.bytes + 4 * rows * w.groups * (w.k + w.n),
    operations: 2 * rows * w.groups * w.n * w.k,
  }),
  swiglu: ({ rows, i }) => ({ what: `i=${i}`, bytes: 12 * rows * i, operations: 0 }),
  add: ({ n }, s) => ({ what: `d=${n / (s.sequences * s.tokens)}`, bytes: 12 * n, operations: 0 }),
  gatherRows: ({ rows, d }) => ({ what: `d=${d} wanted=${rows}`, bytes: 8 * rows * d, operations: 0 }),
  hcPre: ({ rows, hc, d }) => ({
    what: `hc=${hc} d=${d}`,
    bytes: 4 * ((2 + hc) * hc * hc * d + rows * (hc + 1) * d),
    operations: 2 * rows * hc * d * ((2 + hc) * hc + 1),
  }),
  hcPost: ({ rows, hc, d }) => ({
    what: `hc=${hc} d=${d}`,
    bytes: 4 * rows * (2 * hc + 1) * d,
    operations: 2 * rows * hc * d * (hc + 1),
  }),
  hcHead: ({ rows, hc, d }) => ({
    what: `hc=${hc} d=${d}`,
    bytes: 4 * (hc * hc * d + rows * (hc + 1) * d),
    operations: 2 * rows * hc * d * (hc + 1),
  }),
  route: ({ router, rows }) => ({
    what: `experts=${router.numExperts} topk=${router.topk}`,
    bytes: 4 * rows * (router.numExperts + 2 * router.topk),
    operations: 0,
  }),
  assignSlots: ({ rows, topk, numExperts }) => ({
    what: `experts=${numExperts} topk=${topk}`,
    bytes: 4 * (3 * rows * topk + numExperts),
    operations: 0,
  }),
  stage: ({ k, slots, inputs }, s) => ({
    what: `k=${k} ${inputs}`,
    bytes: 4 * s.sequences * s.tokens * k + slots * stagedBytes(inputs, k),
    operations: 0,
  }),
  swigluStage: ({ i, slots, inputs }) => ({
    what: `i=${i} ${inputs}`,
    bytes: slots * (8 * i + stagedBytes(inputs, i)),
    operations: 0,
  }),
  groupedGemm: ({ w, staged, slots }, s) => ({
    name: `gpu-${PRODUCT[staged.inputs]}`,
    what: `${moduleOf(w.name)} n=${w.n} k=${w.k} experts=${w.numExperts}`,
    bytes: (s.active * w.bytes) / w.numExperts + slots * (stagedBytes(staged.inputs, w.k) + 4 * w.n),
    operations: 2 * slots * w.n * w.k,
  }),
  scatterExperts: ({ d, rows, topk }) => ({
    what: `d=${d} topk=${topk}`,
    bytes: 4 * rows * d * (topk + 1),
    operations: 0,
  }),
  ropeTables: ({ rope, rows }) => ({
    what: `dim=${rope.ropeDim}`,
    bytes: 4 * rows * (rope.ropeDim + 1),
    operations: 0,
  }),
  rope: ({ rows, heads, d, ropeDim, inverse }) => ({
    what: `heads=${heads} d=${d}${inverse ? ' inverse' : ''}`,
    bytes: 8 * rows * heads * ropeDim,
    operations: 0,
  }),
  writeWindow: ({ step, d }) => ({ what: `d=${d}`, bytes: 8 * step.rows * d, operations: 0 }),
  compress: ({ cache, layer, indexer, step, width }) => ({
    what: `ratio=${cache.specs[layer]!.ratio} width=${width}${indexer ? ' indexer' : ''}`,
    bytes: 16 * step.rows * width,
    operations: 0,
  }),
  indexSelect: ({ heads, dim, topk }, s) => {
    const rows = s.sequences * s.tokens;
    const seen = sumOver(s, (position) => visibleEntries(position, 4));
    return {
      what: `heads=${heads} d=${dim} topk=${topk}`,
      bytes: 4 * (s.sequences * visibleEntries(lastOf(s), 4) * dim + rows * (heads * (dim + 1) + topk)),
      operations: 2 * heads * dim * seen,
    };
  },
  attend: ({ cache, layer, heads, d }, s) => {
    const { ratio, window } = cache.specs[layer]!;
    const rows = s.sequences * s.tokens;
    const pairs = sumOver(s, (position) => keysAt(s.config, ratio, position));
    // A key is read once, whichever rows see it; rows of a prompt together see them all.
    const keys =
      s.tokens === 1
        ? keysAt(s.config, ratio, s.context)
        : s.tokens + Math.min(window, s.context) + visibleEntries(lastOf(s), ratio);
    return {
      what: `ratio=${ratio} heads=${heads} d=${d}`,
      bytes: 4 * d * (s.sequences * keys + 2 * rows * heads),
      operations: 4 * heads * d * pairs,
    };
  },
};

const lastOf = (s: Situation): number => s.context + s.tokens - 1;

/** The sum over all rows of a step of something that follows from a row's position. */
function sumOver(s: Situation, of: (position: number) => number): number {
  let sum = 0;
  for (let i = 0; i < s.tokens; i++) sum += of(s.context + i);
  return s.sequences * sum;
}

/** `hcPre` as `gpu-hc-pre`. */
const rowName = (op: OpName): string => `gpu-${op.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** The row of all operations of a step together. */
export const ALL = 'gpu-all-operations';

/** Names of the rows of a model whose routed experts take quantized rows, and whose other products do not. */
export const KERNEL_NAMES: readonly string[] = [
  ...(Object.keys(DESCRIBERS) as OpName[]).map((op) => (op === 'groupedGemm' ? 'gpu-w4a4' : rowName(op))),
  ALL,
];

/** The row of an operation that ran with these arguments. */
export function describeOp<N extends OpName>(op: N, args: Args<N>, facts: StepFacts): Described {
  return { name: rowName(op), ...DESCRIBERS[op](args, facts) };
}
