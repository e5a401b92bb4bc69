/** A machine without a GPU, or with CUDA_VISIBLE_DEVICES= : the addon loads, everybody says why there is none, and the CPU takes over. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cuda, model, note, TINY } from './support.mjs';

describe('without a GPU', () => {
  const report = cuda.cudaReport();

  it('the addon loads, and the report says what is missing', () => {
    assert.equal(cuda.cudaAddonInfo().loaded, true, cuda.cudaAddonInfo().reason);
    assert.equal(report.available, false);
    assert.deepEqual(report.gpus, []);
    assert.match(report.reason, /no NVIDIA (driver is installed|GPU is visible)|driver is too old|driver refuses/);
    note(`without a GPU: ${report.reason}`);
  });

  it('who asks for it hears the same, by the function that was called', async () => {
    const said = { code: 'ERR_UNSUPPORTED', message: `createCudaBackend: no GPU to compute on: ${report.reason}` };
    assert.throws(() => cuda.createCudaBackend(), said);
    assert.throws(() => cuda.createCudaBackend({ device: 1 }), said);
    const here = { code: 'ERR_UNSUPPORTED', message: `createBackend: no "cuda" backend here: ${report.reason}` };
    await assert.rejects(model.loadModel(TINY, { backend: 'cuda' }), here);
    assert.throws(() => model.planModel(TINY, { backend: 'cuda' }), here);
  });

  it('bad arguments are told first', () => {
    assert.throws(() => cuda.createCudaBackend({ device: -1 }), /"device" must be an integer/);
    assert.throws(() => cuda.createCudaBackend(null), /"options" must be an object/);
  });

  it('the process goes on: auto takes the CPU', async () => {
    const m = await model.loadModel(TINY);
    assert.match(m.backend.name, /^(cpu|js)$/);
    let text = '';
    for await (const chunk of m.generate({ prompt: 'The capital of France is', maxTokens: 4 })) text += chunk.text;
    assert.match(text, /^ Paris/);
    m.dispose();
  });
});
