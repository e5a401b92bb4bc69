/** Brings a checkout to the point where it runs: install, build, addons; each only when something it depends on has changed. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mustRun, ROOT, run } from './run.mjs';

const MANIFEST = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const PNPM_VERSION = MANIFEST.packageManager.split('@')[1];
const PNPM = join(ROOT, '.tools', 'node_modules', 'pnpm', 'bin', 'pnpm.cjs');
const NATIVE_PACKAGES = ['gemm-native', 'attention'];

const SINGLE_PACKAGES = [join(ROOT, 'models', 'tiny'), join(ROOT, 'examples')];

const say = (text) => process.stderr.write(`megamoe: ${text}\n`);

/** Stops with a clear message on a Node that is too old. */
export function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 17)) return;
  say(`needs Node 20.17 or newer, this is ${process.versions.node}`);
  process.exit(1);
}

/** Runs pnpm, fetching the pinned version into .tools first if it is not there. */
export function pnpm(args, options) {
  const manifest = join(ROOT, '.tools', 'node_modules', 'pnpm', 'package.json');
  if (!existsSync(manifest) || JSON.parse(readFileSync(manifest, 'utf8')).version !== PNPM_VERSION) {
    say(`fetching pnpm ${PNPM_VERSION}`);
    mustRun('npm', ['install', '--prefix', '.tools', '--no-save', '--no-audit', '--no-fund', `pnpm@${PNPM_VERSION}`], {
      quiet: true,
    });
  }
  mustRun(process.execPath, [PNPM, ...args], options);
}

/** Files below `dir`, without build results and tests. */
function* filesBelow(dir) {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (['node_modules', 'dist', 'build', 'test', 'bench', '.turbo'].includes(entry.name)) continue;
    const path = join(dir, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else yield path;
  }
}

/** A digest of contents, for few files, or of sizes and times, for many. */
function digest(files, contents) {
  const hash = createHash('sha256');
  for (const file of [...files].sort()) {
    const { size, mtimeMs } = statSync(file);
    hash.update(file.slice(ROOT.length)).update(contents ? readFileSync(file) : `${size} ${mtimeMs}`);
  }
  return hash.update(process.versions.modules).digest('hex');
}

/** Runs `work` unless the stamp file already holds `value`; the stamp is written when it succeeds. */
function unlessStamped(stamp, value, work) {
  const file = join(ROOT, 'node_modules', '.megamoe', stamp);
  if (existsSync(file) && readFileSync(file, 'utf8') === value()) return;
  work();
  mkdirSync(join(ROOT, 'node_modules', '.megamoe'), { recursive: true });
  writeFileSync(file, value());
}

function packageFolders() {
  return ['packages', 'internal'].flatMap((group) =>
    readdirSync(join(ROOT, group)).map((name) => join(ROOT, group, name)),
  );
}

/** Installs dependencies when the lockfile or a manifest has changed. */
export function ensureInstalled() {
  checkNode();
  const files = ['pnpm-lock.yaml', 'pnpm-workspace.yaml', 'package.json'].map((f) => join(ROOT, f));
  files.push(...[...packageFolders(), ...SINGLE_PACKAGES].map((dir) => join(dir, 'package.json')));
  unlessStamped(
    'installed',
    () => digest(files, true),
    () => {
      say('installing dependencies');
      pnpm(['install', '--frozen-lockfile', '--reporter=append-only'], { quiet: true });
    },
  );
}

/** Builds packages and addons when a source has changed. Without a compiler the addons are left out, and one line says so. */
export function ensureBuilt() {
  const files = [
    ...packageFolders().flatMap((dir) => [...filesBelow(dir)]),
    join(ROOT, 'tsup.config.ts'),
    join(ROOT, 'pnpm-lock.yaml'),
  ];
  unlessStamped(
    'built',
    () => digest(files, false),
    () => {
      say('building');
      const turbo = join(ROOT, 'node_modules', 'turbo', 'bin', 'turbo');
      mustRun(process.execPath, [turbo, 'run', 'build', '--concurrency=2', '--output-logs=errors-only'], {
        quiet: true,
      });
    },
  );
  const native = NATIVE_PACKAGES.flatMap((name) => [
    ...filesBelow(join(ROOT, 'packages', name)),
    ...filesBelow(join(ROOT, 'packages', 'native-kit')),
  ]);
  unlessStamped(
    'addons',
    () => `${digest(native, false)} ${process.env.PATH}`,
    () => {
      const tool = join(ROOT, 'packages', 'native-kit', 'bin', 'build-addon.mjs');
      for (const name of NATIVE_PACKAGES)
        run(process.execPath, [tool, '--optional'], { cwd: join(ROOT, 'packages', name) });
    },
  );
}
