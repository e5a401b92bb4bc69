import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { TensorStore } from '../src/index';
import { openTensorStore } from '../src/index';
import { rawSafetensors, temporaryFolder, thrown } from './helpers';

const one = (name: string, value: number): Buffer =>
  rawSafetensors(`{"${name}":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, Uint8Array.of(value));
const index = (map: Record<string, unknown>, metadata: unknown = { total_size: 2 }): string =>
  JSON.stringify({ metadata, weight_map: map });
const A = 'model-00001-of-00002.safetensors';
const B = 'model-00002-of-00002.safetensors';

function folder(files: Record<string, string | Buffer>): string {
  const dir = temporaryFolder();
  for (const [name, content] of Object.entries(files)) writeFileSync(join(dir, name), content);
  return dir;
}

const INDEX = 'model.safetensors.index.json';
const sharded = (): string => folder({ [A]: one('a', 1), [B]: one('b', 2), [INDEX]: index({ a: A, b: B }) });
const open = (dir: string): string => thrown(() => openTensorStore(dir).close(), dir);

/** What a store holds: name to first byte. */
function contents(store: TensorStore): Record<string, number> {
  return Object.fromEntries([...store.tensors.keys()].map((name) => [name, store.read(name)[0]!]));
}

describe('openTensorStore', () => {
  it('opens one file', () => {
    const dir = folder({ 'model.safetensors': one('a', 7) });
    const store = openTensorStore(dir);
    expect(contents(store)).toEqual({ a: 7 });
    expect(store.tensors.get('a')).toEqual({
      name: 'a',
      dtype: 'U8',
      shape: [1],
      bytes: 1,
      file: join(dir, 'model.safetensors'),
    });
    expect(store.warnings).toEqual([]);
    store.close();
    expect(thrown(() => store.read('a'), dir)).toMatch(/the file has been closed$/);
  });

  it('opens shards, also through links as caches have them', () => {
    const dir = sharded();
    mkdirSync(join(dir, 'blobs'));
    writeFileSync(join(dir, 'blobs', 'x'), one('b', 9));
    rmSync(join(dir, B));
    symlinkSync(join('blobs', 'x'), join(dir, B));
    const store = openTensorStore(dir);
    expect(contents(store)).toEqual({ a: 1, b: 9 });
    expect(thrown(() => store.read('c'), dir)).toBe(
      'ERR_CHECKPOINT: DIR: tensor "c": no such tensor in this checkpoint',
    );
    store.close();
  });

  it('warns of a wrong total_size and does not need one', () => {
    const wrong = folder({ [A]: one('a', 1), [INDEX]: index({ a: A }, { total_size: 5 }) });
    expect(openTensorStore(wrong).warnings).toEqual([`${INDEX}: total_size says 5, the tensors have 1 bytes`]);
    const none = folder({ [A]: one('a', 1), [INDEX]: index({ a: A }, null) });
    expect(openTensorStore(none).warnings).toEqual([]);
  });

  it('says what is missing', () => {
    expect(open(folder({}))).toBe(
      `ERR_CHECKPOINT: DIR: no checkpoint here: expected model.safetensors or ${INDEX}, the folder is empty`,
    );
    expect(open(folder({ 'pytorch_model.bin': 'x' }))).toBe(
      `ERR_CHECKPOINT: DIR: no checkpoint here: expected model.safetensors or ${INDEX}, found "pytorch_model.bin"`,
    );
    const nowhere = join(temporaryFolder(), 'x');
    expect(thrown(() => openTensorStore(nowhere), nowhere)).toMatch(
      /^ERR_CHECKPOINT: DIR: cannot be read as a checkpoint folder: ENOENT/,
    );
    const file = join(folder({ f: 'x' }), 'f');
    expect(thrown(() => openTensorStore(file), file)).toBe(
      'ERR_CHECKPOINT: DIR: cannot be read as a checkpoint folder: not a folder',
    );
    const dir = sharded();
    rmSync(join(dir, B));
    expect(open(dir)).toBe(`ERR_CHECKPOINT: DIR/${B}: missing shard: the index puts "b" there`);
  });

  it.each([
    ['[]', `DIR/${INDEX}: weight_map: expected an object, found nothing`],
    ['{"weight_map":[]}', `DIR/${INDEX}: weight_map: expected an object, found []`],
    ['{', `DIR/${INDEX}: not a valid index: expected "\\"", found the end at character 1`],
    [`{"weight_map":{"a":"${A}","a":"${B}"}}`, `DIR/${INDEX}: not a valid index: duplicate name "a" at character 57`],
    [index({ a: 1 }), `DIR/${INDEX}: tensor "a": expected a file name, found 1`],
    ...[
      '../x.safetensors',
      '/etc/x.safetensors',
      'a\\b.safetensors',
      'a/b.safetensors',
      'x.bin',
      '',
      '..',
      '.safetensors',
    ].map((name) => [
      index({ a: name }),
      `DIR/${INDEX}: tensor "a": expected the plain name of a .safetensors file beside the index, found ${JSON.stringify(name)}`,
    ]),
    [index({ a: A, b: B, c: A }), `DIR/${A}: tensor "c": in the index, but not in this file`],
    [index({ a: B, b: B }), `DIR/${B}: tensor "a": in the index, but not in this file`],
    [index({ a: B, b: A }), `DIR/${A}: tensor "a": in the wrong file: the index puts it in ${B}`],
  ])('refuses the index %s', (text, message) => {
    const dir = sharded();
    writeFileSync(join(dir, INDEX), text);
    expect(open(dir)).toBe(`ERR_CHECKPOINT: ${message}`);
  });

  it('does not open a file that the index does not name', () => {
    const dir = sharded();
    writeFileSync(join(dir, INDEX), index({ a: A }));
    writeFileSync(join(dir, B), 'damaged');
    const store = openTensorStore(dir);
    expect(contents(store)).toEqual({ a: 1 });
    store.close();
  });

  it('refuses a tensor that the index does not list, and one that two shards hold', () => {
    const two = rawSafetensors(
      '{"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
      Uint8Array.of(1, 2),
    );
    const unlisted = folder({ [A]: two, [INDEX]: index({ a: A }) });
    expect(open(unlisted)).toBe(`ERR_CHECKPOINT: DIR/${A}: tensor "b": in the file, but not in ${INDEX}`);
    const twice = folder({ [A]: one('a', 1), [B]: two, [INDEX]: index({ a: A, b: B }) });
    expect(open(twice)).toBe(`ERR_CHECKPOINT: DIR/${B}: tensor "a": stored twice: DIR/${A} holds it too`);
    const reversed = folder({ [A]: two, [B]: one('a', 1), [INDEX]: index({ b: A, a: B }) });
    expect(open(reversed)).toBe(`ERR_CHECKPOINT: DIR/${A}: tensor "a": stored twice: the index puts it in ${B}`);
  });

  it('does not choose between a single file and shards', () => {
    const dir = sharded();
    writeFileSync(join(dir, 'model.safetensors'), one('a', 1));
    expect(open(dir)).toBe(
      `ERR_CHECKPOINT: DIR: both model.safetensors and ${INDEX} are here and the index does not name the first: remove one`,
    );
    writeFileSync(join(dir, INDEX), index({ a: 'model.safetensors' }));
    expect(open(dir)).toBe('nothing');
  });

  it('leaves no file open when a shard is damaged', () => {
    const dir = sharded();
    writeFileSync(join(dir, B), 'short');
    for (let i = 0; i < 3000; i++) open(dir); // would run out of descriptors
    expect(open(dir)).toBe(`ERR_CHECKPOINT: DIR/${B}: not a safetensors file: expected at least 8 bytes, found 5`);
  });
});
