/**
 * `node scripts/check-cuda.mjs [--pack DIR] [--built] [--sanitize] [--bench] [--bench-only] [--architectures 90a,120a]`: builds the addon of
 * packages/cuda and its C++ tests, and runs every test of the GPU backend. On a machine without a GPU, those that need one are not run, and it
 * says which; those that can run on the CPU do, to see that they are right.
 *
 * --pack DIR   builds nothing and runs nothing: copies what is needed (built packages, addons, C++ sources, tests, models) into one folder,
 *              which needs no network, npm or other files. There: `node DIR/scripts/check-cuda.mjs`, with nvcc, CMake and Ninja on the PATH.
 * --built      takes what has been built: packs it too, and there runs it without building it again
 * --sanitize   also runs C++ tests, every operation and short models under compute-sanitizer: memcheck, racecheck, initcheck
 * --bench      also prints times beside the limits of the GPU: of the W4A4 product and of a layer's operations, by programs of their own, and
 *              all rows of `megamoe bench --backend cuda --peer torch`, which it appends to packages/cuda/build/history.csv. What follows
 *              `--` goes to that command in place of `--peer torch`: node scripts/check-cuda.mjs --bench -- --shape v4-flash --layers 8
 * --bench-only the command alone, with the addon that has been built: no tests
 * --architectures  compiles for these, and checks that the addon has code for each; else for 90a
 *
 * Logs of the build are in packages/cuda/build. Exit code 0: everything that ran passed.
 */
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { buildCuda, CUDA, isaOf, missingTools, ROOT, run } from './lib/cuda-build.mjs';
import { packCuda } from './lib/cuda-pack.mjs';

const BUILD = join(CUDA, 'build', 'check');
/** A copy of the package whose addon has mistakes in it, for a test that they are found (scripts/cuda/planted.test.mjs). */
const PLANTED = join(CUDA, 'build', 'planted');

const { values, positionals } = parseArgs({
  options: {
    pack: { type: 'string' },
    built: { type: 'boolean', default: false },
    sanitize: { type: 'boolean' },
    bench: { type: 'boolean' },
    'bench-only': { type: 'boolean' },
    architectures: { type: 'string' },
  },
  allowPositionals: true,
});

const say = (text) => process.stdout.write(`${text}\n`);

/** Tests that take `--backend cpu`. */
const ON_CPU_TOO = ['server.test.mjs', 'same-bits.test.mjs'];
/** The test that hides the GPU where there is one: it runs everywhere. */
const HIDDEN = 'no-gpu.test.mjs';

/** Where the package looks for its addon. */
const RELEASE = join('build', 'Release');
const architectures = values.architectures?.split(',');

/** Builds addon, tests and benchmarks, and the copy with mistakes. */
function build() {
  const targets = ['cuda', 'megamoe_tests', 'cuda_bench', 'cuda_layer_bench'];
  const settings = { MEGAMOE_TESTS: 'ON', MEGAMOE_PLANT: 'OFF', MEGAMOE_LINE_INFO: values.sanitize ? 'ON' : 'OFF' };
  if (!buildCuda({ folder: BUILD, out: join(CUDA, RELEASE), targets, architectures, settings })) return false;
  const planted = { folder: join(PLANTED, 'build'), out: join(PLANTED, RELEASE), targets: ['cuda'] };
  cpSync(join(CUDA, 'dist'), join(PLANTED, 'dist'), { recursive: true });
  cpSync(join(CUDA, 'package.json'), join(PLANTED, 'package.json'));
  // One architecture is enough to be found guilty on.
  return buildCuda({ ...planted, architectures: architectures?.slice(0, 1), settings: { MEGAMOE_PLANT: 'ON' } });
}

/** Prints the rows of `megamoe bench` on this GPU. */
function benchGpu() {
  const main = join(ROOT, 'packages', 'cli', 'dist', 'main.js');
  const more = positionals.length > 0 ? positionals : ['--peer', 'torch'];
  process.chdir(ROOT); // where models/tiny is
  const csv = join(CUDA, 'build', 'history.csv');
  return run(process.execPath, [main, 'bench', '--backend', 'cuda', '--csv', csv, ...more]) === 0;
}

if (values.pack !== undefined) {
  const dir = resolve(values.pack);
  packCuda(dir, values.built);
  const command = `node ${join(dir, 'scripts', 'check-cuda.mjs')}${values.built ? ' --built' : ''}`;
  say(`packed into ${dir}: run "${command}" on a machine with a GPU`);
  process.exit(0);
}
if (values['bench-only']) process.exit(benchGpu() ? 0 : 1);

