import { existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findModel, HubError, isModelName } from '../src/index';
import { temporaryFolder } from './support';

const COMMIT = '1234567890123456789012345678901234567890';
const SHARDS = ['model-1.safetensors', 'model-2.safetensors', 'model-3.safetensors'];

/** A cache as the Python library leaves it; `lost` blobs are gone, `absent` files were never asked for. */
function cacheWith(
  files: Record<string, string>,
  { name = 'org/name', refs = ['main'], lost = [] as string[], commit = COMMIT, cache = temporaryFolder() } = {},
): string {
  const model = join(cache, `models--${name.replace('/', '--')}`);
  mkdirSync(join(model, 'blobs'), { recursive: true });
  for (const [path, content] of Object.entries(files)) {
    const blob = join(model, 'blobs', path.replaceAll('/', '_'));
    writeFileSync(blob, content);
    const at = join(model, 'snapshots', commit, path);
    mkdirSync(dirname(at), { recursive: true });
    symlinkSync(blob, at);
    if (lost.includes(path)) rmSync(blob);
  }
  for (const ref of refs) {
    mkdirSync(dirname(join(model, 'refs', ref)), { recursive: true });
    writeFileSync(join(model, 'refs', ref), commit);
  }
  return cache;
}

const INDEX = {
  'model.safetensors.index.json': JSON.stringify({ weight_map: { a: SHARDS[0], b: SHARDS[1], c: SHARDS[2] } }),
};
const sharded = (...shards: string[]) => ({
  'config.json': '{}',
  ...INDEX,
  ...Object.fromEntries(shards.map((s) => [s, 'x'])),
});
const single = { 'config.json': '{}', 'model.safetensors': 'x' };

