/** Keys in BF16 and fast math: judged with bounds of their own, and kept apart from what is exact. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  checkpoint,
  core,
  cuda,
  MICRO,
  model,
  nans,
  note,
  ops,
  read,
  sameBits,
  seeded,
  TINY,
  verify,
} from './support.mjs';

const nameOf = (dir) => dir.split('/').at(-1);
const tokensOf = (n, vocabSize) => Array.from({ length: n }, (_, i) => (i * 37 + 11) % vocabSize);

describe('every operation, by the reference', () => {
  const both = { kv: 'bf16', gpuMath: 'fast' };
  for (const [dir, ways] of [
    [TINY, [both, { gpuMath: 'fast' }, { ...both, activations: 'float' }]],
    [MICRO[0], [{ kv: 'bf16' }]],
    [MICRO[1], [{ kv: 'bf16' }]],
  ])
    for (const options of ways)
      it(`${nameOf(dir)} ${JSON.stringify(options)}`, async () => {
        const { gpuMath, ...judged } = options;
        const source = checkpoint.openCheckpoint(dir);
        const backend = cuda.createCudaBackend({ gpuMath });
        const tokenIds = tokensOf(150, source.config.vocabSize);
        const run = { source, backend, tokenIds, decode: 3, maxChunk: 96, keepGoing: true, ...judged };
        const { findings, ops: all } = await verify.verifyBackend(run);
        for (const finding of findings.slice(0, 8)) note(verify.findingText(finding));
        backend.dispose();
        source.close();
        assert.equal(findings.length, 0, `${findings.length} findings`);
        const worst = (what, of) => {
          const most = all
            .filter(of)
            .sort((a, b) => verify.shareOf(b.error, b.bound) - verify.shareOf(a.error, a.bound))[0];
          if (most !== undefined)
            note(`${nameOf(dir)} ${what}: ${most.op} uses ${most.error} of ${most.bound} ${most.metric}`);
        };
        worst('entries', ({ op }) => op === 'attn.compressor.pool');
        worst('whole layers', ({ op }) => op === 'layer');
        const quantized = ({ inputs, operation }) => inputs === 'nvfp4' && /groupedGemm|linear/.test(operation);
        worst('products', quantized);
        // Each is judged by its own bound, not by another's.
        if (all.some(quantized)) assert.equal(all.find(quantized).metric, gpuMath === 'fast' ? 'roundings' : 'ulp');
        assert.match(
          all.find(({ op }) => op === 'attn.window').reason,
          options.kv ? /rounded once to BF16/ : /copies values/,
        );
      });
});

/** A cache of one layer, and a step with the first `rows` tokens of a sequence. */
function oneLayer(backend, spec, rows, ropeDim) {
  const cache = backend.createCache([spec]);
  const kinds = ops.pageKindsOf([spec]);
  const pages = new ops.SequencePages(new ops.PagePool(kinds, spec.window, cache));
  const stepRows = new ops.StepRows(rows, kinds);
  const step = backend.createStep(rows);
  pages.reserve(rows);
  stepRows.add(pages, new Int32Array(rows), 0, rows);
  backend.planStep(step, stepRows, cache, backend.createRope({ ropeDim, theta: 100 }));
  return { cache, step, layer: 0 };
}

/** Values that are hard to round, in turns: ties to either side, next to ties, subnormals of both types, zeros, large ones. */
const HARD = [
  1 + 2 ** -8,
  1 + 3 * 2 ** -8,
  1 + 2 ** -8 + 2 ** -20,
  2 - 2 ** -9,
  1e-40,
  2 ** -133,
  2 ** -134,
  0,
  1e9,
  1e-3,
];

describe('operations on keys in BF16', () => {
  const gpu = cuda.createCudaBackend();
  for (const [ratio, d, rows] of [
    [0, 6, 3],
    [4, 66, 150],
    [128, 512, 260],
    [4, 1024, 30],
  ])
    it(`ratio ${ratio}, ${rows} rows of ${d}`, () => {
      const r = seeded(d);
      const [heads, width] = [5, ratio === 4 ? 2 * d : d];
      const spec = { ratio, window: 16, headDim: d, ...(ratio === 4 ? { indexHeadDim: 8 } : {}) };
      const kv = r.floats(rows * d);
      for (let i = 0; i < kv.length; i += 7) kv[i] = HARD[(i / 7) % HARD.length] * (r.int(2) ? 1 : -1);
      const tensors = {
        kv: gpu.tensor(kv),
        projected: gpu.tensor(r.floats(rows * width)),
        gate: gpu.tensor(r.floats(rows * width)),
      };
      const weights = ratio === 0 ? null : gpu.packCompressor(r.floats(ratio * width), r.floats(d));
      const [float, half] = ['f32', 'bf16'].map((kvDtype) => {
        const at = oneLayer(gpu, { ...spec, kv: kvDtype }, rows, Math.min(d, 4));
        gpu.writeWindow({ ...at, d, kv: tensors.kv });
        const common = { width, kv: tensors.projected, gate: tensors.gate, weights, eps: 1e-6 };
        if (ratio > 0) gpu.compress({ ...at, indexer: false, ...common });
        return at;
      });
      const part = ({ cache }, name) => cache.part(0, name);
      const names = ratio === 0 ? ['window'] : ['window', 'entries'];
      for (const name of names) {
        assert.equal(part(half, name).dtype, 'bf16');
        const floats = read(gpu, part(float, name));
        const bits = read(gpu, part(half, name));
        sameBits(bits, core.encodeBf16Array(floats), name);
        // Attention over them is attention over the same values in float32.
        const widened = core.decodeBf16Array(bits);
        gpu.upload(part(float, name), 0, widened, 0, widened.length);
      }
      for (const name of ratio === 0 ? [] : ['openKv', 'openGate']) {
        assert.equal(part(half, name).dtype, 'f32');
        sameBits(read(gpu, part(half, name)), read(gpu, part(float, name)), name);
      }
      if (ratio === 4) assert.equal(part(half, 'indexEntries').dtype, 'f32');
      const queries = { q: gpu.tensor(r.floats(rows * heads * d)), heads, d, sinks: gpu.tensor(r.floats(heads)) };
      const attended = (at) => {
        const out = gpu.tensor(nans(rows * heads * d));
        gpu.attend({ ...at, ...queries, selected: null, topk: 0, softmaxScale: d ** -0.5, out });
        return read(gpu, out);
      };
      const got = attended(half);
      assert.ok(got.every(Number.isFinite));
      sameBits(got, attended(float), 'attention');
      // Memory that grows keeps what it holds, and pages are copied whole.
      const before = read(gpu, part(half, 'window'));
      half.cache.grow('window', 9);
      sameBits(read(gpu, part(half, 'window')).subarray(0, before.length), before, 'grown');
      half.cache.copyPage('window', 0, 8, 3);
      const after = read(gpu, part(half, 'window'));
      sameBits(after.subarray(8 * 64 * d, (8 * 64 + 3) * d), before.subarray(0, 3 * d), 'copied');
      assert.ok(
        after.subarray((8 * 64 + 3) * d, 9 * 64 * d).every((v) => v === 0),
        'no row more',
      );
      half.cache.dispose();
      float.cache.dispose();
    });
});

