/** Brings a checkout to the point where it runs: install, build, addons; each only when something it depends on has changed. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join, sep } from 'node:path';
import { mustRun, ROOT, run } from './run.mjs';

const MANIFEST = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const PNPM_VERSION = MANIFEST.packageManager.split('@')[1];
const PNPM = join(ROOT, '.tools', 'node_modules', 'pnpm', 'bin', 'pnpm.cjs');
/** What builds a package besides its sources: all are built anew when one of these changes. */
const BUILT_WITH = ['scripts/build.mjs', 'scripts/lib/bundle.mjs', 'scripts/lib/declarations.mjs', 'pnpm-lock.yaml'];
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

const SKIPPED = new Set(['node_modules', 'dist', 'build', 'test', 'bench', '.turbo']);

/** Files below `dir`, without build results and tests. */
function filesBelow(dir, found = []) {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (SKIPPED.has(entry.name)) continue;
    const path = `${dir}${sep}${entry.name}`;
    if (entry.isDirectory()) filesBelow(path, found);
    else found.push(path);
  }
  return found;
}

/** A line for each file, with its size and time: what is compared at every start, so nothing is read. */
function sizesAndTimes(files) {
  return files.map((file) => {
    const { size, mtimeMs } = statSync(file);
    return `${file.slice(ROOT.length)} ${size} ${mtimeMs}\n`;
  });
}

/** A digest of texts, for this version of Node. */
function digest(texts) {
  return createHash('sha256').update(texts.join('')).update(process.versions.modules).digest('hex');
}

const stampFile = (name) => join(ROOT, 'node_modules', '.megamoe', name);

const isStamped = (name, value) => existsSync(stampFile(name)) && readFileSync(stampFile(name), 'utf8') === value;

function stamp(name, value) {
  mkdirSync(join(ROOT, 'node_modules', '.megamoe'), { recursive: true });
  writeFileSync(stampFile(name), value);
}

/** Runs `work` unless the stamp already holds `value()`; the stamp is written when it succeeds. */
function unlessStamped(name, value, work) {
  if (isStamped(name, value())) return;
  work();
  stamp(name, value());
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
    () => digest(files.sort().map((file) => `${file.slice(ROOT.length)} ${readFileSync(file, 'utf8')}`)),
    () => {
      say('installing dependencies');
      pnpm(['install', '--frozen-lockfile', '--reporter=append-only'], { quiet: true });
    },
  );
}

/**
 * Builds packages and addons when a source has changed: JavaScript, and with `types` the declarations that other projects compile against.
 * Without a compiler the addons are left out, and one line says so.
 */
export function ensureBuilt({ types = true } = {}) {
  const dirs = readdirSync(join(ROOT, 'packages')).map((name) => join(ROOT, 'packages', name));
  // Before anything is built: what is edited meanwhile is stale at the next start.
  const lines = new Map(dirs.map((dir) => [dir, sizesAndTimes(filesBelow(dir).sort())]));
  const common = sizesAndTimes(BUILT_WITH.map((file) => join(ROOT, ...file.split('/'))));
  const build = (...args) => mustRun(process.execPath, [join('scripts', 'build.mjs'), ...args], { quiet: true });

  const isStale = (dir) => !isStamped(`built-${basename(dir)}`, digest([...lines.get(dir), ...common]));
  const stale = dirs.filter((dir) => isStale(dir) || !existsSync(join(dir, 'dist', 'index.js')));
  if (stale.length > 0) {
    say('building');
    build('--js', ...stale);
    for (const dir of stale) stamp(`built-${basename(dir)}`, digest([...lines.get(dir), ...common]));
  }
  if (types) {
    const all = () => digest([...[...lines.values()].flat(), ...common]);
    unlessStamped('declared', all, () => build('--types'));
  }
  const natives = [...NATIVE_PACKAGES, 'native-kit'].map((name) => join(ROOT, 'packages', name));
  // Where an addon is missing for want of a compiler, another PATH may have one.
  const missing = () => NATIVE_PACKAGES.some((name) => !existsSync(addonFile(name)));
  unlessStamped(
    'addons',
    () => digest(natives.flatMap((dir) => lines.get(dir))) + (missing() ? ` ${process.env.PATH}` : ''),
    () => {
      const tool = join(ROOT, 'packages', 'native-kit', 'bin', 'build-addon.mjs');
      for (const name of NATIVE_PACKAGES)
        run(process.execPath, [tool, '--optional'], { cwd: join(ROOT, 'packages', name) });
    },
  );
}

/** What `build-addon` makes. */
const addonFile = (name) => join(ROOT, 'packages', name, 'build', 'Release', `${name}.node`);
