import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import type { TensorToWrite } from '../src/index';
import { isThere, makeFolders, openTensorStore, readConfig, writeCheckpoint, writeSafetensors } from '../src/index';
import { rejected, temporaryFolder, thrown } from './helpers';

/** Steps that change a disk, counted; one of them fails, and after a kill none is done any more. */
const disk = vi.hoisted(() => ({ steps: 0, failAt: Infinity, isKilled: false, dead: false }));

vi.mock('node:fs', async (original) => {
  const real = await original<typeof fs>();
  const failing = <A extends unknown[], R>(f: (...args: A) => R) =>
    function (...args: A): R {
      if (disk.dead || disk.steps++ === disk.failAt) {
        disk.dead = disk.isKilled;
        throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
      }
      return f(...args);
    };
  const looks = ['statSync', 'lstatSync', 'readdirSync'] as const;
  const steps = [
    'openSync',
    'writeSync',
    'fsyncSync',
    'renameSync',
    'rmSync',
    'mkdirSync',
    'chmodSync',
    ...looks,
  ] as const;
  const done = { ...real, fsyncSync: () => undefined }; // counted and failed, but it would take a minute in all
  const closeSync = (fd: number): void => {
    real.closeSync(fd); // whatever it says, the file is closed
    failing(() => undefined)();
  };
  const mocked = Object.fromEntries(steps.map((name) => [name, failing(done[name] as () => unknown)]));
  return { ...real, ...mocked, closeSync };
});

const NEVER = { failAt: Infinity, isKilled: false, dead: false };
const u8 = (name: string, value: number): TensorToWrite => ({
  name,
  dtype: 'U8',
  shape: [3],
  data: new Uint8Array(3).fill(value),
});

/** A checkpoint of two tensors that hold one value, in that many shards, which its config names too. */
async function put(dir: string, value: number, shards: number): Promise<void> {
  await writeCheckpoint(
    dir,
    ['a', 'b'].map((name) => u8(name, value)),
    {
      overwrite: true,
      maxShardBytes: shards === 1 ? 99 : 3,
      files: { 'config.json': { value }, 'encoding/e.py': String(value) },
    },
  );
}

/** The value that a reader of the folder finds everywhere; or what it is told. */
function found(dir: string): number | string {
  try {
    const store = openTensorStore(dir);
    const values = [...store.tensors.keys()].flatMap((name) => [...store.read(name)]);
    store.close();
    const config = JSON.parse(fs.readFileSync(join(dir, 'config.json'), 'utf8')) as { value: number };
    const all = new Set([...values, config.value, Number(fs.readFileSync(join(dir, 'encoding', 'e.py'), 'utf8'))]);
    return all.size === 1 && values.length === 6 ? config.value : `mixed: ${[...all].join(', ')}`;
  } catch (error) {
    return (error as Error).message;
  }
}

describe.each(['an error', 'a kill'])('%s at any step of writeCheckpoint', (what) => {
  const isKilled = what === 'a kill';

  it.each([
    [1, 1],
    [1, 2],
    [2, 1],
    [2, 2],
  ])('leaves the old checkpoint or the new one, %i files replaced by %i', async (before, after) => {
    const seen: Record<string, number> = {};
    for (let failAt = 0; ; failAt++) {
      const dir = temporaryFolder();
      Object.assign(disk, NEVER);
      await put(dir, 1, before);
      Object.assign(disk, { steps: 0, failAt, isKilled, dead: false });
      const message = await rejected(put(dir, 2, after));
      const done = disk.steps <= failAt;
      Object.assign(disk, NEVER);
      const raw = fs.existsSync(join(dir, '.megamoe-replacement.json'));
      const value = found(dir);
      expect([1, 2], `step ${failAt}: ${message}`).toContain(value);
      if (message === 'nothing') expect(value).toBe(2);
      else if (!isKilled) expect(message).toMatch(/^ERR_CHECKPOINT: /);
      if (!isKilled && value === 1)
        expect(fs.readdirSync(dir, { recursive: true }).filter((f) => String(f).includes('.tmp-'))).toEqual([]);
      if (!isKilled && value === 2 && message !== 'nothing')
        expect(message).toContain('the new checkpoint is complete');
      expect(fs.existsSync(join(dir, '.megamoe-replacement.json'))).toBe(false); // who opened it has finished
      seen[`${value}${raw ? ' by the record' : ''}`] = (seen[`${value}${raw ? ' by the record' : ''}`] ?? 0) + 1;
      if (failAt % 6 === 0) {
        await put(dir, 3, after);
        expect(found(dir)).toBe(3);
      }
      if (done) break;
    }
    expect(seen['1']).toBeGreaterThan(9); // the counts show that steps on both sides were tried
    expect(seen['2 by the record']).toBeGreaterThan(3);
  });

  it('leaves no folder, or the new one, where there was none', async () => {
    for (let failAt = 0; ; failAt++) {
      const dir = join(temporaryFolder(), 'new');
      Object.assign(disk, { steps: 0, failAt, isKilled, dead: false });
      await rejected(put(dir, 2, 2));
      const done = disk.steps <= failAt;
      Object.assign(disk, NEVER);
      if (!isKilled && !fs.existsSync(dir)) continue;
      const value = found(dir);
      if (value !== 2) expect(value).toMatch(/no checkpoint here|cannot be read as a checkpoint folder/);
      await put(dir, 3, 2);
      expect(found(dir)).toBe(3);
      if (done) break;
    }
  });

  it('leaves the old file or the new one of writeSafetensors', async () => {
    for (let failAt = 0; ; failAt++) {
      const dir = temporaryFolder();
      const path = join(dir, 'model.safetensors');
      Object.assign(disk, NEVER);
      await writeSafetensors(path, [u8('a', 1)]);
      Object.assign(disk, { steps: 0, failAt, isKilled, dead: false });
      const message = await rejected(writeSafetensors(path, [u8('a', 2)]));
      const done = disk.steps <= failAt;
      Object.assign(disk, NEVER);
      const value = openTensorStore(dir).read('a')[0];
      expect(value, `step ${failAt}: ${message}`).toBe(/^nothing$|is written, but/.test(message) ? 2 : 1);
      if (!isKilled && message !== 'nothing') expect(message).toMatch(/^ERR_CHECKPOINT: .*EIO/);
      if (done) break;
    }
  });
});

