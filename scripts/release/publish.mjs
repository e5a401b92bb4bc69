/**
 * `node scripts/release/publish.mjs [--from DIR] [--registry URL] [--tag TAG] [--provenance] [--dry-run]`: publishes the tarballs that
 * stage.mjs wrote, dependencies first; a version that the registry has is passed over, so that an interrupted release is run again.
 * TAG is `latest`, or in a prerelease (`changeset pre enter next`) its name.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ROOT, toolEnv } from '../lib/run.mjs';

function npm(args, env) {
  return spawnSync('npm', args, { encoding: 'utf8', env: toolEnv(env), shell: process.platform === 'win32' });
}

const registryOption = (registry) => (registry === undefined ? [] : ['--registry', registry]);

/** Whether the registry has this version; throws when it does not say. */
export function isPublished(name, version, { registry, env = {} } = {}) {
  const id = `${name}@${version}`;
  const seen = npm(['view', id, 'version', ...registryOption(registry)], env);
  if (seen.status !== 0 && !/E404/.test(seen.stderr)) throw new Error(`npm view ${id} failed: ${seen.stderr.trim()}`);
  return seen.status === 0 && seen.stdout.trim() === version;
}

/** The dist-tag that changesets' prerelease mode asks for. */
function prereleaseTag() {
  const file = join(ROOT, '.changeset', 'pre.json');
  if (!existsSync(file)) return 'latest';
  const { mode, tag } = JSON.parse(readFileSync(file, 'utf8'));
  return mode === 'pre' ? tag : 'latest';
}

/** Publishes; returns the `name@version` that were published. */
export function publish({ from, registry, tag = prereleaseTag(), provenance = false, dryRun = false, env = {} }) {
  const list = JSON.parse(readFileSync(join(from, 'packages.json'), 'utf8'));
  const published = [];
  for (const { name, version, file } of list) {
    const id = `${name}@${version}`;
    if (isPublished(name, version, { registry, env })) continue;
    const options = ['--access', 'public', '--tag', tag, ...registryOption(registry)];
    if (provenance) options.push('--provenance');
    if (dryRun) options.push('--dry-run');
    const done = npm(['publish', join(from, file), '--ignore-scripts', ...options], env);
    if (done.status !== 0) throw new Error(`npm publish ${id} failed: ${done.error?.message ?? done.stderr.trim()}`);
    published.push(id);
  }
  return published;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      from: { type: 'string', default: join(ROOT, '.release', 'packages') },
      registry: { type: 'string' },
      tag: { type: 'string' },
      provenance: { type: 'boolean', default: false },
      'dry-run': { type: 'boolean', default: false },
    },
  });
  const { 'dry-run': dryRun, ...options } = values;
  for (const id of publish({ ...options, dryRun })) process.stdout.write(`${id}\n`);
}
