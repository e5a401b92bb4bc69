/**
 * `node scripts/release/addons.mjs [--out DIR]`: builds the addons of this platform, strips and checks them, and puts them where
 * stage.mjs looks: DIR/PLATFORM/NAME.node (DIR: .release/addons). The job that the release runs on every platform.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { mustRun, ROOT } from '../lib/run.mjs';
import { checkAddon } from './check-addon.mjs';
import { ADDON_FOLDERS, thisPlatform } from './platforms.mjs';

const { values } = parseArgs({ options: { out: { type: 'string', default: join(ROOT, '.release', 'addons') } } });
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
  mustRun(process.execPath, [join(ROOT, 'packages', 'native-kit', 'bin', 'build-addon.mjs'), '--quiet'], { cwd: dir });
  const file = join(values.out, platform.id, `${folder}.node`);
  mkdirSync(join(file, '..'), { recursive: true });
  copyFileSync(join(dir, 'build', 'Release', `${folder}.node`), file);
  strip(file);
  const kilobytes = `${(statSync(file).size / 1e3).toFixed(0)} kB`;
  if (platform.os !== 'linux') {
    process.stdout.write(`${platform.id}/${folder}.node: ${kilobytes}\n`);
    continue;
  }
  const { glibc, libraries, problems } = checkAddon(file);
  process.stdout.write(
    `${platform.id}/${folder}.node: ${kilobytes}, glibc ${glibc}, links with ${libraries.join(' ')}\n`,
  );
  for (const problem of problems) process.stderr.write(`${folder}.node ${problem}\n`);
  if (problems.length > 0) process.exitCode = 1;
}
