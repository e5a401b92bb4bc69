import { EXIT, messageOf, SIGNALS, type Signal } from './errors';
import { watchStreams } from './io';
import { Pulse } from './progress';
import type { StartedWorker } from './start-worker';
import type { FromWorker } from './worker-messages';

/** How long a command has to end by itself when a signal came, in milliseconds: whoever waits shall not wait for a second. */
const GRACE_MS = 500;

/**
 * Watches over a command that a worker thread runs, in a thread that is free for signals and for saying that work goes on, whatever the command
 * computes. A signal is passed on; a command that does not end soon is ended.
 * @returns the exit code
 */
export async function supervise({ worker, listen, argv, isTerminal, hasInput, flag }: StartedWorker): Promise<number> {
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
      const tell = (message: FromWorker): void => {
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
      };
      listen((event) => {
        if ('message' in event) return tell(event.message);
        pulse.beat();
        if ('error' in event) {
          process.stderr.write(`megamoe: ${messageOf(event.error)}\n`);
          return resolve(EXIT.failure);
        }
        const { status } = event;
        if (isSettled || isFailed || by !== undefined) return resolve(status);
        // Every command tells its exit code; one that cannot must not end without a word.
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
