/**
 * `node scripts/affected.mjs [BASE]`: what a change since BASE (origin/main), committed or not, can break: all tests of the packages that
 * changed; of other packages the tests that reach a changed source; lint, formatting and types. A change of manifests,
 * READMEs or documents runs the house rules as a whole; a change outside packages, examples and internal runs everything.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { mergeBase } from './lib/git.mjs';
import { testedFolders, testPackages } from './lib/package-tests.mjs';
import { collect, mustRun, ROOT } from './lib/run.mjs';
import { ensureBuilt, ensureInstalled } from './lib/setup.mjs';
import { testsThatReach } from './lib/tests-that-reach.mjs';

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
const outside = changed.find((file) => !OF_ONE_PACKAGE.test(file));
if (outside !== undefined) {
  process.stderr.write(`${outside} affects every package\n`);
  mustRun(process.execPath, [join(ROOT, 'scripts', 'test.mjs')]);
  process.exit(0);
}

const present = changed.filter((file) => existsSync(join(ROOT, file)));
const tool = (...path) => JSON.stringify(join(ROOT, 'node_modules', ...path));
const node = JSON.stringify(process.execPath);
const isCode = changed.every((file) => SOURCE.test(file));
ensureBuilt({ types: !isCode });

const folders = testedFolders();
const manifest = (folder) => JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'));
const own = folders.filter((folder) => changed.some((file) => file.startsWith(`${folder}/`)));
/** Runs command lines one after the other until one fails. Resolves to the exit code, with all their output printed in one piece. */
async function job(title, commands, cwd = ROOT) {
  const printed = [`\n== ${title}\n`];
  let code = 0;
  for (const command of commands) {
    if (code !== 0) break;
    const done = await collect(command, { cwd });
    code = done.code;
    printed.push(done.output);
  }
  process.stderr.write(printed.join(''));
  return code;
}

const whole = isCode ? own : [...new Set(['internal/house', ...own])];
const sources = present.filter((file) => SOURCE.test(file) && !file.includes('/test/'));
const texts = git('ls-files', '--cached', '--others', '--exclude-standard', '--', 'packages', 'internal', 'examples')
  .filter((file) => SOURCE.test(file) && existsSync(join(ROOT, file)))
  .map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]);
const names = new Map(folders.map((folder) => [manifest(folder).name, `${folder}/src/index.ts`]));
const reaching = testsThatReach(sources, new Map(texts), names);
const jobs = folders
  .filter((folder) => !whole.includes(folder))
  .map((folder) => [folder, reaching.filter((file) => file.startsWith(`${folder}/`))])
  .filter(([, tests]) => tests.length > 0)
  .map(([folder, tests]) => () => {
    const files = tests.map((file) => JSON.stringify(file.slice(folder.length + 1))).join(' ');
    const vitest = `${node} ${tool('vitest', 'vitest.mjs')} run ${files}`;
    return job(`${folder}, tests that reach what changed`, [vitest], join(ROOT, folder));
  });
if (isCode) {
  const code = present.filter((file) => /\.(ts|mjs)$/.test(file)).map((file) => JSON.stringify(file));
  const checks = [
    ...(code.length > 0 ? [`${node} ${tool('eslint', 'bin', 'eslint.js')} --max-warnings=0 ${code.join(' ')}`] : []),
    ...(code.length > 0
      ? [`${node} ${tool('prettier', 'bin', 'prettier.cjs')} --check --log-level=warn ${code.join(' ')}`]
      : []),
    `${node} ${tool('typescript7', 'bin', 'tsc')} -p tsconfig.types.json`,
    `${node} ${join('scripts', 'check-tree.mjs')}`,
  ];
  jobs.push(() => job('lint, formatting and types of what changed', checks));
}
jobs.push(() => testPackages(whole));

// Dependents first: theirs are the longest.
let failed = 0;
const lane = async () => {
  for (let next = jobs.shift(); next !== undefined; next = jobs.shift()) if ((await next()) !== 0) failed++;
};
await Promise.all(Array.from({ length: Math.max(2, availableParallelism()) }, lane));
process.exit(failed === 0 ? 0 : 1);
