import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { BACKENDS, cosine, maxAbs, model, readGolden, TINY } from './support';

interface Prompt {
  readonly id: string;
  readonly text: string;
  readonly input_ids: number[];
  readonly greedy_ids: number[];
  readonly gap: number[];
}

const goldens = new URL('./goldens/', import.meta.url).pathname;
const { prompts } = JSON.parse(readFileSync(`${goldens}tiny-prompts.json`, 'utf8')) as { prompts: Prompt[] };
const logits = readGolden(`${goldens}tiny-last-logits.safetensors`);

describe.each(BACKENDS)('%s backend, trained NVFP4 model against Hugging Face', (backend) => {
  it.each(prompts)('w4a16: last logits of $id', async ({ id, input_ids }) => {
    const m = await model(TINY, { backend, activations: 'float' });
    const got = m.forward([{ sequence: m.createSequence({ maxTokens: input_ids.length }), tokenIds: input_ids }]);
    expect(maxAbs(got, logits.get(`w4a16.${id}`)!.data)).toBeLessThan(2e-4);
  });
  it.each(prompts)('w4a4: last logits of $id', async ({ id, input_ids }) => {
    const m = await model(TINY, { backend });
    const got = m.forward([{ sequence: m.createSequence({ maxTokens: input_ids.length }), tokenIds: input_ids }]);
    const want = logits.get(`w4a4.${id}`)!.data;
    // On a long prompt some activation falls on the other side of a rounding boundary and moves this sharp little model:
    // two independent implementations differ by cosine 0.987 to 0.999 there.
    if (input_ids.length <= 40) expect(maxAbs(got, want)).toBeLessThan(2e-4);
    else expect(cosine(got, want)).toBeGreaterThan(0.95);
  });
  it.each(prompts)('w4a16 with BF16 inputs: last logits of $id', async ({ id, input_ids }) => {
    const m = await model(TINY, { backend, activations: 'float', floatInputs: 'bf16' });
    const got = m.forward([{ sequence: m.createSequence({ maxTokens: input_ids.length }), tokenIds: input_ids }]);
    const want = logits.get(`w4a16.${id}`)!.data;
    // Inputs are rounded to 8 bits, some 20 times one after another: far more than float32 sums differ, far less than a mistake.
    expect(maxAbs(got, want)).toBeGreaterThan(2e-4);
    expect(cosine(got, want)).toBeGreaterThan(0.999);
  });
  it.each(prompts.filter((p) => p.input_ids.length <= 40))(
    'w4a4 greedy text of $id',
    async ({ input_ids, greedy_ids }) => {
      const m = await model(TINY, { backend });
      const ids: number[] = [];
      let finish: string | undefined;
      for await (const chunk of m.generate({ tokenIds: input_ids, maxTokens: 48 })) {
        ids.push(chunk.tokenId);
        finish = chunk.finishReason;
      }
      if (greedy_ids.at(-1) === 1) expect(finish).toBe('stop');
      expect(ids[0]).toBe(greedy_ids[0]);
    },
  );
});
