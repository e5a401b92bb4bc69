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

/** A reader that goes away (`| head`) ends the process quietly. */
export function endQuietlyWithReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (e: NodeJS.ErrnoException) => {
      if (e.code === 'EPIPE') process.exit(0);
      throw e;
    });
  }
}

/** The process's own streams. */
export function processIo(signal: AbortSignal): CliIo {
  endQuietlyWithReader();
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
