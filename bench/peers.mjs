/* global TextEncoder */
/**
 * The nearest thing that npm offers: onnxruntime-node's MatMulNBits with int4 weights in blocks of 32, beside `megamoe bench --filter w4a4`.
 *
 *   mkdir scratch && cd scratch && npm init -y && npm i onnxruntime-node@1.30.0 --ignore-scripts
 *   node PATH/TO/bench/peers.mjs [--threads 1,2] [--json]
 *
 * The package is looked up from the current folder; nothing here depends on it. `--ignore-scripts` leaves out its install step, which
 * fetches GPU libraries on Linux; the CPU library is in the package itself.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';

const flags = process.argv.slice(2);
const threadsFlag = flags.indexOf('--threads');
const threadCounts = (threadsFlag >= 0 ? flags[threadsFlag + 1] : '1,2').split(',').map(Number);
let ort;
try {
  ort = createRequire(join(process.cwd(), 'package.json'))('onnxruntime-node');
} catch (error) {
  process.stderr.write(
    `peers: onnxruntime-node is not installed in this folder (${error.message.split('\n')[0]}); the head of this file says how\n`,
  );
  process.exit(1);
}

const [N, K, BLOCK] = [4096, 4096, 32];
const COPIES = 16; // of the weights, taken in turn by a graph of as many products: cold, as in the rows of megamoe bench
const BUDGET_MS = 3000;

/** The few parts of Protocol Buffers that a model file needs. */
const varint = (n) => {
  const out = [];
  for (let v = BigInt(n); ; v >>= 7n) {
    if (v < 128n) return Uint8Array.of(...out, Number(v));
    out.push(Number(v & 127n) | 128);
  }
};
const join8 = (parts) => {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  parts.reduce((at, p) => (out.set(p, at), at + p.length), 0);
  return out;
};
const bytesField = (id, data) => join8([varint((id << 3) | 2), varint(data.length), data]);
const text = (id, value) => bytesField(id, new TextEncoder().encode(value));
const number = (id, value) => join8([varint(id << 3), varint(value)]);

const FLOAT = 1;
const UINT8 = 2;
const tensor = (name, type, dims, raw) =>
  join8([...dims.map((d) => number(1, d)), number(2, type), text(8, name), bytesField(9, raw)]);
const intAttribute = (name, value) => join8([text(1, name), number(3, value), number(20, 2)]);
const valueInfo = (name, dims) => {
  const shape = join8(dims.map((d) => bytesField(1, number(1, d))));
  return join8([text(1, name), bytesField(2, bytesField(1, join8([number(1, FLOAT), bytesField(2, shape)])))]);
};

/** One input x [m, K], and outputs y0, y1, ... [m, N]: x times each copy of the weights. */
function modelBytes(m, copies) {
  const packed = new Uint8Array((N * K) / 2).map((_, i) => (i * 2654435761) >>> 13);
  const scales = new Uint8Array(new Float32Array((N * K) / BLOCK).fill(0.01).buffer);
  const graph = [text(2, 'peers')];
  for (let c = 0; c < copies; c++) {
    const attributes = Object.entries({ K, N, bits: 4, block_size: BLOCK, accuracy_level: 4 }); // 4: int8 activations
    graph.push(
      bytesField(
        1,
        join8([
          ...['x', `w${c}`, `s${c}`].map((name) => text(1, name)),
          text(2, `y${c}`),
          text(4, 'MatMulNBits'),
          ...attributes.map(([name, value]) => bytesField(5, intAttribute(name, value))),
          text(7, 'com.microsoft'),
        ]),
      ),
      bytesField(5, tensor(`w${c}`, UINT8, [N, K / BLOCK, BLOCK / 2], packed)),
      bytesField(5, tensor(`s${c}`, FLOAT, [(N * K) / BLOCK], scales)),
      bytesField(12, valueInfo(`y${c}`, [m, N])),
    );
  }
  graph.push(bytesField(11, valueInfo('x', [m, K])));
  const opset = (domain, version) => bytesField(8, join8([text(1, domain), number(2, version)]));
  return join8([number(1, 8), bytesField(7, join8(graph)), opset('', 17), opset('com.microsoft', 1)]);
}

/** Largest relative error of a few outputs: codes minus 8, times the scale. */
function check(x, y, m) {
  const packed = (i) => ((i * 2654435761) >>> 13) & 255;
  for (const [r, n] of [
    [0, 0],
    [m - 1, N - 1],
  ]) {
    let sum = 0;
    let size = 0;
    for (let k = 0; k < K; k++) {
      const code = (packed((n * K + k) >> 1) >> ((k & 1) * 4)) & 15;
      const product = x[r * K + k] * (code - 8) * 0.01;
      sum += product;
      size += Math.abs(product);
    }
    if (!(Math.abs(y[r * N + n] - sum) <= 0.02 * size))
      throw new Error(`wrong answer ${y[r * N + n]}, expected ${sum}`);
  }
}

const rows = [];
for (const threads of threadCounts) {
  for (const m of [1, 8, 64, 512]) {
    const copies = m === 1 ? COPIES : 1;
    const session = await ort.InferenceSession.create(modelBytes(m, copies), {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
    });
    const data = Float32Array.from({ length: m * K }, (_, i) => Math.sin(i));
    const feeds = { x: new ort.Tensor('float32', data, [m, K]) };
    check(data, (await session.run(feeds)).y0.data, m);
    const times = [];
    for (const end = performance.now() + BUDGET_MS; times.length < 5 || performance.now() < end;) {
      const started = performance.now();
      await session.run(feeds);
      times.push((performance.now() - started) / copies / 1000);
    }
    times.sort((a, b) => a - b);
    const seconds = times[times.length >> 1];
    const weightBytes = (N * K) / 2 + (4 * N * K) / BLOCK;
    rows.push({
      name: 'onnxruntime-node MatMulNBits int4',
      shape: `m=${m} n=${N} k=${K} block=${BLOCK}`,
      threads,
      median: m === 1 ? weightBytes / seconds / 1e9 : (2 * m * N * K) / seconds / 1e9,
      unit: m === 1 ? 'GB/s' : 'GFLOPS',
      gflops: (2 * m * N * K) / seconds / 1e9,
    });
    await session.release();
  }
}
if (flags.includes('--json')) process.stdout.write(`${JSON.stringify(rows)}\n`);
else
  for (const r of rows)
    process.stdout.write(
      `${r.name}  ${r.shape}  x${r.threads}  ${r.median.toFixed(1)} ${r.unit}  ${r.gflops.toFixed(1)} GFLOPS\n`,
    );
