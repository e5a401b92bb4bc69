/** What `megamoe bench --backend cuda` stands on: the GPU's clock, its limits, and experts that are copied. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { cuda, endsOf, note, ops, read, sameBits, seeded } from './support.mjs';

const backend = cuda.createCudaBackend();
const { bench } = backend;

it('the clock measures kernels, not how long the host takes to launch them', () => {
  const n = 2 ** 26;
  const [out, x] = [backend.alloc('f32', [n]), backend.alloc('f32', [n])];
  const add = () => backend.add({ out, x, n });
  add();
  const slow = () => {
    const until = performance.now() + 50;
    while (performance.now() < until);
    add();
  };
  const [one, late, eight, none] = [
    bench.seconds(add),
    bench.seconds(slow),
    bench.seconds(() => Array.from({ length: 8 }, add)),
    bench.seconds(() => undefined),
  ];
  note(`seconds of one kernel ${one}, launched late ${late}, of eight ${eight}, of none ${none}`);
  assert.ok(one > 5e-5 && one < 0.05, `an addition of 64 Mi floats took ${one} s`);
  assert.ok(late < 0.02, `50 ms of the host are in the GPU's time: ${late} s`);
  assert.ok(eight > 5 * one && eight < 12 * one, `eight kernels took ${eight} s, one ${one} s`);
  assert.ok(none < 1e-4, `nothing took ${none} s`);
  assert.throws(() => bench.seconds(() => assert.fail('thrown')), /thrown/);
  assert.ok(bench.seconds(add) < 0.05, 'a clock after work that failed');
  for (const tensor of [out, x]) tensor.dispose();
});

it('limits are those of a GPU, and the same twice', () => {
  const rates = (ask) => [ask(), ask(), ask(), ask(), ask()].sort((a, b) => a - b);
  const [readRates, matrix] = [rates(() => bench.readRate()), rates(() => bench.matrixRate(2 ** 40))];
  note(`read ${(readRates[2] / 1e12).toFixed(2)} TB/s, mma ${(matrix[2] / 1e12).toFixed(0)} TFLOP/s`);
  assert.ok(readRates[2] > 1e11 && readRates[2] < 2e13, `read ${readRates}`);
  assert.ok(matrix[2] > 1e13 && matrix[2] < 5e15, `mma ${matrix}`);
  assert.ok(readRates[4] < 1.5 * readRates[1] && matrix[4] < 1.5 * matrix[1], 'limits that change');
  const { gpu } = bench;
  assert.ok(
    gpu.freeBytes > 0 && gpu.freeBytes < gpu.totalBytes && /\S/.test(gpu.name) && /^\d+\.\d+$/.test(gpu.driver),
  );
});

it('experts that were copied multiply as those that were uploaded', () => {
  const random = seeded(3);
  const [numExperts, n, k, slots] = [4, 64, 128, 6];
  const scales = (size) => random.bytes(size).map((b) => 0x30 + (b & 15));
  const halves = [0, 1].map(() => ({ codes: random.bytes((n * k) / 4), sf: scales((n * k) / 32) }));
  const source = { numExperts, n, k, parts: 2, format: 'nvfp4', read: (_, part) => halves[part] };
  const expertOffsets = backend.tensor(endsOf([1, 2, 0, 3]));
  const staged = backend.createStaged({ slots, k, inputs: ['nvfp4'] });
  const x = backend.tensor(random.floats(slots * k));
  const globalDecodeScale = backend.tensor(new Float32Array(numExperts).fill(0.01));
  const alpha = backend.tensor(new Float32Array(2 * numExperts).fill(0.5));
  backend.stage({ x, k, slotToken: null, slots, expertOffsets, inputs: 'nvfp4', globalDecodeScale, staged });
  const [uploaded, copied] = [backend.packExperts(source), bench.packSameExperts(source)].map((w) => {
    const out = backend.alloc('f32', [slots * n]);
    backend.groupedGemm({ w, staged, slots, expertOffsets, alpha, out });
    return read(backend, out);
  });
  assert.ok(uploaded.some((v) => v !== 0));
  sameBits(copied, uploaded, 'groupedGemm');
  assert.equal(ops.missingOperations(backend).length, 0);
  backend.dispose();
});
