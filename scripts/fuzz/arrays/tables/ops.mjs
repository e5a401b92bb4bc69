/** Valid calls of ops: tensors, pages, steps, and backends made of nothing. What makes checks is called by the tables of the kernels. */
import { expertsSource, linearSource } from '../weight-sources.mjs';

const LAYERS = () => [
  { ratio: 0, window: 8, headDim: 8, kv: 'f32' },
  { ratio: 4, window: 8, headDim: 8, indexHeadDim: 4 },
  { ratio: 128, window: 8, headDim: 8 },
];
const KINDS = ['window', 'open4', 'entries4', 'open128', 'entries128'];
const memory = () => ({ grow: () => undefined, copyPage: () => undefined });
const pool = (m) => new m.PagePool(KINDS, 8, memory(), { window: 40 });
const counts = (p) => JSON.stringify(p.counts);
/** A pool with one page taken of a kind. */
const used = (m, kind = 'window') => {
  const p = pool(m);
  p.take(kind);
  return p;
};
const inPool = (args) => (r, m) => ({ self: used(m), args: args(r), state: ({ self }) => counts(self) });
const sequence = (r, m) => {
  const s = new m.SequencePages(pool(m));
  s.open(r.pick([0, 3, 130]));
  s.reserve(s.length + 4);
  return s;
};
const held = ({ self }) => JSON.stringify([self.length, self.pages, self.pool.counts]);
const ofSequence = (args) => (r, m) => {
  const self = sequence(r, m);
  return { self, args: args(r, self, m), state: held, observe: (result) => (typeof result === 'object' ? 0 : result) };
};
const rows = (r, m) => {
  const s = new m.StepRows(8, KINDS);
  s.add(sequence(r, m), [1, 2, 3], 0, 3);
  return s;
};
const filled = ({ self }) => JSON.stringify([self.rows, self.sequences, self.wanted, [...self.ids]]);
const ofRows = (args) => (r, m) => ({ self: rows(r, m), args: args(r, m), state: filled });
const ARRAYS = { f32: Float32Array, i32: Int32Array, u8: Uint8Array, bf16: Uint16Array, e4m3: Uint8Array };
const dtype = (r) => r.pick(Object.keys(ARRAYS));
const tensor = (r, m) => {
  const d = dtype(r);
  return new m.HostTensor(d, [2, 3], new ARRAYS[d](6));
};
const ofTensor = (args) => (r, m) => ({
  self: tensor(r, m),
  args: args(r),
  observe: (v) => (v instanceof m.HostTensor ? v.data : v),
});
const backend = (m) => ({ ...Object.fromEntries(m.OP_NAMES.map((name) => [name, () => undefined])), name: 'none' });
const made =
  (name, args = () => []) =>
  (r, m) => ({
    args: args(r, m),
    anyObject: true,
    mayThrow: () => true,
    mayRefuse: true,
    observe: () => 0,
    f: m[name],
  });

/** A class of caches whose pages are nowhere. */
const cacheClass = (m) => {
  const nothing = () => undefined;
  const page = (kind, width, dtype) => ({
    kind,
    width,
    dtype,
    tensor: 0,
    grow: nothing,
    copy: nothing,
    dispose: nothing,
  });
  return class Cache extends m.PagedCache {
    bytes = 0;
    constructor(layers) {
      super(layers, page);
      for (const kind of this.kinds) this.grow(kind, 99);
    }
    outOfMemory(error) {
      return error;
    }
  };
};
const cacheOf = (m) => new (cacheClass(m))(LAYERS());
const ofCache = (args) => (r, m) => ({
  self: cacheOf(m),
  args: args(r),
  says: ['cache', ''],
  state: ({ self }) => JSON.stringify([self.disposed, KINDS.map((kind) => self.pages(kind))]),
  observe: (v) => (typeof v === 'object' ? 0 : v),
});
/** Asked by backends of what they have checked, and of nothing else. */
const ofBackends = { anyObject: true, mayThrow: () => true, mayRefuse: true, observe: () => 0 };

