import { createContext, Script } from 'node:vm';
import { moduleSpellings } from '../tensors/names';

/** Whether `text` matches a glob in which `*` stands for any characters. `pieces`: what stands between its stars, two or more. */
function matchesGlob(pieces: readonly string[], text: string): boolean {
  const [first, last] = [pieces[0]!, pieces[pieces.length - 1]!];
  if (!text.startsWith(first)) return false;
  let at = first.length;
  for (let i = 1; i < pieces.length - 1; i++) {
    const found = text.indexOf(pieces[i]!, at);
    if (found < 0) return false;
    at = found + pieces[i]!.length;
  }
  return at + last.length <= text.length && text.endsWith(last);
}

/** Longest that all regular expressions may take over all names, in milliseconds: a hostile one would take for ever. */
const REGEX_MS = 1000;

/** Constant code: the pattern comes as data, and nothing else of the checkpoint is in reach. */
const TEST_ALL = new Script(
  'const tested = new RegExp(source, flags); names.map((name) => (tested.test(name) ? "1" : "0")).join("")',
);

/**
 * A pattern of Python's `re` in JavaScript's words. `re.match` holds it to the beginning of a name and lets it end early. What only Python has is
 * left to be refused.
 */
function fromPython(pattern: string): { source: string; flags: string } {
  const [, inline = '', body = ''] = /^(?:\(\?([aiu]+)\))?([\s\S]*)$/.exec(pattern)!;
  const source = body.replace(/\\[\s\S]|\(\?P?[<=]\w|\{,/g, (part) => {
    if (part === '\\A') return '^';
    if (part === '\\Z') return '$';
    if (part === '{,') return '{0,';
    return part.replace('(?P<', '(?<');
  });
  return { source: `^(?:${source})`, flags: inline.includes('i') ? 'i' : '' };
}

/** Which of `names` a regular expression matches at their beginning; undefined for one that cannot be read, or takes too long. */
function matchesOf(pattern: string, names: readonly string[], timeout: number): string | undefined {
  const { source, flags } = fromPython(pattern);
  try {
    return TEST_ALL.runInContext(createContext({ source, flags, names }), { timeout }) as string;
  } catch {
    return undefined;
  }
}

/** What lists of patterns cover. */
export interface Covered {
  readonly modules: ReadonlySet<string>;
  /** Patterns that could not be read: what they cover is not known. */
  readonly unread: readonly string[];
}

/**
 * The modules that patterns of a manifest cover. Plain names cover what stands below them, `*` in them stands for anything (ModelOpt), `re:` begins
 * a regular expression of Python held to the beginning of the name (compressed-tensors). A pattern may be written in any of the spellings of a name.
 *
 * @param modules canonical name -> the name in the file, of the module or of its weight
 */
export function coveredModules(patterns: readonly string[], modules: ReadonlyMap<string, string>): Covered {
  const covered = new Set<string>();
  if (patterns.length === 0) return { modules: covered, unread: [] };
  const plain = new Set(patterns.filter((p) => !p.startsWith('re:') && !p.includes('*')));
  const globs = patterns.filter((p) => !p.startsWith('re:') && p.includes('*'));
  const pieces = globs.flatMap((glob) => [glob.split('*'), `${glob}.*`.split('*')]);
  const names: string[] = [];
  const owners: string[] = [];
  for (const [canonical, stored] of modules) {
    for (const name of moduleSpellings(canonical, stored)) {
      names.push(name);
      owners.push(canonical);
      let part = name;
      while (part !== '' && !plain.has(part)) part = part.slice(0, Math.max(0, part.lastIndexOf('.')));
      if (part !== '' || pieces.some((glob) => matchesGlob(glob, name))) covered.add(canonical);
    }
  }
  const unread: string[] = [];
  const deadline = performance.now() + REGEX_MS;
  for (const pattern of new Set(patterns.filter((p) => p.startsWith('re:')))) {
    const found = matchesOf(pattern.slice(3), names, Math.max(1, Math.round(deadline - performance.now())));
    if (found === undefined) unread.push(pattern);
    else for (let i = 0; i < owners.length; i++) if (found[i] === '1') covered.add(owners[i]!);
  }
  return { modules: covered, unread };
}

/** Whether one pattern covers a module; false for one that cannot be read. */
export function matchesPattern(pattern: string, module: string): boolean {
  return coveredModules([pattern], new Map([[module, module]])).modules.has(module);
}
