/** Arguments of wrong kinds: every exported function says which one, and what came. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import vm from 'node:vm';
import { expect, it } from 'vitest';
import * as checkpoint from '../src/index';
import { rejected, smallTensors, temporaryFolder, thrown, using, writeModel } from './helpers';

const PATHS = [
  ['openCheckpoint', 'dir'],
  ['openTensorStore', 'dir'],
  ['loadTokenizer', 'dir'],
  ['readConfig', 'dir'],
  ['readGenerationConfig', 'dir'],
  ['SafetensorsFile', 'path'],
  ['writeTarget', 'path'],
  ['isThere', 'path'],
  ['makeFolders', 'dir'],
  ['canonicalName', 'name'],
] as const;

it.each(PATHS)('%s takes a string only', (name, arg) => {
  const f = (v: unknown): unknown =>
    name === 'SafetensorsFile' ? new checkpoint.SafetensorsFile(v as string) : checkpoint[name](v as string);
  for (const [v, got] of [
    [undefined, 'undefined'],
    [null, 'null'],
    [3, '3'],
    [Symbol('s'), 'Symbol(s)'],
    [new Uint8Array(3), 'Uint8Array'],
    [['a'], 'Array'],
  ])
    expect(thrown(() => f(v))).toBe(`ERR_KIND: ${name}: "${arg}" must be a string, got ${String(got)}`);
});

const never = (v: unknown): never => v as never;

it.each<[string, () => unknown, string]>([
  ['isSameFile', () => checkpoint.isSameFile('a', never(null)), '"b" must be a string, got null'],
  ['dtypeBits', () => checkpoint.dtypeBits(never('toString')), '"dtype" must be one of'],
  ['parseConfig', () => checkpoint.parseConfig(never(null)), '"json" must be an object, got null'],
  [
    'parseConfig',
    () => checkpoint.parseConfig({ model_type: 7n }, 'parseConfig'),
    'model_type: expected "deepseek_v4", found 7',
  ],
  ['readGenerationConfig', () => checkpoint.readGenerationConfig('.', never('3')), '"vocabSize" must be an integer'],
  ['parseHeader', () => checkpoint.parseHeader(never([1]), 9, 'f'), '"json" must be a Uint8Array'],
  ['readHeaderLength', () => checkpoint.readHeaderLength(never({}), 9, 'f'), '"first" must be a Uint8Array'],
  ['globalScaleOf', () => checkpoint.globalScaleOf('input_scale', never({})), '"value" must be a number, got Object'],
  ['globalScaleOf', () => checkpoint.globalScaleOf(never('x'), 1), '"key" must be one of'],
  [
    'implausibleGlobalScale',
    () => checkpoint.implausibleGlobalScale('input_scale', never(7n)),
    '"value" must be a number, got 7',
  ],
  ['matrixToFloat32', () => checkpoint.matrixToFloat32(never({ format: 'x' })), '"tensor.format" must be one of'],
  ['matrixRowBytes', () => checkpoint.matrixRowBytes(never(undefined)), '"matrix" must be an object'],
  ['formatTable', () => checkpoint.formatTable(never([1])), '"modules" must be a Map, got Array'],
  [
    'formatSummary',
    () => checkpoint.formatSummary(new Map(), never({ layers: 'x' })),
    '"draft.layers" must be an integer',
  ],
  ['moduleBytes', () => checkpoint.moduleBytes(never(null)), '"module" must be an object, got null'],
  ['formatName', () => checkpoint.formatName(never({ name: 'a' })), '"module.format" must be one of'],
  ['scaleOf', () => checkpoint.scaleOf(never({})), '"module.companions" must be a Map, got undefined'],
  ['scanBlockScales', () => checkpoint.scanBlockScales(never({}), never(1)), '"from.read" must be a function'],
  ['take', () => new checkpoint.ReadBuffers().take(-1), '"bytes" must be an integer at least 0, got -1'],
  ['take', () => new checkpoint.ReadBuffers().take(2 ** 50), `"bytes" = ${2 ** 50} cannot be allocated`],
])('%s names what is wrong', (name, f, text) => {
  expect(thrown(f)).toContain(`: ${name}: ${text}`);
});

const floats = Float32Array.from({ length: 64 }, (_, i) => i / 4);
const bits = Uint16Array.from({ length: 64 }, (_, i) => i << 5);
const codes = Uint8Array.from({ length: 64 }, (_, i) => i);

it.each<checkpoint.MatrixTensor>([
  { format: 'f32', n: 2, k: 32, data: floats },
  { format: 'bf16', n: 2, k: 32, data: bits },
  { format: 'fp8', n: 2, k: 32, codes, scales: floats.subarray(0, 2) },
  { format: 'mxfp4', n: 2, k: 32, codes: codes.subarray(0, 32), e8m0: codes.subarray(0, 2) },
  { format: 'nvfp4', n: 2, k: 32, codes: codes.subarray(0, 32), sf: codes.subarray(0, 4), weightGlobalDecodeScale: 1 },
])('a matrix in $format: arrays of a derived class count as what they hold, wrong lengths are named', (right) => {
  const { matrixRows, matrixToFloat32 } = checkpoint;
  const want = matrixToFloat32(matrixRows(right, 1, 1));
  const fields = Object.entries(right).filter(([, v]) => ArrayBuffer.isView(v)) as [string, Uint8Array][];
  for (const [name, data] of fields) {
    const derived = data.slice();
    for (const method of ['subarray', 'slice', 'some', 'findIndex'])
      Object.defineProperty(derived, method, { value: () => new Float64Array(1) });
    const matrix = { ...right, [name]: derived };
    expect(matrixToFloat32(matrixRows(matrix, 1, 1))).toEqual(want);
    expect(thrown(() => matrixRows({ ...right, [name]: data.slice(1) }, 0, 1))).toContain(
      `ERR_SHAPE: matrixRows: "tensor.${name}" must have length`,
    );
    expect(thrown(() => matrixToFloat32({ ...right, [name]: [...data] } as never))).toContain(
      `ERR_KIND: matrixToFloat32: "tensor.${name}" must be a`,
    );
  }
  const scale = 'weightGlobalDecodeScale';
  if (scale in right)
    expect(thrown(() => matrixToFloat32({ ...right, [scale]: 1e300 }))).toBe(
      `ERR_VALUE: matrixToFloat32: "tensor.${scale}" must be a finite number above 0, got Infinity`,
    );
  expect(thrown(() => matrixRows(right, 1, 2))).toBe(
    'ERR_VALUE: matrixRows: "rows" must be an integer in [0, 1], got 2',
  );
});

it('an open checkpoint names the argument that is wrong', async () => {
  const dir = await writeModel(smallTensors().values());
  using(dir, (c) => {
    const say = (f: () => unknown): string => thrown(f, dir);
    expect(say(() => c.read(never(null)))).toBe('ERR_KIND: Checkpoint.read: "name" must be a string, got null');
    expect(say(() => c.read('norm.weight', never({})))).toBe(
      'ERR_KIND: SafetensorsFile.read: "start" must be a number, got Object',
    );
    expect(say(() => c.read('norm.weight', 0, 4, never({ rewind: 1 })))).toBe(
      'ERR_KIND: Checkpoint.read: "buffers" must be ReadBuffers, got Object',
    );
    expect(say(() => c.readF32('norm.weight', never(3)))).toBe(
      'ERR_KIND: Checkpoint.readF32: "shape" must be a list of numbers, got 3',
    );
    expect(say(() => c.ints('norm.weight', never(undefined)))).toContain('Checkpoint.ints: "shape" must be a list');
    expect(say(() => c.linear(never({}), 1, 1))).toContain('Checkpoint.linear: "module" must be a string, got Object');
    expect(say(() => c.expert(never({}), 0, 'w1'))).toContain(
      'Checkpoint.expert: "layer" and "expert" must be numbers',
    );
    expect(say(() => c.vector('norm.weight', never({})))).toContain('Checkpoint.vector: "length" must be an integer');
  });
});

it('what is written is what the arguments were when they were given, whatever class they are of', async () => {
  const dir = temporaryFolder();
  const foreign = vm.runInNewContext('new Uint8Array([1, 2, 3])') as Uint8Array;
  class Mine extends Float32Array {}
  const data = Mine.of(1, 2);
  await checkpoint.writeCheckpoint(join(dir, 'a'), [{ name: 't', dtype: 'F32', shape: [2], data }], {
    files: { 'x.bin': foreign },
  });
  expect([...readFileSync(join(dir, 'a', 'x.bin'))]).toEqual([1, 2, 3]);
  let asked = 0;
  const tensor = {
    dtype: 'F32',
    shape: [2],
    data,
    get name() {
      return asked++ === 0 ? 't' : 'other';
    },
  } as const;
  await checkpoint.writeSafetensors(join(dir, 'f'), [tensor]);
  expect([...new checkpoint.SafetensorsFile(join(dir, 'f')).tensors.keys()]).toEqual(['t']);
});

it('writers refuse wrong kinds before anything is written', async () => {
  const dir = temporaryFolder();
  writeFileSync(join(dir, 'f'), 'old');
  const path = join(dir, 'f');
  const tensor = { name: 't', dtype: 'F32', shape: [1], data: new Float32Array(1) } as const;
  const { writeCheckpoint, writeFileInPieces, writeSafetensors } = checkpoint;
  const cases: [Promise<void>, string][] = [
    [writeSafetensors(never(3), [tensor]), 'writeSafetensors: "path" must be a string, got 3'],
    [writeSafetensors(path, never({})), 'writeSafetensors: "tensors" must be an array, got Object'],
    [writeSafetensors(path, [never(null)]), 'writeSafetensors: "tensors[0]" must be an object, got null'],
    [writeSafetensors(path, [tensor], never(null)), 'writeSafetensors: "options" must be an object, got null'],
    [writeSafetensors(path, [tensor], { metadata: never({ a: 3 }) }), '"metadata.a" must be a string, got 3'],
    [writeSafetensors(path, [tensor], { signal: never({}) }), '"signal" must be an AbortSignal, got Object'],
    [writeSafetensors(path, [tensor], { onProgress: never(3) }), '"onProgress" must be a function, got 3'],
    [writeSafetensors(path, [{ ...tensor, shape: never('x') }]), '"t.shape" must be a list of numbers, got x'],
    [writeFileInPieces(path, never(3)), 'writeFileInPieces: "write" must be a function, got 3'],
    [writeCheckpoint(never(null), [tensor]), 'writeCheckpoint: "dir" must be a string, got null'],
    [writeCheckpoint(path, [tensor], { files: { a: never(3n) } }), '"files.a" must be text, bytes or an object, got 3'],
    [writeCheckpoint(path, [tensor], { files: { a: { b: 3n } } }), '"files.a" must be an object that JSON can hold'],
    [writeCheckpoint(path, [tensor], { files: { a: new Float32Array(1) } }), '"files.a" must be text, bytes or'],
  ];
  for (const [promise, text] of cases) expect(await rejected(promise)).toContain(text);
  expect(readFileSync(path, 'utf8')).toBe('old');
});

it('a tokenizer reads lists of ids and whatever can be gone through', () => {
  const tokenizer = checkpoint.loadTokenizer(new URL('../../../models/tiny', import.meta.url).pathname);
  const ids = tokenizer.encode('hello world');
  const derived = Int32Array.from(ids);
  Object.defineProperty(derived, Symbol.iterator, { value: () => [][Symbol.iterator]() });
  for (const list of [ids, Int32Array.from(ids), derived, new Set(ids), ids.values()])
    expect(tokenizer.decode(list)).toBe('hello world');
  expect(thrown(() => tokenizer.decode(never(3n)))).toBe(
    'ERR_KIND: decode: "ids" must be an array of token ids, got 3',
  );
  expect(thrown(() => tokenizer.decode(never({})))).toBe('ERR_KIND: decode: "ids" must be token ids, got Object');
  expect(thrown(() => tokenizer.decode(['a'] as never))).toContain('decode: "ids" must hold token ids');
  expect(thrown(() => tokenizer.encode('a', never(null)))).toBe(
    'ERR_KIND: encode: "options" must be an object, got null',
  );
});
