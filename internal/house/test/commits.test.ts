/** Which commit messages are refused: scripts/check-commits.mjs, tried on messages and on a repository made here. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ROOT } from './tools';

interface Commits {
  problemsOf(message: string): readonly string[];
  commitsSince(base: string, cwd: string): readonly { readonly hash: string; readonly message: string }[];
}
const { problemsOf, commitsSince } = (await import(join(ROOT, 'scripts', 'check-commits.mjs'))) as Commits;

const SUBJECT = 'Refuse a scale that is not finite';

it.each([
  ['a subject and a reason', `${SUBJECT}\n\nIt made NaN of a whole row.\n`, undefined],
  ['72 characters', `${'ö'.repeat(72)}\n\nWhy.\n`, undefined],
  ['73 characters', `${'o'.repeat(73)}\n\nWhy.\n`, 'its subject has 73 characters, at most 72'],
  ['no body', `${SUBJECT}\n`, 'it has no body that says why'],
  ['only a trailer', `${SUBJECT}\n\nCo-authored-by: A <a@example.invalid>\n`, 'it has no body that says why'],
  ['no blank line', `${SUBJECT}\nIt made NaN.\n\nWhy.\n`, 'its second line is not blank'],
  ['a fixup', `fixup! ${SUBJECT}\n\nWhy.\n`, 'it is to be squashed into another'],
])('a commit with %s', (_, message, problem) => {
  expect(problemsOf(message)).toEqual(problem === undefined ? [] : [expect.stringContaining(problem)]);
});

it('every commit since the base is looked at, merges are not', () => {
  const root = mkdtempSync(join(tmpdir(), 'megamoe-commits-'));
  try {
    const identity = ['-c', 'user.name=megamoe', '-c', 'user.email=test@example.invalid', '-c', 'commit.gpgsign=false'];
    const git = (...args: string[]): string =>
      execFileSync('git', [...identity, ...args], { cwd: root, encoding: 'utf8' }).trim();
    git('init', '-q', '-b', 'main');
    git('commit', '-q', '--allow-empty', '-m', 'Base');
    git('tag', 'base');
    git('commit', '-q', '--allow-empty', '-m', `${SUBJECT}\n\nIt made NaN.`);
    git('merge', '-q', '-m', 'Merge', git('commit-tree', 'HEAD^{tree}', '-p', 'base', '-m', 'Aside'));
    const found = commitsSince('base', root);
    expect(found.map(({ message }) => message).sort()).toEqual(['Aside', `${SUBJECT}\n\nIt made NaN.`]);
    for (const { hash, message } of found) expect(git('log', '-1', '--format=%B', hash)).toBe(message);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
