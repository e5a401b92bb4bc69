/**
 * `node scripts/node-clients.mjs [VERSION ...]`: the clients that people use (openai, ai with @ai-sdk/openai-compatible, curl), unchanged,
 * against a server with the shipped model, on every Node that the packages are promised for, or on those named. With `openai` 6, and where
 * Node is new enough for it with `openai` 7. Prints a table. On Linux; after an install.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureNode, NODES, pinned } from './lib/nodes.mjs';
import { ROOT, run, toolEnv } from './lib/run.mjs';

/** The newest of its line when this was written; it asks for Node 22. */
const OPENAI = '7.59.0';
const LEAST_NODE = 22;
const CONFIG = join(ROOT, 'scripts', 'clients', 'vitest.config.mjs');
const SERVER = join(ROOT, 'packages', 'server');

/** Fetches `openai` into `.tools/clients` unless it is there; returns its folder. */
function ensureOpenai(version) {
  const home = join(ROOT, '.tools', 'clients', `openai-${version}`);
  const folder = join(home, 'node_modules', 'openai');
  if (existsSync(folder)) return folder;
  const partial = `${home}-${process.pid}`; // what is interrupted is never taken for it
  mkdirSync(partial, { recursive: true });
  try {
    writeFileSync(join(partial, 'package.json'), '{ "private": true }\n');
    const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error'];
    const code = run('npm', ['install', '--prefix', partial, ...quiet, `openai@${version}`], { quiet: true });
    if (code !== 0) throw new Error(`npm could not install openai@${version}`);
    rmSync(home, { recursive: true, force: true });
    renameSync(partial, home);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return folder;
}

const versionOf = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version;

const asked = process.argv.slice(2);
const unknown = asked.find((version) => pinned(version) === undefined);
if (unknown !== undefined) {
  process.stderr.write(`node-clients: no Node ${unknown}; there are ${NODES.join(', ')}\n`);
  process.exit(2);
}
const installed = join(SERVER, 'node_modules', 'openai');
console.log('Node | openai | tests');
for (const version of asked.length > 0 ? asked.map(pinned) : NODES) {
  const node = ensureNode(version);
  const folders = [installed, ...(parseInt(version, 10) >= LEAST_NODE ? [ensureOpenai(OPENAI)] : [])];
  for (const folder of folders) {
    const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
    const args = [vitest, 'run', 'test/clients.test.ts', '--config', CONFIG, '--reporter', 'json'];
    const env = { ...toolEnv(), ...(folder === installed ? {} : { MEGAMOE_OPENAI: folder }) };
    const done = spawnSync(node, args, { cwd: SERVER, env, encoding: 'utf8', timeout: 900_000 });
    const report = /^\{.*"numTotalTests".*\}$/m.exec(done.stdout ?? '')?.[0];
    const { numPassedTests: passed, numTotalTests: total } = report ? JSON.parse(report) : {};
    console.log([version, versionOf(folder), report ? `${passed} of ${total} pass` : 'FAILED'].join(' | '));
    if (done.status === 0 && passed === total) continue;
    process.stderr.write(`${done.stdout}${done.stderr}\n`);
    process.exitCode = 1;
  }
}
