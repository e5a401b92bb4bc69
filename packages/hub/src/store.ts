import { randomBytes } from 'node:crypto';
import { copyFile, link, lstat, open, readlink, rename, rm, stat, statfs, symlink } from 'node:fs/promises';
import { dirname, relative } from 'node:path';
import { makeFolder, ofFile } from './folders';
import type { ModelFolder } from './layout';
import type { RepoFile } from './listing';

const besideOf = (path: string): string => `${path}.megamoe-${randomBytes(6).toString('hex')}`;

/** Removes a file in the making after a failure, which is what is to be told; where that fails too, the next pull removes it. */
const discard = (beside: string): Promise<void> => rm(beside, { force: true }).catch(() => undefined);

/** Whether all bytes of a blob are there: its name is given only then, and a size that differs is another program's accident. */
export async function isWhole(folder: ModelFolder, file: RepoFile): Promise<boolean> {
  return (await whyNotWhole(folder, file)) === undefined;
}

/** What keeps a blob from being whole, for people; undefined when it is. */
export async function whyNotWhole(folder: ModelFolder, { etag, size }: RepoFile): Promise<string | undefined> {
  try {
    const info = await stat(folder.blob(etag));
    if (!info.isFile()) return 'it is no file';
    return info.size === size ? undefined : `it has ${info.size} bytes of ${size}`;
  } catch (e) {
    return (e as Error).message;
  }
}

/** Bytes of a blob that an earlier pull has left. */
export async function bytesLeft(folder: ModelFolder, { etag, size }: RepoFile): Promise<number> {
  const info = await stat(folder.incomplete(etag)).catch(() => undefined);
  return info !== undefined && info.size <= size ? info.size : 0;
}

/**
 * Puts a file into a snapshot: a relative link to its blob, as the Python library makes it; where links are not allowed (Windows without
 * developer mode) a second name of the same file, or a copy. The name means the old file or the new one, never none.
 */
export async function place(folder: ModelFolder, commit: string, { path, etag, size }: RepoFile): Promise<void> {
  const [at, blob] = [folder.file(commit, path), folder.blob(etag)];
  const to = relative(dirname(at), blob);
  const there = await lstat(at).catch(() => undefined);
  if (there?.isSymbolicLink() && (await readlink(at)) === to) return;
  if (there?.isFile() && there.size === size && there.ino === (await stat(blob)).ino) return;
  await makeFolder(dirname(at));
  const beside = besideOf(at);
  try {
    await symlink(to, beside).catch(() => link(blob, beside).catch(() => copyFile(blob, beside)));
    await rename(beside, at);
  } catch (e) {
    await discard(beside);
    throw e;
  }
}

/** Says which commit a branch or tag means, the old one or the new one at any moment. */
export async function writeRef(folder: ModelFolder, revision: string, commit: string): Promise<void> {
  const path = folder.ref(revision);
  await makeFolder(dirname(path));
  const beside = besideOf(path);
  try {
    await ofFile(path, async () => {
      const handle = await open(beside, 'wx');
      try {
        await handle.writeFile(commit);
        await handle.sync();
      } finally {
        await handle.close();
      }
    });
    await rename(beside, path);
  } catch (e) {
    await discard(beside);
    throw e;
  }
}

/** Bytes that this user may still write to the disk of a folder that is there; Infinity where the file system does not say. */
export async function freeBytes(dir: string): Promise<number> {
  const { bavail, blocks, bsize } = await statfs(dir);
  return blocks === 0 ? Infinity : bavail * bsize;
}
