/** Versions of Node that the packages are promised to run on, as npm packages: a binary each, without an install script. For Linux only. */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, run } from './run.mjs';

/** The oldest that `engines` allows, then the newest of each later line when this was written. */
export const NODES = ['20.17.0', '22.23.5', '24.22.3', '26.12.1'];

/** Whether `require()` of an ES module works in this version: from 20.19 and 22.12 on. */
export function requiresEsm(version) {
  const [major, minor] = version.split('.').map(Number);
  return (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;
}

/** The version of {@link NODES} that is meant by `22` or `22.23.5`; undefined when there is none. */
export function pinned(version) {
  return NODES.find((node) => node === version || node.startsWith(`${version}.`));
}

/** Fetches Node for Linux into `.tools/nodes` unless it is there; returns the path of its binary. Throws when npm cannot fetch it. */
export function ensureNode(version, arch = process.arch) {
  const name = `node-linux-${arch}`; // of other systems npm lacks some of the versions
  const home = join(ROOT, '.tools', 'nodes', `${name}-${version}`);
  const binary = join(home, 'node_modules', name, 'bin', 'node');
  if (existsSync(binary)) return binary;
  process.stderr.write(`megamoe: fetching Node ${version} for linux-${arch}\n`);
  const partial = `${home}-${process.pid}`; // what is interrupted is never taken for a Node
  mkdirSync(partial, { recursive: true });
  try {
    writeFileSync(join(partial, 'package.json'), '{ "private": true }\n');
    const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error'];
    const foreign = ['--force', '--os=linux', `--cpu=${arch}`]; // it may be for an emulator
    const args = ['install', '--prefix', partial, ...quiet, ...foreign, `${name}@${version}`];
    if (run('npm', args, { quiet: true }) !== 0) throw new Error(`npm could not install ${name}@${version}`);
    rmSync(home, { recursive: true, force: true });
    renameSync(partial, home);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return binary;
}
