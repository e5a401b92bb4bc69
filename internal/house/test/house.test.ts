import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ROOT, run } from './tools';

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

it('the snippets of the READMEs hold their types', { timeout: 600_000 }, async () => {
  const files: string[] = [];
  try {
    const readmes = readdirSync(join(ROOT, 'packages')).map((name) => [join('packages', name), join('packages', name)]);
    readmes.push(['.', join('packages', 'cli')]); // the root README's program, with what the command depends on
    for (const [at, home] of readmes as [string, string][]) {
      const folder = join(ROOT, home, 'test', '.tmp');
      const readme = readFileSync(join(ROOT, at, 'README.md'), 'utf8');
      for (const [, code] of readme.matchAll(/```ts\n([\s\S]*?)```/g)) {
        mkdirSync(folder, { recursive: true });
        const file = join(folder, `types-${files.length}.ts`);
        writeFileSync(file, code!);
        files.push(file);
      }
    }
    expect(files.length).toBeGreaterThan(10);
    const config = join(ROOT, 'internal', 'house', 'test', '.tmp', 'tsconfig.json');
    mkdirSync(join(config, '..'), { recursive: true });
    writeFileSync(config, JSON.stringify({ extends: '../../../../tsconfig.base.json', files }));
    await passes(['node_modules/typescript/bin/tsc', '-p', config]);
  } finally {
    for (const file of files) rmSync(file, { force: true });
  }
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
