import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT, run } from './tools';

const { cppProblems } = (await import(join(ROOT, 'scripts', 'lib', 'cpp-style.mjs'))) as {
  cppProblems: (file: string, text: string) => string[];
};

const { importCircles } = (await import(join(ROOT, 'scripts', 'lib', 'import-circles.mjs'))) as {
  importCircles: (files: ReadonlyMap<string, string>) => string[];
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
      const { code, output } = await run(['node_modules/typescript7/bin/tsc', '-p', config, '--listFiles']);
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

it('the tree holds: file length, C++ lines, circles of imports, data size, a README and its test in every package', async () => {
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

it('C++ outside the dialect is refused: integers without std::, a table of kernels by position', () => {
  const fine = `KernelTable t = {};\nstruct KernelTable {\n  std::int64_t n;\n  uint32x4_t v;\n};\nRangeKernels k;\nk.rope = rope;\n`;
  expect(cppProblems('a.h', fine)).toEqual([]);
  expect(cppProblems('a.h', 'int64_t n;\nstd::vector<uint8_t> v(size_t{3});\n')).toEqual([
    'a.h:1: the line has a fixed-width integer without std::',
    'a.h:2: the line has a fixed-width integer without std::',
  ]);
  expect(cppProblems('a.cc', 'f();\nconst KernelTable kAvx2 = {\n    "avx2", linear};\n')).toEqual([
    'a.cc:2: a KernelTable is set by name, one entry a line',
  ]);
});

describe('files that import each other in a circle are refused', () => {
  const circlesOf = (files: Record<string, string>) => importCircles(new Map(Object.entries(files)));

  it.each([
    "import { b } from './b';",
    "import type { B } from './b';",
    "import { type B } from './b.js';",
    "export type { B } from './b';",
    "export * from './b';",
    "export type A = import('./b').B;",
    "await import('./b');",
  ])('%s', (line) => {
    expect(circlesOf({ 'src/a.ts': `${line}\n`, 'src/b.ts': "import type { A } from './a';" })).toEqual([
      'src/a.ts -> src/b.ts -> src/a.ts',
    ]);
  });

  it('over several folders, the shortest way, once for each group of files', () => {
    const files = {
      'p/index.ts': "export { a } from './a';\nexport { c } from './c';\nexport { x } from './x';",
      'p/a.ts': "import './b/c';\nimport './b';",
      'p/b/index.ts': "import './c';",
      'p/b/c.ts': "import type { A } from '../a';",
      'p/c.ts': "import type { All } from '.';",
      'p/x.ts': "import './y.mjs';",
      'p/y.mjs': "import './y.mjs';",
    };
    expect(circlesOf(files)).toEqual([
      'p/a.ts -> p/b/c.ts -> p/a.ts',
      'p/c.ts -> p/index.ts -> p/c.ts',
      'p/y.mjs -> p/y.mjs',
    ]);
  });

  it('but not files that only share what they import, nor what is no import', () => {
    const files = {
      'p/a.ts': "import './c';\nimport 'b';\nconst text = \"import './b'\"; // import './b'",
      'p/b.ts': "import './a';\nimport './c';",
      'p/c.ts': "import './none';\nimport { expect } from 'vitest';",
    };
    expect(circlesOf(files)).toEqual([]);
  });
});

it('a package that imports against the arrows is refused', async () => {
  const { code, output } = await run(
    ['node_modules/eslint/bin/eslint.js', '--stdin', '--stdin-filename', 'packages/reference/src/against.ts'],
    { input: "import '@megamoe/moe-router';\n" },
  );
  expect(code).toBe(1);
  expect(output).toContain('no-restricted-imports');
});
