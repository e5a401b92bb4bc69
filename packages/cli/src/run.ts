import { checkFunction, checkObject, checkSignal, takeStrings } from '@megamoe/core';
import type { CliIo } from './io';
import { startWorker } from './start-worker';
import { supervise } from './supervise';

/**
 * Runs the command line, as the program does. What commands need is imported where they run.
 * @param words arguments without the program's name
 * @param streams where it writes; left out, the process's own streams, with the command in a thread of its own: signals end it at once and long work
 *   says how far it is
 * @throws KindError for what are no arguments or no streams
 * @returns the exit code: 0 ok, 1 failure, 2 usage, 130 interrupted (Ctrl-C), 143 terminated
 */
export async function runCli(words: readonly string[], streams?: CliIo): Promise<number> {
  const argv = takeStrings('runCli', 'argv', words);
  const io = streams === undefined ? undefined : takeIo(streams);
  const started = io === undefined ? startWorker(argv) : undefined;
  if (started !== undefined) return supervise(started);
  const { runCommand } = await import('./cli');
  return runCommand(argv, io);
}

/** The streams, each read once, but for what is piped in: that is opened when a command asks for it. */
function takeIo(io: CliIo): CliIo {
  const fn = 'runCli';
  checkObject(fn, 'io', io);
  const { out, err, isTerminal, progress, signal } = io;
  checkFunction(fn, 'io.out', out);
  checkFunction(fn, 'io.err', err);
  if (progress !== undefined) checkFunction(fn, 'io.progress', progress);
  checkSignal(fn, 'io.signal', signal);
  return {
    out: (text) => out.call(io, text),
    err: (text) => err.call(io, text),
    isTerminal,
    ...(progress === undefined ? {} : { progress: (text: string) => progress.call(io, text) }),
    get stdin() {
      return io.stdin;
    },
    signal,
  };
}
