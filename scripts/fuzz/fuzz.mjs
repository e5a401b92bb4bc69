/**
 * `node scripts/fuzz/fuzz.mjs [--seconds N] [--seed N] [TARGET ...]`: coverage-guided fuzzing of the readers of files that others made.
 * A finding is a crash, a hang of ten seconds, an error that is none of megamoe's own, a file left open, or a heap that grows. Inputs are
 * kept in `.tmp/fuzz`. Needs a built checkout (`npm start`).
 */
import { fork } from 'node:child_process';
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ROOT } from '../lib/run.mjs';
import { TARGETS, scratch } from './targets.mjs';

const HANG_TICKS = 20; // of half a second each: a clock that stands still while the processes are stopped
const HEAP_MB = 512; // hostile sizes must be refused, not allocated
const LEAK_BYTES = 16 << 20; // coverage tables and compiled code take a few MB

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string', default: '1' } },
});
const names = positionals.length > 0 ? positionals : Object.keys(TARGETS);
for (const name of names) {
  if (Object.hasOwn(TARGETS, name)) continue;
  process.stderr.write(`fuzz: no target ${JSON.stringify(name)}; there are ${Object.keys(TARGETS).join(', ')}\n`);
  process.exit(2);
}

/** Fuzzes one target in a process of its own; resolves to the number of findings. */
function fuzz(target) {
  const work = scratch(join(ROOT, '.tmp', 'fuzz', target));
  const settings = { target, seconds: Number(values.seconds), seed: Number(values.seed), work };
  const worker = fork(fileURLToPath(new URL('./worker.mjs', import.meta.url)), [JSON.stringify(settings)], {
    execArgv: ['--expose-gc', `--max-old-space-size=${HEAP_MB}`],
  });
  let [quiet, problems, result] = [0, 0, undefined];
  const problem = (text) => {
    problems++;
    process.stdout.write(`${target}: FOUND ${text}\n`);
  };
  const watch = setInterval(() => {
    if (++quiet < (result ? 3 : 1) * HANG_TICKS) return;
    problem('a hang');
    worker.kill('SIGKILL');
  }, 500);
  worker.on('message', (message) => {
    quiet = 0;
    if (message.finding) problem(`${message.finding}\n  input: ${message.file}`);
    if (message.done) result = message.done;
  });
  return new Promise((resolve) => {
    worker.on('exit', (code, signal) => {
      clearInterval(watch);
      const current = join(work, 'current');
      if (!result && existsSync(current)) {
        copyFileSync(current, join(work, 'crash'));
        problem(`the process ended (${signal ?? `exit code ${code}`}); input: ${join(work, 'crash')}`);
      }
      if (result && result.heap - result.kept > LEAK_BYTES) problem(`a heap that grew by ${result.heap} bytes`);
      if (result && result.files > 0) problem(`${result.files} files left open`);
      if (result) process.stdout.write(`${target}: ${JSON.stringify(result)}\n`);
      rmSync(join(work, 'files'), { recursive: true, force: true });
      resolve(problems);
    });
  });
}

let total = 0;
for (const name of names) total += await fuzz(name);
process.stdout.write(total === 0 ? 'fuzz: nothing found\n' : `fuzz: ${total} findings\n`);
process.exit(total === 0 ? 0 : 1);
