import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { KIT } from './package.mjs';

/** All files at or below `path`, sorted, without what `skip` holds; nothing when it does not exist. */
function filesBelow(path, skip) {
  if (path === skip || !existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .sort()
    .flatMap((name) => filesBelow(join(path, name), skip));
}

/**
 * Hash of everything that the build of `pkg` depends on: its native sources (with those of the tests only when `tests`),
 * native-kit's headers and CMake code, names, versions and the platform. Contents count, not times: sources that were only
 * checked out again are not stale.
 */
export function contentHash(pkg, { tests }) {
  const skip = tests ? undefined : join(pkg.root, 'native', 'test');
  const hash = createHash('sha256');
  const add = (root, paths) => {
    for (const file of paths.flatMap((p) => filesBelow(join(root, p), skip))) {
      hash.update(`${relative(root, file)}\0`);
      hash.update(readFileSync(file));
    }
  };
  hash.update(JSON.stringify([pkg.name, pkg.version, process.platform, process.arch]));
  add(pkg.root, ['CMakeLists.txt', 'native']);
  add(KIT, ['include', 'cmake', 'bin', 'package.json']);
  return hash.digest('hex');
}
