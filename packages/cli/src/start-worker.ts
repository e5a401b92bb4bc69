import { existsSync } from 'node:fs';
import { isatty } from 'node:tty';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker } from 'node:worker_threads';
import type { FromWorker, WorkerStart } from './worker-messages';

/** What runs in the worker; it is there when this is built. */
const PROGRAM = new URL('./command-worker.js', import.meta.url);

/** What becomes of a worker. */
export type WorkerEvent =
  | { readonly message: FromWorker }
  /** It could not be run, or threw. */
  | { readonly error: unknown }
  /** It has ended. */
  | { readonly status: number };

/** A command on its way in a thread of its own. */
export interface StartedWorker extends WorkerStart {
  readonly worker: Worker;
  /** Takes all events, those before the call first. */
  readonly listen: (hear: (event: WorkerEvent) => void) => void;
}

/**
 * Starts a command in a worker thread. This file loads nothing but what Node has, so that a program can start the worker first, and load what
 * watches over it while the thread comes up.
 * @returns undefined for commands that run in the process's own thread, outside the built program, and where no worker can be made
 */
export function startWorker(argv: readonly string[]): StartedWorker | undefined {
  // How large the process of a memory row is must not depend on who looks on.
  // And a server answers signals itself, by letting answers end; its engine has a thread of its own where it can.
  const alone = argv.includes('--memory-of') || argv.find((word) => !word.startsWith('-')) === 'serve';
  if (alone || !isMainThread || !existsSync(fileURLToPath(PROGRAM))) return undefined;
  const start: WorkerStart = {
    argv: [...argv],
    isTerminal: isatty(2),
    hasInput: !isatty(0),
    flag: new SharedArrayBuffer(4),
  };
  let worker: Worker;
  try {
    worker = new Worker(PROGRAM, { workerData: start, stdin: start.hasInput });
  } catch {
    return undefined; // a permission model without threads
  }
  const early: WorkerEvent[] = [];
  let hear = (event: WorkerEvent): void => void early.push(event);
  worker.on('message', (message: FromWorker) => hear({ message }));
  worker.on('error', (error: unknown) => hear({ error }));
  worker.on('exit', (status) => hear({ status }));
  const listen: StartedWorker['listen'] = (listener) => {
    hear = listener;
    early.splice(0).forEach(listener);
  };
  return { ...start, worker, listen };
}
