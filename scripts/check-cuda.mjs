/**
 * `node scripts/check-cuda.mjs [--pack DIR] [--sanitize] [--bench] [--architectures 90a,120a]`: builds the addon of packages/cuda and its C++
 * tests, and runs every test of the GPU backend. On a machine without a GPU, those that need one are not run, and it says which.
 *
 * --pack DIR   builds nothing and runs nothing: copies what is needed (built packages, addons, C++ sources, tests, models) into one folder,
 *              which needs no network, npm or other files. There: `node DIR/scripts/check-cuda.mjs`, with nvcc, CMake and Ninja on the PATH.
 * --sanitize   also runs C++ tests, every operation and short models under compute-sanitizer: memcheck, racecheck, initcheck
 * --bench      also prints times of the W4A4 product and of a layer's operations beside the limits of the GPU
 * --architectures  compiles for these, and checks that the addon has code for each; else for 90a
 *
 * Logs of the build are in packages/cuda/build. Exit code 0: everything that ran passed.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { buildCuda, CUDA, headers, isaOf, missingTools, run } from './lib/cuda-build.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BUILD = join(CUDA, 'build', 'check');
/** A copy of the package whose addon has mistakes in it, for a test that they are found (scripts/cuda/planted.test.mjs). */
const PLANTED = join(CUDA, 'build', 'planted');

const { values } = parseArgs({
  options: {
    pack: { type: 'string' },
    sanitize: { type: 'boolean' },
    bench: { type: 'boolean' },
    architectures: { type: 'string' },
  },
});

const say = (text) => process.stdout.write(`${text}\n`);

/** Packages that the tests use. */
const PACKAGES = [
  ...['core', 'native-kit', 'nvfp4-quant', 'moe-router', 'sampler', 'checkpoint', 'ops', 'gemm-native', 'attention'],
  ...['layers', 'verify', 'model', 'reference', 'chat', 'cuda'],
];
const MODELS = ['tiny', 'micro-flash', 'micro-wide'];

function pack(dir) {
  rmSync(dir, { recursive: true, force: true });
  const copy = (from, to = from) => {
    if (!existsSync(join(ROOT, from))) return;
    mkdirSync(dirname(join(dir, to)), { recursive: true });
    cpSync(realpathSync(join(ROOT, from)), join(dir, to), {
      recursive: true,
      dereference: true,
      filter: (path) => !/\.d\.ts$|[\\/]node_modules[\\/]?$/.test(path),
    });
  };
  for (const name of PACKAGES) {
    for (const part of ['dist', 'package.json', 'native', 'include', 'cmake', 'CMakeLists.txt'])
      copy(`packages/${name}/${part}`);
    const addon = `build/Release/${name}.node`;
    if (name !== 'cuda') copy(`packages/${name}/${addon}`);
    // Packages find each other by name.
    const link = join(dir, 'node_modules', '@megamoe', name);
    mkdirSync(link, { recursive: true });
    const { exports, ...manifest } = JSON.parse(readFileSync(join(ROOT, 'packages', name, 'package.json'), 'utf8'));
    const entry = `../../../packages/${name}/dist/index.js`;
    writeFileSync(join(link, 'package.json'), JSON.stringify({ ...manifest, exports: { '.': './index.js' } }));
    writeFileSync(join(link, 'index.js'), `export * from '${entry}';\n`);
    void exports;
  }
  const folder = join(ROOT, 'packages', 'checkpoint', 'node_modules', '@huggingface', 'tokenizers');
  cpSync(realpathSync(folder), join(dir, 'node_modules', '@huggingface', 'tokenizers'), {
    recursive: true,
    dereference: true,
  });
  copy('packages/model/test/goldens');
  copy('scripts/cuda');
  copy('scripts/check-cuda.mjs');
  copy('scripts/lib/cuda-build.mjs');
  for (const name of MODELS) copy(`models/${name}`);
  const { api, node } = headers();
  cpSync(realpathSync(api), join(dir, 'napi', 'node-addon-api'), {
    recursive: true,
    filter: (path) => !/[\\/](tools|doc)$/.test(path),
  });
  cpSync(realpathSync(node), join(dir, 'napi', 'node-api-headers'), { recursive: true });
  say(`packed into ${dir}: run "node ${join(dir, 'scripts', 'check-cuda.mjs')}" on a machine with a GPU`);
}

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

if (values.pack !== undefined) {
  pack(resolve(values.pack));
  process.exit(0);
}

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

const missing = missingTools();
if (missing.length > 0 || !build()) {
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
/** The test that hides the GPU where there is one: it runs everywhere. */
const HIDDEN = 'no-gpu.test.mjs';
const files = readdirSync(join(ROOT, 'scripts', 'cuda')).filter((name) => name.endsWith('.test.mjs'));
for (const file of files) {
  if (file !== HIDDEN && !report.available) {
    notRun.push(file);
    continue;
  }
  const env = file === HIDDEN ? { ...process.env, CUDA_VISIBLE_DEVICES: '' } : process.env;
  const args = ['--test', '--test-reporter=spec', join(ROOT, 'scripts', 'cuda', file)];
  check(file, test(file, process.execPath, args, { env }) === 0);
}
for (const name of values.bench ? ['cuda_bench', 'cuda_layer_bench'] : []) {
  if (report.available) check(name, test(name, join(BUILD, 'tests', 'bench', name), []) === 0);
  else notRun.push(name);
}
if (notRun.length > 0) say(`check-cuda: not run, for want of a GPU: ${notRun.join(', ')}`);
say(failures.length === 0 ? 'check-cuda: all that ran passed' : `check-cuda: failed: ${failures.join(', ')}`);
say(`check-cuda: ${seconds(started)} in all`);
process.exitCode = failures.length === 0 ? 0 : 1;
