/** Arguments of wrong kinds, and arrays that overlap or change on the way. */
import { openCheckpoint } from '@megamoe/checkpoint';
import { expect, it } from 'vitest';
import {
  createBackend,
  createModel,
  ExpertRanges,
  loadModel,
  openEngine,
  planModel,
  stopTokenIds,
  type Model,
} from '../src/index';
import { MICRO_FLASH } from './support';

const never = (v: unknown): never => v as never;
const load = (): Promise<Model> => loadModel(MICRO_FLASH, { backend: 'js', maxChunk: 8 });

it('what the caller gives is read once, and looked at when it is read', async () => {
  const model = await load();
  const v = model.config.vocabSize;
  const tokenIds = [3, 1, 4];
  const want = model.createSequence();
  const logits = model.forward([{ sequence: want, tokenIds }]);

  // Token ids that lie where the logits go: the sequence remembers what it was given.
  const memory = new Float32Array(v);
  const over = new Int32Array(memory.buffer, 0, 3);
  over.set(tokenIds);
  const sequence = model.createSequence();
  const out = model.forward([{ sequence, tokenIds: over }], { out: memory });
  expect(out).toBe(memory);
  expect(out).toEqual(logits);
  expect([...sequence.tokenIds]).toEqual(tokenIds);

  // An item and ids that are others when they are looked at again; a class with an iterator of its own.
  let asked = 0;
  const item = {
    tokenIds: Object.defineProperty(Int32Array.from(tokenIds), Symbol.iterator, { value: () => [][Symbol.iterator]() }),
    get sequence() {
      return asked++ === 0 ? fresh : never(undefined);
    },
  };
  const fresh = model.createSequence();
  expect(model.forward([item])).toEqual(logits);
  expect(model.promptTokenIds({ tokenIds: item.tokenIds })).toEqual(tokenIds);
  expect(() => model.promptTokenIds({ tokenIds: [{ valueOf: () => 1 }] as never })).toThrow(
    'Model.promptTokenIds: token id Object at index 0 must be an integer in [0, vocabSize = 160)',
  );

  // What was saved, with parts that are others when they are looked at again, and arrays that go away.
  const saved = want.save();
  const [layer, ...others] = saved.layers;
  const parts = { ...layer!.parts };
  const once = {
    ...saved,
    get tokenIds() {
      return asked++ % 2 === 0 ? saved.tokenIds : new Int32Array(999);
    },
    layers: [
      { ...layer!, parts: Object.defineProperty(parts, 'window', { get: () => layer!.parts.window }) },
      ...others,
    ],
  };
  asked = 0;
  fresh.restore(once);
  expect([...fresh.tokenIds]).toEqual(tokenIds);
  expect(() => fresh.restore({ ...saved, layers: [{ ...layer!, headDim: never({}) }, ...others] })).toThrow(
    '"saved.layers[0].headDim" must be 32, got Object',
  );
  const shared = new Uint8Array(new SharedArrayBuffer(want.serialize().length));
  shared.set(want.serialize());
  fresh.deserialize(shared);
  expect(() => fresh.deserialize(never(new Proxy(new Uint8Array(4), {})))).toThrow('"bytes" must be a Uint8Array, got');
  expect(() => fresh.resume(never({ length: 3 }), 3)).toThrow('Sequence.resume: "tokenIds" must hold token ids');
  for (const [from, n] of [
    [0, 2 ** 40],
    [0, 2],
    [-1, 1],
    [0, NaN],
  ] as const)
    // prettier-ignore
    expect(() => fresh.commit([1], from, n)).toThrow(/^Sequence\.commit: "(?:from|n)" must be an integer/);
  model.dispose();
});

it('a call finds nothing of the one before, nor of one that a getter makes in the middle of it', async () => {
  const model = await load();
  const sequences = Array.from({ length: 3 }, () => model.createSequence());
  const [a, b, c] = sequences as [(typeof sequences)[0], (typeof sequences)[0], (typeof sequences)[0]];
  const alone = model.forward([{ sequence: a, tokenIds: [3, 1, 4] }]);
  expect(() => model.forward([{ sequence: b, tokenIds: never({ length: NaN }) }])).toThrow(
    'batch item 0 has no tokens',
  );
  expect(() => model.forward([{ sequence: b, tokenIds: [] }])).toThrow('batch item 0 has no tokens');
  let inner: Float32Array | undefined;
  const outer = model.forward([
    { sequence: b, tokenIds: [3, 1, 4] },
    {
      sequence: model.createSequence(),
      get tokenIds() {
        inner = model.forward([{ sequence: c, tokenIds: [3, 1, 4] }]);
        return [5];
      },
    },
  ]);
  expect(inner).toEqual(alone);
  expect(outer.subarray(0, model.config.vocabSize)).toEqual(alone);
  expect([b, c].map((s) => [...s.tokenIds])).toEqual([[3, 1, 4], [3, 1, 4]]); // prettier-ignore
  // Nor can a step in the middle hide that a sequence comes twice.
  const twice = [
    { sequence: b, tokenIds: [1] },
    {
      sequence: model.createSequence(),
      get tokenIds() {
        model.forward([{ sequence: b, tokenIds: [2] }]);
        return [5];
      },
    },
    { sequence: b, tokenIds: [1] },
  ];
  expect(() => model.forward(twice)).toThrow('batch item 2 repeats a sequence of the batch');
  model.dispose();
});

