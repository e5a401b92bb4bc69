import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const WAIT_MS = 200;
const GIVE_UP_MS = 15 * 60_000;

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM'; // somebody else's process, but alive
  }
}

/** Holder of the lock file: its process id, 0 when the file is gone or unreadable. */
function holder(file) {
  try {
    return Number(readFileSync(file, 'utf8')) || 0;
  } catch {
    return 0;
  }
}

/**
 * Runs `work` while no other process builds the package in `root`: two commands started at once must not write into one build
 * folder. A lock whose process is gone is taken over.
 */
export function withLock(root, work) {
  const file = join(tmpdir(), `megamoe-build-${createHash('sha256').update(root).digest('hex').slice(0, 16)}.lock`);
  const started = Date.now();
  for (;;) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') return work(); // no place for a lock: go on without
      const pid = holder(file);
      if ((pid !== 0 && !isAlive(pid)) || Date.now() - started > GIVE_UP_MS) rmSync(file, { force: true });
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WAIT_MS);
    }
  }
  try {
    return work();
  } finally {
    rmSync(file, { force: true });
  }
}
