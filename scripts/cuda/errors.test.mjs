/** What goes wrong is named, leaves nothing behind, and harms nobody. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { checkpoint, cuda, model, note, ops, TINY } from './support.mjs';

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
  for await (const chunk of m.generate({ prompt: FRANCE, maxTokens: 4 })) text += chunk.text;
  return text;
}

const FRANCE = 'The capital of France is';

/** Memory of the GPU that is taken until at most `keep` bytes are free; freed by what it answers. */
function hog(keep) {
  const gpu = cuda.createCudaBackend();
  for (let piece = 2 ** 33; piece >= 2 ** 21; piece /= 2)
    while (free() - piece >= keep) {
      const error = thrown(() => gpu.alloc('u8', [piece]));
      if (error === undefined) continue;
      assert.equal(error.reason, 'memory');
      break; // what is free does not lie together
    }
  return () => gpu.dispose();
}

/** Runs `work` and holds it to giving back all memory that it took. */
async function givesBack(what, work) {
  const before = free();
  const result = await work();
  const after = free();
  assert.ok(Math.abs(before - after) <= 8e6, `${what}: free memory went from ${before} to ${after}`);
  return result;
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

  it('a model that does not fit: said before anything is uploaded, with what is needed and what is free', async () => {
    await givesBack('the plan', async () => {
      const release = hog(60e6);
      const here = free();
      const error = await model.loadModel(TINY, { backend: 'cuda' }).catch((e) => e);
      assert.match(
        `${error.code} ${error.message}`,
        /^ERR_VALUE loadModel: this model needs 0\.\d+ GB of memory on the GPU \(.*experts 0\.\d+ GB\), 0\.\d+ GB of [\d.]+ GB are free: stop what else/,
      );
      note(`no room: ${error.message}`);
      assert.ok(Math.abs(here - free()) < 8e6);
      assert.equal(model.planModel(TINY, { backend: 'cuda' }).fits, 'no');
      release();
    });
    const m = await model.loadModel(TINY, { backend: 'cuda' });
    assert.match(await ask(m), /^ Paris/);
    m.dispose();
  });

  it('the plan is what a load then takes', async () => {
    const gpu = cuda.createCudaBackend();
    const m = await model.loadModel(TINY, { backend: gpu });
    const planned = m.plan.parts.filter(({ name }) => name !== 'state').reduce((sum, { bytes }) => sum + bytes, 0);
    note(
      `plan: ${planned} bytes, the backend holds ${gpu.memory.bytes}; KV pages for ${m.plan.device.kvTokens} tokens`,
    );
    assert.ok(Math.abs(gpu.memory.bytes - planned) < 0.01 * planned + 1e6, `${gpu.memory.bytes} for ${planned}`);
    assert.ok(planned < m.plan.device.neededBytes);
    assert.ok(m.plan.device.kvTokens > 1e6);
    m.dispose();
    assert.deepEqual(gpu.memory, { bytes: 0, allocations: 0 });
    gpu.dispose();
  });

  it('no memory left in the middle of a load: a named error, all of it given back, and the next load is fine', async () => {
    const gpu = cuda.createCudaBackend();
    const blind = ops.overlaid(gpu, { deviceMemory: () => ({ freeBytes: 1e12, totalBytes: 1e12 }) });
    await givesBack('the load', async () => {
      const release = hog(8e6);
      const error = await model.loadModel(TINY, { backend: blind }).catch((e) => e);
      assert.match(
        `${error.code} ${error.reason} ${error.message}`,
        /^ERR_DEVICE memory \w+: no memory left on the GPU/,
      );
      assert.deepEqual(gpu.memory, { bytes: 0, allocations: 0 });
      release();
    });
    const m = await model.loadModel(TINY, { backend: gpu });
    assert.match(await ask(m), /^ Paris/);
    m.dispose();
    assert.deepEqual(gpu.memory, { bytes: 0, allocations: 0 });
    gpu.dispose();
  });

  it('a load that is stopped, or whose source fails, gives everything back', async () => {
    const gpu = cuda.createCudaBackend();
    await givesBack('the stopped load', async () => {
      const stop = new AbortController();
      const onProgress = (done, total) => done > total / 2 && stop.abort(new Error('stopped'));
      await assert.rejects(model.loadModel(TINY, { backend: gpu, onProgress, signal: stop.signal }), /stopped/);
      assert.deepEqual(gpu.memory, { bytes: 0, allocations: 0 });
    });
    const source = checkpoint.openCheckpoint(TINY);
    const cut = {
      config: source.config,
      linear: (...a) => source.linear(...a),
      linearRows: (...a) => source.linearRows(...a),
      vector: (...a) => source.vector(...a),
      ints: (...a) => source.ints(...a),
      expertScales: (...a) => source.expertScales(...a),
      expert(layer, expert, matrix, buffers) {
        if (layer === 1 && expert === 2) throw new Error('the file ends here');
        return source.expert(layer, expert, matrix, buffers);
      },
    };
    await assert.rejects(model.createModel(cut, { backend: gpu }), /the file ends here/);
    assert.deepEqual(gpu.memory, { bytes: 0, allocations: 0 });
    source.close();
    gpu.dispose();
  });

  it('files come through pinned memory with every bit, whatever their parts', () => {
    const gpu = cuda.createCudaBackend();
    const reads = gpu.createReadMemory();
    const folder = mkdtempSync(join(tmpdir(), 'megamoe-cuda-'));
    const file = join(folder, 'data');
    const size = 9_000_001;
    const bytes = Buffer.alloc(size);
    for (let i = 0; i < size; i++) bytes[i] = (i * 2654435761) >>> 13;
    writeFileSync(file, bytes);
    const fd = openSync(file, 'r');
    const pieces = [];
    for (let at = 0, n = 1; at < size; at += n, n = Math.min(size - at, 3 * n + 7)) {
      reads.rewind();
      const data = reads.take(n);
      assert.equal(reads.read(fd, data, 0, n, at), n);
      pieces.push([at, n, gpu.tensor(data)]); // copied from pinned memory while the next one is read
    }
    closeSync(fd);
    rmSync(folder, { recursive: true });
    reads.dispose();
    for (const [at, n, tensor] of pieces) {
      const out = new Uint8Array(n);
      gpu.download(tensor, 0, n, out, 0);
      assert.ok(bytes.subarray(at, at + n).equals(out), `bytes from ${at} on`);
      tensor.dispose();
    }
    assert.ok(pieces.length > 10);
    gpu.dispose();
  });

  it('a sequence that outgrows the memory for its pages fails by name, keeps what it has, and goes on when there is room', async () => {
    const gpu = cuda.createCudaBackend();
    const m = await model.loadModel(TINY, { backend: gpu, maxChunk: 64 });
    const tokens = (from, n) => Array.from({ length: n }, (_, i) => ((from + i) * 37 + 11) % m.config.vocabSize);
    const most = Math.min(4096, m.config.maxPositionEmbeddings);
    const alone = m.createSequence({ maxTokens: most });
    const want = Float32Array.from(m.forward([{ sequence: alone, tokenIds: tokens(0, most) }]));
    alone.dispose();
    const [long, other] = [m.createSequence({ maxTokens: most }), m.createSequence({ maxTokens: most })];
    m.forward([{ sequence: long, tokenIds: tokens(0, 60) }]);
    m.forward([{ sequence: other, tokenIds: tokens(0, 60) }]);
    const over = thrown(() => m.forward([{ sequence: long, tokenIds: tokens(60, most) }]));
    assert.match(`${over?.code} ${over?.message}`, /maxTokens|at most|limit/);
    note(`more tokens than a sequence may have: ${over.message}`);
    // The pages of `alone` are there; others are needed once these are taken, and then there is no memory.
    const fill = [];
    const release = hog(1e6);
    let error;
    for (let i = 0; i < 4000 && error === undefined; i++) {
      const s = m.createSequence({ maxTokens: most });
      fill.push(s);
      error = thrown(() => m.forward([{ sequence: s, tokenIds: tokens(0, 1024) }], { logits: 'none' }));
    }
    assert.match(
      `${error?.code} ${error?.reason} ${error?.message}`,
      /^ERR_DEVICE memory cache\.grow: no memory for \d+ pages of kind \w+: \d+ (more )?bytes .*of the GPU/,
    );
    note(`no pages left: ${error.message}`);
    assert.equal(long.length, 60);
    fill.forEach((s) => s.dispose());
    release();
    const rest = m.forward([{ sequence: long, tokenIds: tokens(60, most - 60) }]);
    assert.deepEqual(Float32Array.from(rest), want);
    assert.ok(m.forward([{ sequence: other, tokenIds: tokens(60, 4) }]).every(Number.isFinite));
    m.dispose();
    assert.deepEqual(gpu.memory, { bytes: 0, allocations: 0 });
    gpu.dispose();
  });

  it('NaN in one row of a staging names the row, and the others are staged all the same', () => {
    const gpu = cuda.createCudaBackend();
    const [rows, k] = [4, 64];
    const data = Float32Array.from({ length: rows * k }, (_, i) => Math.sin(i));
    const expertOffsets = gpu.tensor(Int32Array.of(rows));
    const stage = (values) => {
      const staged = gpu.createStaged({ slots: rows, k, inputs: ['nvfp4'] });
      const x = gpu.tensor(values);
      gpu.stage({
        x,
        k,
        slotToken: null,
        slots: rows,
        expertOffsets,
        inputs: 'nvfp4',
        globalDecodeScale: null,
        staged,
      });
      return staged;
    };
    const want = gpu.readStaged(stage(data));
    const bad = stage(data.map((v, i) => (i === 2 * k + 5 ? NaN : v)));
    const error = thrown(() => gpu.synchronize());
    assert.match(`${error?.code} ${error?.message}`, /^ERR_VALUE stage: .*index \d+/);
    note(`NaN in a row: ${error.message}`);
    gpu.synchronize(); // told once
    const got = gpu.readStaged(bad);
    for (const row of [0, 1, 3]) {
      const part = (v, width) => [...v.subarray(row * width, (row + 1) * width)];
      assert.deepEqual(part(got.codes, k / 2), part(want.codes, k / 2), `row ${row}`);
      assert.deepEqual(part(got.sf, k / 16), part(want.sf, k / 16), `row ${row}`);
      assert.equal(got.rowScale[row], want.rowScale[row]);
    }
    gpu.dispose();
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
    const ids = [...m.tokenizer.encode(FRANCE)];
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

  it('two models on one backend: what one gives back is all that it had', async () => {
    const gpu = cuda.createCudaBackend();
    const a = await model.loadModel(TINY, { backend: gpu });
    const text = await ask(a);
    const held = gpu.memory;
    await givesBack('the second model', async () => {
      const b = await model.loadModel(TINY, { backend: gpu });
      assert.equal(await ask(b), text);
      b.dispose();
    });
    assert.deepEqual(gpu.memory, held);
    assert.equal(await ask(a), text);
    a.dispose();
    assert.deepEqual(gpu.memory, { bytes: 0, allocations: 0 });
    gpu.dispose();
  });

  it('load, generate, dispose, round after round: memory stays flat', async () => {
    const rounds = Number(process.env.MEGAMOE_CUDA_ROUNDS ?? 200);
    let first, rss;
    for (let i = 0; i < rounds; i++) {
      const m = await model.loadModel(TINY, { backend: 'cuda' });
      assert.match(await ask(m), /^ Paris/);
      m.dispose();
      if (i === 4) first = free();
      if (i === 20) rss = process.memoryUsage().rss;
    }
    const last = free();
    note(`${rounds} rounds: free memory ${first} after 5, ${last} at the end`);
    assert.ok(first - last < 32e6, `free memory fell from ${first} to ${last}`);
    // Of the host, pinned memory above all: 200 times what one load pins would be more.
    const grown = process.memoryUsage().rss - (rss ?? Infinity);
    note(`${rounds} rounds: the process grew by ${(grown / 1e6).toFixed(0)} MB since the 20th`);
    assert.ok(!(grown > 400e6), `the process grew by ${grown} bytes`);
  });

  it('a lost GPU: named errors from then on, and the process goes on without it', async () => {
    const gpu = cuda.createCudaBackend();
    let attended = -Infinity;
    const watched = ops.observed(gpu, {
      attend(_, run) {
        if (++attended === 2) gpu.simulateLoss(); // in the middle of a step
        run();
      },
    });
    const m = await model.loadModel(TINY, { backend: watched });
    await ask(m);
    const sequence = m.createSequence({ maxTokens: 8 });
    m.forward([{ sequence, tokenIds: [1, 2] }]);
    attended = 0;
    const step = () => m.forward([{ sequence, tokenIds: [3, 4] }]);
    const error = thrown(step);
    assert.equal(error?.code, 'ERR_DEVICE');
    assert.equal(error.reason, 'lost');
    note(`a lost GPU: ${error.message}`);
    assert.equal(sequence.length, 2); // the step did not happen
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
