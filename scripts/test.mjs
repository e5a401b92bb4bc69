/** `npm test`: sets up what is missing, runs every package's tests one by one, and prints the total as the last line. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, run } from './lib/run.mjs';
import { checkNode, ensureBuilt, ensureInstalled } from './lib/setup.mjs';

checkNode();
ensureInstalled();
ensureBuilt();

const results = join(ROOT, 'test-results');
rmSync(results, { recursive: true, force: true });
mkdirSync(results);
const total = { passed: 0, failed: 0, skipped: 0 };
const broken = [];

/** Adds the C++ tests of a package, from the report that ctest wrote. */
function addNative(dir) {
  const report = join(dir, 'build', 'tests', 'junit.xml');
  if (!existsSync(report)) return;
  const [, tests, failures, skipped] =
    /<testsuite[^>]*tests="(\d+)"[^>]*failures="(\d+)"[^>]*skipped="(\d+)"/s.exec(readFileSync(report, 'utf8')) ?? [];
  total.passed += Number(tests) - Number(failures) - Number(skipped);
  total.failed += Number(failures);
  total.skipped += Number(skipped);
}

for (const group of ['internal', 'packages', 'examples']) {
  for (const name of group === 'examples' ? [''] : readdirSync(join(ROOT, group)).sort()) {
    const dir = join(ROOT, group, name);
    const report = join(results, `${name || group}.json`);
    rmSync(join(dir, 'build', 'tests', 'junit.xml'), { force: true });
    process.stderr.write(`\n== ${join(group, name)}\n`);
    const pnpm = join(ROOT, '.tools', 'node_modules', 'pnpm', 'bin', 'pnpm.cjs');
    const args = ['--silent', 'run', 'test', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const code = run(process.execPath, [pnpm, ...args], { cwd: dir });
    addNative(dir);
    if (!existsSync(report)) {
      broken.push(name || group);
      continue;
    }
    const r = JSON.parse(readFileSync(report, 'utf8'));
    total.passed += r.numPassedTests;
    total.failed += r.numFailedTests;
    total.skipped += r.numPendingTests + r.numTodoTests;
    if (code !== 0 && r.numFailedTests === 0) broken.push(name || group);
  }
}

total.failed += broken.length;
if (broken.length > 0) process.stderr.write(`\nmegamoe: no complete test run in: ${broken.join(', ')}\n`);
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
