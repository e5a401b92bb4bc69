/** A copy of this repository to try releases in: tracked and new files, what was built, and a commit of its own to version from. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ROOT } from '../lib/run.mjs';

const IDENTITY = { NAME: 'megamoe', EMAIL: 'release@example.invalid' };

function gitEnv() {
  const env = { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };
  for (const who of ['AUTHOR', 'COMMITTER'])
    for (const [what, value] of Object.entries(IDENTITY)) env[`GIT_${who}_${what}`] = value;
  return env;
}

export function git(cwd, ...args) {
  return execFileSync('git', args, { cwd, env: gitEnv(), encoding: 'utf8', maxBuffer: 1 << 26 });
}

/**
 * @param accept which files, by path below the root
 * @param built whether build results and addons come along
 */
export function copyRepository(to, { accept = () => true, built = false } = {}) {
  const files = git(ROOT, 'ls-files', '-co', '--exclude-standard').split('\n');
  for (const file of files.filter((f) => f && accept(f) && existsSync(join(ROOT, f)))) {
    mkdirSync(dirname(join(to, file)), { recursive: true });
    cpSync(join(ROOT, file), join(to, file));
  }
  if (built) {
    for (const name of readdirSync(join(ROOT, 'packages')))
      cpSync(join(ROOT, 'packages', name, 'dist'), join(to, 'packages', name, 'dist'), { recursive: true });
    cpSync(join(ROOT, '.release', 'addons'), join(to, '.release', 'addons'), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(to, 'node_modules'));
  git(to, 'init', '-q', '-b', 'main');
  git(to, 'add', '-A', '--', '.', ':!node_modules');
  git(to, 'commit', '-qm', 'State to release from');
}

/** Runs changesets in a copy. */
export function changeset(dir, ...args) {
  return execFileSync(process.execPath, [join(ROOT, 'node_modules', '@changesets', 'cli', 'bin.js'), ...args], {
    cwd: dir,
    env: gitEnv(), // it tags by git
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}
