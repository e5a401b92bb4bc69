import { EXIT, messageOf } from './errors';

/** Where a command writes: results to `out`, progress and logs to `err`. */
export interface CliIo {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Progress lines are drawn only on a terminal. */
  readonly isTerminal: boolean;
  /** Told how far the work is where no line is drawn: whoever waits may be told now and then. */
  readonly progress?: (text: string) => void;
  /** What is piped in, for commands that read it when no file is named; undefined on a terminal. */
  readonly stdin?: AsyncIterable<Uint8Array> | undefined;
  /** Fires on Ctrl-C. */
  readonly signal: AbortSignal;
}

/**
 * Answers errors of the process's own streams. A reader of the results that goes away (`| head`) ends the process quietly. Results that cannot
 * be written (a full disk) end it with a line, by way of `fail` where there is work to be stopped first. Messages that cannot be written are lost;
 * the command goes on.
 */
export function watchStreams(fail: () => void = () => process.exit(EXIT.failure)): void {
  let failed = false;
  process.stderr.on('error', () => undefined);
  process.stdout.on('error', (e: NodeJS.ErrnoException) => {
    if (e.code === 'EPIPE') process.exit(EXIT.ok);
    if (failed) return;
    failed = true;
    process.stderr.write(`megamoe: standard output cannot be written: ${messageOf(e)}\n`);
    fail();
  });
}

/** The process's own streams. */
export function processIo(signal: AbortSignal): CliIo {
  watchStreams();
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    isTerminal: process.stderr.isTTY,
    get stdin() {
      return process.stdin.isTTY ? undefined : process.stdin; // opened only when a command asks
    },
    signal,
  };
}
