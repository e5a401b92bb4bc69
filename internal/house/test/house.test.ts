import { expect, it } from 'vitest';
import { run } from './tools';

/** The output of a tool that fails is the failure's message. */
async function passes(args: readonly string[]): Promise<void> {
  const { code, output } = await run(args);
  expect(code, output).toBe(0);
}

it('lint holds: dependency arrows, docstrings of exports, file length', { timeout: 600_000 }, async () => {
  await passes(['node_modules/eslint/bin/eslint.js', '.', '--max-warnings=0']);
});

it('types hold in every package', { timeout: 600_000 }, async () => {
  await passes(['node_modules/turbo/bin/turbo', 'run', 'types', '--concurrency=2', '--output-logs=errors-only']);
});

it('formatting holds', { timeout: 600_000 }, async () => {
  await passes(['node_modules/prettier/bin/prettier.cjs', '--check', '--log-level=warn', '.']);
});

it('the tree holds: C++ file length, data size, a README and its test in every package', async () => {
  await passes(['scripts/check-tree.mjs']);
});

it('a package that imports against the arrows is refused', async () => {
  const { code, output } = await run(
    ['node_modules/eslint/bin/eslint.js', '--stdin', '--stdin-filename', 'packages/reference/src/against.ts'],
    { input: "import '@megamoe/moe-router';\n" },
  );
  expect(code).toBe(1);
  expect(output).toContain('no-restricted-imports');
});
