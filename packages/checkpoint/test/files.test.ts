import { spawn } from 'node:child_process';
import {
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, sep } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isSameFile, writeFileInPieces, writeSafetensors, writeTarget } from '../src/index';
import { rejected, temporaryFolder, thrown } from './helpers';

const onPosix = process.platform !== 'win32';

/** Writes text in two pieces, the last first. */
const write = (path: string, text = 'new!', signal?: AbortSignal): Promise<void> =>
  writeFileInPieces(
    path,
    (put) => {
      put(Buffer.from(text.slice(2)), 2);
      put(Buffer.from(text.slice(0, 2)), 0);
    },
    signal,
  );

/** Runs a command to its end; returns what it wrote. */
function run(command: string, ...args: string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (text) => (out += String(text)));
  return new Promise((resolve, reject) => child.on('error', reject).on('close', () => resolve(out)));
}

describe('writeFileInPieces', () => {
  it('replaces a file, keeps its permissions, and leaves another name of the old file alone', async () => {
    const dir = temporaryFolder();
    const [path, other] = [join(dir, 'f'), join(dir, 'other')];
    writeFileSync(path, 'old', { mode: 0o640 });
    linkSync(path, other);
    await write(path);
    expect(readFileSync(path, 'utf8')).toBe('new!');
    expect(readFileSync(other, 'utf8')).toBe('old');
    if (onPosix) expect(statSync(path).mode & 0o777).toBe(0o640);
    expect(readdirSync(dir).sort()).toEqual(['f', 'other']);
  });

  it.runIf(onPosix)('writes through links, also to files that are not there yet', async () => {
    const dir = temporaryFolder();
    mkdirSync(join(dir, 'far'));
    writeFileSync(join(dir, 'far', 'f'), 'old');
    symlinkSync(join('far', 'f'), join(dir, 'link'));
    symlinkSync('link', join(dir, 'link2'));
    symlinkSync(join(dir, 'far', 'new'), join(dir, 'dangling'));
    symlinkSync('far', join(dir, 'folder'));
    await write(join(dir, 'link2'));
    await write(join(dir, 'dangling'), 'made');
    await write(join(dir, 'folder', 'third'), 'third');
    for (const link of ['link', 'link2', 'dangling', 'folder'])
      expect(lstatSync(join(dir, link)).isSymbolicLink()).toBe(true);
    const far = Object.fromEntries(
      readdirSync(join(dir, 'far')).map((f) => [f, readFileSync(join(dir, 'far', f), 'utf8')]),
    );
    expect(far).toEqual({ f: 'new!', new: 'made', third: 'third' });
    expect(readdirSync(dir).sort()).toEqual(['dangling', 'far', 'folder', 'link', 'link2']);
  });

  it.runIf(onPosix)('writes into a device, which stays one', async () => {
    const before = lstatSync('/dev/null');
    await write('/dev/null');
    await writeSafetensors('/dev/null', [{ name: 'a', dtype: 'U8', shape: [1], data: Uint8Array.of(1) }]);
    const after = lstatSync('/dev/null');
    expect([after.isCharacterDevice(), after.ino]).toEqual([true, before.ino]);
  });

  it.runIf(process.platform === 'linux')('says when a device takes nothing', async () => {
    expect(await rejected(write('/dev/full'))).toMatch(/^ERR_CHECKPOINT: \/dev\/full: cannot be written: ENOSPC/);
    expect(lstatSync('/dev/full').isCharacterDevice()).toBe(true);
  });

  it.runIf(onPosix)('writes into a FIFO in order, waits for its reader, and can be told to stop waiting', async () => {
    const dir = temporaryFolder();
    const path = join(dir, 'fifo');
    await run('mkfifo', path);
    const text = 'x'.repeat(300_000) + 'end'; // more than a pipe holds
    const [, read] = await Promise.all([write(path, text), run('sh', '-c', `sleep 0.1; cat "${path}"`)]);
    expect(read).toBe(text);
    expect(await rejected(write(path, 'text', AbortSignal.timeout(50)))).toMatch(/abort/i);
    expect(lstatSync(path).isFIFO()).toBe(true);
    expect(readdirSync(dir)).toEqual(['fifo']);
  });

  it.runIf(process.platform === 'linux')('appends to what a process has open', async () => {
    const path = join(temporaryFolder(), 'out');
    const fd = openSync(path, 'w');
    await write(`/proc/self/fd/${fd}`, 'one, ');
    await write(`/dev/fd/${fd}`, 'two');
    closeSync(fd);
    expect(readFileSync(path, 'utf8')).toBe('one, two');
  });

  it('refuses folders, names of folders, links in a circle, and folders that are not there', async () => {
    const dir = temporaryFolder();
    expect(await rejected(write(dir), dir)).toBe('ERR_CHECKPOINT: DIR: cannot be written: it is a folder');
    expect(await rejected(write(join(dir, 'x') + sep), dir)).toBe(
      `ERR_CHECKPOINT: DIR${sep}x${sep}: cannot be written: it names a folder`,
    );
    expect(await rejected(write(''))).toBe('ERR_CHECKPOINT: "": cannot be written: the path is empty');
    expect(await rejected(write(join(dir, 'no', 'f')))).toMatch(/cannot be written: ENOENT/);
    if (onPosix) {
      symlinkSync('b', join(dir, 'a'));
      symlinkSync('a', join(dir, 'b'));
      expect(thrown(() => writeTarget(join(dir, 'a')), dir)).toBe(
        'ERR_CHECKPOINT: DIR/a: cannot be written: its links lead nowhere',
      );
      symlinkSync(join(dir, 'no', 'f'), join(dir, 'c'));
      expect(thrown(() => writeTarget(join(dir, 'c')), dir)).toMatch(/^ERR_CHECKPOINT: DIR\/c: .*ENOENT/);
    }
  });
});

describe('isSameFile', () => {
  it('knows a file by any of its names', () => {
    const dir = realpathSync(temporaryFolder());
    mkdirSync(join(dir, 'a', 'b'), { recursive: true });
    writeFileSync(join(dir, 'f'), '');
    writeFileSync(join(dir, 'g'), '');
    linkSync(join(dir, 'f'), join(dir, 'hard'));
    expect(isSameFile(join(dir, 'f'), join(dir, 'hard'))).toBe(true);
    expect(isSameFile(join(dir, 'f'), join(dir, 'g'))).toBe(false);
    expect(isSameFile(dir, `${dir}${sep}a${sep}..${sep}`)).toBe(true);
    expect(isSameFile(join(dir, 'new'), `${dir}${sep}a${sep}..${sep}new`)).toBe(true);
    expect(isSameFile(join(dir, 'new'), join(dir, 'a', 'new'))).toBe(false);
    expect(isSameFile(join(dir, 'no', 'new'), join(dir, 'no', 'new'))).toBe(false); // cannot be made
    if (!onPosix) return;
    symlinkSync(join(dir, 'a', 'b'), join(dir, 'link'));
    symlinkSync(join(dir, 'new'), join(dir, 'dangling'));
    expect(isSameFile(join(dir, 'a', 'b'), join(dir, 'link', '.'))).toBe(true);
    expect(isSameFile(join(dir, 'a'), `${dir}/link/..`)).toBe(true); // the folder above what the link points at
    expect(isSameFile(join(dir, 'new'), join(dir, 'dangling'))).toBe(true);
    rmSync(join(dir, 'link'));
  });
});
