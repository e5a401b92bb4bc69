/**
 * `node scripts/check-arm64.mjs [--out DIR]`: cross-builds the addons for 64-bit Arm Linux, puts them where the release looks for them
 * (DIR/linux-arm64-gnu/NAME.node, DIR: .release/addons), and runs under an emulator, once as a processor with dot products of bytes and
 * once as one without: the C++ tests of every native package, then the packages as npm installs them for such a machine. W4A4 must give
 * the bits that it gives on this machine. Prints a line for each and exits with 1 when something failed.
 *
 * Needs cmake, aarch64-linux-gnu-g++ (Debian: g++-aarch64-linux-gnu) and qemu-aarch64 (Debian: qemu-user). Takes some minutes: a job of
 * its own in CI, not part of `npm test`.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { findOnPath } from '../packages/native-kit/bin/lib/tools.mjs';
import { resolveBuildDependencies } from '../packages/native-kit/bin/lib/package.mjs';
import { checkInstalled } from './arm64/installed.mjs';
import { ROOT } from './lib/run.mjs';
import { ensureBuilt, ensureInstalled } from './lib/setup.mjs';
import { checkAddon } from './release/check-addon.mjs';
import { addonsFor } from './release/platforms.mjs';

const PLATFORM = 'linux-arm64-gnu';
const KIT = join(ROOT, 'packages', 'native-kit');
const TOOLCHAIN = join(KIT, 'cmake', 'toolchains', 'linux-arm64.cmake');
/** Processors to emulate, and the instruction sets that the kernels must find there. */
const PROCESSORS = { max: 'neon-dotprod neon generic', 'cortex-a57': 'neon generic' };
const NEEDED = {
  cmake: 'cmake',
  'aarch64-linux-gnu-g++': 'g++-aarch64-linux-gnu',
  'qemu-aarch64': 'qemu-user',
};

const { values } = parseArgs({ options: { out: { type: 'string', default: join(ROOT, '.release', 'addons') } } });
const addons = resolve(values.out);
const missing = Object.keys(NEEDED).filter((tool) => findOnPath([tool], process.env.PATH ?? '') === undefined);
if (missing.length > 0) {
  const packages = missing.map((tool) => NEEDED[tool]).join(' ');
  process.stderr.write(
    `check-arm64: not on the PATH: ${missing.join(', ')}; on Debian and Ubuntu: apt-get install ${packages}\n`,
  );
  process.exit(1);
}

ensureInstalled();
ensureBuilt();
let failed = 0;
const started = performance.now();
for (const folder of addonsFor({ id: PLATFORM })) report(`${folder}.node`, buildAddon(folder));
const tested = readdirSync(join(ROOT, 'packages')).filter((name) =>
  existsSync(join(ROOT, 'packages', name, 'native', 'test', 'CMakeLists.txt')),
);
for (const folder of tested) {
  const build = join(ROOT, 'packages', folder, 'build', 'linux-arm64-tests');
  if (!compile(join(ROOT, 'packages', folder, 'native', 'test'), build, [])) {
    report(`${folder} tests`, { ok: false, text: 'do not build' });
    continue;
  }
  for (const cpu of Object.keys(PROCESSORS)) report(`${folder} tests on ${cpu}`, runTests(build, cpu));
}
const processors = Object.fromEntries(
  Object.entries(PROCESSORS).map(([cpu, sets]) => [cpu, sets.split(' ')[0]]), // the best comes first
);
checkInstalled({ addons, platform: PLATFORM, processors, report });
process.exit(failed === 0 ? 0 : 1);

function report(what, { ok, text }) {
  if (!ok) failed++;
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  process.stdout.write(`arm64 ${what}: ${ok ? '' : 'FAILED: '}${text} (${seconds} s)\n`);
}

/** Runs a command with its output kept; shows the end of it when the command fails. */
function step(command, args, env = {}) {
  const r = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, env: { ...process.env, ...env } });
  const output = `${r.stdout ?? ''}${r.stderr ?? ''}${r.error?.message ?? ''}`;
  if (r.status !== 0) process.stderr.write(`${output.slice(-8000)}\n`);
  return { ok: r.status === 0, output };
}

function compile(source, build, settings) {
  mkdirSync(build, { recursive: true });
  const common = ['-DCMAKE_BUILD_TYPE=Release', `-DCMAKE_TOOLCHAIN_FILE=${TOOLCHAIN}`, `-DMEGAMOE_NATIVE_KIT=${KIT}`];
  return (
    step('cmake', ['-S', source, '-B', build, ...common, ...settings]).ok &&
    step('cmake', ['--build', build, '--parallel', '2']).ok
  );
}

function buildAddon(folder) {
  const root = join(ROOT, 'packages', folder);
  const build = join(root, 'build', 'linux-arm64');
  const { nodeAddonApi, nodeApiHeaders } = resolveBuildDependencies(root);
  const built = compile(root, build, [
    `-DMEGAMOE_NODE_ADDON_API=${nodeAddonApi}`,
    `-DMEGAMOE_NODE_API_HEADERS=${nodeApiHeaders}`,
    `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(build, 'Release')}`,
  ]);
  if (!built) return { ok: false, text: 'does not build' };
  const file = join(addons, PLATFORM, `${folder}.node`);
  mkdirSync(join(file, '..'), { recursive: true });
  copyFileSync(join(build, 'Release', `${folder}.node`), file);
  if (!step('aarch64-linux-gnu-strip', ['--strip-unneeded', file]).ok)
    return { ok: false, text: 'could not be stripped' };
  const { glibc, libraries, problems } = checkAddon(file, { objdump: 'aarch64-linux-gnu-objdump' });
  for (const problem of problems) process.stderr.write(`${folder}.node ${problem}\n`);
  const size = (statSync(file).size / 1e3).toFixed(0);
  return { ok: problems.length === 0, text: `${size} kB, glibc ${glibc}, links with ${libraries.join(' ')}` };
}

/** All tests on one processor. The test of bits names the instruction sets that it ran. */
function runTests(build, cpu) {
  const env = { QEMU_CPU: cpu };
  const { ok, output } = step('ctest', ['--test-dir', build, '--output-on-failure', '--no-tests=error', '-V'], env);
  if (!ok) return { ok, text: 'see above' };
  const passed = /tests passed, \d+ tests failed out of (\d+)/.exec(output)?.[1];
  const sets = /instruction sets: (.*)/.exec(output)?.[1];
  const right = sets === undefined || sets === PROCESSORS[cpu];
  const found = sets === undefined ? '' : `, instruction sets ${sets}${right ? '' : `, expected ${PROCESSORS[cpu]}`}`;
  return { ok: right, text: `${passed} pass${found}` };
}
