import { checkObject, ValueError } from '@megamoe/core';
import { existsSync, readdirSync, readFileSync, statSync, type Dirent } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { HubError, listText, printable } from './errors';
import { ModelFolder } from './layout';
import { checkPath, checkRevision, isCommit, isModelName } from './names';
import { cacheFolder, type Environment } from './settings';

/** Where to look for a model. */
export interface FindOptions {
  /** Branch, tag or commit; default `main`. For names only: a folder has none. */
  readonly revision?: string | undefined;
  /** Folder of the cache; default: what the environment says. */
  readonly cacheDir?: string | undefined;
  /** Folder that a path is relative to; default: the working directory. */
  readonly cwd?: string | undefined;
  readonly env?: Environment | undefined;
}

/** A checkpoint on this machine. */
export interface FoundModel {
  /** Its folder: what was given, or a snapshot of the cache. */
  readonly dir: string;
  /** Name on the Hub; undefined for a folder. */
  readonly name: string | undefined;
  /** Commit that the folder holds; undefined for a folder that is not the cache's. */
  readonly commit: string | undefined;
}

const INDEX = 'model.safetensors.index.json';
const SINGLE = 'model.safetensors';

/**
 * Finds a checkpoint: a folder (or file) of that path first, else the model of that name in the Hugging Face cache. Never uses the network.
 * @param model path of a folder, or `ORG/NAME`
 * @throws HubError that says what was looked for and where, when there is neither, when the cache has another revision only, and when files
 * of the snapshot are missing
 */
export function findModel(model: string, options: FindOptions = {}): FoundModel {
  if (typeof model !== 'string' || model === '' || model.includes('\0'))
    throw new ValueError('findModel: "model" must be a folder or a name as ORG/NAME');
  const o = takeOptions('findModel', options);
  if (o.revision !== undefined) checkRevision('findModel', o.revision);
  const cwd = resolve(o.cwd ?? '.');
  if (isThere(resolve(cwd, model))) {
    if (o.revision !== undefined)
      throw new ValueError(
        `findModel: "revision" is for models of the cache, and "${printable(model)}" is a folder here`,
      );
    return { dir: o.cwd === undefined ? model : resolve(cwd, model), name: undefined, commit: undefined };
  }
  if (!isModelName(model))
    throw new HubError(
      `findModel: there is no folder "${printable(model)}" in ${cwd}, and a model on the Hub would be called ORG/NAME`,
    );
  return findInCache(model, cwd, o);
}

/** Options read once: what is checked is what is used. */
function takeOptions(fn: string, options: FindOptions): FindOptions {
  checkObject(fn, 'options', options);
  const { revision, cacheDir, cwd, env } = options;
  checkPath(fn, 'cacheDir', cacheDir);
  checkPath(fn, 'cwd', cwd);
  if (env !== undefined) checkObject(fn, 'env', env);
  return { revision, cacheDir, cwd, env };
}

function findInCache(name: string, cwd: string, { revision = 'main', cacheDir, env }: FindOptions): FoundModel {
  const { cacheDir: byEnv, cacheFrom } = cacheFolder(env);
  const cache = resolve(cacheDir ?? byEnv);
  const where = `the Hugging Face cache ${cache}${cacheDir === undefined && cacheFrom ? ` (${cacheFrom})` : ''}`;
  const pull = `"megamoe pull ${name}${revision === 'main' ? '' : ` --revision ${revision}`}"`;
  const folder = new ModelFolder(cache, name);
  if (!isThere(folder.path)) {
    const there = modelsOf(cache);
    throw new HubError(
      `findModel: there is no folder "${name}" in ${cwd}, and ${where} has no model of that name` +
        `${there.length > 0 ? `; it has ${listText(there)}` : ''}; ${pull} downloads it`,
    );
  }
  const commit = isCommit(revision) ? revision : commitOf(folder, revision);
  const dir = commit === undefined ? undefined : folder.snapshot(commit);
  if (commit === undefined || dir === undefined || !isThere(dir)) {
    const there = revisionsOf(folder);
    throw new HubError(
      `findModel: ${where} has ${name}, but not its revision ${revision}` +
        `${there.length > 0 ? `; it has ${listText(there)}` : ''}; ${pull} downloads it`,
    );
  }
  const missing = missingFiles(dir);
  if (missing.length > 0)
    throw new HubError(
      `findModel: ${name} is incomplete in ${where}: ${dir} lacks ${listText(missing)}; ${pull} fetches what is missing`,
    );
  return { dir, name, commit };
}

