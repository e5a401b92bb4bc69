/** Valid calls of checkpoint: a small model that is there, what is written beside it, and matrices of all formats in memory. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ROOT } from '../../../lib/run.mjs';

const DIR = join(ROOT, 'models', 'micro-flash');
const TINY = join(ROOT, 'models', 'tiny');
const FILE = join(DIR, 'model.safetensors');
const LAYER = 'layers.0.attn_norm.weight';

const once = (make) => {
  let made;
  return (m) => (made ??= make(m));
};
const checkpoint = once((m) => m.openCheckpoint(TINY)); // of several formats
const file = once((m) => new m.SafetensorsFile(FILE));
const store = once((m) => m.openTensorStore(DIR));
const tokenizer = once((m) => m.loadTokenizer(TINY));
const modules = (m) => [...checkpoint(m).modules.values()];
const own = (info) => ({ ...info, weight: { ...info.weight, shape: [...info.weight.shape] } });
const moduleOf = (r, m) => own(r.pick(modules(m)));
const expert = (m) => own(modules(m).find(({ format }) => format === 'nvfp4'));
const dense = (m) => modules(m).find(({ name }) => /\.attn\.wq_a$/.test(name));
const tensorName = (r, m) => r.pick([...checkpoint(m).tensors.keys()]);

const matrix = (r) => {
  const [n, k] = [r.int(1, 4), 32 * r.int(1, 3)];
  const codes = r.bytes((n * k) / 2);
  return r.pick([
    { format: 'bf16', n, k, data: r.halves(n * k) },
    { format: 'f32', n, k, data: r.floats(n * k) },
    { format: 'fp8', n, k, codes: r.scales(n * k), scales: r.floats(n) },
    { format: 'mxfp4', n, k, codes, e8m0: r.bytes((n * k) / 32, 200) },
    { format: 'nvfp4', n, k, codes, sf: r.scales((n * k) / 16), weightGlobalDecodeScale: 0.5 },
  ]);
};

/** What lies in a folder: names and bytes. */
const lying = (dir) =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .map((entry) => [
      relative(dir, join(entry.parentPath, entry.name)),
      entry.isFile() && new Uint8Array(readFileSync(join(entry.parentPath, entry.name))),
    ])
    .sort(([a], [b]) => (a < b ? -1 : 1));
const tensors = (r) => {
  const pieces = [r.bytes(1), r.bytes(3)];
  return [
    { name: 'a', dtype: 'F32', shape: [2, 3], data: r.floats(6) },
    { name: 'b', dtype: 'U8', shape: [4], data: r.pick([r.bytes(4), () => pieces]) },
  ];
};
/** A call that writes to a path: in a folder of its own, which is its state, and what lies there in the end its result. */
const writing =
  (name, args) =>
  (r, m, { root }) => {
    let dir;
    const own = () => (dir ??= mkdtempSync(join(root, 'written-')));
    return {
      args: ['out', ...args(r)],
      isAsync: true,
      says: ['writeFileInPieces', 'tensor'],
      state: () => (dir === undefined ? '' : lying(dir).join()),
      async f(path, ...rest) {
        await m[name](typeof path === 'string' ? join(own(), path) : path, ...rest);
        const found = lying(own());
        rmSync(dir, { recursive: true });
        dir = undefined;
        return found;
      },
    };
  };

const of = (self, args, more) => (r, m, given) => ({ self: self(m), args: args(r, m, given), ...more });
const inMicro = (args, more) => of(checkpoint, args, more);
const stream = (r, m) => {
  const made = tokenizer(m).createStream({ skipSpecial: r.flag() });
  if (r.flag()) made.push(r.below(300));
  return made;
};
const text = (r) => r.pick(['hello world', '<｜User｜>hi', '\u{1f600}é', '\ud800', '']);
const json = () => JSON.parse(readFileSync(join(DIR, 'config.json'), 'utf8'));
const headerOf = () => {
  const bytes = readFileSync(FILE);
  return new Uint8Array(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))));
};
const SIZE = readFileSync(FILE).length;
const opened = (args, observe = () => 0) => ({ args, observe });

export const parts = (m) => ({
  Checkpoint: checkpoint(m),
  Store: store(m),
  Tokenizer: tokenizer(m),
  Stream: tokenizer(m).createStream(),
});

