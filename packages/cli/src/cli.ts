import { Command, CommanderError } from 'commander';
import { benchCommand } from './commands/bench';
import { doctorCommand } from './commands/doctor';
import { generateCommand } from './commands/generate';
import { inspectCommand } from './commands/inspect';
import { layoutCommand } from './commands/layout';
import { logitsCommand } from './commands/logits';
import { quantizeCommand } from './commands/quantize';
import { EXIT, messageOf, UsageError } from './errors';
import { processIo, type CliIo } from './io';

/** The program with all its commands; each does its work through `io`. */
function program(io: CliIo): Command {
  const root = new Command('megamoe')
    .description('Run and prove DeepSeek-V4-style mixture-of-experts models in NVFP4.')
    .option('--debug', 'print stack traces of errors')
    .showHelpAfterError('(add --help for the options)')
    .configureOutput({ writeOut: io.out, writeErr: io.err });
  for (const make of [
    generateCommand,
    logitsCommand,
    quantizeCommand,
    inspectCommand,
    layoutCommand,
    benchCommand,
    doctorCommand,
  ]) {
    root.addCommand(make(io).copyInheritedSettings(root));
  }
  return root;
}

/**
 * Runs the command line.
 * @param argv arguments without the program's name
 * @returns the exit code: 0 ok, 1 failure, 2 usage, 130 interrupted
 */
export async function runCli(argv: readonly string[], io?: CliIo): Promise<number> {
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(new Error('interrupted'));
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const streams = io ?? processIo(abort.signal);
  const root = program(streams);
  for (const command of [root, ...root.commands]) command.exitOverride();
  try {
    await root.parseAsync([...argv], { from: 'user' });
    return EXIT.ok;
  } catch (e) {
    if (streams.signal.aborted) {
      streams.err('\nmegamoe: interrupted\n');
      return EXIT.interrupted;
    }
    if (e instanceof CommanderError) return e.exitCode === 0 ? EXIT.ok : EXIT.usage; // commander has said why
    streams.err(`megamoe: ${messageOf(e)}\n`);
    if (root.opts<{ debug?: boolean }>().debug && e instanceof Error) streams.err(`${e.stack}\n`);
    return e instanceof UsageError ? EXIT.usage : EXIT.failure;
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}
