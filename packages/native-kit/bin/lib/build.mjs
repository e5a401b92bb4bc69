import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KIT, resolveBuildDependencies } from './package.mjs';

const JOBS = '2'; // a compiler process of template-heavy code takes several hundred MB

/** Runs a command to its end and returns `{ ok, output }`, stdout and stderr together. */
function capture(command, args, cwd) {
  const r = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 28 });
  return { ok: r.status === 0, output: `${r.stdout ?? ''}${r.stderr ?? ''}${r.error ? `${r.error.message}\n` : ''}` };
}

/** Builds the addon through the package's cmake-js. */
export function buildAddon(pkg) {
  let dependencies;
  try {
    dependencies = resolveBuildDependencies(pkg.root);
  } catch (error) {
    const install = 'npm install --no-save cmake-js@8 node-addon-api@8 node-api-headers@1';
    const why = `${error.message.split('\n', 1)[0]}; run "${install}" first`;
    return { ok: false, output: `${pkg.name}: the packages that build it are not installed: ${why}\n` };
  }
  const runner = fileURLToPath(new URL('./run-cmake-js.mjs', import.meta.url));
  const settings = JSON.stringify({ directory: pkg.root, out: pkg.buildDir, jobs: JOBS, kit: KIT, ...dependencies });
  return capture(process.execPath, [runner, settings], pkg.root);
}

/**
 * Configures and builds native/test in build/tests: in the build of the addon, whose kernels are then compiled once, or alone where
 * there is no addon.
 */
export function buildTests(pkg) {
  const [source, build] = pkg.hasAddon
    ? [pkg.root, pkg.buildDir]
    : [join(pkg.root, 'native', 'test'), pkg.testBuildDir];
  const options = ['-DMEGAMOE_TESTS=ON', '-DCMAKE_BUILD_TYPE=Release', `-DMEGAMOE_NATIVE_KIT=${KIT}`];
  const configure = () => capture('cmake', ['-S', source, '-B', build, ...options], pkg.root);
  let configured = configure();
  if (!configured.ok) {
    // A build folder that came along with a copied checkout names the old place: start again without it.
    rmSync(build, { recursive: true, force: true });
    if (pkg.hasAddon) configured = buildAddon(pkg);
    if (configured.ok || !pkg.hasAddon) configured = configure();
  }
  if (!configured.ok) return configured;
  const command = ['--build', build, '--target', 'megamoe_tests', '--config', 'Release', '--parallel', JOBS];
  const built = capture('cmake', command, pkg.root);
  return { ok: built.ok, output: configured.output + built.output };
}

/** Runs the C++ tests with ctest, which also writes build/tests/junit.xml. */
export function runTests(pkg) {
  const report = join(pkg.testBuildDir, 'junit.xml');
  const options = ['-C', 'Release', '--parallel', JOBS, '--output-on-failure', '--no-tests=error'];
  return capture('ctest', ['--test-dir', pkg.testBuildDir, ...options, '--output-junit', report], pkg.root);
}
