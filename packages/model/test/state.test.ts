import { expectBytes, expectClose, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import type { LoadOptions } from '../src/index';
import { breathe, ENGINES, MICRO_FLASH, model, TINY } from './support';

describe.each(ENGINES)('%j: bits do not depend on company or on cuts', (engine) => {
  it('a sequence computed beside others = alone', async () => {
    const m = await model(TINY, engine);
    const random = seeded(6);
    const prompts = [3, 70, 1, 131].map((n) => Array.from({ length: n }, () => random.int(m.config.vocabSize)));
    const alone: Float32Array[] = [];
    const apart = prompts.map(() => m.createSequence());
    for (const [i, tokenIds] of prompts.entries()) {
      alone.push(m.forward([{ sequence: apart[i]!, tokenIds }]));
      await breathe();
    }
    const sequences = prompts.map(() => m.createSequence());
    const together = m.forward(prompts.map((tokenIds, i) => ({ sequence: sequences[i]!, tokenIds })));
    const v = m.config.vocabSize;
    alone.forEach((row, i) => expectBytes(together.subarray(i * v, (i + 1) * v), row));
    await breathe();
    const step = m.forward(sequences.map((sequence) => ({ sequence, tokenIds: [9] })));
    apart.forEach((sequence, i) =>
      expectBytes(step.subarray(i * v, (i + 1) * v), m.forward([{ sequence, tokenIds: [9] }])),
    );
  });

  it('clone, save and restore, mark and rewind change nothing', async () => {
    const m = await model(TINY, engine);
    const random = seeded(7);
    const ids = Array.from({ length: 150 }, () => random.int(m.config.vocabSize));
    const sequence = m.createSequence({ maxTokens: 400 });
    m.forward([{ sequence, tokenIds: ids }]);
    await breathe();
    const clone = sequence.clone();
    const saved = structuredClone(sequence.save());
    const mark = sequence.mark();
    const next = [5, 6, 7, 8, 9];
    const want = m.forward([{ sequence, tokenIds: next }]);
    expect(sequence.length).toBe(155);
    sequence.rewind(mark);
    expect([...sequence.tokenIds]).toEqual(ids);
    m.forward([{ sequence, tokenIds: Array.from({ length: 140 }, () => 11) }]); // overwrite the whole ring
    await breathe();
    sequence.rewind(mark);
    expectBytes(m.forward([{ sequence, tokenIds: next }]), want);
    expectBytes(m.forward([{ sequence: clone, tokenIds: next }]), want);
    const other = m.createSequence({ maxTokens: 400 });
    other.restore(saved);
    expect([...other.tokenIds]).toEqual(ids);
    expectBytes(m.forward([{ sequence: other, tokenIds: next }]), want);
    expect(() => other.rewind(mark)).toThrow(/another sequence/);
  });
});

it('instruction sets agree: to float32 rounding as a whole, and they take the same experts and keys', async () => {
  const ids = Array.from({ length: 40 }, (_, i) => (i * 91) % 160);
  const [first, ...others] = ENGINES.filter((e) => e.backend === 'cpu');
  if (!first) return; // without a compiler there is one engine, and nothing to compare
  const run = async (engine: LoadOptions): Promise<Float32Array> => {
    const m = await model(MICRO_FLASH, engine);
    return m.forward([{ sequence: m.createSequence(), tokenIds: ids }], { logits: 'all' });
  };
  const want = await run(first);
  for (const engine of others) expectClose(await run(engine), want, { maxAbs: 2e-5, nmse: 1e-10 });
});
