import type { HubClient } from './client';
import { HubError, printable } from './errors';
import { isCommit, isUnsafePath } from './names';

/** A file of a repository. */
export interface RepoFile {
  /** Path within the repository, parted by `/`. */
  readonly path: string;
  /** Bytes of the file itself, not of a pointer to it. */
  readonly size: number;
  /** Name of its blob, which is also its hash: SHA-256 where git LFS (or Xet behind it) holds the file, else git's hash. */
  readonly etag: string;
  readonly hash: 'sha256' | 'git';
}

/** What a revision is. */
export interface Listing {
  readonly commit: string;
  /** By path, in the order of their characters. */
  readonly files: readonly RepoFile[];
}

/**
 * Asks the server for the commit that a revision means, and for its files. Of a file that Xet holds only the bytes behind `resolve` are
 * used, which are those of its SHA-256.
 * @throws HubError for a listing that names a path outside the repository, one twice, or anything without size or hash
 */
export async function listModel(client: HubClient, name: string, revision: string): Promise<Listing> {
  const { listFiles, modelInfo } = await import('@huggingface/hub'); // when it is needed: finding a model needs none of it
  const seen = new Set<string>();
  const get = (async (url: string, { headers }: { headers: Record<string, string> }) => {
    if (seen.has(url)) throw new HubError(`${name}: the listing of files leads back to itself`);
    seen.add(url);
    return client.text(url, headers);
  }) as unknown as typeof fetch;
  const at = { hubUrl: client.endpoint, fetch: get };
  const { sha: commit } = await readable(name, () => modelInfo({ name, revision, additionalFields: ['sha'], ...at }));
  if (typeof commit !== 'string' || !isCommit(commit))
    throw new HubError(`${name}: the server names no commit for revision ${revision}`);
  const entries = await readable(name, async () => {
    const all = [];
    for await (const entry of listFiles({ repo: { type: 'model', name }, revision: commit, recursive: true, ...at }))
      all.push(entry);
    return all;
  });
  const files = entries.filter(({ type }) => type === 'file').map((entry) => checkFile(name, entry));
  const paths = new Set<string>();
  for (const { path } of files) {
    if (paths.has(path)) throw new HubError(`${name}: the server lists "${printable(path)}" twice`);
    paths.add(path);
  }
  return { commit, files: files.sort((a, b) => (a.path < b.path ? -1 : 1)) };
}

/** What is no JSON of the Hub's, as the page of a proxy, is an error in words. */
async function readable<T>(name: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (e) {
    if (e instanceof SyntaxError || e instanceof TypeError)
      throw new HubError(
        `${name}: the server does not answer as a Hub does (${printable(e.message)}); is there a proxy between?`,
        {
          cause: e,
        },
      );
    throw e;
  }
}

function checkFile(
  name: string,
  { path, size, oid, lfs }: { path?: unknown; size?: unknown; oid?: unknown; lfs?: { oid?: unknown; size?: unknown } },
): RepoFile {
  if (typeof path !== 'string' || isUnsafePath(path))
    throw new HubError(
      `${name}: the server lists a file "${printable(String(path))}", which is no path within a folder; nothing is fetched`,
    );
  const [etag, bytes, hash] = lfs ? [lfs.oid, lfs.size, 'sha256' as const] : [oid, size, 'git' as const];
  const digits = hash === 'sha256' ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/;
  if (typeof etag !== 'string' || !digits.test(etag) || !Number.isSafeInteger(bytes) || (bytes as number) < 0)
    throw new HubError(`${name}: the server lists "${printable(path)}" without a size and a hash that can be checked`);
  return { path, size: bytes as number, etag, hash };
}