describe('the record of a replacement', () => {
  const RECORD = '.megamoe-replacement.json';

  it('is refused when it is none, and never leads out of the folder', async () => {
    const dir = temporaryFolder();
    await put(dir, 1, 1);
    fs.writeFileSync(join(dir, '..', 'victim'), 'kept');
    const victim = fs.lstatSync(join(dir, '..', 'victim'), { bigint: true });
    const good = { pid: 0, began: '', remove: [], place: [] };
    for (const bad of [
      '',
      '[]',
      'null',
      JSON.stringify({ ...good, pid: -1 }),
      JSON.stringify({ ...good, remove: [['../victim', `${victim.dev}:${victim.ino}`]] }),
      JSON.stringify({ ...good, place: [['../victim', '../.victim.tmp-1-01234567']] }),
      JSON.stringify({ ...good, place: [['config.json', 'model.safetensors']] }),
      JSON.stringify({ ...good, place: [['config.json', '../.config.json.tmp-1-01234567']] }),
    ]) {
      fs.writeFileSync(join(dir, RECORD), bad);
      for (const open of [() => openTensorStore(dir), () => readConfig(dir)])
        expect(thrown(open, dir), bad).toMatch(/^ERR_CHECKPOINT: DIR.\.megamoe-replacement\.json: is not a record/);
    }
    fs.rmSync(join(dir, RECORD));
    expect(fs.readFileSync(join(dir, '..', 'victim'), 'utf8')).toBe('kept');
    fs.rmSync(join(dir, '..', 'victim'));
    expect(found(dir)).toBe(1);
  });

  it('of a process that runs is left to it; files that came later stay', async () => {
    const dir = temporaryFolder();
    await put(dir, 1, 1);
    const { dev, ino } = fs.lstatSync(join(dir, 'config.json'), { bigint: true });
    const record = { began: '', remove: [['config.json', `${dev}:${ino + 1n}`]], place: [] };
    fs.writeFileSync(join(dir, RECORD), JSON.stringify({ ...record, pid: process.ppid }));
    expect(found(dir)).toBe(
      `${dir}: process ${process.ppid} is replacing this checkpoint: try again when it has ended`,
    );
    fs.writeFileSync(join(dir, RECORD), JSON.stringify({ ...record, pid: 2 ** 22 - 3 })); // no process has this number
    expect(found(dir)).toBe(1);
  });
});

describe('isThere', () => {
  it('tells what is there, what is not, and what can be no name', () => {
    const dir = temporaryFolder();
    fs.writeFileSync(join(dir, 'file'), '');
    fs.symlinkSync('nowhere', join(dir, 'dangling'));
    const there = ['', 'file', 'none', 'file/below', 'dangling', 'x'.repeat(5000), 'nul\0'];
    expect(there.map((name) => isThere(`${dir}/${name}`))).toEqual([true, true, false, false, false, false, false]);
  });

  it('throws where the disk cannot say', () => {
    const dir = temporaryFolder();
    try {
      [disk.steps, disk.failAt] = [0, 0];
      expect(thrown(() => isThere(dir))).toMatch(/^ERR_CHECKPOINT: .* cannot be read: EIO/);
    } finally {
      disk.failAt = Infinity;
    }
  });
});

describe('makeFolders', () => {
  it('says which it made, deepest first, and takes what is there', () => {
    const dir = temporaryFolder();
    expect(makeFolders(join(dir, 'a', 'b'))).toEqual([join(dir, 'a', 'b'), join(dir, 'a')]);
    expect(makeFolders(join(dir, 'a', 'b'))).toEqual([]);
    fs.writeFileSync(join(dir, 'file'), '');
    expect(thrown(() => makeFolders(join(dir, 'file')))).toBe(`ERR_CHECKPOINT: ${join(dir, 'file')}: cannot be written: it is no folder`); // prettier-ignore
  });

  it('says that the disk fails, at any step, and leaves nothing', () => {
    const dir = temporaryFolder();
    let n = 0;
    for (; ; n++) {
      [disk.steps, disk.failAt] = [0, n];
      const message = thrown(() => makeFolders(join(dir, 'a', 'b')));
      disk.failAt = Infinity;
      if (message === 'nothing') break;
      expect(message).toMatch(/^ERR_CHECKPOINT: .*EIO/);
      expect(fs.readdirSync(dir)).toEqual([]);
    }
    expect(n).toBe(disk.steps); // each of its steps has failed once
  });
});
