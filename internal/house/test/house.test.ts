import { repositoryFile } from '@megamoe/testkit';
import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';

const ROOT = repositoryFile('.');

/** Runs a tool of the repository; the output of a failure is the failure's message. */
function passes(args: readonly string[]): void {
  const done = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
  expect(done.status, `${done.stdout}${done.stderr}`).toBe(0);
}

it('lint holds: dependency arrows, docstrings of exports, file length', { timeout: 600_000 }, () => {
  passes(['node_modules/eslint/bin/eslint.js', '.', '--max-warnings=0']);
});

it('types hold in every package', { timeout: 600_000 }, () => {
  passes(['node_modules/turbo/bin/turbo', 'run', 'types', '--concurrency=2', '--output-logs=errors-only']);
});

it('formatting holds', { timeout: 600_000 }, () => {
  passes(['node_modules/prettier/bin/prettier.cjs', '--check', '--log-level=warn', '.']);
});

it('the tree holds: C++ file length, data size, a README and its test in every package', () => {
  passes(['scripts/check-tree.mjs']);
});

it('a package that imports against the arrows is refused', () => {
  const done = spawnSync(
    process.execPath,
    ['node_modules/eslint/bin/eslint.js', '--stdin', '--stdin-filename', 'packages/reference/src/against.ts'],
    { cwd: ROOT, encoding: 'utf8', input: "import '@megamoe/moe-router';\n" },
  );
  expect(done.status).toBe(1);
  expect(done.stdout).toContain('no-restricted-imports');
});