/** Whether there is something at a path; a disk that cannot be asked is not taken for a no, which would send people to download. */
function isThere(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (cause) {
    const { code = '', message } = cause as NodeJS.ErrnoException;
    if (['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'].includes(code)) return false;
    throw new HubError(`findModel: ${printable(path)} cannot be read: ${message}`, { cause });
  }
}

/** The commit that a branch or tag meant when it was last fetched. */
function commitOf(folder: ModelFolder, revision: string): string | undefined {
  try {
    const text = readFileSync(folder.ref(revision), 'utf8').trim();
    return isCommit(text) ? text : undefined;
  } catch {
    return undefined;
  }
}

/** Entries of a folder and of the folders in it. Not through links, as `recursive` of Node 24 goes: one that leads back would never end. */
function* entriesBelow(dir: string): Generator<Dirent> {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    yield entry;
    if (entry.isDirectory()) yield* entriesBelow(join(dir, entry.name));
  }
}

const entriesOf = (dir: string): string[] => {
  try {
    return readdirSync(dir).sort();
  } catch {
    return [];
  }
};

function modelsOf(cache: string): string[] {
  return entriesOf(cache)
    .filter((name) => name.startsWith('models--'))
    .map((name) => name.slice('models--'.length).replace('--', '/'));
}

/** Revisions of the cache by name, and commits that no name means. */
function revisionsOf(folder: ModelFolder): string[] {
  const snapshots = entriesOf(join(folder.path, 'snapshots'));
  const refs = join(folder.path, 'refs');
  const names = existsSync(refs)
    ? [...entriesBelow(refs)]
        .filter((entry) => entry.isFile())
        .map((entry) => relative(refs, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
        .sort()
    : [];
  const named = names.map((name) => [name, commitOf(folder, name)] as const);
  const known = new Set(named.map(([, commit]) => commit));
  return [
    ...named.filter(([, commit]) => commit !== undefined && snapshots.includes(commit)).map(([name]) => name),
    ...snapshots.filter((commit) => !known.has(commit)),
  ];
}

/** What a snapshot needs and lacks: config, tensors, shards that the index names, and whatever a link leads nowhere for. */
function missingFiles(dir: string): string[] {
  const has = (name: string): boolean => existsSync(join(dir, name));
  const missing = new Set<string>();
  for (const entry of entriesBelow(dir)) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isSymbolicLink() && statSync(path, { throwIfNoEntry: false }) === undefined)
      missing.add(relative(dir, path).replaceAll('\\', '/'));
  }
  if (!has('config.json')) missing.add('config.json');
  if (has(INDEX))
    for (const shard of shardsOf(readFileSync(join(dir, INDEX), 'utf8'))) if (!has(shard)) missing.add(shard);
  if (!has(INDEX) && !has(SINGLE) && !missing.has(INDEX) && !missing.has(SINGLE)) missing.add(`${INDEX} or ${SINGLE}`);
  return [...missing].sort();
}

/** Files that an index of shards names; none for what is no index, which the loader will say. */
export function shardsOf(index: string): string[] {
  try {
    const map = (JSON.parse(index) as { weight_map?: unknown } | null)?.weight_map;
    const files = typeof map === 'object' && map !== null ? Object.values(map) : [];
    return [...new Set(files.filter((file): file is string => typeof file === 'string'))].sort();
  } catch {
    return [];
  }
}
