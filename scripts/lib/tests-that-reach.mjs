import { posix } from 'node:path';
import { importGraph, reachable } from './import-graph.mjs';

/** Imports each command of the command line when it is asked for. */
const COMMAND_LINE = 'packages/cli/src/cli.ts';
const COMMANDS = 'packages/cli/src/commands/';

/**
 * Test files that import one of the sources, by any number of steps. A command of the command line counts for the tests whose text names
 * it: it is loaded when it is run.
 *
 * @param sources files that changed
 * @param files Map of path from the root (with /) to text: all sources and tests
 * @param packages Map of a package's name to the file that its name stands for
 */
export function testsThatReach(sources, files, packages) {
  const graph = importGraph(files, { packages, threads: true });
  const wanted = new Set(sources);
  return [...files.keys()].filter((test) => {
    if (!test.endsWith('.test.ts')) return false;
    const isNamed = (command) => new RegExp(`['"\`]${posix.basename(command, '.ts')}\\b`).test(files.get(test));
    const isFollowed = (from, to) => from !== COMMAND_LINE || !to.startsWith(COMMANDS) || isNamed(to);
    return [...reachable(test, graph, isFollowed).keys()].some((file) => wanted.has(file));
  });
}
