/** Valid calls of the command line: what costs milliseconds, with streams that go nowhere. */
const nowhere = () => ({
  out: () => undefined,
  err: () => undefined,
  isTerminal: false,
  signal: new AbortController().signal,
});

export const calls = {
  runCli: (r, m) => ({
    args: [
      r.pick([['--help'], ['--version'], ['layout', '--rows', '3', '--k', '64'], ['no-such-command'], ['explain']]),
      nowhere(),
    ],
    isAsync: true,
    // Without streams of its own it would take those of this process.
    f: (argv, io) => m.runCli(argv, io ?? nowhere()),
  }),
};
