/** A few operations of `quantize` that fail or are the last before a kill, in the built program; scripts/fault/fault.mjs tries all commands and all. */
import { repositoryFile } from '@megamoe/testkit';
import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { builtCli } from '../src/built-cli';

/** Whether something can be preloaded here: fault.mjs says what it needs. */
const hasCompiler =
  process.platform === 'linux' && spawnSync(process.env['CC'] ?? 'cc', ['--version'], { stdio: 'ignore' }).status === 0;

it.runIf(hasCompiler)('leaves the old files or the new ones, says why, and completes when it runs again', () => {
  if (builtCli() === undefined) throw new Error('the command line is not built; run "npm start" once');
  const script = repositoryFile('scripts/fault/fault.mjs');
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, '--short'], { encoding: 'utf8' });
  expect(stdout + stderr).toMatch(/^fault: 10 runs of 1 cases, nothing wrong$/m);
  expect(status).toBe(0);
});
