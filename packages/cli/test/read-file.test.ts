/** What is named on the command line: files, devices, FIFOs; in place of waiting in the system, a wait that ends. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readBytes, readInput } from '../src/read-file';
import { temporaryFolder } from './support';

const dir = temporaryFolder();
const at = (name: string): string => join(dir, name);
const isPosix = process.platform !== 'win32';

function fifo(name: string): string {
  execFileSync('mkfifo', [at(name)]);
  return at(name);
}

it('reads a file of several pieces, and no more than it may', async () => {
  const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251));
  writeFileSync(at('file'), bytes);
  expect((await readInput(at('file'), undefined)).equals(bytes)).toBe(true);
  expect((await readInput(at('file'), undefined, 200_000)).length).toBe(200_000);
  await expect(readInput(at('file'), undefined, 199_999)).rejects.toThrow('it has more than 199999 bytes');
  await expect(readInput(at('nothing'), undefined)).rejects.toThrow('ENOENT');
  await expect(readInput(dir, undefined)).rejects.toThrow('EISDIR');
});

it.runIf(existsSync('/dev/zero'))('a device that never ends is too long, and one that is empty is empty', async () => {
  await expect(readInput('/dev/zero', undefined, 1 << 20)).rejects.toThrow('it has more than 1048576 bytes');
  expect((await readInput('/dev/null', undefined)).length).toBe(0);
});

it.runIf(isPosix)('reads a FIFO whose writer comes late and pauses', async () => {
  const path = fifo('slow');
  const read = readInput(path, undefined);
  spawn('sh', ['-c', `sleep 0.2; { printf one; sleep 0.2; printf two; } > '${path}'`], { stdio: 'ignore' });
  expect((await read).toString()).toBe('onetwo');
});

it.runIf(isPosix)('a signal ends the wait for a writer, and for one that writes nothing', async () => {
  const path = fifo('silent');
  await expect(readInput(path, AbortSignal.timeout(50))).rejects.toThrow(/abort/i);
  const writer = spawn('sh', ['-c', `exec sleep 60 > '${path}'`], { stdio: 'ignore' });
  await expect(readInput(path, AbortSignal.timeout(300))).rejects.toThrow(/abort/i);
  writer.kill();
});

it.runIf(process.platform === 'linux')('a pipe that holds nothing and whose other end is closed is empty', async () => {
  const shell = spawn('sh', ['-c', `: | sh -c 'echo $$; exec sleep 60'`], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [pid] = (await once(shell.stdout, 'data')) as [Buffer];
  const empty = await readInput(`/proc/${Number(pid.toString())}/fd/0`, AbortSignal.timeout(5000)).finally(() =>
    process.kill(Number(pid.toString())),
  );
  expect(empty.length).toBe(0);
});

it.runIf(isPosix)('a FIFO where a file belongs is refused', () => {
  expect(() => readBytes(fifo('no-file'))).toThrow(`${at('no-file')} cannot be read: expected a regular file`);
});
