#!/usr/bin/env node
/**
 * Builds the addon of a package through cmake-js, when it is missing or its sources changed.
 *
 *   megamoe-build-addon [PACKAGE] [--tests] [--optional] [--quiet]
 *
 * PACKAGE     an installed package, such as @megamoe/gemm-native; left out, the package in the current folder
 * --tests     also builds native/test with CMake and runs it with ctest
 * --optional  no compiler or a failed build is one line on stderr and exit code 0: the js backend is used
 * --quiet     says nothing when nothing is to be done or all goes well
 *
 * The result is build/Release/NAME.node, NAME being the package's name without scope. Nothing is downloaded.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeTools, findTools } from './lib/tools.mjs';
import { installedPackage, readPackage } from './lib/package.mjs';
import { contentHash } from './lib/hash.mjs';
import { withLock } from './lib/lock.mjs';
import { buildAddon, buildTests, runTests } from './lib/build.mjs';

const OPTIONS = ['--tests', '--optional', '--quiet', '--help'];
const args = process.argv.slice(2);
const [packageName, ...more] = args.filter((a) => !a.startsWith('-'));
const unknown = args.find((a) => a.startsWith('-') && !OPTIONS.includes(a)) ?? more[0];
if (unknown !== undefined || args.includes('--help')) {
  const usage =
    'usage: megamoe-build-addon [PACKAGE] [--tests] [--optional] [--quiet]   (PACKAGE: installed; default: the one in this folder)';
  if (unknown !== undefined) console.error(`megamoe-build-addon: unknown option ${unknown}`);
  console.error(usage);
  process.exit(unknown === undefined ? 0 : 2);
}
const optional = args.includes('--optional');
const quiet = args.includes('--quiet');

const say = (line) => {
  if (!quiet) console.error(line);
};

/** Runs `build` unless `stampFile` says that it was done for the same content. Returns what the stamp holds: `{ hash, ok }`. */
function whenStale(stampFile, hash, isThere, build) {
  let stamp;
  try {
    stamp = JSON.parse(readFileSync(stampFile, 'utf8'));
  } catch {
    // no stamp, or a damaged one: build
  }
  if (stamp?.hash === hash && (stamp.ok === false || isThere())) return { ...stamp, fresh: true };
  const result = build();
  mkdirSync(join(stampFile, '..'), { recursive: true });
  writeFileSync(stampFile, JSON.stringify({ hash, ok: result.ok }));
  return { hash, ...result, fresh: false };
}

function addonStep(pkg, hash) {
  if (!pkg.hasAddon) return 0;
  const log = join(pkg.buildDir, 'addon-build.log');
  const state = whenStale(
    join(pkg.buildDir, 'addon.json'),
    hash,
    () => existsSync(pkg.addonFile),
    () => {
      say(`${pkg.name}: building the native addon`);
      rmSync(pkg.addonFile, { force: true }); // an addon older than its sources must not be loaded if this build fails
      const result = buildAddon(pkg);
      mkdirSync(pkg.buildDir, { recursive: true });
      writeFileSync(log, result.output);
      return { ok: result.ok && existsSync(pkg.addonFile), output: result.output };
    },
  );
  if (state.ok) return 0;
  if (optional) {
    console.error(`${pkg.name}: the native addon did not build, the js backend will be used; see ${log}`);
    return 0;
  }
  console.error(state.output ?? readFileSync(log, 'utf8'));
  console.error(`${pkg.name}: the native addon did not build`);
  return 1;
}

function testStep(pkg, hash) {
  if (!args.includes('--tests') || !pkg.hasTests) return 0;
  const state = whenStale(
    join(pkg.buildDir, 'tests.json'),
    hash,
    () => existsSync(join(pkg.testBuildDir, 'CTestTestfile.cmake')),
    () => {
      say(`${pkg.name}: building the C++ tests`);
      return buildTests(pkg);
    },
  );
  if (!state.ok) {
    rmSync(join(pkg.buildDir, 'tests.json'), { force: true }); // tests that do not build are tried again, not remembered
    console.error(state.output ?? '');
    console.error(`${pkg.name}: the C++ tests did not build`);
    return 1;
  }
  const result = runTests(pkg);
  if (!result.ok || !quiet) console.error(result.output.trim());
  return result.ok ? 0 : 1;
}

const pkg = readPackage(packageName === undefined ? process.cwd() : installedPackage(packageName));
const tools = findTools(process.env.PATH ?? '');
if (!tools.ready) {
  const what = pkg.hasAddon ? 'the native addon was not built' : 'the C++ tests were not run';
  const then = optional && pkg.hasAddon ? '; the js backend will be used' : '';
  console.error(`${pkg.name}: ${what}, because ${describeTools(tools)}${then}`);
  process.exit(optional ? 0 : 1);
}
process.exitCode = withLock(
  pkg.root,
  () => addonStep(pkg, contentHash(pkg, { tests: false })) || testStep(pkg, contentHash(pkg, { tests: true })),
);
