/**
 * `node scripts/check-changesets.mjs [BASE]`: whether every package whose published files changed since BASE (origin/main) is named by a
 * changeset that was added or edited since; before its first release the one that says what it is will do. Published files are what
 * `files` of its manifest lists, with `src` for `dist`, and the manifest itself as the registry gets it; READMEs go along with the next
 * release and need none. The addons hold the C++ of native-kit: its headers need one for their packages too. Exits with 1 when one is
 * missing or names a package that is not there.
 */
import parseChangeset from '@changesets/parse';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { mergeBase } from './lib/git.mjs';
import { ROOT } from './lib/run.mjs';
import { ADDON_FOLDERS } from './release/platforms.mjs';
import { publicPackages, publishedManifest } from './release/workspace.mjs';

const FOLDER = '.changeset';
const UNRELEASED = '0.0.0';
/** What of native-kit the addons are built from. */
const COMPILED = ['packages/native-kit/include', 'packages/native-kit/cmake'];

/** Git's pathspecs of what goes into the tarball of a package, but for its manifest and its texts. */
function published(dir, files) {
  const specs = files.map((pattern) => {
    const magic = [...(pattern.startsWith('!') ? ['exclude'] : []), ...(pattern.includes('*') ? ['glob'] : [])];
    return `:(${magic.join()})${dir}/${pattern.replace(/^!/, '').replace(/^dist$/, 'src')}`;
  });
  return [...specs, `:(exclude)${dir}/package.json`, `:(exclude,glob)${dir}/**/*.md`];
}

function readChangeset(root, file) {
  try {
    const { releases } = parseChangeset(readFileSync(join(root, file), 'utf8'));
    return { file, names: releases.map(({ name }) => name) };
  } catch (cause) {
    throw new Error(`${file} is no changeset: ${cause.message}`, { cause });
  }
}

/** A manifest as the registry gets it, but for versions, which are left to changesets. */
function visible(manifest) {
  return { ...publishedManifest(manifest, { get: () => UNRELEASED }), version: UNRELEASED };
}

/**
 * Judges the working tree of `root` against the commit `from`.
 * @returns `{ missing: [{ name, changes }], strangers: [{ file, name }] }`: packages without a changeset and which files ask for it, and
 * names in changesets that no public package has. Throws on a file that is no changeset.
 */
export function checkChangesets({ root, from }) {
  const git = (...args) =>
    execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 26 });

  /** Files that differ, committed or not, gone ones included. */
  function changedFiles(...pathspecs) {
    const known = git('diff', '--name-only', '--no-renames', from, '--', ...pathspecs);
    const fresh = git('ls-files', '--others', '--exclude-standard', '--', ...pathspecs);
    return [...known.split('\n'), ...fresh.split('\n')].filter(Boolean);
  }

  function manifestChanged(path, manifest) {
    if (git('ls-tree', '--name-only', from, '--', path) === '') return true; // a new package
    return !isDeepStrictEqual(visible(JSON.parse(git('show', `${from}:${path}`))), visible(manifest));
  }

  const packages = publicPackages(root);
  const changesets = readdirSync(join(root, FOLDER))
    .filter((file) => file.endsWith('.md') && file !== 'README.md')
    .map((file) => readChangeset(root, `${FOLDER}/${file}`));
  const all = changedFiles('.');
  const touched = all.filter((file) => file.startsWith(`${FOLDER}/`));
  const isNamed = ({ name, version }) =>
    changesets.some(({ file, names }) => names.includes(name) && (version === UNRELEASED || touched.includes(file)));

  function changesOf({ dir, folder, manifest }) {
    const at = relative(root, dir).replaceAll('\\', '/');
    const path = `${at}/package.json`;
    const own = all.some((file) => file.startsWith(`${at}/`)) ? changedFiles(...published(at, manifest.files)) : [];
    if (all.includes(path) && manifestChanged(path, manifest)) own.push(path);
    if (own.length > 0 || !ADDON_FOLDERS.includes(folder)) return own;
    return changedFiles(...COMPILED).map((file) => `${file}, which its addon is built from`);
  }

  return {
    missing: packages
      .filter(({ manifest }) => !isNamed(manifest))
      .map((p) => ({ name: p.manifest.name, changes: changesOf(p) }))
      .filter(({ changes }) => changes.length > 0),
    strangers: changesets.flatMap(({ file, names }) =>
      names.filter((name) => !packages.some(({ manifest }) => manifest.name === name)).map((name) => ({ file, name })),
    ),
  };
}

/** What to do about packages without a changeset. */
export function advice(base, missing) {
  const lines = missing.map(({ name, changes: [first, ...more] }) => {
    return `  ${name}: ${first}${more.length > 0 ? `, and ${more.length} more` : ''}\n`;
  });
  const names = missing.map(({ name }) => `"${name}": patch\n`);
  return (
    `Changed since ${base}, and no changeset tells the users of these packages:\n${lines.join('')}\n` +
    '`pnpm changeset` asks for the packages, for patch, minor or major, and for a sentence. Or write .changeset/SOME-NAME.md:\n\n' +
    `---\n${names.join('')}---\n\nWhat they notice.\n\n` +
    'Where they can notice nothing, write none in place of patch: no release comes of it.\n'
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const base = process.argv[2] ?? 'origin/main';
  const { missing, strangers } = checkChangesets({ root: ROOT, from: mergeBase(base, ROOT) });
  for (const { file, name } of strangers)
    process.stderr.write(`${file} names ${name}: no package of that name is published\n`);
  if (missing.length > 0) process.stderr.write(advice(base, missing));
  if (missing.length + strangers.length > 0) process.exit(1);
  process.stdout.write(`Every package that changed since ${base} has its changeset\n`);
}
