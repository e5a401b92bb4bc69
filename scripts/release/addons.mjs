/**
 * `node scripts/release/addons.mjs [--out DIR] [--tests]`: builds the addons of this platform, strips and checks them, loads them, and
 * puts them where stage.mjs looks: DIR/PLATFORM/NAME.node (DIR: .release/addons); with --tests also runs the C++ tests here. The job
 * that the release runs on every platform.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { mustRun, ROOT } from '../lib/run.mjs';
import { checkAddon } from './check-addon.mjs';
import { ADDON_FOLDERS, thisPlatform } from './platforms.mjs';

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: join(ROOT, '.release', 'addons') },
    tests: { type: 'boolean', default: false },
  },
});
const BUILD = [join(ROOT, 'packages', 'native-kit', 'bin', 'build-addon.mjs'), '--quiet'];
if (values.tests) BUILD.push('--tests');
const ENV = { MACOSX_DEPLOYMENT_TARGET: '11.0' }; // the first macOS of both processors; other systems do not look at it
const platform = thisPlatform();
if (platform === undefined) {
  process.stderr.write(`no addon is prebuilt for ${process.platform}-${process.arch} with this C library\n`);
  process.exit(1);
}

/** Symbol tables and debugging information are a third of the file and nobody's use in production. */
function strip(file) {
  const args = { linux: ['--strip-unneeded', file], darwin: ['-x', file] }[platform.os];
  if (args === undefined) return;
  const done = spawnSync('strip', args, { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`strip ${file}: ${done.error?.message ?? done.stderr}`);
}

for (const folder of ADDON_FOLDERS) {
  const dir = join(ROOT, 'packages', folder);
  mustRun(process.execPath, BUILD, { cwd: dir, env: ENV });
  const file = join(resolve(values.out), platform.id, `${folder}.node`);
  mkdirSync(join(file, '..'), { recursive: true });
  copyFileSync(join(dir, 'build', 'Release', `${folder}.node`), file);
  strip(file);
  const { isa } = createRequire(import.meta.url)(file); // throws when stripping has broken it
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
