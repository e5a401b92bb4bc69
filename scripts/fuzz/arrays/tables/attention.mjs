/** Valid calls of attention: operations by the list, on both backends, with a cache of three layers and a planned step. */
import { opCall, PagePool, pageKindsOf, SequencePages, StepRows } from '../ops-calls.mjs';

/** The addon's too, where it is there. */
export const backends = (m) => (m.attentionAddonInfo().loaded ? ['js', 'native'] : ['js']);

const made = new Map();
function kernelsOf(m, backend) {
  if (!made.has(backend)) made.set(backend, m.createAttentionKernels({ backend, threads: 2 }));
  return made.get(backend);
}

const WINDOW = 8;
const LAYERS = [
  { ratio: 0, window: WINDOW, headDim: 8 },
  { ratio: 4, window: WINDOW, headDim: 8, indexHeadDim: 4 },
  { ratio: 128, window: WINDOW, headDim: 8 },
];
const ropeSpec = (r) => ({
  ...{ ropeDim: r.pick([2, 4]), theta: 1000 },
  ...(r.flag() && { yarn: { factor: 16, betaFast: 32, betaSlow: 1, originalMaxPositionEmbeddings: 4096 } }),
});

/** A cache with some tokens of one sequence or two, and a step with the next ones, planned. */
function stepOf(r, kernels) {
  const cache = kernels.createCache(LAYERS);
  const kinds = pageKindsOf(LAYERS);
  const pool = new PagePool(kinds, WINDOW, cache);
  const rows = new StepRows(8, kinds);
  const step = kernels.createStep(8);
  for (let s = r.int(1, 2); s > 0; s--) {
    const pages = new SequencePages(pool);
    const [length, n] = [r.pick([0, 3, 130]), r.int(1, 4)];
    pages.open(length);
    pages.reserve(length + n);
    rows.add(pages, new Int32Array(n), 0, n);
  }
  kernels.planStep(step, rows, cache, kernels.createRope({ ropeDim: 2, theta: 100 }));
  return { cache, step, rows };
}

const part = (cache, layer, name) => cache.part(layer, name).data.slice();
/** The whole memory of a cache. */
const memory = (cache) =>
  LAYERS.flatMap((_, layer) =>
    ['window', 'entries', 'openKv', 'openGate', 'indexEntries'].flatMap((name) => {
      try {
        return [part(cache, layer, name)];
      } catch {
        return []; // not of this layer
      }
    }),
  );

const op =
  (name, given) =>
  (r, m, { backend }) => {
    const self = kernelsOf(m, backend);
    const handles = given(r, self);
    const call = { self, ...opCall(r, name, handles), isLoose: true };
    if (handles.cache !== undefined) {
      call.observe = () => memory(handles.cache);
      call.state = () => JSON.stringify(memory(handles.cache).map((v) => [...v]));
    }
    return call;
  };
const inLayer = (layers, more) => (r, kernels) => {
  const { cache, step } = stepOf(r, kernels);
  const layer = r.pick(layers);
  return { cache, step, layer, ...more?.(r, kernels, layer) };
};
const own =
  (make) =>
  (r, m, { backend }) => {
    const self = kernelsOf(m, backend);
    return { self, ...make(r, self) };
  };
const compressing = (r, kernels, layer) => {
  const indexer = layer === 1 && r.flag();
  const dim = indexer ? 4 : 8;
  const [ratio, width] = layer === 1 ? [4, 2 * dim] : [128, dim];
  return { indexer, width, weights: kernels.packCompressor(r.floats(ratio * width), r.floats(dim)) };
};

export const parts = (m) => {
  const kernels = kernelsOf(m, 'js');
  const dispose = () => undefined;
  return { Kernels: kernels, Cache: { part: dispose, grow: dispose, copyPage: dispose, dispose }, Step: { dispose } };
};

export const calls = {
  attentionAddonInfo: () => ({ args: [] }),
  createAttentionKernels: (r) => ({
    args: [{ backend: r.pick(['js', 'native']), threads: 1, isa: 'auto' }],
    observe: ({ backend }) => backend,
    anyObject: true,
  }),
  'Kernels.ropeTables': op('ropeTables', (r, kernels) => ({ rope: kernels.createRope(ropeSpec(r)) })),
  'Kernels.rope': op('rope', (r) => {
    const d = 2 * r.int(1, 3);
    return { d, ropeDim: 2 * r.int(0, d / 2) };
  }),
  'Kernels.writeWindow': op(
    'writeWindow',
    inLayer([0, 1, 2], () => ({ d: 8 })),
  ),
  'Kernels.compress': op('compress', inLayer([1, 2], compressing)),
  'Kernels.indexSelect': op(
    'indexSelect',
    inLayer([1], () => ({ dim: 4 })),
  ),
  'Kernels.attend': op(
    'attend',
    inLayer([0, 1, 2], () => ({ d: 8, selected: null, softmaxScale: 0.5 })),
  ),
  'Kernels.createRope': own((r) => ({ args: [ropeSpec(r)] })),
  'Kernels.packCompressor': own((r) => ({ args: [r.floats(16), r.floats(4)] })),
  'Kernels.createCache': own((r) => ({
    args: [LAYERS.slice(0, r.int(1, 3)).map((layer) => ({ ...layer }))],
    observe: ({ specs }) => specs,
  })),
  'Kernels.createStep': own((r) => ({ args: [r.int(1, 9)], observe: ({ rows }) => rows })),
  'Kernels.planStep': own((r, kernels) => {
    const { cache, step, rows } = stepOf(r, kernels);
    return {
      args: [step, rows, cache, kernels.createRope({ ropeDim: 2, theta: 100 })],
      observe: () => [step.rows, step.near],
    };
  }),
  'Cache.part': own((r, kernels) => ({
    self: stepOf(r, kernels).cache,
    args: [r.below(3), 'window'],
    observe: (t) => t.data.slice(),
  })),
  'Cache.grow': own((r, kernels) => ({ self: stepOf(r, kernels).cache, args: ['window', r.int(1, 9)] })),
  'Cache.copyPage': own((r, kernels) => ({ self: stepOf(r, kernels).cache, args: ['window', 0, 1, r.int(0, 9)] })),
  'Cache.dispose': own((r, kernels) => ({ self: stepOf(r, kernels).cache, args: [] })),
  'Step.dispose': own((r, kernels) => ({ self: stepOf(r, kernels).step, args: [] })),
};
