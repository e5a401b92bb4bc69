import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from './run.mjs';

/** Runs the built command line in this process: a second Node would cost a tenth of a second before the first token. */
export async function runBuilt(args) {
  const { runCli } = await import(pathToFileURL(join(ROOT, 'packages', 'cli', 'dist', 'index.js')).href);
  process.exitCode = await runCli(args);
}
