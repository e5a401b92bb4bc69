import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { KIT } from './package.mjs';

/** All files at or below `path`, sorted; nothing when it does not exist. */
function filesBelow(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .sort()
    .flatMap((name) => filesBelow(join(path, name)));
}

/**
 * Hash of everything that the build of `pkg` depends on: its native sources, native-kit's headers and CMake code, names, versions
 * and the platform. Contents count, not times: a fresh checkout of built sources is not stale.
 */
export function contentHash(pkg) {
  const hash = createHash('sha256');
  const add = (root, paths) => {
    for (const file of paths.flatMap((p) => filesBelow(join(root, p)))) {
      hash.update(`${relative(root, file)}\0`);
      hash.update(readFileSync(file));
    }
  };
  hash.update(JSON.stringify([pkg.name, pkg.version, process.platform, process.arch]));
  add(pkg.root, ['CMakeLists.txt', 'native']);
  add(KIT, ['include', 'cmake', 'bin', 'package.json']);
  return hash.digest('hex');
}
