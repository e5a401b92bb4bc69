/** What the contract promises to the bit: staging and W4A4 products, as on the CPU. */
import { describe, it } from 'node:test';
import { call, cuda, digest, endsOf, model, nans, note, sameBits, seeded, sevens } from './support.mjs';

const gpu = cuda.createCudaBackend();
const host = model.createBackend({ backend: 'cpu' });
note(`${gpu.description} against ${host.description}`);

const sum = (a) => a.reduce((x, y) => x + y, 0);

/** Random experts. */
function expertsOf(r, { numExperts, n, k, parts }) {
  const codes = r.bytes((numExperts * n * k) / 2);
  const sf = r.bytes((numExperts * n * k) / 16, 127);
  const rows = n / parts;
  return (backend) =>
    backend.packExperts({
      ...{ numExperts, n, k, parts, format: 'nvfp4' },
      read: (e, p) => {
        const row = e * n + p * rows;
        return {
          codes: codes.subarray((row * k) / 2, ((row + rows) * k) / 2),
          sf: sf.subarray((row * k) / 16, ((row + rows) * k) / 16),
        };
      },
    });
}

/** Stages and multiplies; answers what was staged and the product. */
function run(backend, { pack, x, k, counts, slotToken, scale, alpha, n, gateUp }) {
  const expertOffsets = endsOf(counts);
  const slots = sum(counts) + 2;
  const staged = backend.createStaged({ slots, k, inputs: ['nvfp4'] });
  const w = pack(backend);
  const common = { slots, expertOffsets, inputs: 'nvfp4', globalDecodeScale: scale, staged: () => staged };
  if (gateUp) call(backend, 'swigluStage', { gateUp, i: k, limit: 7, ...common });
  else call(backend, 'stage', { x, k, slotToken, ...common });
  const rows = backend.readStaged(staged);
  const { out } = call(backend, 'groupedGemm', {
    ...{ w: () => w, staged: () => staged, slots, expertOffsets, alpha, out: nans(slots * n) },
  });
  staged.dispose();
  w.dispose();
  return { rows, out };
}

const SHAPES = [
  { numExperts: 1, n: 2, k: 16, parts: 1, counts: [1] },
  { numExperts: 4, n: 34, k: 48, parts: 2, counts: [0, 3, 0, 5] },
  { numExperts: 8, n: 64, k: 64, parts: 2, counts: [1, 0, 2, 8, 9, 0, 17, 1] },
  { numExperts: 5, n: 128, k: 512, parts: 2, counts: [513, 0, 1, 64, 7] },
  { numExperts: 16, n: 256, k: 1024, parts: 1, counts: [0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 31, 33, 0, 129] },
  { numExperts: 3, n: 144, k: 2048, parts: 2, counts: [130, 0, 5] },
  { numExperts: 2, n: 512, k: 4096, parts: 2, counts: [6, 200] },
];

