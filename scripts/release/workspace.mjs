/** The packages of this repository, and what their manifests look like in the registry. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../lib/run.mjs';

/** Packages that are published: `{ dir, folder, manifest }`, dependencies before their dependents. */
export function publicPackages(root = ROOT) {
  const dirs = [
    ...readdirSync(join(root, 'packages')).map((name) => join(root, 'packages', name)),
    join(root, 'models', 'tiny'),
  ];
  const all = dirs
    .filter((dir) => existsSync(join(dir, 'package.json')))
    .map((dir) => ({
      dir,
      folder: dir.split(/[\\/]/).at(-1),
      manifest: JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')),
    }))
    .filter(({ manifest }) => !manifest.private);
  const byName = new Map(all.map((p) => [p.manifest.name, p]));
  const sorted = new Set();
  const visit = (p) => {
    if (sorted.has(p)) return;
    for (const name of Object.keys(p.manifest.dependencies ?? {})) if (byName.has(name)) visit(byName.get(name));
    sorted.add(p);
  };
  all.forEach(visit);
  return [...sorted];
}

/** `workspace:^` as the range that the registry gets. */
function resolveRange(name, range, versions) {
  if (!range.startsWith('workspace:')) return range;
  const version = versions.get(name);
  if (version === undefined) throw new Error(`${name}: ${range} names no package of this repository that is published`);
  const sign = range.slice('workspace:'.length);
  if (!['^', '~', '*'].includes(sign))
    throw new Error(`${name}: ${range} is none of workspace:^, workspace:~, workspace:*`);
  return sign === '*' ? version : sign + version;
}

/** Exports without the condition that points tests and types at the sources, which are not published: `types` comes first. */
function publishedExports(exports) {
  if (typeof exports !== 'object') return exports;
  return Object.fromEntries(
    Object.entries(exports)
      .filter(([key]) => key !== '@megamoe/source')
      .map(([key, value]) => [key, publishedExports(value)]),
  );
}

/**
 * The manifest that goes to the registry: workspace ranges resolved, no scripts (nothing runs at install), no development dependencies,
 * and for the owner of an addon its platform packages at exactly its own version.
 * @param versions Map of package name to version
 * @param platforms platforms whose addon is published along
 */
export function publishedManifest(manifest, versions, platforms = []) {
  const published = { ...manifest };
  delete published.scripts;
  delete published.devDependencies;
  if (manifest.exports) published.exports = publishedExports(manifest.exports);
  for (const field of ['dependencies', 'peerDependencies', 'optionalDependencies']) {
    if (!manifest[field]) continue;
    published[field] = Object.fromEntries(
      Object.entries(manifest[field]).map(([name, range]) => [name, resolveRange(name, range, versions)]),
    );
  }
  if (platforms.length > 0)
    published.optionalDependencies = {
      ...published.optionalDependencies,
      ...Object.fromEntries(platforms.map(({ id }) => [`${manifest.name}-${id}`, manifest.version])),
    };
  return published;
}

/** Manifest of the package that holds the addon of `owner` for a platform. */
export function platformManifest(owner, folder, { id, os, cpu, libc }) {
  const { version, license, homepage, bugs, repository, engines, publishConfig } = owner;
  return {
    name: `${owner.name}-${id}`,
    version,
    description: `Prebuilt addon of ${owner.name} for ${id}; npm installs it where it fits`,
    keywords: ['megamoe', 'addon', id],
    license,
    homepage,
    bugs,
    repository,
    engines,
    os: [os],
    cpu: [cpu],
    ...(libc && { libc: [libc] }),
    exports: { [`./${folder}.node`]: `./${folder}.node`, './package.json': './package.json' },
    files: [`${folder}.node`],
    publishConfig,
  };
}