/** Logits of the last token of a prompt, and what the sequence holds. */
async function ran(options, tokens = 140) {
  const m = await model.loadModel(TINY, { backend: 'cuda', ...options });
  const sequence = m.createSequence();
  const logits = m.forward([{ sequence, tokenIds: tokensOf(tokens, m.config.vocabSize) }]).slice();
  return { m, sequence, logits };
}

const most = (a, b) => a.reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i])), 0);

describe('keys in BF16', () => {
  it('are those of float32, rounded once', async () => {
    // The keys of the first layer do not depend on how keys are held.
    const [float, half] = [await ran({}), await ran({ kv: 'bf16' })];
    const held = ({ m }) => m.memory.cache.part(0, 'window');
    assert.equal(held(half).dtype, 'bf16');
    sameBits(
      read(half.m.backend, held(half)),
      core.encodeBf16Array(read(float.m.backend, held(float))),
      'keys of layer 0',
    );
    const off = most(half.logits, float.logits);
    note(`kv bf16: logits of tiny differ by at most ${off.toExponential(2)} from float32's`);
    assert.ok(off > 0 && off < 4, `logits differ by ${off}`);
    assert.ok(half.sequence.bytes < float.sequence.bytes, `${half.sequence.bytes} of ${float.sequence.bytes} bytes`);
    assert.ok(half.m.backend.memory.bytes < float.m.backend.memory.bytes, 'memory of the GPU');
    float.m.dispose();
    half.m.dispose();
  });

  it('go to bytes and back with the same bits, pages that are shared are copied', async () => {
    const { m, sequence } = await ran({ kv: 'bf16' });
    const again = m.createSequence();
    again.deserialize(sequence.serialize());
    const copy = sequence.clone();
    const next = (of) => m.forward([{ sequence: of, tokenIds: [1, 2, 3] }]).slice();
    const want = next(sequence);
    m.forward([{ sequence: copy, tokenIds: [9] }]); // writes to a page that it shared
    sequence.rewind(140);
    sameBits(next(sequence), want, 'beside a clone');
    sameBits(next(again), want, 'restored');
    m.dispose();
  });
});

describe('fast math', () => {
  it('does something, and little', async () => {
    const [exact, fast] = [await ran({}), await ran({ gpuMath: 'fast' })];
    const off = most(fast.logits, exact.logits);
    note(`gpu-math fast: logits of tiny differ by at most ${off.toExponential(2)} from exact`);
    assert.ok(off < 4, `logits differ by ${off}`);
    assert.match(fast.m.backend.description, /fast math/);
    exact.m.dispose();
    fast.m.dispose();
  });

  for (const options of [{ kv: 'bf16' }, { gpuMath: 'fast' }, { kv: 'bf16', gpuMath: 'fast' }])
    it(`the capital of France, ${JSON.stringify(options)}`, async () => {
      const m = await model.loadModel(TINY, { backend: 'cuda', ...options });
      let text = '';
      for await (const chunk of m.generate({ prompt: 'The capital of France is', maxTokens: 8 })) text += chunk.text;
      assert.match(text, /^ Paris/);
      m.dispose();
    });
});

it('saved sequences of another backend, math or type of keys are refused by name', async () => {
  const ways = [{}, { kv: 'bf16' }, { gpuMath: 'fast' }, { backend: 'cpu' }];
  const all = [];
  for (const way of ways) all.push(await ran(way, 20));
  const bytes = all.map(({ sequence }) => sequence.serialize());
  const refused = (to, from, says) =>
    assert.throws(() => all[to].m.createSequence().deserialize(bytes[from]), { name: 'ValueError', message: says });
  refused(0, 1, /holds keys in bf16, this model holds them in f32/);
  refused(1, 0, /holds keys in f32, this model holds them in bf16/);
  refused(0, 2, /was computed by backend cuda with fast math, this model is on cuda/);
  refused(2, 0, /was computed by backend cuda, this model is on cuda with fast math/);
  refused(0, 3, /was computed by backend cpu, this model is on cuda/);
  refused(3, 0, /was computed by backend cuda, this model is on cpu/);
  for (const { m } of all) m.dispose();
});
