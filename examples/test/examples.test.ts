import { addonInfos } from '@megamoe/model';
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const DIR = fileURLToPath(new URL('..', import.meta.url));

/** What each example must say: the sentence that a reader takes away. */
const SAYS: Readonly<Record<string, readonly (string | RegExp)[]>> = {
  'blackwell-scales.mjs': [
    'scale of row 32, block 0 is byte 4',
    'padded ends 128, 128, 384',
    'ours: right',
    'scales left row-major: wrong at row 0, block 4',
    'swizzled twice: wrong',
  ],
  'compressed-attention.mjs': [/ 200 +9 +0 %/, / 383 +11 +100 %/, / 4095 +40 +99 %/],
  'constrained-sampling.mjs': [
    /^greedy +"The cat sat down\."/m,
    /^(seed 4) +(".*")\n\1 again +\2$/m,
    /^never " END" .*\."$/m,
    /^only what has no cat +"The dog/m,
    'leave: sat 6.0, ran 4.0',
  ],
  'quantize-error.mjs': [/right +9\.\d %/, /8 x too small +6\d\.\d %/],
  'ragged-batch.mjs': ['expertOffsets 3 7 7 10; sfOffsets 128 256 256 384', 'combined: 1.50 3.00 4.50 6.00 7.50'],
  'wrong-kernel.mjs': ['1. offsets-searchsorted-left '],
  'reasoning-and-tools.mjs': [
    /^at once: +347 plus 285 is (?!632)\d+\.$/m, // it cannot
    /^reasoning: 7 plus 5 is 12, write 2, carry 1\. .* That is 632\.<\/think>347 plus 285 is 632\.$/m,
    'so:        get_weather({"city":"Paris"})',
  ],
  'streaming-chat.mjs': ['> My name is Grace.', 'The capital of Peru is Lima.', 'Your name is Grace.', 'ended by stop'],
};

/**
 * Makes an example say, on stderr, how many seconds of processor it took: unlike the clock, it does not count who else is at work. Its threads
 * get the same `--import`; the process is counted once, by the main one.
 */
const METER = `data:text/javascript,import { isMainThread } from 'node:worker_threads';
  if (isMainThread) process.on('exit', () => {
    const { user, system } = process.cpuUsage();
    process.stderr.write('cpu ' + (user + system) / 1e6);
  })`;

function run(file: string): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', METER, file], { cwd: DIR }, (error, stdout, stderr) => {
      resolve({ code: error ? 1 : 0, stdout, stderr });
    });
  });
}

it('every example is tested', () => {
  const files = readdirSync(DIR).filter((file) => file.endsWith('.mjs'));
  expect(files.sort()).toEqual(Object.keys(SAYS).sort());
});

/** Seconds of processor time: an example is quick, and three times slower where nothing is compiled. */
const LONGEST = addonInfos().every((info) => info.loaded) ? 5 : 15;

it.each(Object.entries(SAYS))(`%s runs in under ${LONGEST} seconds and says what it shows`, async (file, says) => {
  const { code, stdout, stderr } = await run(file);
  expect(code, stderr).toBe(0);
  for (const text of says) expect(stdout).toMatch(text);
  expect(stdout).not.toMatch(/NaN|undefined/);
  const said = stderr.replace(/^megamoe: [^\n]*, \d+ s\n/gm, ''); // how far a command is that a busy machine slows down
  expect(said).toMatch(/^cpu [0-9.]+$/); // nothing else on stderr
  expect(Number(said.slice(4))).toBeLessThan(LONGEST);
});

it('the root README shows what megamoe explain says of the wrong kernel', async () => {
  const readme = readFileSync(join(DIR, '..', 'README.md'), 'utf8');
  const [, shown] = /\$ npx megamoe explain .*\n([\s\S]*?)```/.exec(readme) ?? [];
  const { stdout } = await run('wrong-kernel.mjs');
  const lines = shown!.trimEnd().split('\n');
  expect(lines.length).toBeGreaterThan(4);
  expect(lines.filter((line) => line !== '   ...' && !stdout.split('\n').includes(line))).toEqual([]);
});

it('the program of the root README runs and answers', async () => {
  const [, program] = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(DIR, '..', 'README.md'), 'utf8')) ?? [];
  mkdirSync(join(DIR, 'test', '.tmp'), { recursive: true });
  writeFileSync(join(DIR, 'test', '.tmp', 'readme.mjs'), program!);
  const { code, stdout, stderr } = await run(join('test', '.tmp', 'readme.mjs'));
  expect(code, stderr).toBe(0);
  expect(stdout).toMatch(
    /^6 layers, 16 experts, backend (js|cpu)\nThe capital of France is Paris\.\n\d+ tokens in \d+ ms\n$/,
  );
});
