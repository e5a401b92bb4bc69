import { expect, it } from 'vitest';
import { BACKENDS, model, TINY } from './support';

it.each(BACKENDS)('a warm decode step makes no buffers on %s', async (backend) => {
  const m = await model(TINY, { backend });
  const sequences = [m.createSequence({ maxTokens: 400 }), m.createSequence({ maxTokens: 400 })];
  const batch = sequences.map((sequence) => ({ sequence, tokenIds: [7] }));
  const out = new Float32Array(2 * m.config.vocabSize);
  // Past the first HCA entry (128 tokens), so that every kind of step has been seen.
  for (let i = 0; i < 140; i++) m.forward(batch, { out });
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 64; i++) m.forward(batch, { out });
  // A single typed array for each step would be at least 64 buffers; collection can only lower the figure.
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThanOrEqual(0);
});
