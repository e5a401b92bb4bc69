/** The trained model against Hugging Face: last logits, the likelihood of every token, and greedy texts. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { LoadOptions } from '../src/index';
import { cosine, ENGINES, maxAbs, model, nll, prefill, readGolden, TINY } from './support';

interface Prompt {
  readonly id: string;
  readonly input_ids: number[];
  /** What Hugging Face continues with at BF16 weights. */
  readonly greedy_ids: number[];
  /** Between its two best logits, at each of these tokens. */
  readonly gap: number[];
}

const goldens = new URL('./goldens/', import.meta.url).pathname;
const { prompts } = JSON.parse(readFileSync(`${goldens}tiny-prompts.json`, 'utf8')) as { prompts: Prompt[] };
const tensors = readGolden(`${goldens}tiny-logits.safetensors`);
const golden = (name: string): Float32Array => tensors.get(name)!.data as Float32Array;

/** Independent float32 implementations are 1e-5 apart, on every prompt; the largest logits are near 19. */
const BOUND = 2e-5;
/** Where one input falls on the other side of a rounding boundary, its token moves: cosines stay above 0.99998 between implementations. */
const COSINE = 0.9999;
/** Below this gap two right implementations may choose differently. */
const GAP = 0.05;

/** Logits [S, V] and their last row. */
async function run(options: LoadOptions, ids: readonly number[]): Promise<{ all: Float32Array; last: Float32Array }> {
  const m = await model(TINY, options);
  const all = await prefill(m, ids);
  return { all, last: all.subarray(all.length - m.config.vocabSize) };
}

/** Prompts up to a length in JavaScript, which takes 10 ms for a token, and up to another in plain C++; all of them with vectors. */
const upTo = (tokens: number, { backend, isa }: LoadOptions, generic = Infinity): readonly Prompt[] => {
  const most = backend === 'js' ? tokens : isa === 'generic' ? generic : Infinity;
  return prompts.filter((p) => p.input_ids.length <= most);
};

it('the shipped files are those that its README lists', () => {
  const readme = readFileSync(join(TINY, 'README.md'), 'utf8');
  const listed = [...readme.matchAll(/^([0-9a-f]{64}) {2}(\S+)$/gm)].map(([, sum, name]) => ({ sum, name: name! }));
  expect(listed.map((f) => f.name)).toContain('encoding/encoding_dsv4.py');
  expect(listed.map((f) => f.name)).toEqual(
    expect.arrayContaining(readdirSync(TINY).filter((f) => f.includes('model'))),
  );
  const sums = listed.map(({ name }) =>
    createHash('sha256')
      .update(readFileSync(join(TINY, name)))
      .digest('hex'),
  );
  expect(sums).toEqual(listed.map((f) => f.sum));
});

it('the goldens reach past every window, and past half of the context', () => {
  expect(prompts.map((p) => p.input_ids.length)).toEqual([6, 11, 12, 16, 31, 242, 314, 68, 44, 285, 1462]);
});

describe.each(ENGINES)('%j', (engine) => {
  it.each(prompts)('w4a16: $id', async ({ id, input_ids }) => {
    const { all, last } = await run({ ...engine, activations: 'float' }, input_ids);
    expect(maxAbs(last, golden(`w4a16.${id}.last_logits`))).toBeLessThan(BOUND);
    expect(maxAbs(nll(all, input_ids), golden(`w4a16.${id}.nll`))).toBeLessThan(BOUND);
  });

  it.each(upTo(250, engine))('w4a4: $id', async ({ id, input_ids }) => {
    const { all, last } = await run(engine, input_ids);
    const want = golden(`w4a4.${id}.last_logits`);
    if (maxAbs(last, want) >= BOUND) expect(cosine(last, want)).toBeGreaterThan(COSINE);
    const likely = golden(`w4a4.${id}.nll`);
    const apart = nll(all, input_ids).map((x, i) => x - likely[i]!);
    expect(apart.map(Math.abs).sort()[apart.length >> 1]).toBeLessThan(BOUND); // tokens that nothing moved are the most
    expect(Math.abs(apart.reduce((sum, x) => sum + x, 0) / apart.length)).toBeLessThan(1e-3);
  });

  it.each(upTo(40, engine, 250))('w4a16 with BF16 inputs: $id', async ({ id, input_ids }) => {
    const { last } = await run({ ...engine, activations: 'float', floatInputs: 'bf16' }, input_ids);
    const want = golden(`w4a16.${id}.last_logits`);
    // Inputs are rounded to 8 bits, some 20 times one after another: far more than float32 sums differ, far less than a mistake.
    expect(maxAbs(last, want)).toBeGreaterThan(10 * BOUND);
    expect(cosine(last, want)).toBeGreaterThan(0.999);
  });

  it.each(upTo(100, engine))('w4a4 greedy text: $id', async ({ input_ids, greedy_ids, gap }) => {
    const m = await model(TINY, engine);
    const ids: number[] = [];
    let finish: string | undefined;
    for await (const chunk of m.generate({ tokenIds: input_ids, maxTokens: greedy_ids.length })) {
      ids.push(chunk.tokenId!);
      finish = chunk.finishReason;
    }
    const sure = gap.findIndex((g) => g < GAP);
    const compared = sure < 0 ? greedy_ids.length : sure;
    expect(compared).toBeGreaterThan(0);
    expect(ids.slice(0, compared)).toEqual(greedy_ids.slice(0, compared));
    if (sure < 0 && greedy_ids.at(-1) === 1) expect(finish).toBe('stop');
  });
});
