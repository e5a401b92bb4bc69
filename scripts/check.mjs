/** `pnpm check`: what CI runs and a little more: build, types, lint, tests. */
import { join } from 'node:path';
import { mustRun, ROOT } from './lib/run.mjs';
import { ensureBuilt, ensureInstalled } from './lib/setup.mjs';

ensureInstalled();
ensureBuilt();
const bin = (name, path) => join(ROOT, 'node_modules', name, path);
mustRun(process.execPath, [bin('turbo', 'bin/turbo'), 'run', 'types', '--concurrency=2', '--output-logs=errors-only']);
mustRun(process.execPath, [bin('eslint', 'bin/eslint.js'), '.', '--max-warnings=0']);
mustRun(process.execPath, [bin('prettier', 'bin/prettier.cjs'), '--check', '--log-level=warn', '.']);
mustRun(process.execPath, [join(ROOT, 'scripts', 'check-tree.mjs')]);
mustRun(process.execPath, [join(ROOT, 'scripts', 'test.mjs')]);
