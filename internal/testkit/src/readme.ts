import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { format } from 'node:util';
import { describe, expect, it, vi } from 'vitest';

/**
 * Registers the README tests of a package: every TypeScript snippet runs and prints what its trailing comments say, and every name
 * exported from `src/index.ts` stands in the README. Call from `test/readme.test.ts` with `import.meta.url`.
 *
 * A line `console.log(...); // TEXT` must print TEXT, as Node does, up to the first colon of the comment.
 */
export function readmeTests(testUrl: string): void {
  const root = dirname(dirname(fileURLToPath(testUrl)));
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const snippets = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map((m) => m[1]!);
  describe(`${basename(root)}/README.md`, () => {
    it('has a snippet', () => expect(snippets.length).toBeGreaterThan(0));
    it.each(snippets.map((code, i) => ({ code, i })))(
      'snippet $i runs and prints what it says',
      async ({ code, i }) => {
        const folder = join(root, 'test', '.tmp');
        const file = join(folder, `readme-${i}.ts`);
        mkdirSync(folder, { recursive: true });
        writeFileSync(file, code);
        const printed: string[] = [];
        const spy = vi
          .spyOn(console, 'log')
          .mockImplementation((...args: unknown[]) => void printed.push(format(...args)));
        try {
          await import(/* @vite-ignore */ file);
        } finally {
          spy.mockRestore();
          rmSync(file);
        }
        const wanted = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)/g)].map((m) => m[1]!.split(':')[0]!.trim());
        expect(printed.slice(0, wanted.length)).toEqual(wanted);
      },
    );
    it('names every export', async () => {
      const index = readFileSync(join(root, 'src', 'index.ts'), 'utf8');
      const names = [...index.matchAll(/export (?:type )?\{([^}]*)\}/g)].flatMap((m) => m[1]!.split(','));
      const clean = names
        .map((n) =>
          n
            .trim()
            .replace(/^type /, '')
            .replace(/^.* as /, ''),
        )
        .filter(Boolean);
      expect(index).not.toMatch(/export \*/);
      expect(clean.length).toBeGreaterThan(0);
      const missing = clean.filter((n) => !new RegExp(`\\b${n}\\b`).test(readme));
      expect(missing, `add to README.md: ${missing.join(', ')}`).toEqual([]);
    });
  });
}
