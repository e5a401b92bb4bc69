import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { sideFiles } from '../src/quantize/side-files';
import { readBytes } from '../src/read-file';
import { cli, temporaryFolder } from './support';

/** What the disk fails at: a function of `node:fs`, for paths with this end. */
const broken = vi.hoisted(() => ({ step: '', end: '' }));

vi.mock('node:fs', async (original) => {
  const real = await original<typeof fs>();
  const failing = (name: 'readFileSync' | 'statSync' | 'realpathSync') => {
    const f = real[name] as (...args: unknown[]) => unknown;
    return (...args: unknown[]): unknown => {
      if (broken.step === name && String(args[0]).endsWith(broken.end))
        throw Object.assign(new Error(`EIO: i/o error, ${name}`), { code: 'EIO' });
      return f(...args);
    };
  };
  return {
    ...real,
    readFileSync: failing('readFileSync'),
    statSync: failing('statSync'),
    realpathSync: Object.assign(failing('realpathSync'), { native: real.realpathSync.native }),
  };
});

const dir = temporaryFolder();
beforeEach(() => {
  fs.mkdirSync(join(dir, 'in', 'encoding'), { recursive: true });
  fs.mkdirSync(join(dir, 'out'), { recursive: true });
  for (const name of ['tokenizer.json', 'encoding/e.py']) fs.writeFileSync(join(dir, 'in', name), name);
});
afterEach(() => Object.assign(broken, { step: '', end: '' }));

it.each([
  ['readFileSync', 'tokenizer.json'],
  ['statSync', 'e.py'],
  ['realpathSync', 'encoding'],
  ['statSync', 'out'],
])('quantize leaves nothing out because the disk failed: %s of %s', (step, end) => {
  expect([...sideFiles(join(dir, 'in'), join(dir, 'out')).files.keys()]).toEqual(['encoding/e.py', 'tokenizer.json']);
  Object.assign(broken, { step, end });
  expect(() => sideFiles(join(dir, 'in'), join(dir, 'out'))).toThrow(/EIO/);
});

it.each(['readFileSync', 'statSync'])('bench keeps a history that cannot be read: %s', async (step) => {
  const csv = join(dir, 'history.csv');
  fs.writeFileSync(csv, 'rows');
  Object.assign(broken, { step, end: 'history.csv' });
  const { code, err } = await cli('bench', '--quick', '--filter', 'no such row', '--csv', csv);
  Object.assign(broken, { step: '', end: '' });
  expect(err).toMatch(/EIO/);
  expect(code).not.toBe(0);
  expect(fs.readFileSync(csv, 'utf8')).toBe('rows');
});

it('an error of reading names the file, which the system does not', () => {
  expect(() => readBytes(join(dir, 'in'))).toThrow(`${join(dir, 'in')} cannot be read: EISDIR`);
});