describe('findModel', () => {
  it.each<[string, Record<string, string>]>([
    ['shards', sharded(...SHARDS)],
    ['one file', single],
  ])('finds a snapshot of %s by its branch and its commit', (_, files) => {
    const cacheDir = cacheWith(files, { refs: ['main', 'refs/pr/1'] });
    const dir = join(cacheDir, 'models--org--name', 'snapshots', COMMIT);
    const found = { dir, name: 'org/name', commit: COMMIT };
    expect(findModel('org/name', { cacheDir })).toEqual(found);
    for (const revision of ['main', 'refs/pr/1', COMMIT])
      expect(findModel('org/name', { cacheDir, revision })).toEqual(found);
  });

  it('takes a folder of that name first, and any path', () => {
    const cacheDir = cacheWith(single);
    const cwd = temporaryFolder();
    mkdirSync(join(cwd, 'org', 'name'), { recursive: true });
    writeFileSync(join(cwd, 'model.gguf'), '');
    const none = { name: undefined, commit: undefined };
    expect(findModel('org/name', { cacheDir, cwd })).toEqual({ dir: join(cwd, 'org', 'name'), ...none });
    expect(findModel('./org/../org', { cwd })).toEqual({ dir: join(cwd, 'org'), ...none });
    expect(findModel('model.gguf', { cwd }).dir).toBe(join(cwd, 'model.gguf')); // the loader says that it is no checkpoint
    expect(findModel(cwd)).toEqual({ dir: cwd, ...none });
    expect(findModel('test').dir).toBe('test'); // as it was given
    expect(() => findModel('org/name', { cwd, revision: 'v1' })).toThrow(
      '"revision" is for models of the cache, and "org/name" is a folder here',
    );
  });

  it.each<[string, Record<string, string>, string]>([
    [
      'HF_HUB_CACHE',
      { HF_HUB_CACHE: '$BASE/here', HUGGINGFACE_HUB_CACHE: '/no', HF_HOME: '/no', XDG_CACHE_HOME: '/no' },
      'here',
    ],
    ['HUGGINGFACE_HUB_CACHE', { HUGGINGFACE_HUB_CACHE: '~/here', HF_HOME: '/no', XDG_CACHE_HOME: '/no' }, 'here'],
    ['HF_HOME', { HF_HOME: '~', HF_HUB_CACHE: '', XDG_CACHE_HOME: '/no' }, 'hub'],
    ['XDG_CACHE_HOME', { XDG_CACHE_HOME: '${BASE}/xdg' }, 'xdg/huggingface/hub'],
    ['', {}, '.cache/huggingface/hub'],
  ])('looks where %s says', (variable, env, path) => {
    const home = temporaryFolder();
    const cache = join(home, path);
    const all = { HOME: home, BASE: home, ...env };
    const named = variable ? ` (${variable})` : '';
    expect(() => findModel('org/name', { env: all })).toThrow(
      `findModel: there is no folder "org/name" in ${process.cwd()}, and the Hugging Face cache ${cache}${named} has no model of that name; "megamoe pull org/name" downloads it`,
    );
    cacheWith(single, { cache });
    expect(
      findModel('org/name', { env: { ...all, HF_TOKEN: 'a b', HF_ENDPOINT: 'nonsense', HF_HUB_OFFLINE: '1' } }).dir,
    ).toBe(join(cache, 'models--org--name', 'snapshots', COMMIT));
  });

  it.each<[string, Record<string, string>, string[], string]>([
    ['a shard', sharded(SHARDS[0]!, SHARDS[2]!), [], 'lacks model-2.safetensors'],
    ['a blob', sharded(...SHARDS), [SHARDS[1]!], 'lacks model-2.safetensors'],
    [
      'shards and a blob beside them',
      { ...sharded(), 'tokenizer.json': '' },
      ['tokenizer.json'],
      'lacks model-1.safetensors, model-2.safetensors, model-3.safetensors, tokenizer.json;',
    ],
    ['all tensors', { 'config.json': '{}' }, [], 'lacks model.safetensors.index.json or model.safetensors;'],
    ['the index', sharded(...SHARDS), ['model.safetensors.index.json'], 'lacks model.safetensors.index.json;'],
    ['the config', { 'model.safetensors': '' }, [], 'lacks config.json;'],
    ['what an encoder needs', { ...single, 'encoding/a.py': '' }, ['encoding/a.py'], 'lacks encoding/a.py;'],
  ])('names what an incomplete snapshot lacks: %s', (_, files, lost, message) => {
    const cacheDir = cacheWith(files, { lost, refs: ['main', 'v1'] });
    expect(() => findModel('org/name', { cacheDir })).toThrow(message);
    expect(() => findModel('org/name', { cacheDir })).toThrow(
      /^findModel: org\/name is incomplete in .* "megamoe pull org\/name" fetches what is missing$/,
    );
    expect(() => findModel('org/name', { cacheDir, revision: 'v1' })).toThrow(
      '"megamoe pull org/name --revision v1" fetches',
    );
  });

  it('says what else the cache has', () => {
    const cacheDir = cacheWith(single, { refs: ['v1', 'refs/pr/2'] });
    cacheWith(single, { cache: cacheDir, commit: 'f'.repeat(40), refs: [] });
    cacheWith(single, { cache: cacheDir, name: 'other/model' });
    writeFileSync(join(cacheDir, 'models--org--name', 'refs', 'torn'), COMMIT.slice(0, 20));
    const has = `but not its revision main; it has refs/pr/2, v1, ${'f'.repeat(40)}; "megamoe pull org/name" downloads it`;
    expect(() => findModel('org/name', { cacheDir })).toThrow(has);
    expect(() => findModel('org/name', { cacheDir, revision: 'torn' })).toThrow(
      'not its revision torn; it has refs/pr/2',
    );
    expect(() => findModel('Org/Name', { cacheDir })).toThrow(
      'has no model of that name; it has org/name, other/model; "megamoe pull Org/Name"',
    );
  });

  it.each<[string, object, string]>([
    ['nowhere', {}, 'there is no folder "nowhere" in /'],
    ['a/b/c', {}, 'a model on the Hub would be called ORG/NAME'],
    ['/no/such', {}, 'there is no folder "/no/such"'],
    ['../no-such', {}, 'there is no folder "../no-such"'],
    ['a/\u001b[31m', {}, 'there is no folder "a/\\u001b[31m"'],
    ['', {}, '"model" must be a folder or a name as ORG/NAME'],
    [
      'a/b',
      { revision: '../../..' },
      '"revision" must be a branch, a tag or a commit of 40 hexadecimal digits, got "../../.."',
    ],
  ])('refuses %j %j', (model, o, message) => {
    expect(() => findModel(model, { cacheDir: '/nowhere', ...o })).toThrow(message);
  });

  it('writes nothing, there or not', () => {
    const cacheDir = join(temporaryFolder(), 'none');
    expect(() => findModel('org/name', { cacheDir })).toThrow(HubError);
    expect(existsSync(cacheDir)).toBe(false);
  });
});

it.each([
  ['deepseek-ai/DeepSeek-V4-Flash', true],
  ['a/b', true],
  ['_a/b_.c', true],
  ['a', false],
  ['a/b/c', false],
  ['./a', false],
  ['a/..', false],
  ['a/b--c', false],
  ['-a/b', false],
  ['a/b.', false],
  ['a/b.git', false],
  ['a b/c', false],
  [`a/${'b'.repeat(95)}`, false],
  [null as never, false],
  [1 as never, false],
])('isModelName %j: %j', (text, want) => expect(isModelName(text)).toBe(want));
