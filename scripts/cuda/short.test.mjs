/** Once through the kernels of a whole model, both kinds of compression and the indexer, for tools that take their time. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { cuda, MICRO, model } from './support.mjs';

it('a prompt and a few steps', async () => {
  for (const dir of MICRO) {
    const gpu = cuda.createCudaBackend();
    const m = await model.loadModel(dir, { backend: gpu, maxChunk: 96 });
    const sequences = [m.createSequence(), m.createSequence()];
    const tokens = (n) => Array.from({ length: n }, (_, i) => (i * 37 + 11) % m.config.vocabSize);
    m.forward([{ sequence: sequences[0], tokenIds: tokens(140) }]);
    const logits = m.forward(sequences.map((sequence) => ({ sequence, tokenIds: tokens(3) })));
    assert.ok(logits.every(Number.isFinite));
    m.dispose();
    gpu.dispose();
  }
});
