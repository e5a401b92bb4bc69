/** What a folder holds after a command that was hit, and whether that is allowed. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';

const RECORD = '.megamoe-replacement.json';
/** Names of files in the making, and of what a killed process leaves for the next one to remove or go on with. */
const TEMPORARY =
  /(?:^|\/)(?:\.(.+)\.tmp-\d+-[0-9a-f]{8}|(.+)\.megamoe-[0-9a-f]{12}|(.+)\.megamoe\.incomplete|pull-[0-9a-f]{12}-\d+-\d*-[0-9a-f]{16})$/;

/** What a command writes in place of the new file when what it was to find out fails. */
export const FAILURE = 'a failure, told';

/**
 * All below `root`, by path: `folder`, a link's target, or the mode and hash of a file as `normal` makes it; `normal` may say {@link FAILURE}.
 * With `follow` a link counts as the file that it leads to.
 */
export function snapshot(root, normal = (_, bytes) => bytes, follow = false) {
  const found = new Map();
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const name = relative(root, path);
    if (entry.isDirectory()) found.set(name, 'folder');
    else if (entry.isSymbolicLink() && !(follow && existsSync(path))) found.set(name, `link ${readlinkSync(path)}`);
    else {
      const { mode } = statSync(path);
      const content = normal(name, readFileSync(path));
      const hash = createHash('sha256').update(content).digest('hex');
      found.set(name, content === FAILURE ? FAILURE : `${(mode & 0o777).toString(8)} ${hash}`);
    }
  }
  return found;
}

/** A state as text in which names of processes and random numbers are gone: equal texts need be tried once. */
export function stateText(state) {
  const plain = (name) =>
    name.replace(/\.tmp-\d+-[0-9a-f]{8}$/, '.tmp').replace(/\.megamoe-[0-9a-f]{12}$/, '.megamoe-');
  return [...state]
    .map(([name, what]) => `${plain(name)} ${/\.tmp-|RECORD/.test(name) ? '' : what}`)
    .sort()
    .join('\n');
}

/** How two states differ, for people; empty when they do not. */
export function differences(got, want) {
  const names = new Set([...got.keys(), ...want.keys()]);
  return [...names]
    .filter((name) => got.get(name) !== want.get(name))
    .map((name) => (got.has(name) ? (want.has(name) ? `other ${name}` : `too much ${name}`) : `missing ${name}`));
}

/**
 * Which of the two a state is. Files of one group are old together or new together (`group` names it; undefined: of no meaning).
 * `left`: temporary files. `isRecorded`: a replacement is under way, which whoever opens the folder completes.
 * @returns `{ is: 'old' | 'new' | 'between' | 'mixed', left, isRecorded, why }`; between: some groups old, some new
 */
export function classify(state, old, fresh, group = () => '') {
  const left = [...state.keys()].filter((name) => TEMPORARY.test(name) && !old.has(name));
  const isRecorded = [...state.keys()].some((name) => basename(name) === RECORD);
  const groups = new Map();
  const why = [];
  for (const name of new Set([...state.keys(), ...old.keys(), ...fresh.keys()])) {
    if (TEMPORARY.test(name) || basename(name) === RECORD) continue;
    const [got, before, after] = [state.get(name), old.get(name), fresh.get(name)];
    if (before === after && got === before) continue;
    if (got === 'folder' && before === undefined) continue; // judged by what lies in it
    const is = got === before ? 'old' : got === after || got === FAILURE ? 'new' : 'wrong';
    if (is === 'wrong') why.push(`${name} is neither old nor new`);
    const key = group(name);
    const seen = groups.get(key);
    if (seen !== undefined && seen !== is && is !== 'wrong') why.push(`${name} is ${is}, others ${seen}`);
    groups.set(key, seen ?? is);
  }
  const kinds = new Set(groups.values());
  const is = why.length > 0 ? 'mixed' : kinds.size > 1 ? 'between' : ([...kinds][0] ?? 'old');
  return { is, left, isRecorded, why: why.join('; '), groups };
}

/** Folders that are there and were not before, when nothing else is new. */
export function emptyFolders(state, old) {
  return [...state].filter(([name, what]) => what === 'folder' && !old.has(name)).map(([name]) => name);
}

/** The file that a path is for: of a temporary one, the one that gets its bytes. */
export function targetOf(path) {
  const [, a, b, c] = TEMPORARY.exec(path) ?? [];
  return a ?? b ?? c ?? basename(path);
}

/** What a command says of itself when it takes long, or has to do without an addon. */
const ASIDE = /^megamoe: \w+: .*, \d+ s$|^megamoe: (?!create).*\baddons?\b.*$/;
const CAUSE = /EIO|ENOSPC|ENOMEM|EAGAIN|i\/o error|no space left|disk is full|memory|allocate|thread/i;

/** What is wrong with the messages of a command that failed; empty when a person can use them. */
export function messageFaults({ err, code }, { hit, isUsual }) {
  const faults = [];
  const isInput = code === 2 && ['open', 'read', 'stat'].includes(hit.kind); // a file that was named in an option
  if (code !== 1 && !isInput) faults.push(`exit code ${code}`);
  const lines = err
    .split('\n')
    .filter((line) => line !== '' && !isUsual(line) && !ASIDE.test(line) && line !== '(add --help for the options)');
  if (lines.some((line) => /^\s+at |node:internal|^Node\.js v/.test(line))) faults.push('a stack trace');
  const said = lines.filter((line) => /^(?:megamoe|error): /.test(line));
  const last = said.at(-1) ?? '';
  if (lines.length !== 1) faults.push(`${lines.length} lines instead of one`);
  const isFile = !['alloc', 'thread'].includes(hit.kind);
  const names = [targetOf(hit.what), dirname(hit.what), basename(dirname(hit.what))];
  if (isFile && !names.some((name) => last.includes(name))) faults.push(`no name of ${targetOf(hit.what)}`);
  if (!CAUSE.test(last)) faults.push('no cause');
  return faults.length > 0 ? `${faults.join(', ')}: ${JSON.stringify(err.slice(-600))}` : '';
}
