/** A user with an empty folder, Node and npm, and nothing else: no compiler on the PATH, no scripts at install, no cache, no settings. */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const TIMEOUT_MS = 600_000; // a build from source on a busy machine takes minutes
const PROGRAMS = ['node', 'npm', 'npx', 'sh', 'env', 'uname'];

function onPath(name) {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((dir) => join(dir, name))
    .find((file) => existsSync(file));
}

export class User {
  /** @param home folder for everything that belongs to the user */
  constructor(home, registry) {
    this.home = home;
    this.bin = join(home, 'bin');
    mkdirSync(this.bin, { recursive: true });
    for (const name of PROGRAMS) {
      const file = onPath(name);
      if (file !== undefined) symlinkSync(realpathSync(file), join(this.bin, name));
    }
    const npmrc = join(home, 'npmrc');
    const host = registry.replace(/^http:/, '');
    writeFileSync(
      npmrc,
      `registry=${registry}\n${host}:_authToken=rehearsal\nignore-scripts=true\naudit=false\nfund=false\nupdate-notifier=false\n`,
    );
    this.env = {
      PATH: this.bin,
      HOME: home,
      TMPDIR: process.env.TMPDIR ?? '/tmp',
      LANG: 'C.UTF-8',
      NPM_CONFIG_USERCONFIG: npmrc,
      NPM_CONFIG_GLOBALCONFIG: join(home, 'no-global-npmrc'),
      NPM_CONFIG_CACHE: join(home, 'npm-cache'),
    };
  }

  /** Runs a program to its end; throws with its output when it fails. Returns `{ stdout, stderr }`. */
  run(cwd, command, args, env = {}) {
    const done = spawnSync(join(this.bin, command), args, {
      cwd,
      env: { ...this.env, ...env },
      encoding: 'utf8',
      timeout: TIMEOUT_MS,
      maxBuffer: 1 << 26,
    });
    if (done.status === 0) return done;
    const why = done.error?.message ?? `exit code ${done.status}`;
    throw new Error(`${command} ${args.join(' ')} in ${cwd}: ${why}\n${done.stdout}${done.stderr}`);
  }

  /** An empty folder with a package.json of a TypeScript project's kind. */
  project(name) {
    const dir = join(this.home, name);
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, 'package.json'), JSON.stringify({ name: 'a-project', private: true, type: 'module' }));
    return dir;
  }

  install(dir, ...packages) {
    this.run(dir, 'npm', ['install', '--no-package-lock', ...packages]);
  }
}

/** Every installed package below a node_modules folder: `[{ name, version, bytes, path }]`. */
export function installed(nodeModules) {
  const found = [];
  const visit = (dir, scope = '') => {
    for (const entry of existsSync(dir) ? readdirSync(dir) : []) {
      if (entry.startsWith('.')) continue;
      const path = join(dir, entry);
      if (scope === '' && entry.startsWith('@')) visit(path, `${entry}/`);
      else if (existsSync(join(path, 'package.json'))) {
        const { version } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
        found.push({ name: scope + entry, version, bytes: sizeOf(path), path });
        visit(join(path, 'node_modules'));
      }
    }
  };
  visit(nodeModules);
  return found;
}

function sizeOf(path) {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.size;
  return readdirSync(path)
    .filter((name) => name !== 'node_modules')
    .reduce((sum, name) => sum + sizeOf(join(path, name)), 0);
}

const ADDON_REPORTS = {
  '@megamoe/gemm-native': 'gemmAddonInfo',
  '@megamoe/attention': 'attentionAddonInfo',
  '@megamoe/cuda': 'cudaAddonInfo',
};

/** Which backend each installed package with an addon chooses, and why: one text, as the packages themselves say it. */
export function backendOf(user, packages) {
  const texts = packages
    .filter(({ name }) => name in ADDON_REPORTS)
    .map(({ name, path }) => {
      const url = pathToFileURL(join(path, 'dist', 'index.js'));
      const code = `import { ${ADDON_REPORTS[name]} as info } from ${JSON.stringify(url)}; console.log(JSON.stringify(info()))`;
      const { loaded, isa, reason } = JSON.parse(
        user.run(path, 'node', ['--input-type=module', '--eval', code]).stdout,
      );
      return `${name.replace('@megamoe/', '')} ${loaded ? `native (${isa})` : 'js'}: ${reason.replaceAll(user.home, '~')}`;
    });
  return texts.length === 0 ? 'no addon: nothing to choose' : `backends: ${texts.join('; ')}`;
}
