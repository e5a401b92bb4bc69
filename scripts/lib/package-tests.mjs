/** Runs the tests of packages, as many packages at a time as there are processors, and adds up what their reports say. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, sep } from 'node:path';
import { collect, ROOT } from './run.mjs';

/** More at once need more memory than a runner of four processors has: a package's tests and their compilers take 2 GB. */
const MOST_AT_ONCE = 4;

/** Folders of all packages that have tests, relative to the root. */
export function testedFolders() {
  const below = (group) => readdirSync(join(ROOT, group)).map((name) => join(group, name));
  return [...below('internal'), ...below('packages'), 'examples'].filter((folder) =>
    existsSync(join(ROOT, folder, 'package.json')),
  );
}

/** What takes longest starts first: begun last, it would run alone. */
const LONGEST = ['packages/model', 'internal/house', 'packages/cli'];

/** Folders in the order in which they start. */
const byLength = (folders) => {
  const long = LONGEST.map((folder) => folder.split('/').join(sep)).filter((folder) => folders.includes(folder));
  return [...long, ...folders.filter((folder) => !long.includes(folder))];
};

/** Counts of a package's C++ tests, from the report that ctest wrote; nothing when it has none, or no compiler. */
function nativeCounts(report) {
  if (!existsSync(report)) return [];
  const xml = readFileSync(report, 'utf8');
  const [tests, failed, skipped, disabled] = ['tests', 'failures', 'skipped', 'disabled'].map((name) =>
    Number(new RegExp(`<testsuite[^>]*\\b${name}="(\\d+)"`, 's').exec(xml)[1]),
  );
  return [{ passed: tests - failed - skipped - disabled, failed, skipped: skipped + disabled }];
}

/** Runs the script `test` of one package as `pnpm test` does. Resolves to what it printed, its counts, and whether its run was complete. */
async function testPackage(folder, { root, env }) {
  const dir = join(root, folder);
  const report = join(root, 'test-results', `${folder.replace(/[\\/]/g, '-')}.json`);
  const native = join(dir, 'build', 'tests', 'junit.xml');
  for (const old of [report, native]) rmSync(old, { force: true });
  const { scripts } = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'));
  const colour = process.stderr.isTTY ? '--color' : '--no-color';
  const command = `${scripts.test} ${colour} --reporter=default --reporter=json --outputFile.json=${JSON.stringify(report)}`;
  const bins = [dir, root].map((at) => join(at, 'node_modules', '.bin'));
  const started = performance.now();
  const { code, output } = await collect(command, { cwd: dir, env, bins });
  const seconds = (performance.now() - started) / 1000;
  const counts = nativeCounts(native);
  if (existsSync(report)) {
    const r = JSON.parse(readFileSync(report, 'utf8'));
    counts.push({
      passed: r.numPassedTests,
      failed: r.numFailedTests,
      skipped: r.numPendingTests + r.numTodoTests,
    });
  }
  const complete = existsSync(report) && (code === 0 || counts.some(({ failed }) => failed > 0));
  return { output: `\n== ${folder} (${seconds.toFixed(0)} s)\n${output.trimEnd()}\n`, counts, complete };
}

/**
 * Tests the packages in these folders; the output of each is printed in one piece, in the order of `folders`. Prints the total as the
 * last line, `N passed, N failed, N skipped`, and returns the exit code.
 */
export async function testPackages(folders, { env = {}, root = ROOT } = {}) {
  mkdirSync(join(root, 'test-results'), { recursive: true });
  const total = { passed: 0, failed: 0, skipped: 0 };
  const broken = [];
  const waiting = byLength(folders);
  const done = new Map();
  let printed = 0;
  const work = async () => {
    for (let folder = waiting.shift(); folder !== undefined; folder = waiting.shift()) {
      done.set(folder, await testPackage(folder, { root, env }));
      for (; done.has(folders[printed]); printed++) {
        const { output, counts, complete } = done.get(folders[printed]);
        process.stderr.write(output);
        for (const count of counts) for (const name of Object.keys(total)) total[name] += count[name];
        if (!complete) broken.push(folders[printed]);
      }
    }
  };
  const atOnce = Math.min(availableParallelism(), MOST_AT_ONCE);
  await Promise.all(Array.from({ length: atOnce }, work));

  total.failed += broken.length;
  if (broken.length > 0) process.stderr.write(`\nmegamoe: no complete test run in: ${broken.join(', ')}\n`);
  process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}
