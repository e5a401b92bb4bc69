import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Root of native-kit. */
export const KIT = fileURLToPath(new URL('../../', import.meta.url));

/** Root of a package that is installed for the current folder. Exits with a message when it is not. */
export function installedPackage(name) {
  try {
    return dirname(createRequire(join(process.cwd(), 'package.json')).resolve(`${name}/package.json`));
  } catch {
    console.error(`megamoe-build-addon: ${name} is not installed for ${process.cwd()}`);
    process.exit(2);
  }
}

/** What the build needs to know about the package in `root`. Exits with a message when it is not one of ours. */
export function readPackage(root) {
  const manifest = join(root, 'package.json');
  if (!existsSync(manifest)) {
    console.error(`megamoe-build-addon: no package.json in ${root}; run it in the package to build`);
    process.exit(2);
  }
  const { name, version } = JSON.parse(readFileSync(manifest, 'utf8'));
  const hasAddon = existsSync(join(root, 'CMakeLists.txt'));
  const hasTests = existsSync(join(root, 'native', 'test', 'CMakeLists.txt'));
  if (!hasAddon && !hasTests) {
    console.error(`megamoe-build-addon: ${name} has neither CMakeLists.txt nor native/test/CMakeLists.txt`);
    process.exit(2);
  }
  const buildDir = join(root, 'build');
  const unscoped = name.replace(/^@[^/]*\//, '');
  return {
    root,
    name,
    version,
    hasAddon,
    hasTests,
    buildDir,
    addonFile: join(buildDir, 'Release', `${unscoped}.node`),
    testBuildDir: join(buildDir, 'tests'),
  };
}

/** Where the package's own dependencies lie: cmake-js and the headers are the package's, not native-kit's. */
export function resolveBuildDependencies(root) {
  const require = createRequire(join(root, 'package.json'));
  return {
    cmakeJs: require.resolve('cmake-js'),
    nodeAddonApi: dirname(require.resolve('node-addon-api/package.json')),
    nodeApiHeaders: require('node-api-headers').include_dir,
  };
}
