/** What a machine with a GPU needs to build and test packages/cuda, in one folder: no network, npm or other files are needed there. */
import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CUDA, headers, ROOT } from './cuda-build.mjs';

/** Packages that tests and command line use. */
const PACKAGES = [
  ...['core', 'native-kit', 'nvfp4-quant', 'sf-layout', 'moe-router', 'sampler', 'checkpoint', 'ops', 'gemm-native'],
  ...['attention', 'layers', 'verify', 'model', 'reference', 'chat', 'hub', 'server', 'cli', 'cuda'],
];
/** What packages depend on to build their addons: the packed folder has headers of its own, and its machine has CMake. */
const BUILD_TOOLS = ['cmake-js', 'node-addon-api', 'node-api-headers'];
const MODELS = ['tiny', 'micro-flash', 'micro-wide'];
/** What a build of packages/cuda leaves that tests run. */
const BUILT = ['Release', 'check/tests', 'planted'];

/** The folder of an installed package that another one depends on. */
function installed(name, from) {
  for (let at = realpathSync(from); ; at = dirname(at)) {
    const folder = join(at, 'node_modules', name);
    if (existsSync(folder)) return realpathSync(folder);
    if (at === dirname(at)) throw new Error(`check-cuda: ${name}, which ${from} needs, is not installed`);
  }
}

/** Copies what the package in `from` depends on, and what that depends on, into the packed folder; our own packages are there. */
function packDependencies(dir, from, packed) {
  const { dependencies = {} } = JSON.parse(readFileSync(join(from, 'package.json'), 'utf8'));
  for (const [name, range] of Object.entries(dependencies)) {
    if (range.startsWith('workspace:') || BUILD_TOOLS.includes(name)) continue;
    const folder = installed(name, from);
    if (packed.get(name) === folder) continue;
    if (packed.has(name))
      throw new Error(`check-cuda: there are two versions of ${name}; the packed folder has room for one`);
    packed.set(name, folder);
    cpSync(folder, join(dir, 'node_modules', name), {
      recursive: true,
      dereference: true,
      filter: (path) => !/\.d\.[cm]?ts$|\.map$|[\\/]node_modules$/.test(path.slice(folder.length)),
    });
    packDependencies(dir, folder, packed);
  }
}

/** Packs into `dir`, which is made anew; with `isBuilt` what has been built here too, for a machine like this one. */
export function packCuda(dir, isBuilt) {
  rmSync(dir, { recursive: true, force: true });
  const copy = (from, to = from) => {
    if (!existsSync(join(ROOT, from))) return;
    mkdirSync(dirname(join(dir, to)), { recursive: true });
    cpSync(realpathSync(join(ROOT, from)), join(dir, to), {
      recursive: true,
      dereference: true,
      filter: (path) => !/\.d\.ts$|\.o$|[\\/](?:node_modules|CMakeFiles)[\\/]?$/.test(path),
    });
  };
  for (const name of PACKAGES) {
    for (const part of ['dist', 'package.json', 'native', 'include', 'cmake', 'CMakeLists.txt', 'peers'])
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
  const packed = new Map();
  for (const name of PACKAGES) packDependencies(dir, join(ROOT, 'packages', name), packed);
  for (const part of isBuilt ? BUILT : []) {
    if (!existsSync(join(CUDA, 'build', part))) throw new Error(`check-cuda: packages/cuda/build/${part} is not built`);
    copy(`packages/cuda/build/${part}`);
  }
  copy('packages/model/test/goldens');
  copy('scripts/cuda');
  copy('scripts/check-cuda.mjs');
  for (const name of ['cuda-build', 'cuda-pack']) copy(`scripts/lib/${name}.mjs`);
  for (const name of MODELS) copy(`models/${name}`);
  const { api, node } = headers();
  cpSync(realpathSync(api), join(dir, 'napi', 'node-addon-api'), {
    recursive: true,
    filter: (path) => !/[\\/](tools|doc)$/.test(path),
  });
  cpSync(realpathSync(node), join(dir, 'napi', 'node-api-headers'), { recursive: true });
}
