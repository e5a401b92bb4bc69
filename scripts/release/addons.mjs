/**
 * `node scripts/release/addons.mjs [--out DIR] [--tests] [--only NAME,...] [--require-all]`: builds the addons of this platform, strips and
 * checks them, loads them, and puts them where stage.mjs looks: DIR/PLATFORM/NAME.node (DIR: .release/addons); with --tests also runs the C++
 * tests here. The job that the release runs on every platform. Where nvcc is missing, cuda is left out, and it says so; with --require-all
 * that is an error.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { buildCuda, CUDA, isaOf, missingTools, RELEASE_ARCHITECTURES, run } from '../lib/cuda-build.mjs';
import { mustRun, ROOT } from '../lib/run.mjs';
import { checkAddon } from './check-addon.mjs';
import { addonsFor, thisPlatform } from './platforms.mjs';

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: join(ROOT, '.release', 'addons') },
    tests: { type: 'boolean', default: false },
    only: { type: 'string' },
    'require-all': { type: 'boolean', default: false },
  },
});
const BUILD = [join(ROOT, 'packages', 'native-kit', 'bin', 'build-addon.mjs'), '--quiet'];
if (values.tests) BUILD.push('--tests');
const ENV = { MACOSX_DEPLOYMENT_TARGET: '11.0' }; // the first macOS of both processors; other systems do not look at it

/** Stops with what was wrong. */
function stop(text) {
  process.stderr.write(`addons: ${text}\n`);
  process.exit(1);
}

const platform = thisPlatform();
if (platform === undefined) stop(`no addon is prebuilt for ${process.platform}-${process.arch} with this C library`);
const folders = values.only?.split(',') ?? addonsFor(platform);
const unknown = folders.find((folder) => !addonsFor(platform).includes(folder));
if (unknown !== undefined) stop(`no addon ${unknown} for ${platform.id}; there are ${addonsFor(platform).join(', ')}`);

/** Symbol tables and debugging information are a third of the file and nobody's use in production. */
function strip(file) {
  const args = { linux: ['--strip-unneeded', file], darwin: ['-x', file] }[platform.os];
  if (args === undefined) return;
  const done = spawnSync('strip', args, { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`strip ${file}: ${done.error?.message ?? done.stderr}`);
}

/** Builds the addon of a package as users get it; answers the file, or why there is none. */
function build(folder) {
  const dir = join(ROOT, 'packages', folder);
  if (folder !== 'cuda') {
    mustRun(process.execPath, BUILD, { cwd: dir, env: ENV });
    return { file: join(dir, 'build', 'Release', `${folder}.node`) };
  }
  const missing = missingTools();
  if (missing.length > 0) return { missing: `not on the PATH: ${missing.join(', ')}` };
  // In a folder of its own: that of developers has code for the GPU at hand only.
  const at = join(CUDA, 'build', 'release');
  const targets = ['cuda', ...(values.tests ? ['megamoe_tests'] : [])];
  const settings = { MEGAMOE_PLANT: 'OFF', MEGAMOE_TESTS: values.tests ? 'ON' : 'OFF' };
  if (!buildCuda({ folder: at, out: join(at, 'Release'), targets, architectures: RELEASE_ARCHITECTURES, settings }))
    stop('cuda.node does not build, see above');
  if (values.tests && run('ctest', ['--test-dir', at, '--output-on-failure', '--no-tests=error']) !== 0)
    stop('C++ tests of cuda fail, see above');
  return { file: join(at, 'Release', 'cuda.node'), isa: isaOf(RELEASE_ARCHITECTURES) };
}

for (const folder of folders) {
  const { file: built, isa: wanted, missing } = build(folder);
  if (missing !== undefined) {
    const text = `${platform.id}/${folder}.node is left out: ${missing}`;
    if (values['require-all']) stop(text);
    process.stderr.write(`addons: ${text}\n`);
    continue;
  }
  const file = join(resolve(values.out), platform.id, `${folder}.node`);
  mkdirSync(join(file, '..'), { recursive: true });
  copyFileSync(built, file);
  strip(file);
  const { isa } = createRequire(import.meta.url)(file); // throws when stripping has broken it
  if (wanted !== undefined && isa !== wanted) stop(`${folder}.node has code for ${isa}, wanted is ${wanted}`);
  const what = `${platform.id}/${folder}.node: ${(statSync(file).size / 1e3).toFixed(0)} kB, loads and takes ${isa}`;
  if (platform.os !== 'linux') {
    process.stdout.write(`${what}\n`);
    continue;
  }
  const { glibc, libraries, problems } = checkAddon(file);
  process.stdout.write(`${what}; glibc ${glibc}, links with ${libraries.join(' ')}\n`);
  for (const problem of problems) process.stderr.write(`${folder}.node ${problem}\n`);
  if (problems.length > 0) process.exitCode = 1;
}
