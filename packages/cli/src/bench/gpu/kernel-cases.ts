import type { Model, Sequence } from '@megamoe/model';
import type { OpName, Operations, Tensors } from '@megamoe/ops';
import { median } from '../measure';
import { randomTokens } from '../synthetic';
import type { BenchCase, NamedMeasured, StepShape } from '../types';
import type { GpuContext } from './context';
import { ALL, describeOp, KERNEL_NAMES, situationText, type Described, type Situation } from './costs';
import { checkProduct } from './check-product';
import type { Measurable } from './loaded';
import { fillKeys, openSequences, syntheticModel } from './synthetic-model';

/** An operation of a step, as it ran. */
interface Call {
  readonly op: OpName;
  readonly args: object;
  readonly row: Described;
  readonly seconds: number[];
}

/** A model whose operations become rows, and which of them do. */
interface Variant {
  /** What its rows say of it, where other models have the same rows. */
  readonly text: string;
  readonly step: StepShape;
  readonly activations: 'nvfp4' | 'float';
  /** Names of its operations that become rows. */
  readonly rows: readonly string[];
}

/** Both kinds of layers, with the weights as V4-Flash has them, and products in the other formats. */
function variantsOf(c: GpuContext): Variant[] {
  const { step } = c;
  const shape: StepShape = { ...step, layers: 2, experts: step.experts };
  const small = { ...shape, vocab: Math.min(shape.vocab, 1024) };
  return [
    {
      text: '',
      step: { ...shape, dense: 'fp8', floatInputs: 'f32' },
      activations: 'nvfp4',
      rows: KERNEL_NAMES,
    },
    {
      text: ' W4A16',
      step: { ...small, dense: 'bf16', floatInputs: 'bf16' },
      activations: 'float',
      rows: ['gpu-linear', 'gpu-w4a16', 'gpu-stage', 'gpu-swiglu-stage'],
    },
    {
      text: ' dense=nvfp4',
      step: { ...small, dense: 'nvfp4', floatInputs: 'f32' },
      activations: 'nvfp4',
      rows: ['gpu-linear-w4a4'],
    },
  ];
}

/** Every operation of a step of two layers of V4-Flash shape, in each situation. */
export function kernelCases(c: GpuContext): BenchCase[] {
  const context = c.step.context - 1;
  const [some, many, tokens] = c.quick ? [2, 3, 32] : [8, 64, 4096];
  const situations: Situation[] = [
    ...[1, some, many].map((sequences) => ({ sequences, context, tokens: 1 })),
    { sequences: 1, context: 0, tokens },
  ];
  return variantsOf(c).flatMap((variant) =>
    situations.map((situation): BenchCase => ({
      name: 'gpu-kernels',
      shape: `${situationText(situation)}${variant.text}`,
      rows: variant.rows,
      async run() {
        const make = (): Promise<Measurable> => syntheticModel(c, variant.step, tokens, variant.activations);
        return profile(c, await c.loaded.get(`kernels${variant.text}`, make), variant, situation);
      },
    })),
  );
}

/** A step of the situation, which can be done again. */
function stepOf(model: Model, { sequences, context, tokens }: Situation): { run(): void; dispose(): void } {
  let open: Sequence[] = openSequences(model, sequences, context);
  fillKeys(model);
  const ids = randomTokens(model.config.vocabSize, Math.max(tokens, sequences));
  const logits = new Float32Array(sequences * model.config.vocabSize);
  const close = (): void => open.forEach((sequence) => sequence.dispose());
  return {
    run() {
      if (open[0]!.length > context && tokens > 1) {
        close();
        open = openSequences(model, sequences, context);
      }
      for (const sequence of open) if (sequence.length > context) sequence.rewind(context);
      const batch = open.map((sequence, i) => ({
        sequence,
        tokenIds: tokens === 1 ? [ids[i]!] : ids.subarray(0, tokens),
      }));
      model.forward(batch, { out: logits });
    },
    dispose: close,
  };
}

/** Runs a step, then its operations again in their order, each behind a pass that reads memory: what it works on is cold. */
function profile(
  c: GpuContext,
  { model, source, during }: Measurable,
  variant: Variant,
  situation: Situation,
): NamedMeasured[] {
  const { backend } = c;
  const step = stepOf(model, situation);
  const calls: Call[] = [];
  try {
    step.run(); // kernels are loaded, buffers made
    let active = 0;
    const look = (op: OpName, args: object): void => {
      if (op === 'assignSlots') active = activeExperts(c, args as Parameters<Operations<Tensors>['assignSlots']>[0]);
      const row = describeOp(op, args as never, { ...situation, config: model.config, active });
      calls.push({ op, args, row, seconds: [] });
      if (source !== null && (op === 'linear' || op === 'groupedGemm')) checkProduct(backend, source, op, args);
    };
    during(look, step.run);
    const rates = { read: [] as number[], mma: [] as number[] };
    const rounds = c.quick ? 1 : situation.tokens > 1 ? 3 : 9;
    for (let round = -1; round < rounds; round++) {
      c.signal.throwIfAborted();
      const mma = c.ceilings.rate('mma', 1, { amount: 2 ** 40 });
      if (round >= 0) rates.mma.push(mma);
      for (const { op, args, seconds } of calls) {
        const read = c.ceilings.rate('read', 1, { amount: 2 ** 30 });
        const took = c.seconds(() => (backend[op] as (a: object) => void)(args));
        if (round < 0) continue; // not counted
        rates.read.push(read);
        seconds.push(took);
      }
    }
    backend.download(model.memory.cache.part(0, 'window'), 0, 1, new Float32Array(1), 0); // what kernels found wrong is said here
    return rowsOf(calls, variant, situation, median(rates.read), median(rates.mma));
  } finally {
    step.dispose();
  }
}

/** Experts that have rows. */
export function activeExperts(
  { backend }: Pick<GpuContext, 'backend'>,
  { expertOffsets, numExperts }: Parameters<Operations<Tensors>['assignSlots']>[0],
): number {
  const ends = new Int32Array(numExperts);
  backend.download(expertOffsets, 0, numExperts, ends, 0);
  return ends.reduce((sum, end, e) => sum + Number(end > (e === 0 ? 0 : ends[e - 1]!)), 0);
}

/** A row for each operation on the same shape, and one for all of them. */
function rowsOf(
  calls: readonly Call[],
  variant: Variant,
  situation: Situation,
  read: number,
  mma: number,
): NamedMeasured[] {
  const text = `${situationText(situation)}${variant.text}`;
  const same = new Map<string, Call[]>();
  for (const call of calls) {
    const key = `${call.row.name} ${call.row.what}`;
    same.set(key, [...(same.get(key) ?? []), call]);
  }
  const floorOf = ({ row }: Call): number => Math.max(row.bytes / read, row.operations / mma);
  const rows = [...same.values()]
    .filter(([call]) => variant.rows.includes(call!.row.name))
    .map((group): NamedMeasured => {
      const { name, what } = group[0]!.row;
      return {
        name,
        shape: `${what} ${text}`,
        median: median(group.flatMap(({ seconds }) => seconds)) * 1e6,
        unit: 'us',
        ceiling: median(group.map(floorOf)) * 1e6,
      };
    });
  if (!variant.rows.includes(ALL)) return rows;
  const all = (of: (call: Call) => number): number => calls.reduce((sum, call) => sum + of(call), 0) * 1e6;
  const { layers } = variant.step;
  return [
    ...rows,
    {
      name: ALL,
      shape: `layers=${layers} ${text}`,
      median: all(({ seconds }) => median(seconds)),
      unit: 'us',
      ceiling: all(floorOf),
    },
  ];
}
