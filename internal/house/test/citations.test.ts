/** Documents that are cited are there, and so are the headings: in comments, tests, READMEs and the documents themselves. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { headings, unresolved, WEB, type Tree } from './citations';
import { ROOT } from './tools';

const tracked = execFileSync('git', ['ls-files'], { cwd: ROOT, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(ROOT, file)));
const cache = new Map<string, string>();
const tree: Tree = {
  files: new Set(tracked),
  read: (path) => {
    const text = cache.get(path) ?? readFileSync(join(ROOT, path), 'utf8');
    cache.set(path, text);
    return text;
  },
};
/** All that people write; this file has bad citations on purpose. */
const TEXTS = tracked.filter(
  (file) =>
    /\.(ts|mjs|js|cjs|cc|h|cmake|py|md|yml|txt)$/.test(file) && file !== 'internal/house/test/citations.test.ts',
);

it('every document, heading, link and path that is cited is there', () => {
  expect(TEXTS.length).toBeGreaterThan(500);
  expect(TEXTS.flatMap((file) => unresolved(tree, file))).toEqual([]);
});

it('citations are found: many, in code and in documents', () => {
  const cited = (pattern: RegExp): number => TEXTS.filter((file) => pattern.test(tree.read(file))).length;
  expect(cited(/docs\/formats\.md D\d/)).toBeGreaterThan(10);
  expect(cited(/docs\/numerics\.md N\d/)).toBeGreaterThan(3);
  expect(cited(/docs\/field-notes\.md F\d/)).toBeGreaterThan(1);
});

/** Folders of the packages that are published, and what each publishes. */
const PUBLISHED = tracked
  .filter((file) => /^(packages\/[^/]+|models\/tiny)\/package\.json$/.test(file))
  .map((file) => ({
    dir: file.replace('/package.json', ''),
    files: (JSON.parse(tree.read(file)) as { files: string[] }).files,
  }));

it('what a published package cites, its README links to on the web', () => {
  for (const { dir } of PUBLISHED) {
    const sources = tracked.filter(
      (file) => file.startsWith(`${dir}/src/`) || file.startsWith(`${dir}/native/kernels/`),
    );
    const cited = new Set(
      sources.flatMap((file) => tree.read(file).match(/docs\/(?:formats|numerics|field-notes)\.md/g) ?? []),
    );
    const readme = tree.read(`${dir}/README.md`);
    expect(
      [...cited].filter((document) => !readme.includes(`${WEB}/blob/main/${document}`)),
      `${dir}/README.md`,
    ).toEqual([]);
  }
});

