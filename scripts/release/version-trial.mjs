/**
 * `node scripts/release/version-trial.mjs [FOLDER=BUMP ...]`: what `changeset version` would do, in a throw-away copy of the manifests:
 * first with the changesets that are pending, then with one more for each FOLDER=patch|minor|major. Prints JSON:
 * `{ released: { NAME: VERSION }, trial: { NAME: { from, to, changelog, dependencies } } }`; `trial` holds what the second step changed.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { changeset, copyRepository, git } from './copy.mjs';
import { publicPackages } from './workspace.mjs';

const needed =
  /^(package\.json|pnpm-workspace\.yaml|\.changeset\/.*|(packages|internal|models)\/[^/]+\/(package\.json|CHANGELOG\.md)|examples\/package\.json)$/;
const dir = mkdtempSync(join(tmpdir(), 'megamoe-version-'));

/** The newest section of a changelog. */
function newestSection(file) {
  const [, section = ''] = readFileSync(file, 'utf8').split(/^## /m);
  return `## ${section}`.trim();
}

try {
  copyRepository(dir, { accept: (file) => needed.test(file) });
  changeset(dir, 'version');
  git(dir, 'add', '-A', '--', '.', ':!node_modules');
  git(dir, 'commit', '-qm', 'Release', '--allow-empty');
  const before = new Map(publicPackages(dir).map(({ manifest }) => [manifest.name, manifest.version]));
  for (const arg of process.argv.slice(2)) {
    const [folder, bump] = arg.split('=');
    const { manifest } = publicPackages(dir).find((p) => p.folder === folder);
    writeFileSync(
      join(dir, '.changeset', `trial-${folder}.md`),
      `---\n"${manifest.name}": ${bump}\n---\n\nA trial ${bump} of ${folder}.\n`,
    );
  }
  if (process.argv.length > 2) changeset(dir, 'version');
  const trial = {};
  for (const p of publicPackages(dir)) {
    const from = before.get(p.manifest.name);
    if (from === p.manifest.version) continue;
    trial[p.manifest.name] = {
      from,
      to: p.manifest.version,
      changelog: newestSection(join(p.dir, 'CHANGELOG.md')),
      dependencies: p.manifest.dependencies,
    };
  }
  process.stdout.write(`${JSON.stringify({ released: Object.fromEntries(before), trial }, null, 2)}\n`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
