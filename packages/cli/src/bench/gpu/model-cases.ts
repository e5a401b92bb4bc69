import { loadModel, type Model } from '@megamoe/model';
import { REWIND_TOKENS, type OpArgs, type Tensors } from '@megamoe/ops';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { defaultModel } from '../../options';
import { checkSame } from '../data';
import { alternate, secondsOf } from '../measure';
import { checkLogits, collectGarbage } from '../step-cases';
import { attentionOperations, keyBytes, randomTokens, type WeightCount } from '../synthetic';
import { countModel } from '../tiny-cases';
import { SkipCase, type BenchCase, type NamedMeasured, type StepShape } from '../types';
import type { GpuContext } from './context';
import { situationText, type Situation } from './costs';
import { activeExperts } from './kernel-cases';
import type { Measurable } from './loaded';
import { fillKeys, layersThatFit, openSequences, syntheticModel } from './synthetic-model';
import { watched } from './watch';

/** A model whose whole steps are measured. */
interface Whole {
  readonly name: string;
  /** In whose shape it is. */
  readonly size: () => string;
  readonly load: () => Promise<Measurable>;
  readonly context: number;
  readonly prompt: number;
  /** Steps of one measurement: weights that stay in a cache are cold in the first of them alone. */
  readonly steps: number;
}

/** Weights of experts that a step reads are counted, the others follow from the model. */
export interface StepFloor {
  readonly bytes: number;
  readonly operations: number;
}

/**
 * What a step must read and multiply: every dense weight once, the experts that its tokens chose (`expertBytes`, counted), keys, and two
 * operations for each element that a token is multiplied by, the head for the last token of each sequence.
 */
export function stepFloor(
  model: Pick<Model, 'config'>,
  count: WeightCount,
  expertBytes: number,
  { sequences, context, tokens }: Situation,
): StepFloor {
  const { config } = model;
  const share = config.numExpertsPerTok / config.numExperts;
  const dense = count.activeBytes - count.expertBytes * share;
  const keys = tokens === 1 ? sequences * keyBytes(config, context) : 0;
  const products = tokens * (count.denseElements + count.expertElements) + count.headElements;
  const attention = attentionOperations(config, context, context + tokens);
  return { bytes: dense + expertBytes + keys, operations: sequences * (2 * products + attention) };
}

/** Decodes of 1, 8 and 64 sequences and a prompt. */
function wholeCases(c: GpuContext, whole: Whole): BenchCase[] {
  const [some, many] = c.quick ? [2, 3] : [8, 64];
  const { context, prompt } = whole;
  const situations: Situation[] = [
    ...[1, some, many].map((sequences) => ({ sequences, context, tokens: 1 })),
    { sequences: 1, context: 0, tokens: prompt },
  ];
  return situations.map((situation) => {
    const name = `${whole.name}-${situation.tokens === 1 ? 'decode' : 'prefill'}`;
    return {
      name,
      shape: situationText(situation),
      rows: [name],
      async run(): Promise<NamedMeasured[]> {
        const loaded = await c.loaded.get(whole.name, whole.load);
        const measured =
          situation.tokens === 1 ? decode(c, loaded, situation, whole.steps) : prefill(c, loaded, situation);
        return [{ name, shape: `${situationText(situation)} ${whole.size()}`, ...measured }];
      },
    };
  });
}

/** Bytes of the experts that a step's tokens chose, of all layers, as `step` runs once. */
function chosenBytes(c: GpuContext, { during }: Measurable, step: () => void): number {
  let active = 0;
  let bytes = 0;
  during((op, args) => {
    if (op === 'assignSlots') active = activeExperts(c, args as OpArgs<'assignSlots', Tensors>);
    if (op !== 'groupedGemm') return;
    const { w } = args as OpArgs<'groupedGemm', Tensors>;
    bytes += (active * w.bytes) / w.numExperts;
  }, step);
  return bytes;
}

/** Tokens a second of `steps` runs of a step, and of its floor. */
function perSecond(
  c: GpuContext,
  tokens: number,
  steps: number,
  run: () => void,
  floor: StepFloor,
): Pick<NamedMeasured, 'median' | 'unit' | 'ceiling'> {
  const many = (): void => {
    for (let i = 0; i < steps; i++) run();
  };
  // A step ends when its logits are here: that is what whoever waits for it sees.
  const { seconds, rates } = alternate({ ...c, seconds: secondsOf }, 1, many, [
    { kind: 'read', amount: 2 ** 30 },
    { kind: 'mma', amount: 2 ** 40 },
  ]);
  const floorSeconds = Math.max(floor.bytes / rates[0]!, floor.operations / rates[1]!);
  return { median: (tokens * steps) / seconds, unit: 'tokens/s', ceiling: tokens / floorSeconds };
}

