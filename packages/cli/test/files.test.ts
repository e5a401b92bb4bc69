import { cpSync, linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join, relative } from 'node:path';
import { expect, it } from 'vitest';
import { cli, MICRO, temporaryFolder } from './support';

const dir = temporaryFolder();
const model = join(dir, 'model');
cpSync(MICRO, model, { recursive: true });
mkdirSync(join(model, 'encoding'));
writeFileSync(join(model, 'encoding', 'encoder.py'), 'pass');
writeFileSync(join(dir, 'ids.json'), '[1, 2]');
writeFileSync(join(dir, 'text.txt'), 'The river runs into the sea.');
symlinkSync(model, join(dir, 'link'));
for (const name of ['back', 'again']) symlinkSync(model, join(model, name)); // links that lead back: gone into, they never end
symlinkSync(join(model, 'config.json'), join(dir, 'link.json'));
linkSync(join(model, 'model.safetensors'), join(dir, 'hard'));
writeFileSync(join(dir, 'history.csv'), '');

/** Every file and link below a folder, with its content. Not through links, as `recursive` of Node 24 goes. */
function snapshot(folder = dir): Record<string, string> {
  const out: Record<string, string> = {};
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) Object.assign(out, snapshot(path));
    else if (entry.isFile()) out[relative(dir, path)] = createHash('sha256').update(readFileSync(path)).digest('hex');
    else if (entry.isSymbolicLink()) out[relative(dir, path)] = 'link';
  }
  return out;
}

const at = (...parts: string[]): string => join(dir, ...parts);
const logits = ['logits', '--model', model, '--backend', 'js', '--token-ids', at('ids.json'), '--out'];
const quantize = ['quantize', '--in', model, '--overwrite', '--backend', 'js', '--out'];

it.each<[string, string[]]>([
  ['its model', [...logits, at('model', 'model.safetensors')]],
  ['its model by a link to the folder', [...logits, at('link', 'model.safetensors')]],
  ['its model by a hard link', [...logits, at('hard')]],
  ['a config by a link', [...logits, at('link.json')]],
  ['a shard that is not there', [...logits, at('model', 'model-00001-of-00002.safetensors')]],
  ['an index that is not there', [...logits, at('model', 'model.safetensors.index.json')]],
  ['its token ids', [...logits, `${dir}/link/../ids.json`]],
  ['the source', [...quantize, model]],
  ['the source with a slash', [...quantize, `${model}/`]],
  ['the source by a link', [...quantize, at('link')]],
  ['the source by ..', [...quantize, at('model', 'encoding', '..')]],
  ['the source as GGUF', [...quantize, at('hard'), '--format', 'gguf']],
  ['the text of the calibration', [...quantize, at('out'), '--calibrate', at('text.txt'), '--html', at('text.txt')]],
  ['what --out writes', [...quantize, at('out.gguf'), '--format', 'gguf', '--html', at('out.gguf')]],
  ['a side file', [...quantize, at('out'), '--html', at('link', 'encoding', 'encoder.py')]],
  ['what it inspects', ['inspect', model, '--html', at('link.json')]],
  ['one file twice', ['inspect', model, '--html', at('page'), '--svg', `${dir}/link/../page`]],
  ['what it verifies', ['verify', '--model', model, '--html', at('hard')]],
  ['the dump in the model', ['verify', '--model', model, '--dump', at('link')]],
  ['its history', ['bench', '--quick', '--filter', 'none', '--csv', at('history.csv'), '--plot', at('history.csv')]],
])('never overwrites %s', async (_, argv) => {
  const before = snapshot();
  const { code, err } = await cli(...argv);
  expect(err).toMatch(/^megamoe: \w+: (the checkpoint|--[a-z]+) must be another (file than those of|folder than) /);
  expect(code).toBe(2);
  expect(snapshot()).toEqual(before);
});

it('writes beside the model, again and again, and into devices', async () => {
  const before = snapshot();
  for (let i = 0; i < 2; i++) {
    expect((await cli(...logits, at('model', 'logits.safetensors'))).code).toBe(0);
    expect((await cli('inspect', model, '--html', at('model', 'report.html'), '--svg', '/dev/null')).code).toBe(0);
  }
  expect((await cli('layout', '--rows', '8', '--k', '64', '--svg', '/dev/null')).code).toBe(0);
  expect((await cli(...logits, '/dev/null')).code).toBe(0);
  expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true);
  expect(Object.keys(snapshot()).filter((name) => !(name in before))).toEqual([
    join('model', 'logits.safetensors'),
    join('model', 'report.html'),
  ]);
});

it.runIf(process.platform === 'linux')('says that a device takes nothing, on one line', async () => {
  for (const argv of [
    ['layout', '--rows', '8', '--k', '64', '--svg', '/dev/full'],
    [...logits, '/dev/full'],
    ['inspect', model, '--html', '/dev/full'],
  ]) {
    const { code, err } = await cli(...argv);
    expect(err.trim().split('\n').at(-1)).toMatch(/^megamoe: \/dev\/full: cannot be written: ENOSPC/);
    expect(code).toBe(1);
  }
});