export const calls = {
  openCheckpoint: () => opened([DIR], (c) => [c.dir, c.config, [...c.tensors.keys()], c.warnings]),
  'Checkpoint.read': inMicro((r, m) => [tensorName(r, m), 0, r.int(0, 4), new m.ReadBuffers()].slice(0, r.int(1, 4))),
  'Checkpoint.readF32': inMicro(() => [LAYER]),
  'Checkpoint.linear': inMicro((r, m) => [dense(m).name, dense(m).n, dense(m).k]),
  'Checkpoint.linearRows': inMicro((r, m) => [dense(m).name, dense(m).n, dense(m).k, 1, 2, new m.ReadBuffers()]),
  'Checkpoint.expert': inMicro((r, m) => [r.int(0, 1), r.int(0, 1), r.pick(['w1', 'w2', 'w3']), new m.ReadBuffers()]),
  'Checkpoint.expertScales': inMicro((r) => [r.int(0, 1), r.int(0, 1), r.pick(['w1', 'w2', 'w3'])]),
  'Checkpoint.expertE8m0': inMicro((r) => [r.int(0, 1), r.int(0, 1), r.pick(['w1', 'w2', 'w3'])]),
  'Checkpoint.vector': inMicro((r, m) => [LAYER, checkpoint(m).config.hiddenSize]),
  'Checkpoint.ints': inMicro((r, m) => {
    const { vocabSize, numExpertsPerTok } = checkpoint(m).config;
    return ['layers.0.ffn.gate.tid2eid', [vocabSize, numExpertsPerTok]];
  }),
  'Checkpoint.close': of(
    (m) => m.openCheckpoint(DIR),
    () => [],
  ),
  matrixRowBytes: (r) => ({ args: [matrix(r)] }),
  matrixRows: (r) => ({ args: [matrix(r), 0, r.int(0, 1)] }),
  matrixToFloat32: (r) => ({ args: [matrix(r)], says: ['dequantize'] }),
  formatName: (r, m) => ({ args: [moduleOf(r, m)] }),
  moduleBytes: (r, m) => ({ args: [moduleOf(r, m)] }),
  formatTable: (r, m) => ({ args: [new Map([['a', moduleOf(r, m)]])] }),
  formatSummary: (r, m) => ({ args: [new Map([['a', moduleOf(r, m)]]), { layers: r.int(0, 2) }] }),
  scaleOf: (r, m) => ({ args: [moduleOf(r, m)] }),
  scanBlockScales: (r, m) => ({
    args: [checkpoint(m), expert(m), new m.ReadBuffers(), new m.ReadBuffers()].slice(0, r.int(2, 4)),
    observe(steps) {
      for (;;) {
        const { done, value } = steps.next();
        if (done) return value;
      }
    },
  }),
  implausibleGlobalScale: (r) => ({
    args: [r.pick(['weight_scale_2', 'input_global_scale']), r.pick([0.5, 1e-4, 1e4])],
  }),
  globalScaleOf: (r) => ({ args: [r.pick(['weight_scale_2', 'input_global_scale']), r.pick([0.5, 1e-4, 0])] }),
  parseConfig: () => ({ args: [json(), 'config.json'], isData: true, anyObject: true }),
  readConfig: () => ({ args: [DIR] }),
  readGenerationConfig: () => ({ args: [TINY, 1000, () => undefined] }),
  canonicalName: (r) => ({ args: [r.pick(['lm_head.weight', 'model.layers.0.self_attn.sinks'])] }),
  SafetensorsFile: () => opened([FILE], (f) => [f.path, f.bytes]),
  'SafetensorsFile.entry': of(file, () => ['embed.weight']),
  'SafetensorsFile.read': of(file, (r, m) => ['embed.weight', r.int(0, 4), r.int(4, 40), new m.ReadBuffers()]),
  'SafetensorsFile.close': of(
    (m) => new m.SafetensorsFile(FILE),
    () => [],
  ),
  ReadBuffers: () => opened([{ take: (n) => new Uint8Array(n), rewind: () => undefined }]),
  'ReadBuffers.bytes': of(
    (m) => new m.ReadBuffers(),
    () => [],
  ),
  'ReadBuffers.take': of(
    (m) => new m.ReadBuffers(),
    (r) => [r.int(0, 99)],
    { observe: (bytes) => bytes.length },
  ),
  'ReadBuffers.rewind': of(
    (m) => new m.ReadBuffers(),
    () => [],
  ),
  parseHeader: () => ({ args: [headerOf(), SIZE, 'a file'], says: ['a file'] }),
  readHeaderLength: () => ({
    args: [new Uint8Array(readFileSync(FILE).subarray(0, 8)), SIZE, 'a file'],
    says: ['a file'],
  }),
  dtypeBits: (r, m) => ({ args: [r.pick(m.DTYPES)] }),
  openTensorStore: () => opened([DIR], (s) => [...s.tensors.keys()]),
  'Store.read': of(store, () => ['embed.weight', 0, 8]),
  'Store.into': of(store, (r, m) => [new m.ReadBuffers(), () => 3]),
  'Store.close': of(
    (m) => m.openTensorStore(DIR),
    () => [],
  ),
  loadTokenizer: () => opened([TINY], (t) => t.vocabSize),
  'Tokenizer.encode': of(tokenizer, (r) => [text(r), { parseSpecial: r.flag() }]),
  'Tokenizer.decode': of(tokenizer, (r) => [r.pick([r.ints(4, 0, 300), [1, 2, 3]]), { skipSpecial: r.flag() }]),
  'Tokenizer.tokenBytes': of(tokenizer, (r) => [r.int(0, 600)]),
  'Tokenizer.createStream': of(tokenizer, (r) => [{ skipSpecial: r.flag() }], { observe: (s) => s.push(40) }),
  'Stream.push': (r, m) => ({ self: stream(r, m), args: [r.below(600)], says: ['decode'] }),
  'Stream.flush': (r, m) => ({ self: stream(r, m), args: [] }),
  isSameFile: () => ({ args: [DIR, join(DIR, '..', 'micro-flash')] }),
  writeTarget: (r, m, { root }) => ({ args: [join(root, 'new')] }),
  makeFolders: () => ({ args: [DIR], observe: () => 0 }), // what it made, it does not make again
  isThere: (r) => ({ args: [r.pick([DIR, join(DIR, 'nothing')])] }),
  writeFileInPieces: writing('writeFileInPieces', (r) => {
    const bytes = r.bytes(8);
    return [(put) => put(bytes, 0)];
  }),
  writeSafetensors: writing('writeSafetensors', (r) => [
    tensors(r),
    { metadata: { format: 'pt' }, onProgress: () => 0 },
  ]),
  writeCheckpoint: writing('writeCheckpoint', (r) => [
    tensors(r),
    {
      ...{ metadata: { format: 'pt' }, maxShardBytes: r.pick([8, 1000]), files: { c: r.bytes(3) } },
      ...{ overwrite: r.flag(), onProgress: () => 0 },
    },
  ]),
};