function decode(
  c: GpuContext,
  loaded: Measurable,
  situation: Situation,
  steps: number,
): Pick<NamedMeasured, 'median' | 'unit' | 'ceiling'> {
  const { model, count } = loaded;
  const { sequences, context } = situation;
  const v = model.config.vocabSize;
  const open = openSequences(model, sequences, context);
  try {
    fillKeys(model);
    const ids = randomTokens(v, sequences);
    const batch = open.map((sequence, i) => ({ sequence, tokenIds: [ids[i]!] }));
    const logits = new Float32Array(sequences * v);
    const back = (): void => open.forEach((sequence) => sequence.rewind(context));
    const step = (): void => {
      if (open[0]!.length >= context + REWIND_TOKENS) back();
      model.forward(batch, { out: logits });
    };
    step();
    const first = logits.slice();
    checkLogits(first);
    back();
    const expertBytes = chosenBytes(c, loaded, step);
    checkSame('decode after a rewind', logits, first);
    return perSecond(c, sequences, steps, step, stepFloor(model, count, expertBytes, situation));
  } finally {
    open.forEach((sequence) => sequence.dispose());
  }
}

function prefill(
  c: GpuContext,
  loaded: Measurable,
  situation: Situation,
): Pick<NamedMeasured, 'median' | 'unit' | 'ceiling'> {
  const { model, count } = loaded;
  const tokenIds = randomTokens(model.config.vocabSize, situation.tokens);
  const logits = new Float32Array(model.config.vocabSize);
  const run = (): void => {
    const sequence = model.createSequence();
    try {
      model.forward([{ sequence, tokenIds }], { out: logits });
    } finally {
      sequence.dispose();
    }
  };
  const expertBytes = chosenBytes(c, loaded, run);
  checkLogits(logits);
  return perSecond(c, situation.tokens, 1, run, stepFloor(model, count, expertBytes, situation));
}

/** Whole steps of the shipped model. */
export function gpuTinyCases(c: GpuContext): BenchCase[] {
  const dir = defaultModel();
  const [context, prompt] = c.quick ? [64, 32] : [256, 1024];
  return wholeCases(c, {
    name: 'gpu-tiny',
    size: () => 'models/tiny',
    context,
    prompt,
    steps: c.quick ? 2 : 16,
    async load() {
      if (!existsSync(join(dir, 'config.json'))) throw new SkipCase(`no model at ${dir}`);
      const count = await countModel(dir);
      const { backend, during } = watched(c.backend);
      const model = await loadModel(dir, { backend, maxChunk: Math.max(prompt, 64) });
      return { model, source: null, count, during };
    },
  });
}

/** Whole steps of a model of V4-Flash shape: as many layers as are asked for, or as fit. */
export function gpuStepCases(c: GpuContext): BenchCase[] {
  const { step } = c;
  const prompt = c.quick ? 32 : 4096;
  const sequences = c.quick ? 3 : 64;
  let size = '';
  return wholeCases(c, {
    name: 'gpu-v4-flash',
    size: () => size,
    context: step.context,
    prompt,
    steps: 1,
    async load() {
      collectGarbage();
      const free = c.freeBytes();
      const fit = layersThatFit(free, step, sequences, prompt);
      const layers = step.layers ?? fit;
      const gb = (free / 1e9).toFixed(1);
      if (layers > fit || layers < 2)
        throw new SkipCase(
          `${Math.max(layers, 2)} layers of ${step.experts} experts do not fit into the ${gb} GB that are free: ${fit} would; give fewer --layers, --experts or --context`,
        );
      const own: StepShape = { ...step, layers };
      size = `layers=${layers} experts=${step.experts} topk=6 vocab=${step.vocab} dense=${step.dense}`;
      c.say(
        `v4-flash: ${layers} of 43 layers${step.layers === undefined ? ` fit into the ${gb} GB that are free` : ''}; ` +
          'every expert of a layer has the same weights at a place of its own, dense weights are of each layer',
      );
      return syntheticModel(c, own, prompt);
    },
  });
}

/** The GPU itself, for the record. */
export function gpuCeilingCases(c: GpuContext): BenchCase[] {
  const kinds = [
    ['read', 2 ** 30, 'GB/s'],
    ['mma', 2 ** 40, 'GFLOPS'],
  ] as const;
  return kinds.map(([kind, amount, unit]) => ({
    name: `gpu-ceiling-${kind}`,
    shape: kind === 'read' ? `bytes=${amount}` : `ops=${amount}`,
    run() {
      const { rates } = alternate(c, 1, () => undefined, [{ kind, amount: c.quick ? amount / 2 ** 10 : amount }]);
      return { median: rates[0]! / 1e9, unit, ceiling: rates[0]! / 1e9 };
    },
  }));
}