describe('staging and W4A4 products have the bits of the CPU', () => {
  for (const [i, shape] of SHAPES.entries()) {
    const { numExperts, n, k, parts, counts } = shape;
    for (const own of [false, true]) {
      it(`experts ${numExperts} n ${n} k ${k} rows ${sum(counts)}${own ? ', scales of rows' : ''}`, () => {
        const r = seeded(100 + i);
        const rows = sum(counts);
        const tokens = Math.max(1, Math.floor(rows / 2));
        const x = r.floats(tokens * k, 3);
        x.fill(0, 0, 16); // a block of zeros
        const slotToken = sevens(rows + 2).fill(-1);
        for (let s = 0; s < rows; s++) slotToken[s] = r.int(tokens);
        const scale = own ? null : Float32Array.from({ length: numExperts }, () => 0.0005 + r.next() * 0.01);
        const alpha = Float32Array.from({ length: numExperts * parts }, () => 0.001 + r.next());
        const job = { pack: expertsOf(r, shape), x, k, counts, slotToken, scale, alpha, n };
        const [got, want] = [run(gpu, job), run(host, job)];
        sameBits(got.rows.codes.subarray(0, (rows * k) / 2), want.rows.codes.subarray(0, (rows * k) / 2), 'codes');
        sameBits(got.rows.sf.subarray(0, (rows * k) / 16), want.rows.sf.subarray(0, (rows * k) / 16), 'scales');
        if (own) sameBits(got.rows.rowScale.subarray(0, rows), want.rows.rowScale.subarray(0, rows), 'row scales');
        sameBits(got.out.subarray(0, rows * n), want.out.subarray(0, rows * n), 'product');
        for (let j = rows * n; j < got.out.length; j++)
          if (!Number.isNaN(got.out[j])) throw new Error(`a row that no expert has was written, at ${j}`);
        note(
          `E ${numExperts} N ${n} K ${k} rows ${rows}: 0 of ${rows * n} differ, sha256 ${digest(got.out.subarray(0, rows * n))}`,
        );
      });
    }
  }

  it('a row computed alone has the bits that it has among 600', () => {
    const r = seeded(7);
    const [n, k] = [256, 1024];
    const pack = expertsOf(r, { numExperts: 2, n, k, parts: 1 });
    const x = r.floats(600 * k);
    const slotToken = Int32Array.from({ length: 602 }, (_, i) => (i < 600 ? i : -1));
    const scale = Float32Array.of(0.002, 0.003);
    const alpha = Float32Array.of(0.5, 0.25);
    const all = run(gpu, { pack, x, k, counts: [400, 200], slotToken, scale, alpha, n }).out;
    for (const row of [0, 17, 399, 400, 599]) {
      const counts = row < 400 ? [1, 0] : [0, 1];
      const own = x.slice(row * k, (row + 1) * k);
      const alone = run(gpu, { pack, x: own, k, counts, slotToken: Int32Array.of(0, -1, -1), scale, alpha, n }).out;
      sameBits(alone.subarray(0, n), all.subarray(row * n, (row + 1) * n), `row ${row}`);
    }
  });

  for (const inputGlobalDecodeScale of [0.003, 'row'])
    for (const groups of [1, 4])
      it(`a dense linear with quantized inputs, scale ${inputGlobalDecodeScale}, groups ${groups}`, () => {
        const r = seeded(9);
        const [n, k, rows] = [64, 128, 19];
        const data = { codes: r.bytes((groups * n * k) / 2), sf: r.bytes((groups * n * k) / 16, 127) };
        const weightGlobalDecodeScale = Float32Array.of(0.01, 0.02);
        const source = {
          n,
          k,
          groups,
          dtype: 'nvfp4',
          parts: 2,
          weightGlobalDecodeScale,
          inputGlobalDecodeScale,
          data,
        };
        const args = {
          w: (b) => b.packLinear(source),
          x: r.floats(rows * groups * k),
          rows,
          inputs: 'nvfp4',
          out: nans(rows * groups * n),
        };
        sameBits(call(gpu, 'linear', args).out, call(host, 'linear', args).out, 'linear');
      });

  it('SwiGLU and staging in one pass', () => {
    const r = seeded(11);
    const [n, k, counts] = [32, 256, [3, 0, 40]];
    const pack = expertsOf(r, { numExperts: 3, n, k, parts: 1 });
    const gateUp = r.floats(45 * 2 * k, 4);
    const job = {
      pack,
      gateUp,
      k,
      counts,
      scale: Float32Array.of(0.001, 0.002, 0.004),
      alpha: Float32Array.of(1, 1, 1),
      n,
    };
    const [got, want] = [run(gpu, job), run(model.createBackend({ backend: 'js' }), job)];
    const rows = sum(counts);
    // exp may differ by an ulp of float64 between machines: codes next to a rounding boundary could then differ.
    sameBits(got.rows.sf.subarray(0, (rows * k) / 16), want.rows.sf.subarray(0, (rows * k) / 16), 'scales');
    sameBits(got.rows.codes.subarray(0, (rows * k) / 2), want.rows.codes.subarray(0, (rows * k) / 2), 'codes');
  });
});
