/** Valid calls of model: the smallest model, with sequences and engines of their own. Streams are read for a few chunks. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../../lib/run.mjs';
import { handle } from '../typed.mjs';

const { openCheckpoint } = await import(pathToFileURL(join(ROOT, 'packages', 'checkpoint', 'dist', 'index.js')));
const DIR = join(ROOT, 'models', 'micro-flash');
const V = 160;
const LOAD = { backend: 'js', maxChunk: 16 };
let model;
let engine;
let backend;

export async function parts(m) {
  model = await m.loadModel(DIR, { ...LOAD });
  engine = await m.openEngine({ model, maxSequences: 4 });
  backend = handle(m.createBackend({ backend: 'js' }));
  const stream = engine.submit({ tokenIds: [2], maxTokens: 1 });
  stream.cancel();
  const sequence = model.createSequence();
  // What steps, engines and streams say to each other is no call of anybody else's.
  const own = ({ submit, checkAdmission, stats, health, close, restart }) => ({
    ...{ submit, checkAdmission, stats, health, close, restart },
  });
  return {
    Model: model,
    Sequence: sequence,
    Engine: own(engine),
    Stream: { cancel: stream.cancel, finish: stream.finish },
  };
}

const ids = (r, n) => r.pick([r.ints(n, 0, V - 1), Array.from(r.ints(n, 0, V - 1))]);
/** Nothing that takes time is looked at. */
const untimed = ({ usage, ...chunk }) => ({
  ...chunk,
  // How much of the prompt was there depends on who asked before.
  ...(usage && { tokens: [usage.promptTokens, usage.completionTokens] }),
});
async function first(chunks) {
  const found = [];
  for await (const chunk of chunks) if (found.push(untimed(chunk)) === 3) break;
  return found;
}
const sampling = (r) => ({
  ...r.pick([
    {},
    { temperature: 0.8, topK: 5, topP: 0.9, minP: 0.1, seed: 7 },
    { repetitionPenalty: 1.2, logprobs: 2 },
  ]),
  ...r.pick([
    {},
    { stopIds: [3], ignoreEos: true },
    { badWords: [[1, 2]], logitBias: new Map([[5, 2]]), minTokens: 1 },
  ]),
});
const request = (r) => ({ tokenIds: ids(r, r.int(1, 4)), maxTokens: r.int(0, 3), ...sampling(r) });
/** A sequence of some tokens. */
const sequence = (r) => {
  const made = model.createSequence({ maxTokens: 64 });
  const n = r.pick([0, 2, 5]);
  if (n > 0) model.forward([{ sequence: made, tokenIds: r.ints(n, 0, V - 1) }], { logits: 'none' });
  return made;
};
const held = ({ self }) => `${self.length}:${[...self.tokenIds].join()}`;
const inSequence =
  (args, more = {}) =>
  (r) => {
    const self = sequence(r);
    return { self, args: args(r, self), state: held, observe: (x) => [x, held({ self })], ...more };
  };
const getter = (self) => () => ({ self: self(), args: [] });
const thrower =
  (...args) =>
  () => ({ args, mayThrow: () => true, mayRefuse: true, anyObject: true, observe: () => 0 });
const loadOptions = (r) => ({
  ...{ backend: 'js', threads: 1, maxChunk: r.int(1, 9), activations: r.pick(['nvfp4', 'float']) },
  ...{ floatInputs: r.pick(['f32', 'bf16']), inputScales: 'dynamic', kv: 'f32', onPlan: () => 0, onProgress: () => 0 },
});
const source = () => {
  const c = openCheckpoint(DIR);
  const bound = ['linear', 'linearRows', 'expert', 'expertScales', 'expertE8m0', 'vector', 'ints'];
  return { config: structuredClone(c.config), ...Object.fromEntries(bound.map((name) => [name, c[name].bind(c)])) };
};
const facts = ({ config, maxChunk, warnings }) => [config.vocabSize, maxChunk, warnings.length];
const loading = (name, given) => (r, m) => ({
  args: [given(), loadOptions(r)],
  isAsync: true,
  says: ['planModel', 'createBackend', 'createRouter', 'createRope'],
  async f(...args) {
    const made = await m[name](...args);
    const found = facts(made);
    made.dispose();
    return found;
  },
});
const config = () => structuredClone(model.config);

