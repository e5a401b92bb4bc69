/** `npm start [-- "PROMPT" ...]`: sets up what is missing, then completes the prompt with the shipped model. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ROOT } from './lib/run.mjs';
import { ensureBuilt, ensureInstalled } from './lib/setup.mjs';

ensureInstalled();
ensureBuilt();
const args = process.argv.slice(2);
const main = join(ROOT, 'packages', 'cli', 'dist', 'main.js');
const done = spawnSync(process.execPath, [main, 'generate', ...args], { stdio: 'inherit' });
process.exit(done.status ?? 130);
