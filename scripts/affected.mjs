/**
 * `node scripts/affected.mjs [BASE]`: tests of the packages that changed since BASE (origin/main) and of all that depend on them; house
 * rules always. A change outside packages, examples and internal affects everything.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { mustRun, ROOT } from './lib/run.mjs';
import { ensureBuilt, ensureInstalled, pnpm } from './lib/setup.mjs';

const base = process.argv[2] ?? 'origin/main';
const git = (...args) => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' });
const changed = git('diff', '--name-only', `${base}...`).split('\n').filter(Boolean);
const HARMLESS = /^(packages|internal|examples|\.changeset|\.github|docs)\/|\.md$/;

ensureInstalled();
ensureBuilt();
const outside = changed.find((file) => !HARMLESS.test(file));
if (outside !== undefined) {
  process.stderr.write(`${outside} affects every package\n`);
  mustRun(process.execPath, [join(ROOT, 'scripts', 'test.mjs')]);
} else {
  pnpm(['--filter', '@megamoe/house', 'run', 'test']);
  pnpm(['--workspace-concurrency=1', '--filter', `...[${base}]`, '--filter', '!@megamoe/house', 'run', 'test']);
}
