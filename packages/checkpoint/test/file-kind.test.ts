import { existsSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { loadTokenizer, openCheckpoint, SafetensorsFile, writeSafetensors } from '../src/index';
import { kindOfBytes } from '../src/file-kind';
import { rawSafetensors, SMALL_CONFIG, smallTensors, temporaryFolder, thrown, writeModel } from './helpers';

const POINTER = `version https://git-lfs.github.com/spec/v1\noid sha256:${'4d'.repeat(32)}\nsize 13066420\n`;
const latin = (text: string): Buffer => Buffer.from(text, 'latin1');

/** Files that are taken for weights, and the words that must come. */
const FILES: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ['a Git LFS pointer', latin(POINTER), /a Git LFS pointer, not the file of 13066420 bytes .*"git lfs pull"/],
  ['a Git LFS pointer of old', latin(POINTER.replace('git-lfs.github', 'hawser.github')), /a Git LFS pointer/],
  ['a Xet pointer', latin('# xet version 0\nfilesize = 5\nhash = "ab"\n'), /a Xet pointer/],
  ['a git-annex pointer', latin('/annex/objects/SHA256E-s13--ab.safetensors\n'), /a git-annex pointer/],
  [
    'a zip of torch.save',
    latin(`PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0${'archive/data.pkl'}`),
    /a zip archive, as torch.save/,
  ],
  ['a zip whose length would pass', Buffer.concat([latin('PK\x03\x04\0\0\0\0'), Buffer.alloc(64)]), /a zip archive/],
  ['a pickle of protocol 2', latin('\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'), /a Python pickle/],
  ['a pickle of protocol 4', latin('\x80\x04\x95\x1a\0\0\0\0\0\0\0}\x94'), /a Python pickle/],
  ['GGUF', latin('GGUF\x03\0\0\0\x10\0\0\0\0\0\0\0'), /a GGUF file/],
  ['gzip', gzipSync(Buffer.alloc(100)), /a gzip archive/],
  ['zstd', latin('\x28\xb5\x2f\xfd\x04\x58\x99\0\0aaaa'), /a zstd archive/],
  ['xz', latin('\xfd7zXZ\0\0\x04\xe6\xd6'), /an xz archive/],
  [
    'tar',
    Buffer.concat([latin('model.safetensors'), Buffer.alloc(240), latin('ustar\x0000'), Buffer.alloc(248)]),
    /a tar/,
  ],
  ['NumPy', latin("\x93NUMPY\x01\0v\0{'descr': '<f4'"), /a NumPy array/],
  ['HDF5', latin('\x89HDF\r\n\x1a\n\0\0\0\0'), /an HDF5 file/],
  ['a web page', latin('\n<!DOCTYPE html>\n<html><head><title>401</title>'), /a web page \(HTML\)/],
  ['a storage error', latin('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'), /an XML document/],
  ['a JSON error', latin('{"error":"Repository not found"}'), /JSON text, .*Repository not found/],
  ['an index under the wrong name', latin('{\n  "metadata": {"total_size": 1},'), /JSON text/],
  ['an answer in words', latin('Invalid username or password.'), /plain text, "Invalid username or password\."/],
  ['an empty file', new Uint8Array(0), /an empty file/],
  ['zeros', new Uint8Array(4096), /zeros/],
];

describe('a file that is not safetensors is called what it is', () => {
  it.each(FILES)('%s', (_, bytes, words) => {
    const path = join(temporaryFolder(), 'model.safetensors');
    writeFileSync(path, bytes);
    const message = thrown(() => new SafetensorsFile(path), path);
    expect(message).toMatch(/^ERR_CHECKPOINT: DIR: not a safetensors file: this is /);
    expect(message).toMatch(words);
  });

  it.each([
    ['generation_config.json', /generation_config\.json: expected JSON, found a Git LFS pointer/],
    ['model.safetensors.index.json', /index\.json: expected an index, found a Git LFS pointer/],
    ['config.json', /config\.json: expected JSON, found a Git LFS pointer/],
    ['', /-00002-of-\d+\.safetensors: not a safetensors file: this is a Git LFS pointer/],
  ])('in place of any file of a checkpoint: %s', async (name, words) => {
    const dir = await writeModel(smallTensors().values(), SMALL_CONFIG, 4096);
    writeFileSync(join(dir, name || readdirSync(dir).find((file) => file.includes('-00002-of-'))!), POINTER);
    expect(thrown(() => openCheckpoint(dir), dir)).toMatch(words);
  });

  it('when a file is given in place of the folder', async () => {
    const path = join(temporaryFolder(), 'model.gguf');
    writeFileSync(path, 'GGUF\x03\0\0\0\x10\0\0\0');
    expect(thrown(() => openCheckpoint(path), path)).toMatch(/DIR: expected a checkpoint folder, found a GGUF file/);
    const weights = join(temporaryFolder(), 'model.safetensors');
    await writeSafetensors(weights, [{ name: 'a', dtype: 'U8', shape: [1], data: new Uint8Array(1) }]);
    expect(thrown(() => openCheckpoint(weights), weights)).toMatch(/found a file: give the folder that holds it$/);
  });
});

it('a damaged safetensors file stays one', () => {
  const path = join(temporaryFolder(), 'a.safetensors');
  for (const file of [
    rawSafetensors('{"a":1}'),
    rawSafetensors('{"a" 1}'),
    rawSafetensors('{}', undefined, 0x04034b50n), // a length that reads PK\x03\x04
    rawSafetensors(Buffer.from([0x7b, 0xff, 0x7d])),
  ]) {
    writeFileSync(path, file);
    expect(thrown(() => new SafetensorsFile(path), path)).not.toMatch(/this is/);
  }
});

it('says nothing of bytes that say nothing', () => {
  expect(kindOfBytes(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 200))).toBeUndefined();
  expect(kindOfBytes(latin('short'))).toBeUndefined();
  expect(kindOfBytes(Buffer.from('é'.repeat(300)))).toMatch(/^plain text/); // cut within a character
});

// A FIFO would be waited for without an end, which a test cannot tell from slowness; a device is refused by the same rule.
describe.runIf(existsSync('/dev/null'))('a device in place of a file of the folder', () => {
  it.each(['config.json', 'model.safetensors.index.json', '.megamoe-replacement.json', 'tokenizer.json'])(
    '%s: expected a regular file',
    async (name) => {
      const dir = await writeModel(smallTensors().values());
      rmSync(join(dir, name), { force: true });
      symlinkSync('/dev/null', join(dir, name));
      const open = name === 'tokenizer.json' ? loadTokenizer : openCheckpoint;
      expect(thrown(() => open(dir))).toBe(`ERR_CHECKPOINT: ${join(dir, name)}: expected a regular file`);
    },
  );
});
