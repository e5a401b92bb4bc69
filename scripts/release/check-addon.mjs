/**
 * `node scripts/release/check-addon.mjs FILE.node ...`: proves that a Linux addon loads on machines older than this one: it asks for no
 * symbol newer than glibc 2.28 and for no C++ or OpenMP runtime. Needs objdump (binutils).
 */
import { spawnSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { MAX_GLIBC } from './platforms.mjs';

const ALLOWED_LIBRARIES = /^(lib(c|m|dl|pthread|rt)\.so\.\d+|ld-linux[\w-]*\.so\.\d+)$/;

function run(objdump, ...args) {
  const done = spawnSync(objdump, args, {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (done.error) throw new Error(`${objdump} could not be started (${done.error.message}): install binutils`);
  if (done.status !== 0) throw new Error(done.stderr.trim());
  return done.stdout;
}

const newer = ([major, minor], [maxMajor, maxMinor]) => major > maxMajor || (major === maxMajor && minor > maxMinor);

/**
 * `{ glibc, libraries, problems }` of an addon: the newest glibc that it needs, what it links with, and what is wrong. An addon for another
 * processor needs that one's `objdump`.
 */
export function checkAddon(file, { max = MAX_GLIBC, objdump = 'objdump' } = {}) {
  const libraries = [...run(objdump, '-p', file).matchAll(/^\s*NEEDED\s+(\S+)/gm)].map((m) => m[1]);
  const problems = libraries
    .filter((name) => !ALLOWED_LIBRARIES.test(name))
    .map((name) => `needs ${name}, which a user's machine may not have: link it statically`);
  let glibc = [0, 0];
  for (const [, version, symbol] of run(objdump, '-T', file).matchAll(
    /\*UND\*.*\(?GLIBC_(\d+\.\d+)[\d.]*\)?\s+(\S+)$/gm,
  )) {
    const needed = version.split('.').map(Number);
    if (newer(needed, glibc)) glibc = needed;
    if (newer(needed, max))
      problems.push(
        `needs ${symbol} of glibc ${version}; ${max.join('.')} is the limit: see native-kit/cmake/glibc_compat.cc`,
      );
  }
  return { glibc: glibc.join('.'), libraries, problems };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const file of process.argv.slice(2)) {
    const { glibc, libraries, problems } = checkAddon(file);
    process.stdout.write(`${file}: glibc ${glibc}; ${libraries.join(' ')}\n`);
    for (const problem of problems) process.stderr.write(`${file} ${problem}\n`);
    if (problems.length > 0) process.exitCode = 1;
  }
}
