/** Valid calls of gemm-native: operations by the list, on both backends. */
import { expertsSource, linearSource } from '../weight-sources.mjs';
import { opCall } from '../ops-calls.mjs';

/** The addon's too, where it is there. */
export const backends = (m) => (m.gemmAddonInfo().loaded ? ['js', 'native'] : ['js']);

const kernels = new Map();
const scans = new Map();
function kernelsOf(m, backend) {
  if (!kernels.has(backend)) kernels.set(backend, m.createGemmKernels({ backend, threads: 2 }));
  return kernels.get(backend);
}
function scanOf(m, backend) {
  if (!scans.has(backend)) scans.set(backend, m.createLogitsScan({ backend }));
  return scans.get(backend);
}

const dispose = () => undefined;
/** Objects that are made here; weights and rooms are opaque but for `dispose`. */
export const parts = (m) => ({
  Kernels: kernelsOf(m, 'js'),
  Scan: scanOf(m, 'js'),
  ...{ Linear: { dispose }, Experts: { dispose }, Pool: { dispose }, Staged: { dispose } },
});

const poolShape = ({ n, k, parts, format }, slots) => ({ n, k, parts, format, slots });

/** What a dense weight does: its product with rows. */
const product = (made) => (w) => {
  const out = new Float32Array(2 * w.groups * w.n);
  made.linear({ w, x: new Float32Array(2 * w.groups * w.k).fill(0.5), rows: 2, inputs: 'f32', out });
  return { out, ...shown(w) };
};
const shown = (w) =>
  Object.fromEntries(Object.entries(w).filter(([, v]) => typeof v !== 'function' && typeof v !== 'object'));

/** Rows that have been staged for weights, and the product of both. */
function stagedFor(r, made, w, inputs) {
  const expertOffsets = r.ends(w.numExperts, 2);
  const slots = expertOffsets.at(-1);
  const staged = made.createStaged({ slots: slots + 1, k: w.k, inputs: [inputs] });
  const x = r.floats(slots * w.k);
  made.stage({ x, k: w.k, slotToken: null, slots, expertOffsets, inputs, globalDecodeScale: null, staged });
  return { staged, slots, expertOffsets };
}
const multiplied = (made) => (w) => {
  const { staged, slots, expertOffsets } = stagedFor(
    { ends: (n) => Int32Array.from({ length: n }, (_, i) => i + 1), floats: (n) => new Float32Array(n).fill(0.5) },
    made,
    w,
    'f32',
  );
  const out = new Float32Array(slots * w.n);
  made.groupedGemm({ w, staged, slots, expertOffsets, alpha: new Float32Array(w.numExperts * w.parts).fill(1), out });
  return out;
};

const staging =
  (name) =>
  (r, m, { backend }) => {
    const made = kernelsOf(m, backend);
    const inputs = r.pick(['f32', 'bf16', 'nvfp4']);
    const k = inputs === 'nvfp4' ? 16 * r.int(1, 2) : r.pick([1, 16]);
    const expertOffsets = r.ends(r.int(1, 3), 2);
    const rows = expertOffsets.at(-1);
    const slots = rows + r.below(2);
    const staged = made.createStaged({ slots: slots + 1, k, inputs: ['f32', 'bf16', 'nvfp4'] });
    const globalDecodeScale =
      inputs === 'nvfp4' && r.flag() ? r.floats(expertOffsets.length).map((v) => Math.abs(v) + 1) : null;
    const common = { slots, expertOffsets, inputs, globalDecodeScale, staged };
    const slotToken = r.flag() ? null : r.ints(slots, 0, 1);
    const own =
      name === 'stage'
        ? { x: r.floats(Math.max(rows, 2) * k), k, slotToken }
        : { gateUp: r.floats(slots * 2 * k), i: k, limit: r.pick([Infinity, 10]) };
    return { self: made, args: [{ ...own, ...common }], observe: () => m.stagedArrays(staged) };
  };

