import { spawnSync } from 'node:child_process';
import { findOnPath } from '../../packages/native-kit/bin/lib/tools.mjs';

const MAX_COLUMNS = 120;
/** What the rules need no clang-format for, so that every machine checks it: [pattern, what is said of a line that has it]. */
const RULES = [
  [new RegExp(`^.{${MAX_COLUMNS + 1},}`), `is longer than ${MAX_COLUMNS}`],
  [/\t/, 'has a tab'],
  [/\s$/, 'ends with white space'],
  [/(?<![\w:])(?:u?int(?:8|16|32|64|ptr)_t|size_t|ptrdiff_t)\b/, 'has a fixed-width integer without std::'],
];
/** A table of kernels that is given its entries by position: two neighbours of one type could be swapped. */
const BY_POSITION = /\b(KernelTable|RangeKernels)\s+\w+\s*=?\s*\{\s*[^\s}]/g;

/** What is wrong with a C++ file by {@link RULES} and {@link BY_POSITION}, a line for each place. */
export function cppProblems(file, text) {
  const problems = text
    .split('\n')
    .flatMap((line, i) =>
      RULES.filter(([pattern]) => pattern.test(line)).map(([, what]) => `${file}:${i + 1}: the line ${what}`),
    );
  for (const { 1: table, index } of text.matchAll(BY_POSITION)) {
    const line = text.slice(0, index).split('\n').length;
    problems.push(`${file}:${line}: a ${table} is set by name, one entry a line`);
  }
  if (!text.endsWith('\n')) problems.push(`${file}: does not end with a line feed`);
  return problems;
}

/** The first release whose formatting is ours: `.clang-format` uses options that older ones lack. */
const OLDEST_CLANG_FORMAT = 14;

/** clang-format on the PATH, or why it cannot be used. */
export function findClangFormat(path) {
  const command = findOnPath(['clang-format'], path);
  if (command === undefined) return { reason: 'clang-format is not on the PATH' };
  const version = Number(/version (\d+)/.exec(spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout)?.[1]);
  return version >= OLDEST_CLANG_FORMAT
    ? { command, version }
    : { reason: `${command} is version ${version}, which is older than ${OLDEST_CLANG_FORMAT}` };
}