it('options that cannot be are named', async () => {
  const checkpoint = openCheckpoint(MICRO_FLASH);
  const config = { ...checkpoint.config };
  const bound = ['linear', 'expert', 'vector', 'ints'] as const;
  const source = { config, ...Object.fromEntries(bound.map((name) => [name, checkpoint[name].bind(checkpoint)])) };
  const make = (change: object): Promise<Model> => createModel(never({ ...source, ...change }), { backend: 'js' });
  for (const [change, text] of [
    [{ vector: 3 }, '"source.vector" must be a function, got 3'],
    [{ config: null }, '"source.config" must be an object, got null'],
    [{ config: { ...config, slidingWindow: 2 ** 31 - 1 } }, '"source.config.slidingWindow" must be an integer'],
    [{ config: { ...config, numHiddenLayers: 2 ** 40 } }, '"source.config.numHiddenLayers" must be an integer'],
    [{ config: { ...config, compressRatios: [3, 3, 3, 3, 3, 3] } }, '"source.config.compressRatios" must be one of'],
    [{ config: { ...config, ropeHeadDim: 2 ** 20 } }, '"source.config.ropeHeadDim" must be an integer in [2, 32]'],
    [{ config: { ...config, normTopkProb: 'x' } }, '"source.config.normTopkProb" must be true or false, got x'],
    [{ config: { ...config, yarn: { factor: null } } }, '"source.config.yarn.factor" must be a finite number'],
  ] as const)
    await expect(make(change)).rejects.toThrow(`createModel: ${text}`);
  (await make({ config: { ...config, note: 1n } })).dispose(); // what is no part of a configuration does not count
  checkpoint.close();

  await expect(loadModel(never(undefined))).rejects.toThrow('loadModel: "dir" must be a string, got undefined');
  await expect(loadModel(MICRO_FLASH, { onPlan: never(3) })).rejects.toThrow('"onPlan" must be a function, got 3');
  await expect(loadModel(MICRO_FLASH, { onProgress: never(/x/) })).rejects.toThrow('"onProgress" must be a function');
  await expect(loadModel(MICRO_FLASH, { signal: never({}) })).rejects.toThrow('"signal" must be an AbortSignal');
  expect(() => planModel(never(3))).toThrow('planModel: "dir" must be a string, got 3');
  await expect(openEngine({ model: MICRO_FLASH, id: never(3) })).rejects.toThrow('openEngine: "id" must be a string');
  expect(() => new ExpertRanges(never(undefined))).toThrow('ExpertRanges: "config" must be an object, got undefined');
  expect(() => new ExpertRanges(never({ numHiddenLayers: 2 ** 40 }))).toThrow('"config.numHiddenLayers" must be');
  const context = { config, generationConfig: undefined, hasTokenizer: never(3) };
  expect(() => stopTokenIds(never(context))).toThrow('stopTokenIds: "model.hasTokenizer" must be true or false, got 3');

  const engine = await openEngine({ model: await load() });
  await expect(engine.close(never(null))).rejects.toThrow('Engine.close: "options" must be an object, got null');
  await expect(engine.close({ drain: never(3) })).rejects.toThrow('Engine.close: "drain" must be true or false');
  await expect(engine.close({ timeoutMs: NaN })).rejects.toThrow('Engine.close: "timeoutMs" must be a finite number');
  // More milliseconds than a timer takes are no milliseconds at all: a request under way still ends by itself.
  const stream = engine.submit({ tokenIds: [2], maxTokens: 2, ignoreEos: true });
  const closed = engine.close({ drain: true, timeoutMs: 2 ** 32 });
  let tokens = 0;
  for await (const chunk of stream) tokens += chunk.tokenIds.length;
  expect(tokens).toBe(2);
  await closed;
});

it('an option that does not exist is refused wherever options are taken', async () => {
  const model = await load();
  const item = { sequence: model.createSequence(), tokenIds: [1] };
  const chat = (given: object): Promise<unknown> =>
    model.generate({ messages: [{ role: 'user', content: 'x' }], chat: never(given) }).next();
  expect(() => model.createSequence(never({ maxToken: 5 }))).toThrow(
    'Model.createSequence: unknown option "maxToken"; did you mean "maxTokens"?',
  );
  expect(() => model.forward([item], never({ logit: 'all' }))).toThrow(
    'Model.forward: unknown option "logit"; did you mean "logits"?',
  );
  expect(() => createBackend(never({ thread: 1 }))).toThrow(
    'createBackend: unknown option "thread"; did you mean "threads"?',
  );
  await expect((async () => chat({ drop_thinkin: false }))()).rejects.toThrow(
    'generate: "chat": unknown option "drop_thinkin"; did you mean "dropThinking"?',
  );
  expect(item.sequence.length).toBe(0);
});
