import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expectBytes, expectClose, repositoryFile } from '@megamoe/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { type ForwardResult, referenceForward, referenceLayer, type TraceTensor } from '../src/index';
import { readConfig, readModel, readSafetensors, type Tensors, tensor, values, weightReader } from './checkpoint';

// Hugging Face's float32 run is 4.6e-5 away from exact arithmetic in the worst trace (values up to 38), 9e-6 in the logits.
const BOUND = 5e-5;

/** Rows of a trace at the positions that the golden kept. */
function rowsAt({ shape, data }: TraceTensor, positions: Float64Array): Float64Array {
  const row = data.length / shape[0]!;
  const out = new Float64Array(positions.length * row);
  positions.forEach((p, i) => out.set(data.subarray(p * row, (p + 1) * row), i * row));
  return out;
}

/** For each token, expert -> weight, as entries sorted by expert: the order within a row has no meaning. */
function byExpert(ids: ArrayLike<number>, weights: ArrayLike<number>, topk: number): [number, number][] {
  return Array.from({ length: ids.length / topk }, (_, t) =>
    Array.from({ length: topk }, (_, j): [number, number] => [ids[t * topk + j]!, weights[t * topk + j]!]).sort(
      (a, b) => a[0] - b[0],
    ),
  ).flat();
}

describe.each(['micro-flash', 'micro-wide'])('models/%s against Hugging Face', (name) => {
  const dir = repositoryFile(`models/${name}`);
  const config = readConfig(dir);
  let golden: Tensors;
  let result: ForwardResult;
  beforeAll(() => {
    golden = readSafetensors(join(dir, 'golden.safetensors'));
    const ids = values(golden, 'input_ids');
    result = referenceForward(config, weightReader(readModel(dir)), ids, { trace: true });
  });
  const traced = (tensorName: string): TraceTensor => {
    const found = result.trace.get(tensorName);
    if (!found) throw new Error(`the trace has no ${tensorName}`);
    return found;
  };

  it('has the logits, where the golden holds them', () => {
    expect(result.logits.length).toBe(values(golden, 'input_ids').length * config.vocabSize);
    expect(result.logits.every(Number.isFinite)).toBe(true);
    expect(golden.has('logits')).toBe(name === 'micro-flash');
    if (golden.has('logits')) expectClose(result.logits, values(golden, 'logits'), { maxAbs: 2e-5 });
  });

  it('has every floating-point trace of the golden', () => {
    const positions = values(golden, 'positions');
    const compared: string[] = [];
    for (const key of golden.keys()) {
      if (/^(logits|input_ids|positions)$|\.(visible|topk_ids|topk_weights)$/.test(key)) continue;
      const want = tensor(golden, key);
      const got = traced(key);
      const whole = key.endsWith('compressed_kv');
      expect([whole ? got.shape[0] : positions.length, ...got.shape.slice(1)], key).toEqual(want.shape);
      expectClose(whole ? got.data : rowsAt(got, positions), values(golden, key), { maxAbs: BOUND, shape: want.shape });
      compared.push(key);
    }
    expect(compared.length).toBe(name === 'micro-flash' ? 6 * 6 + 4 + 1 : 2 * 6 + 2);
  });

  it('has the same visible sets, bit for bit', () => {
    const compressed = config.compressRatios.flatMap((ratio, i) => (ratio ? [`layers.${i}.visible`] : []));
    expect(compressed.length).toBe(name === 'micro-flash' ? 4 : 2);
    for (const key of compressed) {
      expect(traced(key).shape).toEqual(tensor(golden, key).shape);
      expectBytes(traced(key).data, values(golden, key), tensor(golden, key).shape);
    }
  });

  it('has the same experts and weights', () => {
    const topk = config.numExpertsPerTok;
    for (let i = 0; i < config.numHiddenLayers; i++) {
      const ids = `layers.${i}.topk_ids`;
      const weights = `layers.${i}.topk_weights`;
      const got = byExpert(traced(ids).data, traced(weights).data, topk);
      const want = byExpert(values(golden, ids), values(golden, weights), topk);
      expectBytes(got.map(([e]) => e), want.map(([e]) => e)); // prettier-ignore
      expectClose(got.map(([, w]) => w), want.map(([, w]) => w), { maxAbs: 2e-6 }); // prettier-ignore
    }
  });
});