const started = Date.now();
const failures = [];
const notRun = [];
const seconds = (since) => `${((Date.now() - since) / 1e3).toFixed(0)} s`;

/** Takes note of what failed. */
const check = (what, ok) => {
  if (!ok) failures.push(what);
};

/** Runs one test and says how long it took. */
function test(what, command, args, options) {
  const at = Date.now();
  const status = run(command, args, options);
  say(`check-cuda: ${what}: exit code ${status}, ${seconds(at)}`);
  return status;
}

if (values.built && !existsSync(join(PLANTED, RELEASE, 'cuda.node'))) {
  say('check-cuda: nothing has been built here; leave --built out');
  process.exit(1);
}
const missing = values.built ? [] : missingTools();
if (missing.length > 0 || !(values.built || build())) {
  const why = missing.length > 0 ? `not on the PATH: ${missing.join(', ')}` : 'see above';
  say(`check-cuda: the addon did not build: ${why}`);
  process.exit(1);
}
say(`check-cuda: built in ${seconds(started)}`);
const { cudaReport, cudaAddonInfo } = await import(pathToFileURL(join(CUDA, 'dist', 'index.js')));
const report = cudaReport();
say(`addon: ${cudaAddonInfo().reason}`);
say(`GPU: ${report.reason}`);
check('the addon loads', cudaAddonInfo().loaded);
if (architectures !== undefined)
  check(`there is code for ${values.architectures}`, cudaAddonInfo().isa === isaOf(architectures));
const hasMistakes = (root) => readFileSync(join(root, RELEASE, 'cuda.node')).includes('MEGAMOE_PLANT');
check('only the addon built for it has mistakes in it', hasMistakes(PLANTED) && !hasMistakes(CUDA));

const tests = readdirSync(join(BUILD, 'tests')).filter((name) => /^cuda_\w+_test$/.test(name));
check('there are C++ tests', tests.length > 0);
for (const name of tests) {
  const status = test(name, join(BUILD, 'tests', name), []);
  if (status === 77 && !report.available) notRun.push(name);
  else check(name, status === 0);
}
if (values.sanitize && report.available) {
  const programs = [
    ...tests.filter((name) => name !== 'cuda_dispatch_test').map((name) => [name, join(BUILD, 'tests', name), 'small']),
    ...['ops.test.mjs', 'short.test.mjs'].map((name) => [name, process.execPath, join(ROOT, 'scripts', 'cuda', name)]),
  ];
  for (const tool of ['memcheck', 'racecheck', 'initcheck'])
    for (const [name, ...command] of programs) {
      const args = ['--tool', tool, '--error-exitcode', '9', '--print-limit', '5', ...command];
      check(`${name} under ${tool}`, test(`${name} under ${tool}`, 'compute-sanitizer', args, { seconds: 120 }) === 0);
    }
}
const path = (name) => join(ROOT, 'scripts', 'cuda', name);
for (const name of readdirSync(join(ROOT, 'scripts', 'cuda')).filter((file) => file.endsWith('.test.mjs'))) {
  if (name !== HIDDEN && !report.available) {
    notRun.push(name);
    continue;
  }
  const env = name === HIDDEN ? { ...process.env, CUDA_VISIBLE_DEVICES: '' } : process.env;
  check(name, test(name, process.execPath, ['--test', '--test-reporter=spec', path(name)], { env }) === 0);
}
for (const name of report.available ? [] : ON_CPU_TOO) {
  check(`${name} on the CPU`, test(`${name} on the CPU`, process.execPath, [path(name), '--backend', 'cpu']) === 0);
}
for (const name of values.bench ? ['cuda_bench', 'cuda_layer_bench'] : []) {
  if (report.available) check(name, test(name, join(BUILD, 'tests', 'bench', name), []) === 0);
  else notRun.push(name);
}
if (values.bench && report.available) check('megamoe bench', benchGpu());
if (notRun.length > 0) say(`check-cuda: not run, for want of a GPU: ${notRun.join(', ')}`);
say(failures.length === 0 ? 'check-cuda: all that ran passed' : `check-cuda: failed: ${failures.join(', ')}`);
say(`check-cuda: ${seconds(started)} in all`);
process.exitCode = failures.length === 0 ? 0 : 1;
