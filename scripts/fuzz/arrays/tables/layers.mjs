/**
 * Valid calls of layers, with the smallest model on the JavaScript backend. What is called with handles of a backend by those who made them
 * (steps, probes, loaders) is asked for no words about wrong kinds: no signal and no hang are enough.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../../lib/run.mjs';
import { PagePool, pageKindsOf, SequencePages, StepRows } from '../ops-calls.mjs';
import { CONFIG, TinySource } from '../tiny-source.mjs';
import { handle } from '../typed.mjs';

const { createBackend } = await import(pathToFileURL(join(ROOT, 'packages', 'model', 'dist', 'index.js')));
const backend = handle(createBackend({ backend: 'js' }));
const source = new TinySource();
const INPUTS = { activations: 'float', float: 'f32' };
const ROWS = 4;

let weights;
export async function parts(m) {
  const formats = new m.ExpertFormats(source);
  const options = { formats, staticInputScales: false, totalBytes: 1, poolFor: null };
  weights = handle(await m.loadWeights(source, backend, options));
  return {};
}

const config = () => structuredClone(CONFIG);
const within = { mayThrow: () => true, mayRefuse: true, anyObject: true, observe: () => 0 };
const loading = (r, m) => ({
  ...{ formats: new m.ExpertFormats(source), staticInputScales: r.flag(), totalBytes: 1, poolFor: null },
  onProgress: () => undefined,
});
const forward = (m) => new m.Forward({ backend, config: config(), weights, inputs: { ...INPUTS }, maxRows: ROWS });
/** A step of some rows, planned nowhere yet, and the cache that it is for. */
function rowsOf(r, m) {
  const layers = CONFIG.compressRatios.map((_, i) => m.layerSpec(CONFIG, i));
  const cache = backend.createCache(layers);
  const kinds = pageKindsOf(layers);
  const pages = new SequencePages(new PagePool(kinds, CONFIG.slidingWindow, cache));
  const n = r.int(1, ROWS);
  pages.open(0);
  pages.reserve(n);
  const rows = new StepRows(ROWS, kinds);
  rows.add(pages, r.ints(n, 0, CONFIG.vocabSize - 1), 0, n);
  rows.want(n - 1);
  return { rows, cache };
}
const ran = (r, m) => {
  const self = forward(m);
  const { rows, cache } = rowsOf(r, m);
  self.run(rows, cache, undefined);
  return { self, rows };
};
const loader = (m) => new m.WeightLoader(source, backend, false, new m.ExpertFormats(source));
/** A part of a load, by the loader itself. */
const part = (args) => (r, m) => ({ self: loader(m), args: args(r, m), ...within });
const probing = (name, make) => (r, m) => ({ self: make(m), args: [backend], ...within });

export const calls = {
  ExpertFormats: () => ({ args: [source], observe: () => 0 }),
  'ExpertFormats.packing': (r, m) => ({
    self: new m.ExpertFormats(source),
    args: [r.int(0, 1), ['w1', 'w3'], 'f32'],
  }),
  'ExpertFormats.mxfp4': (r, m) => ({ self: new m.ExpertFormats(source), args: [0, ['w2']], ...within }),
  ExpertRanges: () => ({ args: [config()], anyObject: true, observe: ({ layers }) => layers.length }),
  'ExpertRanges.probe': probing('ExpertRanges', (m) => new m.ExpertRanges(config())),
  FirstNonFinite: () => ({ args: [], observe: () => 0 }),
  'FirstNonFinite.probe': probing('FirstNonFinite', (m) => new m.FirstNonFinite()),
  'FirstNonFinite.in': (r, m) => ({ self: new m.FirstNonFinite(), args: [0, r.int(0, 4)] }),
  Forward: (r) => ({
    args: [{ backend, config: config(), weights, inputs: { ...INPUTS }, maxRows: r.int(1, 9) }],
    says: ['createWorkspace', 'create', 'alloc', 'tensor'],
    observe: ({ place }) => ({ ...place }),
    isData: true,
  }),
  'Forward.run': (r, m) => {
    const { rows, cache } = rowsOf(r, m);
    return { self: forward(m), args: [rows, cache, undefined], ...within };
  },
  'Forward.logits': (r, m) => {
    const { self, rows } = ran(r, m);
    return {
      self,
      args: [rows, new Float32Array(CONFIG.vocabSize), () => 0],
      writes: ['1'],
      ...within,
      wild: true,
      dirty: true,
    };
  },
  'Forward.nonFiniteIn': (r, m) => ({ self: forward(m), args: [r.floats(6), 0, 6], ...within }),
  'Forward.firstNonFinite': (r, m) => ({ self: ran(r, m).self, args: [0, 1], ...within }),
  'Forward.dispose': (r, m) => ({ self: forward(m), args: [] }),
  Trace: () => ({ args: [], observe: () => 0 }),
  'Trace.probe': probing('Trace', (m) => new m.Trace()),
  'Trace.tensors': (r, m) => ({ self: new m.Trace(), args: [] }),
  WeightLoader: (r, m) => ({
    args: [source, backend, r.flag(), new m.ExpertFormats(source), null, () => undefined],
    observe: ({ packed }) => packed.length,
    anyObject: true,
  }),
  'WeightLoader.keep': part(() => [{ bytes: 1, dispose: () => undefined }, 'module']),
  'WeightLoader.tensor': part((r) => [r.floats(4), [2, 2]]),
  'WeightLoader.config': part(() => []),
  'WeightLoader.linear': part(() => ['layers.0.attn.wq_a', CONFIG.qLoraRank, CONFIG.hiddenSize]),
  'WeightLoader.vector': part((r) => ['norm.weight', r.int(1, 9)]),
  'WeightLoader.table': part(() => ['layers.0.ffn.gate.tid2eid', [4, 2]]),
  'WeightLoader.hyper': part(() => ['hc_head', CONFIG.hcMult, 1]),
  'WeightLoader.compressor': part(() => ['layers.1.attn.compressor', 4, CONFIG.headDim]),
  'WeightLoader.attention': part((r, m) => ['layers.1.attn', m.layerSpec(CONFIG, 1)]),
  'WeightLoader.rows': part(() => ['head', 4, 4, 1, 2]),
  'WeightLoader.stacked': part(() => [['a', 'b'], 4, 16]),
  'WeightLoader.experts': part(() => [0, ['w2'], CONFIG.hiddenSize, CONFIG.moeIntermediateSize]),
  'WeightLoader.fillInputScales': part((r) => [0, 'w2', r.floats(4)]),
  'WeightLoader.moe': part(() => ['layers.0.ffn', 0]),
  'WeightLoader.layer': part((r) => [r.int(0, 1)]),
  createWorkspace: (r) => ({
    args: [backend, config(), r.flag(), { ...INPUTS }, r.int(1, 9)],
    says: ['create', 'alloc', 'tensor'],
    observe: ({ maxRows }) => maxRows,
    isData: true,
    anyObject: true,
  }),
  takeConfig: (r, m) => ({ args: [config()], f: (c) => m.takeConfig('f', 'config', c), says: [''] }),
  layerSpec: (r) => ({ args: [config(), r.int(0, 1), r.pick(['f32', 'bf16'])] }),
  loadWeights: (r, m) => ({
    args: [source, backend, loading(r, m)],
    isAsync: true,
    observe: ({ layers }) => layers.length,
  }),
  weightNames: () => ({ args: [weights], ...within, mayThrow: ({ code }) => code !== undefined }),
};