export const calls = {
  ContextLengthError: thrower('f', 3, 2),
  EngineClosedError: thrower('words'),
  QueueFullError: thrower(3, 2),
  StepError: thrower([{ item: 0, error: new Error('e') }], new Float32Array(1), 2),
  WorkerError: thrower('words'),
  CheckpointError: thrower('words'),
  KindError: thrower('words'),
  ShapeError: thrower('words'),
  UnsupportedError: thrower('words'),
  ValueError: thrower('words'),
  cudaReport: () => ({ args: [], observe: ({ available }) => available }),
  addonInfos: () => ({ args: [] }),
  createBackend: () => ({ args: [{ backend: 'js', threads: 1, isa: 'auto' }], observe: ({ name }) => name }),
  observed: () => ({ args: [backend, { add: () => 0 }], observe: (b) => typeof b.add }),
  loadModel: loading('loadModel', () => DIR),
  createModel: (r, m) => ({ ...loading('createModel', source)(r, m), isData: true, anyObject: true }),
  planModel: (r) => ({ args: [DIR, loadOptions(r)], says: ['createBackend'], observe: ({ fits }) => fits }),
  stopTokenIds: () => ({
    args: [{ config: config(), generationConfig: { eosTokenIds: [3] }, hasTokenizer: false }],
    anyObject: true,
  }),
  openEngine: (r, m) => ({
    args: [{ model: r.pick([model, DIR]), load: { ...LOAD }, id: 'name', maxSequences: 2, maxQueue: 3, kvBytes: 1e9 }],
    isAsync: true,
    says: ['loadModel', 'createBackend', 'planModel'],
    async f(...args) {
      const made = await m.openEngine(...args);
      const { id } = made.model;
      await made.close();
      return id;
    },
  }),
  ExpertRanges: () => ({ args: [config()], anyObject: true, observe: ({ layers }) => layers.length }),
  'ExpertRanges.probe': (r, m) => ({ self: new m.ExpertRanges(config()), args: [backend], observe: () => 0 }),
  Trace: () => ({ args: [], observe: () => 0 }),
  'Trace.probe': (r, m) => ({ self: new m.Trace(), args: [backend], observe: () => 0 }),
  'Trace.tensors': (r, m) => ({ self: new m.Trace(), args: [] }),
  'Model.tokenizer': () => ({ self: model, args: [], mayRefuse: true }),
  'Model.hasTokenizer': getter(() => model),
  'Model.nvfp4': getter(() => model),
  'Model.weights': () => ({ self: model, args: [], observe: (w) => w.layers.length }),
  'Model.place': getter(() => model),
  'Model.fingerprint': getter(() => model),
  'Model.kvBytes': () => ({ self: model, args: [], observe: (n) => typeof n }),
  'Model.promptTokenIds': (r) => ({ self: model, args: [{ tokenIds: ids(r, 3) }] }),
  'Model.createSequence': (r) => ({
    self: model,
    args: [{ maxTokens: r.int(1, 99) }],
    observe: ({ maxTokens, length }) => [maxTokens, length],
  }),
  'Model.forward': (r) => {
    const items = Array.from({ length: r.int(1, 2) }, () => ({
      ...{ sequence: sequence(r), tokenIds: ids(r, r.int(1, 3)) },
      ...r.pick([{}, { logits: 'last' }]),
    }));
    const out = new Float32Array(items.length * V);
    return {
      self: model,
      args: [items, { logits: 'last', ...r.pick([{}, { out }]) }],
      writes: ['1.out'],
      observe: (logits) => [logits, items.map((item) => held({ self: item.sequence }))],
    };
  },
  'Model.generate': (r) => ({
    args: [{ ...request(r), ...r.pick([{}, { sequence: sequence(r) }]) }],
    isAsync: true,
    f: (...args) => first(model.generate(...args)),
  }),
  'Model.dispose': (r, m) => ({
    args: [],
    isAsync: true,
    async f(...args) {
      const made = await m.loadModel(DIR, { ...LOAD });
      return [made.dispose(...args), made.dispose()];
    },
  }),
  'Model.[dispose]': (r, m) => ({
    args: [],
    isAsync: true,
    async f(...args) {
      return (await m.loadModel(DIR, { ...LOAD }))[Symbol.dispose](...args);
    },
  }),
  'Sequence.pages': inSequence(() => [], { observe: () => 0 }),
  'Sequence.length': inSequence(() => []),
  'Sequence.tokenIds': inSequence(() => []),
  'Sequence.bytes': inSequence(() => []),
  'Sequence.enter': inSequence((r) => [r.int(1, 3)]),
  'Sequence.commit': inSequence((r) => [ids(r, 3), 0, 2], {
    mayThrow: () => true,
    mayRefuse: true,
    state: undefined,
    observe: () => 0,
  }),
  'Sequence.clone': inSequence(() => [], { observe: (s) => held({ self: s }) }),
  'Sequence.save': inSequence(() => []),
  'Sequence.serialize': inSequence(() => []),
  'Sequence.deserialize': inSequence((r, self) => [self.serialize()]),
  'Sequence.restore': inSequence((r, self) => {
    const { layers, ...saved } = self.save();
    return [{ ...saved, layers: layers.map((layer) => ({ ...layer, parts: { ...layer.parts } })) }];
  }),
  'Sequence.rewind': inSequence((r, self) => [r.int(0, self.length)], { says: ['SequencePages'] }),
  'Sequence.mark': inSequence(() => []),
  'Sequence.resume': inSequence((r, self) => [r.pick([self.tokenIds.slice(), ids(r, 3)]), r.int(0, 9)]),
  'Sequence.dispose': inSequence(() => [], { state: undefined, observe: () => 0 }),
  'Sequence.[dispose]': inSequence(() => [], { state: undefined, observe: () => 0 }),
  'Engine.submit': (r) => ({
    args: [{ ...request(r), n: r.int(1, 2), priority: 1, cacheKey: 'k', reusePrefix: false, progress: false }],
    isAsync: true,
    f: async (...args) => first(engine.submit(...args)),
  }),
  'Engine.checkAdmission': () => ({ self: engine, args: [] }),
  'Engine.stats': () => ({ self: engine, args: [], observe: (s) => Object.keys(s) }),
  'Engine.health': getter(() => engine),
  'Engine.restart': () => ({ self: engine, args: [], isAsync: true }),
  'Engine.close': (r, m) => ({
    args: [{ drain: r.flag(), timeoutMs: r.int(0, 5) }],
    isAsync: true,
    says: ['Engine'],
    f: async (...args) => (await m.openEngine({ model })).close(...args),
  }),
  'Stream.cancel': (r) => ({
    self: engine.submit({ tokenIds: [2], maxTokens: 1 }),
    args: [new Error('enough')].slice(0, r.int(0, 1)),
  }),
  'Stream.finish': (r) => ({
    self: engine.submit({ tokenIds: [2], maxTokens: 1, n: 2 }),
    args: [r.int(0, 2)],
  }),
};
