import type { CliIo } from './io';
import { canSupervise, supervise } from './supervise';

/**
 * Runs the command line. What commands need is imported where they run: the thread that watches over them starts without it.
 * @param argv arguments without the program's name
 * @param io where it writes; left out, the process's own streams, with the command in a thread of its own: signals end it at once and long work
 *   says how far it is
 * @returns the exit code: 0 ok, 1 failure, 2 usage, 130 interrupted (Ctrl-C), 143 terminated
 */
export async function runCli(argv: readonly string[], io?: CliIo): Promise<number> {
  // How large the process of a memory row is must not depend on who looks on.
  // And a server answers signals itself, by letting answers end; its engine has a thread of its own where it can.
  const alone = argv.includes('--memory-of') || argv.find((word) => !word.startsWith('-')) === 'serve';
  if (io === undefined && !alone && canSupervise()) {
    const code = await supervise(argv);
    if (code !== undefined) return code;
  }
  const { runCommand } = await import('./cli');
  return runCommand(argv, io);
}
