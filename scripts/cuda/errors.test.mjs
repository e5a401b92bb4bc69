/** What goes wrong is named, leaves nothing behind, and harms nobody. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cuda, model, note, TINY } from './support.mjs';

const thrown = (f) => {
  try {
    f();
  } catch (error) {
    return error;
  }
  return undefined;
};
const free = () => cuda.cudaReport().gpus[0].freeBytes;
async function ask(m) {
  let text = '';
  for await (const chunk of m.generate({ prompt: 'The capital of France is', maxTokens: 4 })) text += chunk.text;
  return text;
}

describe('errors', () => {
  it('a device index that is not there', () => {
    const error = thrown(() => cuda.createCudaBackend({ device: 99 }));
    assert.match(
      `${error.code} ${error.message}`,
      /ERR_UNSUPPORTED createCudaBackend: "device" 99 is not there; there are: 0 \(/,
    );
    assert.match(thrown(() => cuda.createCudaBackend({ device: -1 })).message, /"device" must be an integer/);
  });

  it('no memory: a named error, nothing lost, and the backend goes on', () => {
    const before = free();
    const gpu = cuda.createCudaBackend();
    const error = thrown(() => gpu.alloc('f32', [2 ** 39]));
    assert.match(
      `${error.code} ${error.reason} ${error.message}`,
      /ERR_DEVICE memory alloc: no memory left on the GPU/,
    );
    const x = gpu.tensor(Float32Array.of(1, 2, 3));
    const out = new Float32Array(3);
    gpu.download(x, 0, 3, out, 0);
    assert.deepEqual([...out], [1, 2, 3]);
    gpu.dispose();
    assert.match(thrown(() => gpu.alloc('f32', [1])).message, /disposed/);
    assert.match(thrown(() => x.view(0, 1) && gpu.download(x, 0, 1, out, 0)).message, /disposed/);
    assert.ok(Math.abs(before - free()) < 64e6, `free memory went from ${before} to ${free()}`);
  });

  it('tensors of another backend, of the wrong type, disposed, or too short', () => {
    const [a, b] = [cuda.createCudaBackend(), cuda.createCudaBackend()];
    const x = a.alloc('f32', [4]);
    assert.match(
      thrown(() => b.add({ out: b.alloc('f32', [4]), x, n: 4 })).message,
      /add: "x" is a tensor of another backend/,
    );
    assert.match(
      thrown(() => a.add({ out: a.alloc('i32', [4]), x, n: 4 })).message,
      /add: "out" must be a tensor of f32, got i32/,
    );
    assert.match(
      thrown(() => a.add({ out: a.alloc('f32', [3]), x, n: 4 })).message,
      /add: "out" must hold at least n = 4/,
    );
    assert.match(thrown(() => a.add({ out: x.view(1, 3), x, n: 3 })).message, /add: "out" must not overlap "x"/);
    x.dispose();
    x.dispose();
    assert.match(thrown(() => a.add({ out: a.alloc('f32', [4]), x, n: 4 })).message, /add: "x" has been disposed/);
    a.dispose();
    b.dispose();
  });

  it('NaN in one sequence of a step: it alone fails, the other has its bits', async () => {
    const gpu = cuda.createCudaBackend();
    const m = await model.loadModel(TINY, { backend: gpu });
    const ids = [...m.tokenizer.encode('The capital of France is')];
    const alone = m.createSequence({ maxTokens: 64 });
    const want = Float32Array.from(m.forward([{ sequence: alone, tokenIds: ids }]));
    // Poison the window of one sequence: its attention gives NaN from then on.
    const [bad, good] = [m.createSequence({ maxTokens: 64 }), m.createSequence({ maxTokens: 64 })];
    m.forward([{ sequence: bad, tokenIds: ids }]);
    const window = m.memory.cache.part(0, 'window');
    const { ids: pages } = bad.pages.list('window');
    const width = window.shape[1];
    gpu.upload(window, pages[0] * 64 * width, new Float32Array(width).fill(NaN), 0, width);
    let error;
    try {
      m.forward([
        { sequence: bad, tokenIds: [5] },
        { sequence: good, tokenIds: ids },
      ]);
    } catch (e) {
      error = e;
    }
    assert.equal(error?.name, 'StepError');
    assert.equal(error.failures.length, 1);
    assert.equal(error.failures[0].item, 0);
    const v = m.config.vocabSize;
    assert.deepEqual(error.logits.subarray(v, 2 * v), want);
    note(`a bad sequence: ${error.failures[0].error.message.slice(0, 120)}`);
    m.dispose();
    gpu.dispose();
  });

  it('two models on one GPU', async () => {
    const [a, b] = await Promise.all([
      model.loadModel(TINY, { backend: 'cuda' }),
      model.loadModel(TINY, { backend: 'cuda', activations: 'float' }),
    ]);
    const [x, y] = await Promise.all([ask(a), ask(b)]);
    assert.match(x, /^ Paris/);
    assert.match(y, /^ Paris/);
    a.dispose();
    assert.equal(await ask(b), y);
    b.dispose();
  });

  it('load, generate, dispose, round after round: memory stays flat', async () => {
    const rounds = Number(process.env.MEGAMOE_CUDA_ROUNDS ?? 200);
    let first;
    for (let i = 0; i < rounds; i++) {
      const m = await model.loadModel(TINY, { backend: 'cuda' });
      assert.match(await ask(m), /^ Paris/);
      m.dispose();
      if (i === 4) first = free();
    }
    const last = free();
    note(`${rounds} rounds: free memory ${first} after 5, ${last} at the end`);
    assert.ok(first - last < 32e6, `free memory fell from ${first} to ${last}`);
  });

  it('a lost GPU: named errors from then on, and the process goes on without it', async () => {
    const gpu = cuda.createCudaBackend();
    const m = await model.loadModel(TINY, { backend: gpu });
    await ask(m);
    gpu.simulateLoss();
    const step = () => {
      m.forward([{ sequence: m.createSequence({ maxTokens: 8 }), tokenIds: [1, 2] }]);
      gpu.synchronize();
    };
    const error = thrown(step);
    assert.equal(error?.code, 'ERR_DEVICE');
    assert.equal(error.reason, 'lost');
    note(`a lost GPU: ${error.message}`);
    assert.equal(thrown(step)?.reason, 'lost');
    m.dispose();
    gpu.dispose();
    const host = await model.loadModel(TINY, { backend: 'cpu' });
    assert.match(await ask(host), /^ Paris/);
    host.dispose();
    let after = 'can be used again in this process';
    try {
      const again = await model.loadModel(TINY, { backend: 'cuda' });
      assert.match(await ask(again), /^ Paris/);
      again.dispose();
    } catch (e) {
      assert.match(`${e.code}`, /ERR_UNSUPPORTED|ERR_DEVICE/);
      after = `cannot be used again in this process: ${e.message}`;
    }
    note(`after the loss the GPU ${after}`);
  });
});