export const calls = {
  PageChecks: (r, m) => ({ args: [], f: class extends m.PageChecks {}, ...ofBackends }),
  'PageChecks.check': (r, m) => ({ self: new m.PageChecks(), args: ['f', rows(r, m), cacheOf(m)], ...ofBackends }),
  PagedCache: (r, m) => ({
    args: [LAYERS()],
    f: cacheClass(m),
    observe: (c) => c.layers,
    says: ['createCache', 'cache'],
  }),
  'PagedCache.disposed': ofCache(() => []),
  'PagedCache.part': ofCache((r) => [r.int(0, 2), 'window']),
  'PagedCache.compressor': (r, m) => {
    const call = ofCache((r) => [r.int(1, 2), false])(r, m);
    return { ...call, f: (layer, indexer) => call.self.compressor('f', layer, indexer) };
  },
  'PagedCache.pages': (r, m) => ({ ...ofCache(() => [r.pick(KINDS)])(r, m), observe: () => 0 }), // of what is no kind: 0
  'PagedCache.grow': ofCache((r) => [r.pick(KINDS), r.int(0, 200)]),
  'PagedCache.copyPage': ofCache((r) => [r.pick(KINDS), 0, 1, r.int(0, 4)]),
  'PagedCache.dispose': ofCache(() => []),
  'PagedCache.[dispose]': ofCache(() => []),
  inverseFrequencies: (r, m) => ({
    args: [{ ropeDim: r.pick([2, 8]), theta: 10000 }],
    f: (spec) => m.inverseFrequencies('f', spec),
    says: [''],
  }),
  takeStagedSpec: (r, m) => ({
    args: [{ slots: r.int(1, 4), k: 16, inputs: ['f32', 'nvfp4'] }],
    f: (spec) => m.takeStagedSpec('f', spec),
    observe: ({ sizes }) => Object.values(sizes),
    says: [''],
  }),
  checkStagedRoom: (r, m) => ({
    args: [r.int(0, 4), 16, 'f32'],
    f: (slots, k, inputs) => m.checkStagedRoom('f', { slots: 4, k: 16, inputs: ['f32'] }, slots, k, inputs),
    ...ofBackends,
  }),
  takeLinear: (r, m) => ({
    args: [linearSource(r)],
    f: (source) => m.takeLinear('f', source),
    observe: (taken) => Object.values(taken.read(0, 1)),
    says: [''],
  }),
  takeExperts: (r, m) => ({
    args: [expertsSource(r)],
    f: (source) => m.takeExperts('f', source),
    observe: (taken) => Object.values(taken.read(0, 0)),
    says: [''],
  }),
  checkExpertsShape: (r, m) => ({
    args: [{ numExperts: 2, n: 4, k: 16, parts: r.pick([1, 2]), format: 'nvfp4' }],
    f: (shape) => m.checkExpertsShape('f', shape),
    says: [''],
    isData: true,
  }),
  checkMatrices: (r, m) => ({
    args: ['f32', r.int(1, 9), 4, 16],
    f: (...a) => m.checkMatrices('f', ...a),
    says: [''],
  }),
  findBadScale: (r) => ({ args: [r.bytes(8), 8], ...ofBackends }),
  badScale: (r) => ({ args: ['f', 'sf', r.below(256), 3], ...ofBackends }),
  HostTensor: (r) => {
    const d = dtype(r);
    return { args: [d, [2, 3], new ARRAYS[d](6)], says: ['tensor'], observe: (t) => t.length }; // it keeps the caller's array
  },
  'HostTensor.arrayOf': ofTensor((r) => ['f', 'x', dtype(r)]),
  'HostTensor.data': ofTensor(() => []),
  'HostTensor.view': ofTensor((r) => [r.int(0, 1), 1]),
  'HostTensor.dispose': ofTensor(() => []),
  'HostTensor.[dispose]': ofTensor(() => []),
  'HostTensor.is': (r, m) => ({ args: [tensor(r, m)], anyObject: true }),
  adoptTensor: (r) => ({ args: [r.floats(6), [2, 3]], says: ['tensor'], observe: (t) => t.length }),
  hostTensor: (r) => ({
    args: [dtype(r), [2, 3]],
    says: ['alloc', 'tensor'],
    observe: (t) => [t.length, ...t.data.subarray(0, 99)],
  }),
  hostArray: (r, m) => ({
    args: [tensor(r, m)],
    f: (x) => m.hostArray('f', 'x', x, x.dtype),
    says: [''],
    anyObject: true,
    mayThrow: () => true,
  }),
  bytesOf: (r) => ({ args: [dtype(r)] }),
  PagePool: () => ({ args: [[...KINDS], 8, memory(), { window: 40 }], observe: counts }),
  'PagePool.counts': inPool(() => []),
  'PagePool.available': inPool((r) => [r.pick(KINDS)]),
  'PagePool.take': inPool((r) => [r.pick(KINDS)]),
  'PagePool.holders': inPool(() => ['window', 0]),
  'PagePool.hold': inPool(() => ['window', 0]),
  'PagePool.drop': inPool(() => ['window', 0]),
  'PagePool.own': inPool((r) => ['window', 0, r.int(0, 9)]),
  SequencePages: (r, m) => ({ args: [pool(m)], observe: (s) => s.length }),
  'SequencePages.length': ofSequence(() => []),
  'SequencePages.disposed': ofSequence(() => []),
  'SequencePages.pages': ofSequence(() => []),
  'SequencePages.version': (r, m) => ({ self: sequence(r, m), args: [], observe: Number.isInteger }), // every sequence has its own
  'SequencePages.list': ofSequence((r) => [r.pick(KINDS)]),
  'SequencePages.missing': ofSequence((r, s) => [r.pick(KINDS), s.length + 5]),
  'SequencePages.isReserved': ofSequence((r, s) => [s.length + 2]),
  'SequencePages.reserve': (r, m) => ({
    ...ofSequence((_, s) => [s.length + r.int(0, 90)])(r, m),
    state: undefined,
    says: ['PagePool'],
  }), // keeps what it has taken
  'SequencePages.commit': ofSequence((r, s) => [s.length + r.int(0, 4)]),
  'SequencePages.retain': ofSequence((r, s) => [s.length]),
  'SequencePages.shortest': ofSequence(() => []),
  'SequencePages.rewind': ofSequence((r, s) => [s.length]),
  'SequencePages.clone': ofSequence(() => []),
  'SequencePages.open': (r, m) => ({ self: new m.SequencePages(pool(m)), args: [r.pick([0, 3, 130])], state: held }),
  'SequencePages.dispose': ofSequence(() => []),
  'SequencePages.[dispose]': ofSequence(() => []),
  StepRows: (r) => ({ args: [r.int(1, 9), [...KINDS]], observe: (s) => [s.maxRows, s.kinds] }),
  'StepRows.clear': ofRows(() => []),
  'StepRows.tokensOf': ofRows(() => [0]),
  'StepRows.add': ofRows((r, m) => [sequence(r, m), r.ints(4, 0, 9), r.int(0, 1), 3]),
  'StepRows.want': ofRows((r) => [r.int(0, 2)]),
  'StepRows.memoryRow': (r, m) => {
    const s = new m.SequencePages(pool(m));
    s.open(0);
    s.reserve(4);
    const self = new m.StepRows(8, KINDS);
    self.add(s, [1, 2, 3], 0, 3);
    return { self, args: ['window', 0, r.int(0, 2)] };
  },
  'StepRows.is': (r, m) => ({ args: [rows(r, m)], anyObject: true }),
  takeLayerSpecs: (r, m) => ({ args: [LAYERS()], f: (layers) => m.takeLayerSpecs('f', 'x', layers), says: [''] }),
  checkLayerSpec: (r, m) => ({
    args: [r.pick(LAYERS())],
    f: (layer) => m.checkLayerSpec('f', 'x', layer),
    says: [''],
    isData: true,
  }),
  filledRows: (r) => ({ args: [r.pick(KINDS), r.int(0, 300)] }),
  firstLiveRow: (r) => ({ args: [r.pick(KINDS), r.int(0, 300), 8] }),
  pageBytes: (r) => ({ args: [r.pick(KINDS), LAYERS()] }),
  pageKindsOf: () => ({ args: [LAYERS()] }),
  sequenceBytes: (r) => ({ args: [r.int(0, 300), LAYERS()] }),
  visibleEntries: (r) => ({ args: [r.int(0, 300), r.pick([0, 4, 128])] }),
  observed: (r, m) => ({ args: [backend(m), { add: () => 0 }], observe: (b) => typeof b.add }),
  overlaid: (r, m) => ({ args: [backend(m), { add: () => 0 }], observe: (b) => typeof b.add }),
  missingOperations: (r, m) => ({ args: [backend(m)] }),
  arrayChecks: made('arrayChecks', () => [() => 0]),
  makeChecks: made('makeChecks', (r, m) => [m.arrayChecks(() => 0)]),
  makeMemoryChecks: made('makeMemoryChecks', (r, m) => [m.arrayChecks(() => 0)]),
  makeValueChecks: made('makeValueChecks', (r, m) => [m.arrayChecks(() => 0)]),
  makeTakers: made('makeTakers'),
  onHost: made('onHost', (r, m) => [backend(m)]),
};
