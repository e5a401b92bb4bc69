import { spawn, spawnSync } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Root of the repository, without a trailing slash. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/[\\/]$/, '');

/**
 * Environment for tools: no telemetry, with our pnpm first, and without npm's own settings, which tools warn about. `npm run -s` among them:
 * the npm that we run would be silent about why it fails.
 */
export function toolEnv(extra = {}) {
  const noisy = /^npm_(config_(prefix|nodedir|local_prefix|loglevel)|lifecycle|package)/i;
  const kept = Object.entries(process.env).filter(([name]) => !noisy.test(name));
  const path = [join(ROOT, '.tools', 'node_modules', '.bin'), process.env.PATH].join(delimiter);
  return {
    ...Object.fromEntries(kept),
    PATH: path,
    TURBO_TELEMETRY_DISABLED: '1',
    DO_NOT_TRACK: '1',
    TURBO_NO_UPDATE_NOTIFIER: '1',
    ...extra,
  };
}

/**
 * Runs a command in the repository. Its output goes to stderr, since stdout belongs to results; with `quiet` it is shown only when
 * the command fails. Returns the exit code.
 */
export function run(command, args, { cwd = ROOT, quiet = false, env = {} } = {}) {
  const stdio = quiet ? ['ignore', 'pipe', 'pipe'] : ['ignore', 2, 2];
  const done = spawnSync(command, args, {
    cwd,
    stdio,
    env: toolEnv(env),
    encoding: 'utf8',
    shell: process.platform === 'win32',
  });
  if (done.error) throw new Error(`${command} could not be started: ${done.error.message}`);
  const code = done.status ?? 1;
  if (quiet && code !== 0) process.stderr.write(`${done.stdout ?? ''}${done.stderr ?? ''}`);
  return code;
}

/**
 * Runs a command line beside others, in a shell that finds programs in the folders `bins` first. Resolves to its exit code and all that
 * it printed, stdout and stderr as they came.
 */
export function collect(commandLine, { cwd = ROOT, env = {}, bins = [] } = {}) {
  return new Promise((resolve, reject) => {
    const tools = toolEnv(env);
    const path = [...bins, tools.PATH].join(delimiter);
    const stdio = ['ignore', 'pipe', 'pipe'];
    const child = spawn(commandLine, { cwd, env: { ...tools, PATH: path }, stdio, shell: true });
    const pieces = [];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => pieces.push(piece));
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? 1, output: Buffer.concat(pieces).toString() }));
  });
}

/** Runs a command and stops this process with its exit code when it fails. */
export function mustRun(command, args, options) {
  const code = run(command, args, options);
  if (code === 0) return;
  process.stderr.write(`megamoe: "${[command, ...args].join(' ')}" failed with exit code ${code}\n`);
  process.exit(code);
}
