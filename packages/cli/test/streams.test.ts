/** Streams that cannot be written, and a working folder that is gone: one line and an exit code, never a stack trace. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { builtCli } from '../src/built-cli';
import { temporaryFolder, TINY } from './support';

const dir = temporaryFolder();

/** Where writing fails, and how it is opened: a file that may only be read, everywhere; a full disk, where there is one. */
const FULL = '/dev/full';
const READ_ONLY = join(dir, 'read-only');
writeFileSync(READ_ONLY, '');
const UNWRITABLE: readonly [string, 'r' | 'w'][] = [
  [READ_ONLY, 'r'],
  ...(existsSync(FULL) ? [[FULL, 'w'] as [string, 'w']] : []),
];

/** Without how far a command is, which one says that takes over two seconds: on a busy machine any may. */
const withoutProgress = (err: string): string => err.replace(/^megamoe: [^\n]*, \d+ s\n/gm, '');

/** Runs the built command line with one of its streams at a file. */
function run(
  argv: readonly string[],
  { out, err, cwd }: { out?: number; err?: number; cwd?: string },
): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, ['-e', LAUNCH, builtCli()!, ...argv], {
    stdio: ['ignore', out ?? 'pipe', err ?? 'pipe'],
    env: { ...process.env, GONE: cwd ?? '' },
  });
  const text = { out: '', err: '' };
  child.stdout?.on('data', (data) => (text.out += String(data)));
  child.stderr?.on('data', (data) => (text.err += String(data)));
  return new Promise((resolve) =>
    child.on('close', (code) => resolve({ code, out: text.out, err: withoutProgress(text.err) })),
  );
}

/** Runs the program in this process, from a folder that is removed first where one is named. */
const LAUNCH = `
  const { GONE } = process.env;
  const [main, ...argv] = process.argv.slice(1);
  if (GONE) {
    process.chdir(GONE);
    require('node:fs').rmdirSync(GONE);
  }
  process.argv.splice(1, process.argv.length, main, ...argv);
  import(require('node:url').pathToFileURL(main));
`;

describe.each(UNWRITABLE)('%s', (path, flags) => {
  it.each([[['--version']], [['inspect', TINY, '--json']], [['serve', '--help']]])(
    'as standard output of %j: one line, exit code 1',
    async (argv) => {
      const fd = openSync(path, flags);
      const { code, err } = await run(argv, { out: fd });
      closeSync(fd);
      expect(err).toMatch(/^megamoe: standard output cannot be written: E\w+: [^\n]*\n$/);
      expect(code).toBe(1);
    },
  );

  it('as standard error: the command goes on and ends with its own code', async () => {
    const fd = openSync(path, flags);
    const good = await run(['generate', '--model', TINY, '--max-tokens', '2', 'The capital of France is'], { err: fd });
    expect([good.code, good.out]).toEqual([0, expect.stringMatching(/\S/)]);
    expect((await run(['inspect', join(dir, 'nothing')], { err: fd })).code).toBe(1);
    closeSync(fd);
  });
});

it('a reader that goes away ends a command quietly', async () => {
  const child = spawn(process.execPath, [builtCli()!, 'inspect', TINY, '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let err = '';
  child.stderr.on('data', (data) => (err += String(data)));
  child.stdout.destroy();
  expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0);
  expect(withoutProgress(err)).toBe('');
});

it.each([[['--version']], [['inspect', TINY]]])('%j in a folder that is gone: one line', async (argv) => {
  const cwd = join(dir, 'gone');
  mkdirSync(cwd);
  const { code, err } = await run(argv, { cwd }).finally(() => {
    if (existsSync(cwd)) rmdirSync(cwd);
  });
  expect([code, err]).toEqual([
    1,
    expect.stringMatching(/^megamoe: the working folder is not there any more [^\n]*\n$/),
  ]);
});
