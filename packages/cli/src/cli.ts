import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { readFileSync } from 'node:fs';
import { EXIT, messageOf, SIGNALS, UsageError, type Signal } from './errors';
import { processIo, type CliIo } from './io';

/** The commands, in the order of the help. Each is imported when it is asked for: `generate` need not wait for what only `bench` uses. */
const COMMANDS: Readonly<Record<string, () => Promise<(io: CliIo) => Command>>> = {
  generate: async () => (await import('./commands/generate')).generateCommand,
  serve: async () => (await import('./commands/serve')).serveCommand,
  prompt: async () => (await import('./commands/prompt')).promptCommand,
  parse: async () => (await import('./commands/parse')).parseCommand,
  logits: async () => (await import('./commands/logits')).logitsCommand,
  quantize: async () => (await import('./commands/quantize')).quantizeCommand,
  inspect: async () => (await import('./commands/inspect')).inspectCommand,
  verify: async () => (await import('./commands/verify')).verifyCommand,
  explain: async () => (await import('./commands/explain')).explainCommand,
  layout: async () => (await import('./commands/layout')).layoutCommand,
  pull: async () => (await import('./commands/pull')).pullCommand,
  bench: async () => (await import('./commands/bench')).benchCommand,
  doctor: async () => (await import('./commands/doctor')).doctorCommand,
};

/** The version of this package, not built in: a release changes the manifest and not what was built. */
function version(): string {
  const manifest = new URL('../package.json', import.meta.url);
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

/** The command that arguments name. */
const nameIn = (argv: readonly string[]): string => argv.find((word) => !word.startsWith('-')) ?? '';

/** The program with the commands that `argv` may mean: the one that it names, else all, for the help and for suggestions. */
async function program(io: CliIo, argv: readonly string[]): Promise<Command> {
  const root = new Command('megamoe')
    .description('Run and prove DeepSeek-V4-style mixture-of-experts models in NVFP4.')
    .version(version(), '-V, --version', "print megamoe's version")
    .option('--debug', 'print stack traces of errors')
    .showHelpAfterError('(add --help for the options)')
    .configureOutput({ writeOut: io.out, writeErr: io.err });
  const name = nameIn(argv);
  const wanted = Object.hasOwn(COMMANDS, name) ? [COMMANDS[name]!] : Object.values(COMMANDS);
  for (const load of wanted) root.addCommand((await load())(io).copyInheritedSettings(root));
  return root;
}

/**
 * Runs a command in this thread.
 * @param argv arguments without the program's name
 * @param io where it writes; left out, the process's own streams
 * @returns the exit code
 */
export async function runCommand(argv: readonly string[], io?: CliIo): Promise<number> {
  const abort = new AbortController();
  let by: Signal = 'SIGINT';
  const interrupt = (signal: Signal): void => {
    by = signal;
    abort.abort(new Error('interrupted'));
  };
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const streams = io ?? processIo(abort.signal);
  const root = await program(streams, argv);
  for (const command of [root, ...root.commands]) command.exitOverride();
  try {
    await root.parseAsync([...argv], { from: 'user' });
    return EXIT.ok;
  } catch (e) {
    if (streams.signal.aborted) {
      streams.err('\nmegamoe: interrupted\n');
      return EXIT[SIGNALS[by]];
    }
    const isBadArgument = e instanceof InvalidArgumentError; // thrown by a command: commander says only what its parser refuses
    if (e instanceof CommanderError && !isBadArgument) return e.exitCode === 0 ? EXIT.ok : EXIT.usage; // it has said why
    streams.err(`megamoe: ${messageOf(e)}\n`);
    if (root.opts<{ debug?: boolean }>().debug && e instanceof Error) streams.err(`${e.stack}\n`);
    return e instanceof UsageError || isBadArgument ? EXIT.usage : EXIT.failure;
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}
