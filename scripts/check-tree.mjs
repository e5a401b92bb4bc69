/** House rules that no linter knows: length of files, lines of C++, circles of imports, size of the data, documentation of each package. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { cppProblems } from './lib/cpp-style.mjs';
import { importCircles } from './lib/import-circles.mjs';
import { ROOT } from './lib/run.mjs';

const MAX_LINES = 600;
const MAX_DATA_BYTES = 27e6;
const problems = [];
const files = execFileSync('git', ['ls-files'], { cwd: ROOT, encoding: 'utf8' })
  .split('\n')
  .filter((f) => f && existsSync(join(ROOT, f)));

for (const file of files) {
  if (!/\.(ts|mjs|js|cc|cpp|h|cmake)$/.test(file)) continue;
  const text = readFileSync(join(ROOT, file), 'utf8');
  const lines = text.split('\n').length - 1;
  if (lines > MAX_LINES) problems.push(`${file}: ${lines} lines, the limit is ${MAX_LINES}`);
  if (/\.(cc|cpp|h)$/.test(file)) problems.push(...cppProblems(file, text));
}

const modules = files.filter((f) => /\.(ts|mjs|js)$/.test(f));
const texts = new Map(modules.map((f) => [f, readFileSync(join(ROOT, f), 'utf8')]));
for (const circle of importCircles(texts)) problems.push(`imports in a circle: ${circle}`);

const data = files.filter((f) => /^models\/|\/goldens\//.test(f));
const bytes = data.reduce((sum, f) => sum + statSync(join(ROOT, f)).size, 0);
if (bytes > MAX_DATA_BYTES) problems.push(`models and goldens: ${bytes} bytes, the limit is ${MAX_DATA_BYTES}`);

const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
for (const manifest of files.filter((f) => /^packages\/[^/]+\/package\.json$/.test(f))) {
  const dir = manifest.replace('/package.json', '');
  for (const needed of ['README.md', 'src/index.ts', 'test/readme.test.ts']) {
    if (!files.includes(`${dir}/${needed}`)) problems.push(`${dir}: ${needed} is missing`);
  }
  if (!readme.includes(`](${dir}) |`)) problems.push(`README.md: ${dir} is not in its table of packages`);
}

for (const problem of problems) process.stderr.write(`${problem}\n`);
process.exit(problems.length > 0 ? 1 : 0);
