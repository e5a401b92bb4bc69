/** Where a command writes: results to `out`, progress and logs to `err`. */
export interface CliIo {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Progress lines are drawn only on a terminal. */
  readonly isTerminal: boolean;
  /** Fires on Ctrl-C. */
  readonly signal: AbortSignal;
}

/** The process's own streams. A reader that goes away (`| head`) ends the command quietly. */
export function processIo(signal: AbortSignal): CliIo {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (e: NodeJS.ErrnoException) => {
      if (e.code === 'EPIPE') process.exit(0);
      throw e;
    });
  }
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    isTerminal: process.stderr.isTTY,
    signal,
  };
}
