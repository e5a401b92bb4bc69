import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { ROOT, run } from './tools';

const { cppProblems } = (await import(join(ROOT, 'scripts', 'lib', 'cpp-style.mjs'))) as {
  cppProblems: (file: string, text: string) => string[];
};

/** The output of a tool that fails is the failure's message. */
async function passes(args: readonly string[]): Promise<void> {
  const { code, output } = await run(args);
  expect(code, output).toBe(0);
}

it('lint holds: dependency arrows, docstrings of exports, file length', { timeout: 600_000 }, async () => {
  await passes(['node_modules/eslint/bin/eslint.js', '.', '--max-warnings=0']);
});

/** One program for all: each package resolves what it imports from its own folder, and shared sources are checked once. */
it(
  'types hold in every package, in the examples and in the snippets of the READMEs',
  { timeout: 600_000 },
  async () => {
    const files: string[] = [];
    try {
      const readmes = readdirSync(join(ROOT, 'packages')).map((name) => [
        join('packages', name),
        join('packages', name),
      ]);
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
      writeFileSync(config, JSON.stringify({ extends: '../../../../tsconfig.types.json', files }));
      const { code, output } = await run(['node_modules/typescript/bin/tsc', '-p', config, '--listFiles']);
      expect(code, output.replace(/^\/.*\n/gm, '')).toBe(0);
      const checked = new Set(output.split('\n').map((line) => resolve(line)));
      const tracked = execFileSync('git', ['ls-files', 'packages', 'internal'], { cwd: ROOT, encoding: 'utf8' }).split(
        '\n',
      );
      const wanted = tracked.filter((file) => /\/(src|test|bench)\/.*\.ts$/.test(file) && existsSync(join(ROOT, file)));
      expect(wanted.length).toBeGreaterThan(300);
      expect([...wanted.map((file) => join(ROOT, file)), ...files].filter((file) => !checked.has(file))).toEqual([]);
    } finally {
      for (const file of files) rmSync(file, { force: true });
    }
  },
);

it('formatting holds', { timeout: 600_000 }, async () => {
  await passes(['node_modules/prettier/bin/prettier.cjs', '--check', '--log-level=warn', '.']);
});

it('the tree holds: file length, C++ lines, data size, a README and its test in every package', async () => {
  await passes(['scripts/check-tree.mjs']);
});

it('a line of C++ that is too long or has white space where none belongs is refused', () => {
  const long = `// ${'x'.repeat(118)}`;
  expect(cppProblems('a.h', '#pragma once\n\nint f();  // fine\n')).toEqual([]);
  expect(cppProblems('a.h', `${long.slice(1)}\n`)).toEqual([]);
  expect(cppProblems('a.h', `${long}\nint f(); \n\tint g();`)).toEqual([
    'a.h:1: the line is longer than 120',
    'a.h:2: the line ends with white space',
    'a.h:3: the line has a tab',
    'a.h: does not end with a line feed',
  ]);
});

it('a package that imports against the arrows is refused', async () => {
  const { code, output } = await run(
    ['node_modules/eslint/bin/eslint.js', '--stdin', '--stdin-filename', 'packages/reference/src/against.ts'],
    { input: "import '@megamoe/moe-router';\n" },
  );
  expect(code).toBe(1);
  expect(output).toContain('no-restricted-imports');
});
