import { existsSync } from 'node:fs';
import { isatty } from 'node:tty';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker } from 'node:worker_threads';
import { EXIT, messageOf, SIGNALS, type Signal } from './errors';
import { watchStreams } from './io';
import { Pulse } from './progress';
import type { FromWorker, WorkerStart } from './worker-messages';

/** How long a command has to end by itself when a signal came, in milliseconds: whoever waits shall not wait for a second. */
const GRACE_MS = 500;

/** The program as a worker runs it; it is there when this is built. */
const PROGRAM = new URL('./main.js', import.meta.url);

/** Whether {@link supervise} can be used: in the built program, and where threads may be made. */
export const canSupervise = (): boolean => isMainThread && existsSync(fileURLToPath(PROGRAM));

/**
 * Runs a command in a worker thread, so that this one is free for signals and for saying that work goes on, whatever the command computes. A signal
 * is passed on; a command that does not end soon is ended.
 * @returns the exit code, or undefined where no worker could be made
 */
export async function supervise(argv: readonly string[]): Promise<number | undefined> {
  const flag = new SharedArrayBuffer(4);
  const isTerminal = isatty(2);
  const hasInput = !isatty(0);
  const start: WorkerStart = { megamoe: true, argv: [...argv], isTerminal, hasInput, flag };
  let worker: Worker;
  try {
    worker = new Worker(PROGRAM, { workerData: start, stdin: hasInput });
  } catch {
    return undefined; // a permission model without threads
  }
  const pulse = new Pulse(argv[0] ?? '', isTerminal, (text) => void process.stderr.write(text));
  let by: Signal | undefined;
  let isFailed = false;
  const abort = (): void => {
    Atomics.store(new Int32Array(flag), 0, 1);
    worker.postMessage('abort');
  };
  watchStreams(() => {
    isFailed = true;
    abort();
    setTimeout(() => process.exit(EXIT.failure), GRACE_MS).unref();
  });
  const stop = (signal: Signal): void => {
    const kill = (): never => {
      pulse.stop();
      process.stderr.write('\nmegamoe: interrupted\n');
      process.exit(EXIT[SIGNALS[by!]]);
    };
    if (by !== undefined) kill(); // asked twice
    by = signal;
    abort();
    setTimeout(kill, GRACE_MS).unref();
  };
  const handlers = (Object.keys(SIGNALS) as Signal[]).map((signal) => [signal, () => stop(signal)] as const);
  for (const [signal, handler] of handlers) process.on(signal, handler);
  let code: number;
  let isSettled = false;
  try {
    code = await new Promise<number>((settle) => {
      const resolve = (status: number): void => {
        isSettled = true;
        settle(status);
      };
      worker.on('message', (message: FromWorker) => {
        if (isFailed && !('code' in message)) return; // it is being ended, and why has been said
        if ('out' in message) {
          pulse.beat();
          process.stdout.write(message.out);
        } else if ('err' in message) {
          pulse.beat();
          process.stderr.write(message.err);
        } else if ('progress' in message) pulse.note(message.progress);
        else if ('code' in message) resolve(message.code);
        else process.stdin.pipe(worker.stdin!);
      });
      worker.on('error', (e) => {
        pulse.beat();
        process.stderr.write(`megamoe: ${messageOf(e)}\n`);
        resolve(EXIT.failure);
      });
      worker.on('exit', (status) => {
        if (isSettled || isFailed || by !== undefined) return resolve(status);
        // Every command tells its exit code; one that cannot must not end without a word.
        pulse.beat();
        process.stderr.write(
          `megamoe: the command ended in the middle, with status ${status}; its thread was stopped\n`,
        );
        resolve(EXIT.failure);
      });
    });
  } finally {
    pulse.stop();
    for (const [signal, handler] of handlers) process.off(signal, handler);
    if (hasInput) process.stdin.destroy();
    await worker.terminate();
  }
  if (isFailed) return EXIT.failure;
  return by === undefined ? code : EXIT[SIGNALS[by]];
}
