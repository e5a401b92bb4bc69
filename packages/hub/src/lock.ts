import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HubError } from './errors';
import { makeFolder } from './folders';

/** `pull-MACHINE-PID-BEGAN-RANDOM`: who holds the lock or wants to. */
const ENTRY = /^pull-([0-9a-f]{12})-(\d+)-(\d*)-[0-9a-f]{16}$/;
/** A holder on another machine, which cannot be asked, is gone when it has not touched its entry for so long. */
const STALE_MS = 60_000;
const BEAT_MS = 10_000;

const textOf = (read: () => string): string => {
  try {
    return read();
  } catch {
    return ''; // not this system
  }
};

/** Where numbers of processes mean the same: this machine since it started, and this container. */
const machine = createHash('sha256')
  .update(hostname())
  .update(textOf(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')))
  .update(textOf(() => readlinkSync('/proc/self/ns/pid')))
  .digest('hex')
  .slice(0, 12);

/** When a process began, in the system's own words, empty where it does not say: numbers of processes come again. */
function beganAt(pid: number): string {
  const stat = textOf(() => readFileSync(`/proc/${pid}/stat`, 'latin1'));
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

function isRunning(pid: number, began: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return began === '' || beganAt(pid) === began;
}

/**
 * One holder at a time among processes and machines that share a folder, and within a process.
 *
 * Everyone puts an entry of his own into the folder and then looks for others: of two, at least the one who looks last sees the other.
 * Who sees another that lives takes his own back, waits, and begins again; so nobody ever holds it with another. Entries of the dead are
 * removed by whoever finds them; since no name comes twice, that cannot hit the living. After a kill nothing has to be waited for.
 * @param onWait told once, with the number of the process that holds it (0: on another machine)
 * @param onLost told when somebody has removed the entry of a holder, who then is none any more
 * @returns what gives it back
 */
export async function lock(
  dir: string,
  signal: AbortSignal,
  { onWait, onLost }: { readonly onWait: (pid: number) => void; readonly onLost: (e: HubError) => void },
): Promise<() => void> {
  for (let told = false; ;) {
    try {
      mkdirSync(dir, { recursive: true });
    } catch {
      await makeFolder(dir); // says what the disk says
    }
    const entry = `pull-${machine}-${process.pid}-${beganAt(process.pid)}-${randomBytes(8).toString('hex')}`;
    const path = join(dir, entry);
    writeFileSync(path, '', { flag: 'wx' });
    let held = false;
    try {
      const others = readdirSync(dir).filter((name) => name !== entry && lives(dir, name, path));
      held = others.length === 0;
      if (held) return holding(path, onLost);
      const [, by, pid] = ENTRY.exec(others[0]!)!;
      if (!told) onWait(by === machine ? Number(pid) : 0);
      told = true;
    } finally {
      if (!held) removeEntry(path);
    }
    await sleep(50 + Math.random() * 150, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

/** Whether an entry's owner lives; one of the dead is removed. */
function lives(dir: string, name: string, own: string): boolean {
  const [, by, pid, began] = ENTRY.exec(name) ?? [];
  if (by === undefined) return false; // not an entry: the Python library's locks lie here, too
  const path = join(dir, name);
  if (by === machine) {
    if (isRunning(Number(pid), began!)) return true;
  } else {
    // Both times are of the file system's clock, whatever ours says.
    const at = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    if (at !== undefined && statSync(own).mtimeMs - at < STALE_MS) return true;
  }
  removeEntry(path);
  return false;
}

/** Removes an entry, if it is there; asks the disk nothing that could fail by itself and leave it. */
function removeEntry(path: string): void {
  try {
    unlinkSync(path);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== 'ENOENT') throw e;
  }
}

function holding(path: string, onLost: (e: HubError) => void): () => void {
  const beat = setInterval(() => {
    try {
      writeFileSync(path, '.', { flag: 'r+' }); // not utimes, which would set our clock's time
    } catch (cause) {
      clearInterval(beat);
      onLost(new HubError(`${path}: the lock of this pull is gone, another may have begun; run it again`, { cause }));
    }
  }, BEAT_MS);
  beat.unref();
  return () => {
    clearInterval(beat);
    removeEntry(path);
  };
}
