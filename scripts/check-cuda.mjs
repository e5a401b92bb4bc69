/**
 * `node scripts/check-cuda.mjs [--pack DIR] [--sanitize] [--bench]`: builds the addon of packages/cuda and its C++ tests, and runs every test
 * of the GPU backend. On a machine without a GPU, those that need one are skipped and it says so.
 *
 * --pack DIR   builds nothing and runs nothing: copies what is needed (built packages, addons, C++ sources, tests, models) into one folder,
 *              which needs no network, npm or other files. There: `node DIR/scripts/check-cuda.mjs`, with nvcc, CMake and Ninja on the PATH.
 * --sanitize   also runs C++ tests, every operation and short models under compute-sanitizer: memcheck, racecheck, initcheck
 * --bench      also prints times of the W4A4 product and of a layer's operations beside the limits of the GPU
 *
 * Logs of the build are in packages/cuda/build. Exit code 0: everything that ran passed.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CUDA = join(ROOT, 'packages', 'cuda');
const BUILD = join(CUDA, 'build');
/** A copy of the package whose addon has mistakes in it, for a test that they are found (scripts/cuda/planted.test.mjs). */
const PLANTED = join(BUILD, 'planted');

const { values } = parseArgs({
  options: { pack: { type: 'string' }, sanitize: { type: 'boolean' }, bench: { type: 'boolean' } },
});

const say = (text) => process.stdout.write(`${text}\n`);

/** Packages that the tests use. */
const PACKAGES = [
  ...['core', 'native-kit', 'nvfp4-quant', 'moe-router', 'sampler', 'checkpoint', 'ops', 'gemm-native', 'attention'],
  ...['layers', 'verify', 'model', 'reference', 'chat', 'cuda'],
];
const MODELS = ['tiny', 'micro-flash', 'micro-wide'];

/** Headers that the addon is built with: in the packed folder, else below the package. */
function headers() {
  const packed = join(ROOT, 'napi');
  if (existsSync(packed)) return { api: join(packed, 'node-addon-api'), node: join(packed, 'node-api-headers') };
  const require = createRequire(join(CUDA, 'package.json'));
  const folder = (name) => dirname(require.resolve(`${name}/package.json`));
  return { api: folder('node-addon-api'), node: join(folder('node-api-headers'), 'include') };
}

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
  for (const name of MODELS) copy(`models/${name}`);
  const { api, node } = headers();
  cpSync(realpathSync(api), join(dir, 'napi', 'node-addon-api'), {
    recursive: true,
    filter: (path) => !/[\\/](tools|doc)$/.test(path),
  });
  cpSync(realpathSync(node), join(dir, 'napi', 'node-api-headers'), { recursive: true });
  say(`packed into ${dir}: run "node ${join(dir, 'scripts', 'check-cuda.mjs')}" on a machine with a GPU`);
}

/** Runs a command; its output goes where ours goes. */
function run(command, args, { seconds = 600 } = {}) {
  say(`$ ${[command, ...args].join(' ')}`);
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', timeout: seconds * 1e3 });
  if (error) say(error.message);
  return status;
}

/** Builds targets in a folder; the addon goes to build/Release of `to`. */
function buildIn(folder, to, targets, more) {
  const { api, node } = headers();
  const kit = join(ROOT, 'packages', 'native-kit');
  const options = {
    ...{ CMAKE_BUILD_TYPE: 'Release', MEGAMOE_NATIVE_KIT: kit, MEGAMOE_NODE_ADDON_API: api },
    ...{ MEGAMOE_NODE_API_HEADERS: node, CMAKE_LIBRARY_OUTPUT_DIRECTORY: join(to, 'build', 'Release') },
    ...more,
  };
  const defined = Object.entries(options).map(([name, value]) => `-D${name}=${value}`);
  if (run('cmake', ['-S', CUDA, '-B', folder, '-G', 'Ninja', ...defined]) !== 0) return false;
  const jobs = String(Math.min(16, availableParallelism()));
  return run('cmake', ['--build', folder, '-j', jobs, '--target', ...targets], { seconds: 1800 }) === 0;
}

/** Builds addon, tests and benchmarks, and the copy with mistakes. */
function build() {
  const targets = ['cuda', 'megamoe_tests', 'cuda_bench', 'cuda_layer_bench'];
  if (!buildIn(BUILD, CUDA, targets, { MEGAMOE_TESTS: 'ON', MEGAMOE_PLANT: 'OFF' })) return false;
  cpSync(join(CUDA, 'dist'), join(PLANTED, 'dist'), { recursive: true });
  cpSync(join(CUDA, 'package.json'), join(PLANTED, 'package.json'));
  return buildIn(join(PLANTED, 'build'), PLANTED, ['cuda'], { MEGAMOE_PLANT: 'ON' });
}

if (values.pack !== undefined) {
  pack(resolve(values.pack));
  process.exit(0);
}

const failures = [];
const check = (what, ok) => {
  if (!ok) failures.push(what);
};

if (!build()) {
  say('check-cuda: the addon did not build');
  process.exit(1);
}
const { cudaReport, cudaAddonInfo } = await import(pathToFileURL(join(CUDA, 'dist', 'index.js')));
const report = cudaReport();
say(`addon: ${cudaAddonInfo().reason}`);
say(`GPU: ${report.reason}`);
check('the addon loads', cudaAddonInfo().loaded);
const hasMistakes = (root) => readFileSync(join(root, 'build', 'Release', 'cuda.node')).includes('MEGAMOE_PLANT');
check('only the addon built for it has mistakes in it', hasMistakes(PLANTED) && !hasMistakes(CUDA));

const tests = readdirSync(join(BUILD, 'tests')).filter((name) => /^cuda_\w+_test$/.test(name));
check('there are C++ tests', tests.length > 0);
const isOk = (status) => status === 0 || (status === 77 && !report.available); // 77: skipped
for (const name of tests) check(name, isOk(run(join(BUILD, 'tests', name), [])));
if (values.sanitize && report.available) {
  const programs = [
    ...tests.filter((name) => name !== 'cuda_dispatch_test').map((name) => [name, join(BUILD, 'tests', name), 'small']),
    ...['ops.test.mjs', 'short.test.mjs'].map((name) => [name, process.execPath, join(ROOT, 'scripts', 'cuda', name)]),
  ];
  for (const tool of ['memcheck', 'racecheck', 'initcheck'])
    for (const [name, ...command] of programs) {
      const args = ['--tool', tool, '--error-exitcode', '9', '--print-limit', '5', ...command];
      check(`${name} under ${tool}`, run('compute-sanitizer', args, { seconds: 120 }) === 0);
    }
}
if (report.available) {
  const files = readdirSync(join(ROOT, 'scripts', 'cuda')).filter((name) => name.endsWith('.test.mjs'));
  for (const file of files)
    check(file, run(process.execPath, ['--test', '--test-reporter=spec', join(ROOT, 'scripts', 'cuda', file)]) === 0);
  for (const name of values.bench ? ['cuda_bench', 'cuda_layer_bench'] : [])
    check(name, run(join(BUILD, 'tests', 'bench', name), []) === 0);
} else {
  say('check-cuda: tests that need a GPU were skipped');
}
say(failures.length === 0 ? 'check-cuda: all that ran passed' : `check-cuda: failed: ${failures.join(', ')}`);
process.exitCode = failures.length === 0 ? 0 : 1;
