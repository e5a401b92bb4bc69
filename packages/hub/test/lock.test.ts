import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { lock } from '../src/lock';
import { errorOf, temporaryFolder } from './support';

const never = new AbortController().signal;
const silent = { onWait: () => undefined, onLost: () => undefined };

/** The name that a process of this machine would give its entry. */
async function entryOf(dir: string, pid: number, began = ''): Promise<string> {
  const unlock = await lock(dir, never, silent);
  const [own] = readdirSync(dir);
  unlock();
  return own!.replace(/-\d+-\d*-[0-9a-f]{16}$/, `-${pid}-${began}-${'0'.repeat(16)}`);
}

it('is held by one at a time, and told to those who wait', async () => {
  const dir = join(temporaryFolder(), 'locks');
  const waited: number[] = [];
  let [holders, most] = [0, 0];
  await Promise.all(
    Array.from({ length: 5 }, async () => {
      const unlock = await lock(dir, never, { ...silent, onWait: (pid) => waited.push(pid) });
      most = Math.max(most, ++holders);
      await new Promise((resolve) => setTimeout(resolve, 5));
      holders--;
      unlock();
    }),
  );
  expect(most).toBe(1);
  expect(waited.length).toBeGreaterThanOrEqual(4);
  expect(new Set(waited)).toEqual(new Set([process.pid]));
  expect(readdirSync(dir)).toEqual([]);
});

it('does not wait for the dead, nor for a process that got the number of one', async () => {
  const dir = temporaryFolder();
  const { pid } = spawnSync(process.execPath, ['--version']);
  const dead = await entryOf(dir, pid);
  writeFileSync(join(dir, dead), '');
  if (process.platform === 'linux') writeFileSync(join(dir, await entryOf(dir, process.pid, '1')), '');
  writeFileSync(join(dir, 'etag.lock'), ''); // of the Python library
  (await lock(dir, never, { ...silent, onWait: () => expect.unreachable() }))();
  expect(readdirSync(dir)).toEqual(['etag.lock']);
});

it('waits for a process that lives, and not a moment longer', async () => {
  const dir = temporaryFolder();
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)']);
  writeFileSync(join(dir, await entryOf(dir, child.pid!)), '');
  const waited: number[] = [];
  const held = lock(dir, never, { ...silent, onWait: (pid) => void (waited.push(pid), child.kill('SIGKILL')) });
  (await held)();
  expect(waited).toEqual([child.pid]);
});

it('waits for another machine as long as that touches its entry', async () => {
  const dir = temporaryFolder();
  const other = join(dir, `pull-${'0'.repeat(12)}-1--${'0'.repeat(16)}`);
  writeFileSync(other, '');
  const waited: number[] = [];
  const held = lock(dir, never, {
    ...silent,
    onWait: (pid) => {
      waited.push(pid);
      utimesSync(other, new Date(), new Date(Date.now() - 61_000));
    },
  });
  (await held)();
  expect(waited).toEqual([0]);
  expect(existsSync(other)).toBe(false);
});

it('ends the wait when told, and leaves no entry', async () => {
  const dir = temporaryFolder();
  const unlock = await lock(dir, never, silent);
  const abort = new AbortController();
  const waiting = lock(dir, abort.signal, { ...silent, onWait: () => abort.abort(new Error('enough')) });
  expect((await errorOf(waiting)).message).toBe('enough');
  expect(readdirSync(dir)).toHaveLength(1);
  unlock();
});

it('touches its entry, and tells a holder whose entry is gone', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  try {
    const dir = temporaryFolder();
    mkdirSync(dir, { recursive: true });
    const lost: string[] = [];
    const unlock = await lock(dir, never, { ...silent, onLost: (e) => lost.push(e.message) });
    const entry = join(dir, readdirSync(dir)[0]!);
    vi.advanceTimersByTime(20_000);
    expect(lost).toEqual([]);
    rmSync(entry);
    vi.advanceTimersByTime(30_000);
    expect(lost).toEqual([`${entry}: the lock of this pull is gone, another may have begun; run it again`]);
    unlock();
  } finally {
    vi.useRealTimers();
  }
});
