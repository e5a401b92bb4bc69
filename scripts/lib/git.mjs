import { spawnSync } from 'node:child_process';

/** The commit that `HEAD` and `base` have in common; without one, says what to do and stops this process. */
export function mergeBase(base, cwd) {
  const done = spawnSync('git', ['merge-base', base, 'HEAD'], { cwd, encoding: 'utf8' });
  if (done.status === 0) return done.stdout.trim();
  process.stderr.write(
    `no commit in common with ${base}: ${done.stderr.trim() || 'its history is not here'}\n` +
      'Name the branch or commit that yours starts from, as the last argument, or fetch its history: git fetch --unshallow\n',
  );
  process.exit(2);
}
