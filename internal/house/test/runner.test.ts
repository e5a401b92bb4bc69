/** What `npm test` prints and counts, tried on packages whose tests are scripts of a few lines. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ROOT, run } from './tools';

const { testsThatReach } = (await import(join(ROOT, 'scripts', 'lib', 'tests-that-reach.mjs'))) as {
  testsThatReach: (
    sources: readonly string[],
    files: ReadonlyMap<string, string>,
    packages: ReadonlyMap<string, string>,
  ) => string[];
};

const root = mkdtempSync(join(tmpdir(), 'megamoe-runner-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const write = (file: string, text: string): void => {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
};

interface Fake {
  /** Counts in the report of vitest; undefined: it writes none. */
  readonly report?: { readonly passed: number; readonly failed: number; readonly skipped: number };
  /** Counts in the report of ctest. */
  readonly native?: { readonly tests: number; readonly failures: number };
  readonly code?: number;
  readonly waitMs?: number;
}

/** A package whose `pnpm test` takes the arguments of vitest and ends as told. */
function fake(name: string, { report, native, code = 0, waitMs = 0 }: Fake): string {
  const vitest = report && {
    ...{ numPassedTests: report.passed, numFailedTests: report.failed },
    ...{ numPendingTests: report.skipped, numTodoTests: 0 },
  };
  write(`${name}/package.json`, JSON.stringify({ name, type: 'module', scripts: { test: 'node test.js' } }));
  write(
    `${name}/test.js`,
    `import { mkdirSync, writeFileSync } from 'node:fs';
console.log('${name} says its first line');
await new Promise((resolve) => setTimeout(resolve, ${waitMs}));
console.error('${name} says its last line');
const file = process.argv.find((a) => a.startsWith('--outputFile.json=')).slice(18);
const native = ${JSON.stringify(native)};
if (${report !== undefined}) writeFileSync(file, ${JSON.stringify(JSON.stringify(vitest ?? null))});
if (native) {
  mkdirSync('build/tests', { recursive: true });
  writeFileSync('build/tests/junit.xml', '<testsuite name="(empty)"\\n\\ttests="' + native.tests + '"\\n\\tfailures="' + native.failures + '"\\n\\tdisabled="0"\\n\\tskipped="0"\\n>');
}
process.exitCode = ${code};
`,
  );
  return name;
}

async function test(...folders: readonly string[]): Promise<{ code: number; last: string; output: string }> {
  const script = `import { testPackages } from ${JSON.stringify(join(ROOT, 'scripts', 'lib', 'package-tests.mjs'))};
process.exitCode = await testPackages(${JSON.stringify(folders)}, { root: ${JSON.stringify(root)} });`;
  const { code, stdout, output } = await run(['--input-type=module', '-e', script]);
  return { code, last: stdout.trimEnd().split('\n').at(-1)!, output };
}

const report = { passed: 3, failed: 0, skipped: 0 };

describe('the tests of several packages', () => {
  it('are added up, C++ tests too, and each output is in one piece, in order', async () => {
    const slow = fake('slow', { report, waitMs: 700 });
    const quick = fake('quick', { report: { ...report, skipped: 1 }, native: { tests: 9, failures: 0 } });
    const { code, last, output } = await test(slow, quick);
    expect(last).toBe('15 passed, 0 failed, 1 skipped');
    expect(code).toBe(0);
    expect(output.replace(/\(\d+ s\)/g, '(s)')).toMatch(
      '\n== slow (s)\nslow says its first line\nslow says its last line\n\n== quick (s)\nquick says its first line\nquick says its last line\n',
    );
  });

  it.each<[string, Fake, string]>([
    ['a test fails', { report: { ...report, failed: 1 }, code: 1 }, '3 passed, 1 failed, 0 skipped'],
    ['a C++ test fails', { report, native: { tests: 2, failures: 1 }, code: 1 }, '4 passed, 1 failed, 0 skipped'],
    ['there is no report', { code: 1 }, '0 passed, 1 failed, 0 skipped'],
    ['there is no report and all seems well', { code: 0 }, '0 passed, 1 failed, 0 skipped'],
    ['all passed and the run failed', { report, code: 1 }, '3 passed, 1 failed, 0 skipped'],
  ])('fail when %s', async (_, how, total) => {
    const { code, last } = await test(fake('bad', how));
    expect(last).toBe(total);
    expect(code).toBe(1);
  });

  it('fail when nothing was tested', async () => {
    const { code, last } = await test(fake('none', { report: { passed: 0, failed: 0, skipped: 0 } }));
    expect(last).toBe('0 passed, 0 failed, 0 skipped');
    expect(code).toBe(1);
  });
});

describe('the tests that reach a source', () => {
  const files = new Map(
    Object.entries({
      'packages/a/src/index.ts': "export { b } from './b';\nnew URL('./worker.js', import.meta.url);",
      'packages/a/src/b.ts': 'export const b = 1;',
      'packages/a/src/worker.ts': "import { b } from './b';",
      'packages/a/test/b.test.ts': "import { b } from '../src/b';",
      'packages/a/test/support.ts': "import { b } from '../src/b';",
      'packages/a/test/none.test.ts': "import { it } from 'vitest';",
      'packages/b/src/index.ts': "import type { B } from '@megamoe/a';",
      'packages/b/test/all.test.ts': "import * as all from '../src/index';",
      'packages/cli/src/cli.ts': "await import('./commands/layout');\nawait import('./commands/pull');",
      'packages/cli/src/commands/layout.ts': "import { b } from '@megamoe/a';",
      'packages/cli/src/commands/pull.ts': "import './layout-of-cache';",
      'packages/cli/src/commands/layout-of-cache.ts': '',
      'packages/cli/test/support.ts': "export { run } from '../src/cli';",
      'packages/cli/test/layout.test.ts': "import { run } from './support';\nrun('layout');",
      'packages/cli/test/pull.test.ts': "import { run } from './support';\nrun('pull'); // no layout",
    }),
  );
  const packages = new Map([
    ['@megamoe/a', 'packages/a/src/index.ts'],
    ['@megamoe/b', 'packages/b/src/index.ts'],
  ]);

  it.each([
    [
      'packages/a/src/b.ts',
      ['packages/a/test/b.test.ts', 'packages/b/test/all.test.ts', 'packages/cli/test/layout.test.ts'],
    ],
    ['packages/a/src/worker.ts', ['packages/b/test/all.test.ts', 'packages/cli/test/layout.test.ts']],
    ['packages/cli/src/commands/layout-of-cache.ts', ['packages/cli/test/pull.test.ts']],
    ['packages/cli/src/cli.ts', ['packages/cli/test/layout.test.ts', 'packages/cli/test/pull.test.ts']],
  ])('%s: by any number of steps, of commands those that are named', (source, tests) => {
    expect(testsThatReach([source], files, packages)).toEqual(tests);
  });
});
