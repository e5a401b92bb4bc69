import * as fs from 'node:fs';
import * as promises from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { findModel } from '../src/find';
import { makeFolder, ofFile } from '../src/folders';
import { contents, errorOf, expected, hubServer, leftovers, LOADED, pull, temporaryFolder } from './support';

/** Steps of the disk that fail: a function of `node:fs/promises`, for paths with this end. */
const broken = vi.hoisted(() => ({ step: '', end: '' }));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof promises>();
  const failing = (name: 'mkdir' | 'rename' | 'symlink') => {
    const f = real[name] as (...args: unknown[]) => Promise<unknown>;
    return async (...args: unknown[]): Promise<unknown> => {
      const path = String(args.at(name === 'mkdir' ? 0 : 1));
      if (broken.step === name && path.endsWith(broken.end))
        throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO', syscall: name, path });
      return f(...args);
    };
  };
  return { ...real, mkdir: failing('mkdir'), rename: failing('rename'), symlink: failing('symlink') };
});

const server = hubServer();
afterEach(() => Object.assign(broken, { step: '', end: '' }));

it('makes a folder and those above it, and says what the disk says', async () => {
  const dir = temporaryFolder();
  await makeFolder(join(dir, 'a', 'b', 'c'));
  await makeFolder(join(dir, 'a', 'b', 'c'));
  expect(fs.statSync(join(dir, 'a', 'b', 'c')).isDirectory()).toBe(true);
  fs.writeFileSync(join(dir, 'file'), '');
  expect((await errorOf(makeFolder(join(dir, 'file')))).code).toBe('EEXIST');
  Object.assign(broken, { step: 'mkdir', end: 'e' });
  expect((await errorOf(makeFolder(join(dir, 'd', 'e', 'f')))).code).toBe('EIO');
});

it('a path that cannot be looked at is not called missing', () => {
  const dir = temporaryFolder();
  fs.symlinkSync('loop', join(dir, 'loop')); // ELOOP
  expect(() => findModel(join(dir, 'loop'))).toThrow(/^findModel: .*loop cannot be read: ELOOP/);
  expect(() => findModel(join(dir, 'none'))).toThrow(/there is no folder/);
});

it('says of which file an error of an open file is', async () => {
  const dir = temporaryFolder();
  const failing = ofFile(dir, async () => {
    const handle = await promises.open(dir);
    try {
      await handle.read(Buffer.alloc(1), 0, 1, 0); // a folder cannot be read so
    } finally {
      await handle.close();
    }
  });
  expect(await errorOf(failing)).toMatchObject({ code: 'EISDIR', path: dir });
});

it.each([
  ['mkdir', 'blobs'],
  ['mkdir', 'refs'],
  ['rename', 'config.json'],
  ['rename', 'main'],
])(
  'a pull whose %s of %s fails says so, leaves nothing in the making, and goes on when it runs again',
  async (step, end) => {
    const cache = temporaryFolder();
    Object.assign(broken, { step, end });
    const { message } = await errorOf(pull(server, cache));
    expect(message).toMatch(new RegExp(`^pullModel: cannot write to \\S+${end}\\S*: EIO$`));
    expect(leftovers(cache)).toEqual([]);
    Object.assign(broken, { step: '', end: '' });
    const { dir } = await pull(server, cache);
    expect(contents(dir)).toEqual(expected(LOADED));
  },
);

it('removes what a killed pull has left of links and refs in the making', async () => {
  const cache = temporaryFolder();
  const { dir } = await pull(server, cache);
  const left = [join(dir, 'config.json'), join(dir, 'encoding', 'e.py'), join(dir, '..', '..', 'refs', 'main')];
  for (const path of left) fs.writeFileSync(`${path}.megamoe-0123456789ab`, '');
  expect(leftovers(cache)).toHaveLength(3);
  await pull(server, cache);
  expect(leftovers(cache)).toEqual([]);
  expect(contents(dir)).toEqual(expected(LOADED));
});
