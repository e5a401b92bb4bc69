/**
 * `node scripts/check-native.mjs [format] [asan] [valgrind]`: whether the C++ is formatted by `.clang-format`, where clang-format is
 * installed; the C++ tests of every native package under the address and undefined-behaviour sanitizers (all instruction sets of this
 * machine) and under valgrind (what valgrind can emulate: it hides AVX-512, so that the dispatcher takes AVX2). All three by default.
 * Prints a line for each and exits with 1 when something was found. `format --write` formats instead of checking.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findClangFormat } from './lib/cpp-style.mjs';
import { ROOT } from './lib/run.mjs';

const KIT = join(ROOT, 'packages', 'native-kit');
const WAYS = {
  asan: '-DMEGAMOE_SANITIZE=ON',
  valgrind: '-DCMAKE_CXX_FLAGS=-g',
};
const VALGRIND = [
  '--error-exitcode=1',
  '--leak-check=full',
  '--errors-for-leak-kinds=definite',
  '--fair-sched=yes',
  '-q',
];

const packages = readdirSync(join(ROOT, 'packages')).filter((name) =>
  existsSync(join(ROOT, 'packages', name, 'native', 'test', 'CMakeLists.txt')),
);
const { values, positionals: asked } = parseArgs({ allowPositionals: true, options: { write: { type: 'boolean' } } });
const all = ['format', ...Object.keys(WAYS)];
const unknown = asked.filter((way) => !all.includes(way));
if (unknown.length > 0 || (values.write && asked.join() !== 'format')) {
  const got = unknown.length > 0 ? unknown.join(', ') : '--write with something else than format';
  process.stderr.write(`check-native: expected ${all.join(', ')} or format --write, got ${got}\n`);
  process.exit(2);
}

/** Runs a command with its output kept; shows the end of it when the command fails. */
function step(command, args) {
  const r = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  const output = `${r.stdout ?? ''}${r.stderr ?? ''}${r.error?.message ?? ''}`;
  if (r.status !== 0) process.stderr.write(`${output.slice(-8000)}\n`);
  return { ok: r.status === 0, output };
}

let failed = 0;
for (const way of asked.length > 0 ? asked : all) {
  if (way === 'format') {
    const { ok, text } = checkFormat();
    process.stdout.write(`format: ${ok ? '' : 'FAILED: '}${text}\n`);
    if (!ok) failed++;
    continue;
  }
  for (const name of packages) {
    const build = join(ROOT, 'packages', name, 'build', way);
    mkdirSync(build, { recursive: true });
    const source = join(ROOT, 'packages', name, 'native', 'test');
    const configure = ['-S', source, '-B', build, '-DCMAKE_BUILD_TYPE=Release', `-DMEGAMOE_NATIVE_KIT=${KIT}`];
    const started = performance.now();
    const ok =
      step('cmake', [...configure, WAYS[way]]).ok &&
      step('cmake', ['--build', build, '--parallel', '2']).ok &&
      runTests(way, build);
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    process.stdout.write(`${way} ${name}: ${ok ? 'clean' : 'FAILED'} (${seconds} s)\n`);
    if (!ok) failed++;
  }
}
process.exit(failed === 0 ? 0 : 1);

/** Every test program of a build folder, or all tests under the sanitizers. */
function runTests(way, build) {
  if (way === 'asan') return step('ctest', ['--test-dir', build, '--output-on-failure', '--no-tests=error']).ok;
  const programs = readdirSync(build).filter((name) => name.endsWith('_test'));
  if (programs.length === 0) return false;
  return programs.map((name) => step('valgrind', [...VALGRIND, join(build, name)]).ok).every(Boolean);
}

/** Every C++ file by `.clang-format`; written with --write. */
function checkFormat() {
  const { command, version, reason } = findClangFormat(process.env.PATH ?? '');
  if (command === undefined) return { ok: !values.write, text: `not checked: ${reason}` };
  const listed = spawnSync('git', ['ls-files', '*.cc', '*.h'], { cwd: ROOT, encoding: 'utf8' });
  const files = listed.stdout.split('\n').filter((file) => file && existsSync(join(ROOT, file)));
  const mode = values.write ? ['-i'] : ['--dry-run', '--Werror'];
  const { ok } = step(command, [...mode, '--style=file', ...files.map((file) => join(ROOT, file))]);
  const what = `${files.length} files, clang-format ${version}`;
  return { ok, text: ok ? what : `${what}: node scripts/check-native.mjs format --write` };
}
