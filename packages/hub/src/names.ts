import { checkString, describe, ValueError } from '@megamoe/core';
import { printable } from './errors';

/** A part of a name on the Hub. */
const PART = /^\w(?:[\w.-]*\w)?$/;
/** A commit by its whole hash. */
const COMMIT = /^[0-9a-f]{40}$/;

/** Whether it is `ORG/NAME` as the Hub has them: letters, digits, `-`, `_` and `.`, at most 96 in all, without `--` and `..`. */
export function isModelName(text: string): boolean {
  if (typeof text !== 'string') return false;
  const parts = text.split('/');
  return (
    parts.length === 2 && text.length <= 96 && parts.every((p) => PART.test(p)) && !/--|\.\.|\.git$/.test(text) // `--` parts the names of folders
  );
}

/** What came in the place of a text, for a message. */
const shown = (v: unknown): string => (typeof v === 'string' ? `"${printable(v)}"` : describe(v));

/** @throws ValueError unless {@link isModelName} */
export function checkModelName(fn: string, name: string): void {
  if (typeof name === 'string' && isModelName(name)) return;
  throw new ValueError(
    `${fn}: "name" must be ORG/NAME, a model on the Hub (letters, digits, "-", "_" and "."), got ${shown(name)}`,
  );
}

/** @throws ValueError unless it may name a branch, a tag or a commit: git's rules of names, which also keep it within its folder */
export function checkRevision(fn: string, revision: string): void {
  const good =
    typeof revision === 'string' &&
    revision.length <= 255 &&
    revision.split('/').every((part) => part !== '' && !part.startsWith('.') && !/\.(?:lock)?$/.test(part)) &&
    // eslint-disable-next-line no-control-regex -- git has none in names
    !/[\u0000-\u0020\u007f~^:?*[\]\\]|\.\.|@\{/.test(revision);
  if (good) return;
  throw new ValueError(
    `${fn}: "revision" must be a branch, a tag or a commit of 40 hexadecimal digits, got ${shown(revision)}`,
  );
}

/** Whether a revision is a commit by its whole hash. */
export function isCommit(revision: string): boolean {
  return COMMIT.test(revision);
}

/** A path of a repository that would leave the folder it is put into, on this system or another, or that is no path of git at all. */
export function isUnsafePath(path: string): boolean {
  const parts = path.split('/');
  return (
    path.includes('\0') ||
    parts.some((part) => part === '' || part === '.' || part === '..' || part.length > 255) ||
    path.split(/[/\\]/).some((part) => part === '..' || /^[a-zA-Z]:/.test(part)) ||
    parts.some((part) => part.startsWith('\\'))
  );
}

/** @throws KindError, ValueError unless it is left out or a path that a system can have */
export function checkPath(fn: string, arg: string, path: string | undefined): void {
  if (path === undefined) return;
  checkString(fn, arg, path);
  if (path.includes('\0')) throw new ValueError(`${fn}: "${arg}" must be a path, got one with a NUL in it`);
}