/** Operations with the same bits on both backends; others differ by rounding (README.md of the package). */
const SAME_BITS = ['gatherRows', 'scatterExperts', 'add', 'rmsNorm', 'hcPost', 'embed'];
const op =
  (name, given) =>
  (r, m, { backend }) => {
    const self = kernelsOf(m, backend);
    return { self, ...opCall(r, name, given?.(r, self)), isLoose: !SAME_BITS.includes(name) };
  };
const linearOf = (r, made) => {
  const source = linearSource(r);
  const inputs = source.dtype === 'nvfp4' ? r.pick(['f32', 'bf16', 'nvfp4']) : r.pick(['f32', 'bf16']);
  return { w: made.packLinear(source), inputs };
};
const own =
  (name, make) =>
  (r, m, { backend }) => {
    const self = kernelsOf(m, backend);
    return { self, ...make(r, self, m) };
  };
const disposal = (make) => own('dispose', (r, made, m) => ({ self: make(r, made, m), args: [] }));
const scan =
  (args, writes) =>
  (r, m, { backend }) => ({ self: scanOf(m, backend), args: args(r), writes });
const isKernelOption = { backend: 'js', threads: 1, isa: 'auto' };

export const calls = {
  adviseHugePages: (r) => ({ args: [r.bytes(64)] }),
  createGemmKernels: () => ({ args: [{ ...isKernelOption }], anyObject: true, observe: ({ backend }) => backend }),
  createLogitsScan: () => ({ args: [{ ...isKernelOption }], anyObject: true, observe: ({ isa }) => isa }),
  gemmAddonInfo: () => ({ args: [] }),
  measureCeiling: (r) => ({
    args: [r.pick(['read', 'copy', 'fma']), { threads: 1, bytes: 512, span: 4096, operations: 512 }],
    observe: () => 0,
  }),
  swizzleScales128x4(r) {
    const { rows, kSf } = { rows: r.pick([0, 3, 130]), kSf: r.int(1, 5) };
    const size = 128 * Math.ceil(rows / 128) * 4 * Math.ceil(kSf / 4);
    const args = [r.bytes(rows * kSf), { rows, kSf, backend: r.pick(['auto', 'js']), threads: 2 }, r.bytes(size)];
    return { args: args.slice(0, r.int(2, 3)), writes: ['2'], isNative: true };
  },
  stageFrom: own('stageFrom', (r, made, m) => {
    const [rows, k] = [r.int(0, 3), 16 * r.int(1, 2)];
    const staged = made.createStaged({ slots: 4, k: 32, inputs: ['nvfp4'] });
    const args = {
      staged,
      rows,
      k,
      codes: r.bytes((rows * k) / 2),
      sf: r.scales((rows * k) / 16),
      rowScale: r.pick([null, r.floats(rows).map((v) => Math.abs(v) + 1)]),
    };
    return { args: [args], observe: () => m.stagedArrays(staged) };
  }),
  stagedArrays: own('stagedArrays', (r, made) => {
    const source = expertsSource(r, 'nvfp4');
    return { args: [stagedFor(r, made, made.packExperts(source), 'nvfp4').staged] };
  }),
  'Kernels.packLinear': own('packLinear', (r, made) => ({ args: [linearSource(r)], observe: product(made) })),
  'Kernels.packExperts': own('packExperts', (r, made) => {
    const source = expertsSource(r);
    if (r.below(3) === 0) source.pool = made.createExpertPool(poolShape(source, r.int(1, 2)));
    return { args: [source], observe: multiplied(made) };
  }),
  'Kernels.createExpertPool': own('createExpertPool', (r) => ({
    args: [poolShape(expertsSource(r), r.int(1, 3))],
    observe: shown,
  })),
  'Kernels.createStaged': own('createStaged', (r) => ({
    args: [{ slots: r.int(1, 4), k: 16 * r.int(1, 2), inputs: r.pick([['f32'], ['nvfp4', 'bf16']]) }],
    observe: ({ bytes, spec }) => ({ bytes, spec }),
  })),
  'Kernels.packedBytes': own('packedBytes', (r) => ({
    args: [r.pick(['f32', 'bf16', 'nvfp4']), r.int(1, 3), r.int(1, 3), 16],
  })),
  'Kernels.embed': op('embed', (r, made) => ({
    table: made.packLinear(linearSource(r, r.pick(['f32', 'bf16', 'fp8']), 1)),
  })),
  'Kernels.rmsNorm': op('rmsNorm'),
  'Kernels.linear': op('linear', linearOf),
  'Kernels.swiglu': op('swiglu'),
  'Kernels.add': op('add'),
  'Kernels.gatherRows': op('gatherRows', (r) => {
    const d = r.int(1, 3);
    return { d, x: r.floats(d * r.int(1, 4)) };
  }),
  'Kernels.hcPre': op('hcPre'),
  'Kernels.hcPost': op('hcPost'),
  'Kernels.hcHead': op('hcHead'),
  'Kernels.stage': staging('stage'),
  'Kernels.swigluStage': staging('swigluStage'),
  'Kernels.groupedGemm': own('groupedGemm', (r, made) => {
    const source = expertsSource(r);
    if (r.below(3) === 0) source.pool = made.createExpertPool(poolShape(source, r.int(1, 2)));
    const w = made.packExperts(source);
    const inputs = source.format === 'nvfp4' ? r.pick(['f32', 'bf16', 'nvfp4']) : r.pick(['f32', 'bf16']);
    const given = stagedFor(r, made, w, inputs);
    const out = r.floats(given.slots * w.n);
    return {
      args: [{ w, ...given, alpha: r.pick([null, r.floats(w.numExperts * w.parts)]), out }],
      writes: ['0.out'],
      isLoose: true,
    };
  }),
  'Kernels.scatterExperts': op('scatterExperts', (r) => {
    const d = r.int(1, 3);
    return { d, y: r.floats(d * r.int(1, 4)) };
  }),
  'Kernels.nvfp4Loss': own('nvfp4Loss', (r) => {
    const [rows, k] = [r.int(0, 3), 16 * r.int(1, 2)];
    const arrays = {
      x: r.floats(rows * k),
      codes: r.bytes((rows * k) / 2),
      sf: r.scales((rows * k) / 16),
      sums: r.doubles(rows * 3),
    };
    return { args: [{ rows, k, globalDecodeScale: 0.5, ...arrays }], writes: ['0.sums'] };
  }),
  'Scan.firstNonFinite': scan((r) => [r.floats(9), r.int(0, 3), r.int(3, 9)]),
  'Scan.argmax': scan((r) => [r.floats(9), r.int(1, 9)]),
  'Scan.top': scan((r) => [r.floats(9), 9, r.int(1, 4), 1, r.ints(9, 0, 3), r.floats(9)], ['4', '5']),
  'Scan.atLeast': scan((r) => [r.floats(9), 9, r.pick([0, -Infinity, 3]), r.ints(9, 0, 3), r.floats(9)], ['3', '4']),
  'Scan.mayWin': scan(
    (r) => [r.floats(9), 9, r.pick([1, 0.5]), r.ints(4, 0, 99), r.ints(9, 0, 3), r.floats(9)],
    ['4', '5'],
  ),
  'Scan.massBefore': scan((r) => [r.floats(9), r.int(3, 9), r.pick([1, 0.5]), r.int(0, 2)]),
  'Linear.dispose': disposal((r, made) => made.packLinear(linearSource(r))),
  'Experts.dispose': disposal((r, made) => made.packExperts(expertsSource(r))),
  'Pool.dispose': disposal((r, made) => made.createExpertPool(poolShape(expertsSource(r), 2))),
  'Staged.dispose': disposal((r, made) => made.createStaged({ slots: 1, k: 16, inputs: ['f32'] })),
};
