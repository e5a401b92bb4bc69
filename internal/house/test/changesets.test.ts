/** Which changes ask for a changeset: scripts/check-changesets.mjs, tried on a repository made here. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ROOT } from './tools';

interface Changesets {
  checkChangesets(of: { root: string; from: string }): {
    readonly missing: readonly { readonly name: string; readonly changes: readonly string[] }[];
    readonly strangers: readonly { readonly file: string; readonly name: string }[];
  };
  advice(base: string, missing: readonly { name: string; changes: readonly string[] }[]): string;
}
const { checkChangesets, advice } = (await import(join(ROOT, 'scripts', 'check-changesets.mjs'))) as Changesets;

const root = mkdtempSync(join(tmpdir(), 'megamoe-pull-request-'));
const git = (...args: string[]): string => {
  const identity = ['-c', 'user.name=megamoe', '-c', 'user.email=test@example.invalid', '-c', 'commit.gpgsign=false'];
  return execFileSync('git', [...identity, ...args], { cwd: root, encoding: 'utf8' }).trim();
};
const write = (path: string, text: string): void => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
};
const manifest = (name: string, more: Readonly<Record<string, unknown>> = {}): string =>
  JSON.stringify({ name, version: '0.3.0', files: ['dist', 'CHANGELOG.md'], scripts: { test: 'vitest' }, ...more });
const changeset = (...names: string[]): string =>
  `---\n${[...new Set(names)].map((name) => `'${name}': patch\n`).join('')}---\n\nWhat users notice.\n`;
const native = ['dist', 'CHANGELOG.md', 'native', '!native/test', 'CMakeLists.txt'];

beforeAll(() => {
  git('init', '-q', '-b', 'main');
  write('packages/core/package.json', manifest('@megamoe/core'));
  write('packages/core/src/index.ts', 'export const core = 1;\n');
  write('packages/fresh/package.json', manifest('@megamoe/fresh', { version: '0.0.0' }));
  write('packages/fresh/src/index.ts', 'export const fresh = 1;\n');
  write('packages/native-kit/package.json', manifest('@megamoe/native-kit', { files: ['dist', 'include', 'cmake'] }));
  write('packages/native-kit/include/pool.h', '#pragma once\n');
  for (const name of ['gemm-native', 'attention']) {
    write(`packages/${name}/package.json`, manifest(`@megamoe/${name}`, { files: native }));
    write(`packages/${name}/native/kernel.cc`, '// a kernel\n');
    write(`packages/${name}/native/test/kernel.cc`, '// its test\n');
  }
  write('models/tiny/package.json', manifest('@megamoe/tiny-model', { files: ['*.json', '*.safetensors'] }));
  write('models/tiny/config.json', '{}\n');
  write('internal/testkit/package.json', manifest('@megamoe/testkit', { private: true }));
  write('.changeset/config.json', '{}\n');
  write('.changeset/before.md', changeset('@megamoe/core', '@megamoe/fresh'));
  git('add', '-A');
  git('commit', '-qm', 'What is released');
  git('tag', 'released');
});
beforeEach(() => {
  git('reset', '-q', '--hard', 'released');
  git('clean', '-qfd');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const check = (): ReturnType<Changesets['checkChangesets']> =>
  checkChangesets({ root, from: git('rev-parse', 'released') });
const missing = (): readonly string[] => check().missing.map(({ name }) => name);

describe('a changeset', () => {
  it.each([
    ['a source', 'packages/core/src/index.ts', ['@megamoe/core']],
    ['a new source', 'packages/core/src/deep/other.ts', ['@megamoe/core']],
    ['a kernel', 'packages/attention/native/kernel.cc', ['@megamoe/attention']],
    ['a header that addons hold', 'packages/native-kit/include/pool.h', ['attention', 'gemm-native', 'native-kit']],
    [
      'flags that addons are built with',
      'packages/native-kit/cmake/addon.cmake',
      ['attention', 'gemm-native', 'native-kit'],
    ],
    ['a file of the model', 'models/tiny/config.json', ['@megamoe/tiny-model']],
    ['a test', 'packages/core/test/core.test.ts', []],
    ['a C++ test', 'packages/attention/native/test/kernel.cc', []],
    ['a README', 'packages/core/README.md', []],
    ['a changelog', 'packages/core/CHANGELOG.md', []],
    ['what is not published', 'internal/testkit/src/index.ts', []],
  ])('is asked for by %s, or not', (_, path, names) => {
    write(path, 'changed\n');
    const full = names.map((name) => (name.startsWith('@') ? name : `@megamoe/${name}`));
    expect([...missing()].sort()).toEqual(full);
    write('.changeset/after.md', changeset('@megamoe/core', ...full));
    expect(missing()).toEqual([]);
  });

  it('is asked for by a manifest when users get the change', () => {
    const scripts = { test: 'vitest run' };
    write('packages/core/package.json', manifest('@megamoe/core', { scripts, version: '0.4.0', devDependencies: {} }));
    expect(missing()).toEqual([]);
    write('packages/core/package.json', manifest('@megamoe/core', { exports: { '.': './dist/index.js' } }));
    expect(check().missing).toEqual([{ name: '@megamoe/core', changes: ['packages/core/package.json'] }]);
    write('packages/new/package.json', manifest('@megamoe/new'));
    expect([...missing()].sort()).toEqual(['@megamoe/core', '@megamoe/new']);
  });

  it('counts when it is added or edited, committed or not; one that was there before does not', () => {
    write('packages/core/src/index.ts', 'export const core = 2;\n');
    git('commit', '-qam', 'Change core');
    expect(missing()).toEqual(['@megamoe/core']);
    write('.changeset/before.md', `${changeset('@megamoe/core', '@megamoe/fresh')}And more.\n`);
    expect(missing()).toEqual([]);
    git('commit', '-qam', 'Say so');
    expect(missing()).toEqual([]);
    git('rm', '-q', '.changeset/before.md');
    expect(missing()).toEqual(['@megamoe/core']);
  });

  it('is asked for by a source that is gone, and by one that moved out', () => {
    git('mv', 'packages/core/src/index.ts', 'packages/core/core.ts');
    expect(missing()).toEqual(['@megamoe/core']);
  });

  it('that says what a package is will do until its first release', () => {
    write('packages/fresh/src/index.ts', 'export const fresh = 2;\n');
    expect(missing()).toEqual([]);
    rmSync(join(root, '.changeset', 'before.md'));
    expect(missing()).toEqual(['@megamoe/fresh']);
  });

  it('may say that there is nothing to notice', () => {
    write('packages/core/src/index.ts', '// a comment\nexport const core = 1;\n');
    write('.changeset/after.md', "---\n'@megamoe/core': none\n---\n\nA comment.\n");
    expect(missing()).toEqual([]);
  });

  it('names packages that are there', () => {
    write('.changeset/after.md', changeset('@megamoe/cor', '@megamoe/testkit'));
    expect(check().strangers).toEqual([
      { file: '.changeset/after.md', name: '@megamoe/cor' },
      { file: '.changeset/after.md', name: '@megamoe/testkit' },
    ]);
    write('.changeset/after.md', 'no front matter\n');
    expect(check).toThrow('.changeset/after.md is no changeset');
  });

  it('that is missing is told with what to write', () => {
    write('packages/native-kit/include/pool.h', 'changed\n');
    write('packages/native-kit/src/index.ts', 'changed\n');
    const text = advice('origin/main', check().missing);
    for (const part of [
      'Changed since origin/main',
      '@megamoe/native-kit: packages/native-kit/include/pool.h, and 1 more\n',
      '@megamoe/attention: packages/native-kit/include/pool.h, which its addon is built from\n',
      'pnpm changeset',
    ])
      expect(text).toContain(part);
    const [, written] = /(---\n[\s\S]*---\n)/.exec(text)!;
    write('.changeset/after.md', written!);
    expect(missing()).toEqual([]); // what it tells to write is what is missing
  });
});
