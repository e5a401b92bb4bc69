import { createModel, type Model } from '@megamoe/model';
import { REWIND_TOKENS } from '@megamoe/ops';
import { freemem } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { checkSame } from './data';
import { alternate, median, type Alternated, type Floor } from './measure';
import { clockAddons } from './native-time';
import {
  attentionOperations,
  CountingSource,
  keyBytes,
  randomState,
  randomTokens,
  SyntheticSource,
  v4FlashConfig,
  type WeightCount,
} from './synthetic';
import { BenchError, SkipCase, type BenchCase, type BenchContext, type Measured } from './types';

/** Frees weights of an earlier model before the next is packed: they live outside the heap, where nothing urges the collector. */
export function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

/** Bytes that the synthetic model will take. */
export function v4FlashBytes(c: BenchContext['step']): number {
  const dense = { bf16: 290e6, fp8: 150e6, nvfp4: 85e6 }[c.dense];
  const layer = dense + c.experts * 14.2e6; // three matrices of an expert in NVFP4
  return c.layers * layer + 4 * c.vocab * 4096;
}

interface Loaded {
  readonly threads: number;
  readonly model: Model;
  readonly count: WeightCount;
}

/** Whole steps of the synthetic V4-Flash-shaped model. */
export function stepCases(c: BenchContext): BenchCase[] {
  const { layers, experts, context, vocab } = c.step;
  const tokens = c.quick ? 32 : 512;
  const config = v4FlashConfig(c.step);
  const { dense, floatInputs } = c.step;
  const kind = `${dense === 'bf16' ? '' : ` dense=${dense}`}${floatInputs === 'f32' ? '' : ` inputs=${floatInputs}`}`;
  const size = `v4-flash layers=${layers} experts=${experts} topk=6 vocab=${vocab}${kind}`;
  let loaded: Loaded | undefined;
  const load = async (threads: number): Promise<Loaded> => {
    if (loaded?.threads === threads) return loaded;
    loaded = undefined;
    decoded.clear();
    prefilled.clear();
    collectGarbage();
    const [need, free] = [1.3 * v4FlashBytes(c.step) + 5e8, freemem()];
    if (need > free)
      throw new SkipCase(
        `it needs about ${(need / 1e9).toFixed(1)} GB of memory, ${(free / 1e9).toFixed(1)} are free; give fewer --layers, --experts or --vocab`,
      );
    const source = new CountingSource(new SyntheticSource(config, dense));
    const model = await createModel(source, {
      backend: c.backend,
      threads,
      isa: c.isa,
      floatInputs,
      maxChunk: tokens,
      signal: c.signal,
    });
    return (loaded = { threads, model, count: source.count });
  };

  // One measurement serves several rows.
  const decoded = new Map<number, Alternated & { outside: number }>();
  const prefilled = new Map<number, Alternated>();

  const decodeBytes = (count: WeightCount): number => count.activeBytes + keyBytes(config, context);
  const decode = async (threads: number): Promise<Alternated & { outside: number; count: WeightCount }> => {
    const { model, count } = await load(threads);
    const before = decoded.get(threads);
    if (before !== undefined) return { ...before, count };
    const sequence = model.createSequence({ maxTokens: context + 256 });
    sequence.restore(randomState(config, context));
    const logits = new Float32Array(vocab);
    const batch = [{ sequence, tokenIds: [5] }];
    const step = (): void => void model.forward(batch, { out: logits });
    step();
    const first = logits.slice();
    checkLogits(first);
    sequence.rewind(context);
    step();
    checkSame('decode after a rewind', logits, first);
    const floor: Floor = { kind: 'read', amount: decodeBytes(count) };
    const room = (work: () => void) => (): void => {
      if (sequence.length >= context + REWIND_TOKENS) sequence.rewind(context);
      work();
    };
    const timed = alternate(c, threads, room(step), [floor]);
    const shares: number[] = [];
    if (c.native) {
      for (let i = 0; i < (c.quick ? 3 : 15); i++) {
        const { total, native } = clockAddons(room(step));
        shares.push(1 - native / total);
      }
    }
    const result = { ...timed, outside: shares.length > 0 ? median(shares) : NaN };
    decoded.set(threads, result);
    return { ...result, count };
  };

  const prefill = async (threads: number): Promise<Alternated & { count: WeightCount }> => {
    const { model, count } = await load(threads);
    const before = prefilled.get(threads);
    if (before !== undefined) return { ...before, count };
    const run = prefillRun(model, randomTokens(vocab, tokens));
    checkLogits(run());
    const floors = (['vpdpbusd', 'vdpbf16ps', 'fma'] as const).map((kind) => ({ kind, amount: 2 ** 30 }));
    const result = alternate(c, threads, run, floors);
    prefilled.set(threads, result);
    return { ...result, count };
  };
  // A multiplication and an addition for each element of a matrix, for every token; the head once, for the last token.
  const denseOperations = (w: WeightCount): number => 2 * (tokens * w.denseElements + w.headElements);
  const expertOperations = (w: WeightCount): number => 2 * tokens * w.expertElements;

  return [
    {
      name: 'step-decode',
      shape: `${size} context=${context}`,
      target: 0.8,
      async run(threads): Promise<Measured> {
        const { seconds, rates, count } = await decode(threads);
        return { median: decodeBytes(count) / seconds / 1e9, unit: 'GB/s', ceiling: rates[0]! / 1e9 };
      },
    },
    {
      name: 'step-decode-outside-native',
      shape: `${size} context=${context}`,
      target: 0.02,
      atMost: true,
      async run(threads): Promise<Measured> {
        if (!c.native) throw new SkipCase('there are no native kernels');
        return { median: (await decode(threads)).outside, unit: 'share', ceiling: 1 };
      },
    },
    {
      name: 'step-prefill',
      shape: `${size} tokens=${tokens}`,
      target: 0.5,
      async run(threads): Promise<Measured> {
        const { seconds, rates, count } = await prefill(threads);
        const operations = denseOperations(count) + expertOperations(count);
        return { median: operations / seconds / 1e9, unit: 'GOPS', ceiling: rates[0]! / 1e9 };
      },
    },
    {
      name: 'step-prefill-by-kind',
      shape: `${size} tokens=${tokens}`,
      async run(threads): Promise<Measured> {
        const { seconds, rates, count } = await prefill(threads);
        const operations = [denseOperations(count), expertOperations(count), attentionOperations(config, 0, tokens)];
        const all = operations.reduce((a, b) => a + b);
        const denseRate = rates[dense === 'nvfp4' ? 0 : dense === 'fp8' && floatInputs === 'f32' ? 2 : 1]!; // quantized, float32, BF16
        const floor = operations[1]! / rates[0]! + operations[0]! / denseRate + operations[2]! / rates[2]!;
        return { median: all / seconds / 1e9, unit: 'GOPS', ceiling: all / floor / 1e9 };
      },
    },
  ];
}

/** A run that prefills a new sequence. */
function prefillRun(model: Model, tokenIds: Int32Array): () => Float32Array {
  const logits = new Float32Array(model.config.vocabSize);
  return () => {
    const sequence = model.createSequence();
    model.forward([{ sequence, tokenIds }], { out: logits });
    sequence.dispose();
    return logits;
  };
}

/** Throws unless logits are finite and differ. */
export function checkLogits(logits: Float32Array): void {
  if (logits.every((x) => Number.isFinite(x)) && logits.some((x) => x !== logits[0])) return;
  throw new BenchError('the synthetic model gives logits that are not finite or all the same; speed is not measured');
}