describe('models/tiny, trained, NVFP4 experts', () => {
  const dir = repositoryFile('models/tiny');
  const config = readConfig(dir);
  const golden = readSafetensors(fileURLToPath(new URL('goldens/tiny.safetensors', import.meta.url)));
  const weights = weightReader(readModel(dir));
  const known = new Map<string, Float64Array>();
  const lastLogits = (prompt: string, activations: 'float' | 'nvfp4' | 'nvfp4-dynamic'): Float64Array => {
    const key = `${prompt} ${activations}`;
    const before = known.get(key);
    if (before) return before;
    const ids = values(golden, `${prompt}.input_ids`);
    const { logits, trace } = referenceForward(config, weights, ids, { activations });
    expect(trace.size).toBe(0);
    const last = logits.slice((ids.length - 1) * config.vocabSize);
    known.set(key, last);
    return last;
  };

  it.each(['capital-france', 'chat-plus'])('%s: float and NVFP4 activations', (prompt) => {
    expectClose(lastLogits(prompt, 'float'), values(golden, `${prompt}.w4a16`), { maxAbs: 2e-5 });
    expectClose(lastLogits(prompt, 'nvfp4'), values(golden, `${prompt}.w4a4`), { maxAbs: 2e-5 });
  });

  it('quantized activations move the logits, and the answer stays', () => {
    const want = values(golden, 'capital-france.w4a4');
    expect(() => expectClose(lastLogits('capital-france', 'float'), want, { maxAbs: 1e-2 })).toThrow(/max abs/);
    const dynamic = lastLogits('capital-france', 'nvfp4-dynamic');
    expect(dynamic.indexOf(Math.max(...dynamic))).toBe(want.indexOf(Math.max(...want)));
  });
});

describe('prompts', () => {
  const dir = repositoryFile('models/micro-flash');
  const config = readConfig(dir);
  const weights = weightReader(readModel(dir));

  it('an empty prompt has no logits', () => {
    expect(referenceForward(config, weights, [], { trace: true }).logits.length).toBe(0);
  });
  it('a position does not depend on what follows', () => {
    const ids = [5, 9, 150, 3, 3, 77, 12, 0, 1];
    const all = referenceForward(config, weights, ids).logits;
    for (const s of [1, 4, 7]) {
      const { logits } = referenceForward(config, weights, ids.slice(0, s));
      expectBytes(logits, all.subarray(0, s * config.vocabSize));
    }
  });
  it('a layer alone gives what it gives within the model', () => {
    const ids = [5, 9, 150, 3, 3, 77, 12, 0, 1];
    const { trace } = referenceForward(config, weights, ids, { trace: true });
    for (const layer of [1, 2, 5]) {
      const alone = referenceLayer(config, weights, layer, trace.get(`layers.${layer - 1}.streams`)!.data, ids);
      expectBytes(alone, trace.get(`layers.${layer}.streams`)!.data as Float64Array);
    }
    expect(() => referenceLayer(config, weights, 6, [], [])).toThrow('"layer" must be an integer in [0, 5], got 6');
    expect(() => referenceLayer(config, weights, 0, [1], [5])).toThrow(
      '"streams" must have length S*hc*D = 256, got 1',
    );
    expect(() => referenceLayer(config, weights, 0, new Float64Array(256), [160])).toThrow(
      '"tokenIds" must hold token ids in [0, 160), got 160 at index 0',
    );
  });
  it('refuses ids outside the vocabulary', () => {
    expect(() => referenceForward(config, weights, [1, 160])).toThrow(
      '"tokenIds" must hold token ids in [0, 160), got 160 at index 1',
    );
    expect(() => referenceForward(config, weights, [1.5])).toThrow(
      '"tokenIds" must hold token ids in [0, 160), got 1.5 at index 0',
    );
  });
  it('refuses a configuration that does not fit', () => {
    const run = (change: object): unknown => referenceForward({ ...config, ...change }, weights, [1]);
    expect(() => run({ compressRatios: [0, 0, 4, 128, 4, 7] })).toThrow('"compressRatios" must be one of 0, 4, 128');
    expect(() => run({ compressRatios: [0] })).toThrow('numHiddenLayers = 6, got 1');
    expect(() => run({ numExpertsPerTok: 9 })).toThrow('"numExpertsPerTok" must be an integer in [1, 8], got 9');
    expect(() => run({ oGroups: 3 })).toThrow('"oGroups" 3 must divide heads * headDim = 128');
  });
  it('refuses a weight of the wrong length, by name', () => {
    const short: typeof weights = (name, shape) =>
      name === 'layers.2.attn.wkv.weight' ? new Float64Array(7) : weights(name, shape);
    expect(() => referenceForward(config, short, [1])).toThrow(
      '"layers.2.attn.wkv.weight" must have length [32, 64] = 2048, got 7',
    );
  });
  it('uses the embedding as the head when they are tied', () => {
    const tied = referenceForward({ ...config, tieWordEmbeddings: true }, weights, [7, 8]).logits;
    const head: typeof weights = (name, shape) => weights(name === 'head.weight' ? 'embed.weight' : name, shape);
    expectBytes(tied, referenceForward(config, head, [7, 8]).logits);
  });
});