it('relative links of a published README stay within what the package publishes', () => {
  expect(PUBLISHED.length).toBeGreaterThan(10);
  for (const { dir, files } of PUBLISHED) {
    for (const [, target] of tree.read(`${dir}/README.md`).matchAll(/\]\(([^()\s:#]+)(?:#[^)]*)?\)/g)) {
      const isPublished = files.some((file) => target === file || target!.startsWith(`${file}/`));
      expect(isPublished, `${dir}/README.md links to ${target}`).toBe(true);
    }
  }
});

it('the tour of the source names every package', () => {
  const tour = tree.read('docs/architecture.md');
  for (const { dir } of PUBLISHED) expect(tour).toMatch(new RegExp(`(?:^|[─\`/]|[├└]─ )${dir.split('/')[1]!}\\b`, 'm'));
});

it('mistakes named in the field notes are in the catalogue', () => {
  const catalogue = tree.read('packages/cli/docs/dumps.md');
  const lines = tree.read('docs/field-notes.md').match(/^- Explained as: .*$/gm) ?? [];
  const ids = lines.flatMap((line) => [...line.matchAll(/`([\w-]+)`/g)].map(([, id]) => id!));
  expect(ids.length).toBeGreaterThan(15);
  expect(ids.filter((id) => !catalogue.includes(`| \`${id}\` |`))).toEqual([]);
});

describe('the resolver', () => {
  const files: Record<string, string> = {
    'docs/a.md':
      '# A\n\n## A1. One thing\n\n### A1.1 `code`, part\n\n## A2. Two\n\n## A2. Two\n\n```text\n## A9. no heading\n```\n',
    'docs/b.md': '# B\n',
    'README.md': '',
    'packages/x/README.md': '',
    'packages/x/src/x.ts': '',
    'packages/x/docs/own.md': '# Own\n\n## Part of it\n',
  };
  const planted: Tree = { files: new Set(Object.keys(files)), read: (path) => files[path]! };
  const at = (path: string, text: string): string[] => unresolved(planted, path, text);

  it('knows anchors and numbers of headings', () => {
    const { anchors, numbers } = headings(files['docs/a.md']!);
    expect([...anchors]).toEqual(['a', 'a1-one-thing', 'a11-code-part', 'a2-two', 'a2-two-1']);
    expect([...numbers]).toEqual(['A1', 'A1.1', 'A2']);
  });

  it.each([
    '// (docs/a.md A1, A1.1 and A2)',
    ' * as in docs/a.md A1 to A2: a tie',
    ' * as in docs/a.md\n * A2. Next sentence',
    '// docs/own.md#part-of-it, beside README.md',
    '// docs/a.md W4A4 is no number, CHANGELOG.md is made by a tool',
    'const name = `${id}.md`; // *.md, https://example.org/docs/none.md',
  ])('lets pass: %s', (text) => {
    expect(at('packages/x/src/x.ts', text)).toEqual([]);
  });

  it.each([
    ['// a rule (docs/a.md A3)', 'packages/x/src/x.ts:1: docs/a.md has no heading A3'],
    ['\n// docs/a.md A1, A7', 'packages/x/src/x.ts:2: docs/a.md has no heading A7'],
    ['// docs/a.md A1 to A3', 'packages/x/src/x.ts:1: docs/a.md has no heading A3'],
    [' * docs/a.md\n * A8', 'packages/x/src/x.ts:1: docs/a.md has no heading A8'],
    ['// docs/a.md A9', 'packages/x/src/x.ts:1: docs/a.md has no heading A9'],
    ['// docs/b.md A1', 'packages/x/src/x.ts:1: docs/b.md has no heading A1'],
    ['// see docs/none.md', 'packages/x/src/x.ts:1: there is no docs/none.md'],
    ['// out.md A1', 'packages/x/src/x.ts:1: there is no out.md'],
    ['// FORMATS.md', 'packages/x/src/x.ts:1: there is no FORMATS.md'],
    ['// docs/own.md#other', 'packages/x/src/x.ts:1: packages/x/docs/own.md has no heading with the anchor #other'],
    [`// ${WEB}/blob/main/docs/none.md`, 'packages/x/src/x.ts:1: there is no docs/none.md to link to'],
    ['// FORMATS rule 7', 'packages/x/src/x.ts:1: "FORMATS rule" names no file'],
    ['// (DESIGN 3.4)', 'packages/x/src/x.ts:1: "DESIGN 3" names no file'],
    ['// FORMATS "Numerics"', 'packages/x/src/x.ts:1: "FORMATS "" names no file'],
    ['// as design section 3 says', 'packages/x/src/x.ts:1: "section 3" names no file'],
    ['// Field note 4', 'packages/x/src/x.ts:1: "Field note 4" names no file'],
  ])('refuses in code: %s', (text, message) => {
    expect(at('packages/x/src/x.ts', text)[0]).toContain(message);
  });

  it.each([
    ['`src/x.ts`, `src`, packages/x/docs', undefined],
    ['`src/y.ts`', 'packages/x/README.md:1: there is no src/y.ts'],
    ['`scripts/x.mjs`', 'packages/x/README.md:1: there is no scripts/x.mjs'],
    ['[x](docs/own.md#part)', 'packages/x/docs/own.md has no heading with the anchor #part'],
  ])('in a README: %s', (text, message) => {
    const found = at('packages/x/README.md', text);
    if (message === undefined) expect(found).toEqual([]);
    else expect(found.join('\n')).toContain(message);
  });

  it.each([
    ['[x](../README.md)', undefined],
    ['[x](a.md#a1-one-thing), [y](#b), `[z](code.md)`'.replace('code.md', 'a.md'), undefined],
    [`[x](${WEB}/blob/main/docs/a.md#a2-two), [y](${WEB}/tree/main/packages/x), [z](https://example.org/)`, undefined],
    ['`packages/x/src`, `packages/*/src/x.ts`, `docs/api`', undefined],
    ['## B1. One\n\nas B1 says, with BF16 and B*2', undefined],
    ['[x](README.md)', 'there is no docs/README.md to link to'],
    ['[x](a.md#a1)', 'docs/a.md has no heading with the anchor #a1'],
    ['[x](#nothing)', 'docs/b.md has no heading with the anchor #nothing'],
    [`[x](${WEB}/blob/main/docs/none.md)`, 'there is no docs/none.md'],
    [`[x](${WEB}/blob/main/docs/a.md#none)`, 'docs/a.md has no heading with the anchor #none'],
    ['`packages/x/src/y.ts`', 'there is no packages/x/src/y.ts'],
    ['`packages/*/src/y.ts`', 'there is no packages/*/src/y.ts'],
    ['```text\npackages/x/src/y.ts   what\n```', 'there is no packages/x/src/y.ts'],
    ['## B1. One\n\nas B2 says', 'there is no heading B2 here'],
    ['a.md A5', 'docs/a.md has no heading A5'],
    ['by FORMATS A2', '"FORMATS A2" names no file'],
  ])('in documents: %s', (text, message) => {
    const found = at('docs/b.md', text);
    if (message === undefined) expect(found).toEqual([]);
    else expect(found.join('\n')).toContain(message);
  });
});
