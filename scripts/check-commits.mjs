/**
 * `node scripts/check-commits.mjs [BASE]`: whether every commit since BASE (origin/main) says what it does and why, as CONTRIBUTING.md asks:
 * a subject of at most 72 characters, a blank line, a body. Merges are left out. Exits with 1 when one does not.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { mergeBase } from './lib/git.mjs';
import { ROOT } from './lib/run.mjs';

const MAX_SUBJECT = 72;

/** Lines that tools add and that give no reason. */
const TRAILER = /^[A-Z][A-Za-z]*(-[A-Za-z]+)+: \S/;

/** What is wrong with a commit message: a text for each, none when it is as it should be. */
export function problemsOf(message) {
  const [subject = '', second = '', ...rest] = message.trimEnd().split('\n');
  const problems = [];
  const length = [...subject].length;
  if (length > MAX_SUBJECT)
    problems.push(`its subject has ${length} characters, at most ${MAX_SUBJECT} are read: say the rest in the body`);
  if (/^(fixup|squash|amend)! /.test(subject))
    problems.push('it is to be squashed into another: rebase with --autosquash');
  if (second.trim() !== '') problems.push('its second line is not blank: it would be read as a part of the subject');
  if (!rest.some((line) => line.trim() !== '' && !TRAILER.test(line)))
    problems.push('it has no body that says why: what was wrong, or what can be done now');
  return problems;
}

/** The commits of HEAD that `base` lacks: `{ hash, message }`, oldest first. */
export function commitsSince(base, cwd) {
  const format = '--format=%h%n%B%x00';
  return execFileSync('git', ['log', '--reverse', '--no-merges', format, `${base}..HEAD`], { cwd, encoding: 'utf8' })
    .split('\0')
    .map((text) => text.trim())
    .filter((text) => text !== '')
    .map((text) => ({ hash: text.slice(0, text.indexOf('\n')), message: text.slice(text.indexOf('\n') + 1) }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const base = process.argv[2] ?? 'origin/main';
  mergeBase(base, ROOT); // stops with advice where there is none
  const commits = commitsSince(base, ROOT);
  let wrong = 0;
  for (const { hash, message } of commits) {
    const problems = problemsOf(message);
    if (problems.length === 0) continue;
    wrong++;
    process.stderr.write(`${hash} ${message.split('\n')[0]}\n${problems.map((problem) => `  ${problem}\n`).join('')}`);
  }
  if (wrong > 0) {
    process.stderr.write(
      `\n${wrong} of ${commits.length} commits since ${base} are to be reworded: git rebase -i ${base}, "reword" for each, ` +
        'then git push --force-with-lease\n',
    );
    process.exit(1);
  }
  process.stdout.write(
    `${commits.length} commit${commits.length === 1 ? '' : 's'} since ${base}: each says what and why\n`,
  );
}
