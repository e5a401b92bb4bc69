import { parentPort, workerData } from 'node:worker_threads';
import { runCommand } from './cli';
import { EXIT } from './errors';
import type { CliIo } from './io';
import type { FromWorker, WorkerStart } from './worker-messages';

/**
 * A signal that fires when the flag is set, between turns of the event loop, and that is up to date within one: a long loop need only look at
 * `aborted`, or call `throwIfAborted`.
 */
function flaggedSignal(flag: Int32Array, onAbort: (abort: () => void) => void): AbortSignal {
  const controller = new AbortController();
  const { signal } = controller;
  const abort = (): void => controller.abort(new Error('interrupted'));
  onAbort(abort);
  const look = (): void => {
    if (Atomics.load(flag, 0) !== 0) abort();
  };
  const { prototype } = AbortSignal;
  Object.defineProperties(signal, {
    aborted: {
      get() {
        look();
        return Reflect.get(prototype, 'aborted', signal) as boolean;
      },
    },
    throwIfAborted: {
      value() {
        look();
        prototype.throwIfAborted.call(signal);
      },
    },
  });
  return signal;
}

/** Runs the command that this worker was started with, and tells its exit code. */
async function work(): Promise<void> {
  const port = parentPort!;
  const { argv, isTerminal, hasInput, flag } = workerData as WorkerStart;
  const tell = (message: FromWorker): void => port.postMessage(message);
  const io: CliIo = {
    out: (out) => tell({ out }),
    err: (err) => tell({ err }),
    progress: (progress) => tell({ progress }),
    isTerminal,
    get stdin() {
      if (!hasInput) return undefined;
      tell({ input: true });
      return process.stdin;
    },
    signal: flaggedSignal(new Int32Array(flag), (abort) => port.on('message', abort)),
  };
  let code: number = EXIT.failure;
  try {
    code = await runCommand(argv, io);
  } finally {
    tell({ code });
    port.close();
  }
}

await work();
