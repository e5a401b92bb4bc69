/**
 * `node scripts/affected.mjs [BASE]`: what a change since BASE (origin/main), committed or not, can break: all tests of the packages that
 * changed; of packages that depend on them the tests that reach a changed source; lint, formatting and types. A change of manifests,
 * READMEs or documents runs the house rules as a whole; a change outside packages, examples and internal runs everything.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mergeBase } from './lib/git.mjs';
import { testedFolders, testPackages } from './lib/package-tests.mjs';
import { mustRun, ROOT, run } from './lib/run.mjs';
import { ensureBuilt, ensureInstalled } from './lib/setup.mjs';

/** Files that belong to one package, or to none. */
const OF_ONE_PACKAGE = /^(packages|internal|examples|\.changeset|\.github|docs)\/|\.md$/;
/** Files that only lint, types and the tests of their package and its dependents can notice. */
const SOURCE = /^(packages|internal|examples)\/.*\.(ts|mjs)$/;

const git = (...args) => spawnSync('git', args, { cwd: ROOT, encoding: 'utf8' }).stdout.split('\n').filter(Boolean);
const base = mergeBase(process.argv[2] ?? 'origin/main', ROOT);
const changed = [...git('diff', '--name-only', base), ...git('ls-files', '--others', '--exclude-standard')];
if (changed.length === 0) {
  process.stderr.write('nothing has changed\n');
  process.exit(0);
}
ensureInstalled();
ensureBuilt();
const outside = changed.find((file) => !OF_ONE_PACKAGE.test(file));
if (outside !== undefined) {
  process.stderr.write(`${outside} affects every package\n`);
  mustRun(process.execPath, [join(ROOT, 'scripts', 'test.mjs')]);
  process.exit(0);
}

const present = changed.filter((file) => existsSync(join(ROOT, file)));
const tool = (...path) => join(ROOT, 'node_modules', ...path);
const all = changed.every((file) => SOURCE.test(file));
if (all) {
  const code = present.filter((file) => /\.(ts|mjs)$/.test(file));
  mustRun(process.execPath, [tool('eslint', 'bin', 'eslint.js'), '--max-warnings=0', ...code]);
  mustRun(process.execPath, [tool('prettier', 'bin', 'prettier.cjs'), '--check', '--log-level=warn', ...code]);
  mustRun(process.execPath, [tool('typescript', 'bin', 'tsc'), '-p', 'tsconfig.types.json']);
  mustRun(process.execPath, [join('scripts', 'check-tree.mjs')]);
}

const folders = testedFolders();
const manifest = (folder) => JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'));
const names = new Map(folders.map((folder) => [folder, manifest(folder).name]));
const own = folders.filter((folder) => changed.some((file) => file.startsWith(`${folder}/`)));
/** Folders that depend on `roots`, by any number of steps. */
function dependents(roots) {
  const found = new Set(roots);
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const folder of folders) {
      const { dependencies = {}, devDependencies = {} } = manifest(folder);
      const needed = { ...dependencies, ...devDependencies };
      if ([...found].some((f) => names.get(f) in needed)) found.add(folder);
    }
  }
  return [...found].filter((folder) => !roots.includes(folder));
}

const whole = all ? own : [...new Set(['internal/house', ...own])];
let code = await testPackages(whole);
const sources = present.filter((file) => SOURCE.test(file) && !file.includes('/test/')).map((file) => join(ROOT, file));
for (const folder of sources.length > 0 ? dependents(own) : []) {
  if (whole.includes(folder)) continue;
  process.stderr.write(`\n== ${folder}, tests that reach what changed\n`);
  const args = [tool('vitest', 'vitest.mjs'), 'related', '--run', '--passWithNoTests', ...sources];
  code ||= run(process.execPath, args, { cwd: join(ROOT, folder) });
}
process.exit(code);
