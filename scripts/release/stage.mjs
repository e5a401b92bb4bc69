/**
 * `node scripts/release/stage.mjs [--out DIR] [--addons DIR] [--require-all]`: writes the tarball of every package, as it goes to the
 * registry, to DIR (.release/packages), and DIR/packages.json, which lists them, dependencies first. Addons found in
 * .release/addons/PLATFORM become platform packages. Those that are missing it names; with --require-all that is an error.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ROOT, toolEnv } from '../lib/run.mjs';
import { mostBytes, platformsOf } from './platforms.mjs';
import { platformManifest, publicPackages, publishedManifest } from './workspace.mjs';

const json = (value) => `${JSON.stringify(value, null, 2)}\n`;

const platformReadme = ({ name, description, version }, owner) =>
  `# ${name}\n\n${description}. It holds one file and no code; its version is the one of [\`${owner}\`](https://www.npmjs.com/package/${owner}) ` +
  `(${version}), which looks it up. Do not depend on it directly.\n`;

/** Folder with everything of `p` that is published. */
function prepare(parent, p, manifest) {
  const dir = join(parent, manifest.name.replace('/', '+'));
  mkdirSync(dir);
  for (const pattern of ['README.md', ...manifest.files.filter((f) => !f.startsWith('!'))]) {
    if (pattern.includes('*')) {
      cpSync(p.dir, dir, { recursive: true, filter: (from) => !from.includes('node_modules') });
    } else if (existsSync(join(p.dir, pattern))) {
      cpSync(join(p.dir, pattern), join(dir, pattern), { recursive: true });
    } else if (pattern !== 'CHANGELOG.md') {
      throw new Error(`${manifest.name}: ${pattern} is not there: build first (npm start)`);
    }
  }
  cpSync(join(ROOT, 'LICENSE'), join(dir, 'LICENSE'));
  writeFileSync(join(dir, 'package.json'), json(manifest));
  return dir;
}

function preparePlatform(parent, p, platform, file) {
  const manifest = platformManifest(p.manifest, p.folder, platform);
  const [{ size }, most] = [statSync(file), mostBytes(p.folder)];
  if (size > most)
    throw new Error(
      `${manifest.name}: ${file} has ${size} bytes, the limit is ${most} (scripts/release/platforms.mjs)`,
    );
  const dir = join(parent, manifest.name.replace('/', '+'));
  mkdirSync(dir);
  cpSync(file, join(dir, `${p.folder}.node`));
  cpSync(join(ROOT, 'LICENSE'), join(dir, 'LICENSE'));
  writeFileSync(join(dir, 'README.md'), platformReadme(manifest, p.manifest.name));
  writeFileSync(join(dir, 'package.json'), json(manifest));
  return dir;
}

/**
 * Packs every public package.
 * @returns `[{ name, version, file, packedBytes, unpackedBytes, files }]`, dependencies first
 */
export function stage({ out, addons, requireAll = false }) {
  const packages = publicPackages();
  const versions = new Map(packages.map(({ manifest }) => [manifest.name, manifest.version]));
  const work = mkdtempSync(join(tmpdir(), 'megamoe-stage-'));
  try {
    const dirs = [];
    const left = [];
    for (const p of packages) {
      const fileOf = ({ id }) => join(addons, id, `${p.folder}.node`);
      const here = platformsOf(p.folder).filter((platform) => existsSync(fileOf(platform)));
      const missing = platformsOf(p.folder).filter((platform) => !here.includes(platform));
      if (missing.length > 0) {
        const text = `${p.manifest.name}: no addon for ${missing.map(({ id }) => id).join(', ')} in ${addons}`;
        if (requireAll) throw new Error(text);
        left.push(text);
      }
      dirs.push(...here.map((platform) => preparePlatform(work, p, platform, fileOf(platform))));
      dirs.push(prepare(work, p, publishedManifest(p.manifest, versions, here)));
    }
    rmSync(out, { recursive: true, force: true });
    mkdirSync(out, { recursive: true });
    const done = spawnSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', out, ...dirs], {
      cwd: work,
      encoding: 'utf8',
      env: toolEnv(),
      shell: process.platform === 'win32',
      maxBuffer: 1 << 26,
    });
    if (done.status !== 0) throw new Error(`npm pack failed: ${done.error?.message ?? done.stderr}`);
    const packed = JSON.parse(done.stdout);
    const list = (Array.isArray(packed) ? packed : Object.values(packed)).map((p) => ({
      name: p.name,
      version: p.version,
      file: p.filename.replace('@', '').replace('/', '-'),
      packedBytes: p.size,
      unpackedBytes: p.unpackedSize,
      files: p.files.map(({ path }) => path),
    }));
    writeFileSync(join(out, 'packages.json'), json(list));
    for (const text of left) process.stderr.write(`stage: ${text}: left out\n`);
    return list;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      out: { type: 'string', default: join(ROOT, '.release', 'packages') },
      addons: { type: 'string', default: join(ROOT, '.release', 'addons') },
      'require-all': { type: 'boolean', default: false },
    },
  });
  const list = stage({ out: values.out, addons: values.addons, requireAll: values['require-all'] });
  for (const { name, version, packedBytes, unpackedBytes } of list)
    process.stdout.write(
      `${`${name} ${version}`.padEnd(48)} ${(packedBytes / 1e3).toFixed(1)} kB packed, ${(unpackedBytes / 1e3).toFixed(1)} kB\n`,
    );
}
