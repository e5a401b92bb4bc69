import {
  checkFunction,
  checkInteger,
  checkNumber,
  checkObject,
  checkSignal,
  describe,
  takeStrings,
  ValueError,
} from '@megamoe/core';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { HubClient } from './client';
import { bytesText, HubError, listText, printable } from './errors';
import { shardsOf } from './find';
import { makeFolder, removeAbandoned } from './folders';
import { byGlobs, indexOf, whatLoads } from './include';
import { ModelFolder } from './layout';
import { listModel, type Listing, type RepoFile } from './listing';
import { lock } from './lock';
import { checkModelName, checkPath, checkRevision, isCommit } from './names';
import type { RetryOptions, RetryPolicy } from './retry';
import { hubSettings, type Environment } from './settings';
import { bytesLeft, freeBytes, isWhole, place, whyNotWhole, writeRef } from './store';
import { transfer } from './transfer';

/** What a pull will do, said before the first tensor is fetched. */
export interface PullPlan {
  readonly name: string;
  readonly revision: string;
  readonly commit: string;
  /** Folder of the snapshot, there or not. */
  readonly dir: string;
  /** Files that were chosen. */
  readonly files: readonly PulledFile[];
  /** Files of the repository that were not. */
  readonly leftOut: readonly PulledFile[];
  /** Bytes to fetch: those of the chosen files that are not in the cache. */
  readonly bytes: number;
  /** Bytes that the disk of the cache has free. */
  readonly freeBytes: number;
}

/** A file of the repository. */
export interface PulledFile {
  readonly path: string;
  readonly bytes: number;
}

/** How far a pull is. */
export interface PullProgress {
  /** Bytes that have come, of `bytes` of the plan. */
  readonly bytes: number;
  readonly totalBytes: number;
  /** Files that are whole, of `totalFiles` that were not. */
  readonly files: number;
  readonly totalFiles: number;
  /** The file that has just got bytes or become whole. */
  readonly path: string;
  /** Whether it has just become whole. */
  readonly whole: boolean;
}

/** What to pull, and from where. */
export interface PullOptions {
  /** Branch, tag or commit; default `main`. */
  readonly revision?: string | undefined;
  /** Patterns of the files to fetch (`*` crosses `/`); default: what loads. */
  readonly include?: readonly string[] | undefined;
  /** Folder of the cache; default: what the environment says. */
  readonly cacheDir?: string | undefined;
  /** Where `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and the others are looked up; default `process.env`. */
  readonly env?: Environment | undefined;
  /** Files at once; default 4. */
  readonly concurrency?: number | undefined;
  readonly retry?: RetryOptions | undefined;
  /** Instead of the global one, as one that goes through a proxy. */
  readonly fetch?: typeof fetch | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onPlan?: ((plan: PullPlan) => void) | undefined;
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
  /** Told in words what is waited for and what is tried again. */
  readonly onNotice?: ((text: string) => void) | undefined;
}

/** What a pull has brought. */
export interface PulledModel extends PullPlan {
  /** Bytes that came over the network into files; less than the plan's `bytes` if another pull was faster, more if some came twice. */
  readonly fetchedBytes: number;
}

/** Options read once: what is checked is what is used. */
function takeOptions(fn: string, options: PullOptions): PullOptions {
  checkObject(fn, 'options', options);
  const { revision, include, cacheDir, env, concurrency, retry, signal } = options;
  const { fetch: fetcher, onPlan, onProgress, onNotice } = options;
  checkPath(fn, 'cacheDir', cacheDir);
  if (env !== undefined) checkObject(fn, 'env', env);
  const patterns = include === undefined ? undefined : takeStrings(fn, 'include', include);
  for (const [arg, f] of Object.entries({ fetch: fetcher, onPlan, onProgress, onNotice }))
    if (f !== undefined) checkFunction(fn, arg, f);
  if (signal !== undefined) checkSignal(fn, 'signal', signal);
  return {
    ...{ revision, include: patterns, cacheDir, env, concurrency, retry: takeRetry(fn, retry), signal },
    ...{ fetch: fetcher, onPlan, onProgress, onNotice },
  };
}

function takeRetry(fn: string, retry: RetryOptions | undefined): RetryOptions | undefined {
  if (retry === undefined) return undefined;
  checkObject(fn, 'retry', retry);
  const { attempts, baseMs, maxWaitMs, stallMs } = retry;
  if (attempts !== undefined) checkInteger(fn, 'retry.attempts', attempts, 1);
  for (const [arg, ms] of Object.entries({ baseMs, maxWaitMs, stallMs }))
    if (ms !== undefined) checkNumber(fn, `retry.${arg}`, ms, 0, 2 ** 31 - 1);
  return { attempts, baseMs, maxWaitMs, stallMs };
}

/**
 * Downloads a model of the Hub into the Hugging Face cache, where the Python library and {@link findModel} find it. An interrupted pull goes on
 * where it was; every file is verified by its hash before it gets its name; a snapshot's links are made when all its files are whole, and the
 * name of the revision points to it after that. Pulls of one model wait for each other, also of other processes.
 * @param name `ORG/NAME`
 * @throws ValueError for wrong options; HubError for what the server, the network or the disk's space do not allow; the reason of `signal`
 */
export async function pullModel(name: string, options: PullOptions = {}): Promise<PulledModel> {
  checkModelName('pullModel', name);
  const o = takeOptions('pullModel', options);
  const { revision = 'main', concurrency = 4, include } = o;
  checkRevision('pullModel', revision);
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 64)
    throw new ValueError(`pullModel: "concurrency" must be an integer from 1 to 64, got ${describe(concurrency)}`);
  if (include?.length === 0) throw new ValueError('pullModel: "include" is empty; leave it out for what loads');
  const { cacheDir, endpoint, token, offline } = hubSettings(o.env);
  if (offline !== undefined)
    throw new HubError(`pullModel: ${offline} is set, so nothing is downloaded; unset it to pull ${name}`);
  o.signal?.throwIfAborted();
  const stop = new AbortController(); // of the caller, of a lost lock, or of the first file that fails
  const onAbort = (): void => stop.abort(o.signal?.reason);
  o.signal?.addEventListener('abort', onAbort, { once: true });
  const policy: RetryPolicy = {
    attempts: o.retry?.attempts ?? 6,
    baseMs: o.retry?.baseMs ?? 1000,
    maxWaitMs: o.retry?.maxWaitMs ?? 300_000,
    stallMs: o.retry?.stallMs ?? 60_000,
    signal: stop.signal,
    onNotice: o.onNotice ?? (() => undefined),
  };
  const client = new HubClient(endpoint, name, token, o.fetch ?? fetch, policy);
  const cache = resolve(o.cacheDir ?? cacheDir);
  try {
    const listing = await listModel(client, name, revision);
    await inFolder(cache, () => makeFolder(cache));
    const folder = new ModelFolder(cache, name);
    const unlock = await inFolder(cache, () =>
      lock(folder.locks, stop.signal, {
        onWait: (pid) =>
          policy.onNotice(
            `another pull of ${name} is running (${pid ? `process ${pid}` : 'on another machine'}); waiting for it`,
          ),
        onLost: (e) => stop.abort(e),
      }),
    );
    let pulled: PulledModel;
    try {
      pulled = await inFolder(cache, () =>
        new Pull(client, folder, listing, stop, { revision, include, concurrency }, o).run(),
      );
    } catch (e) {
      try {
        unlock();
      } catch {
        // the pull's own error is what is to be told
      }
      throw e;
    }
    try {
      unlock();
    } catch (cause) {
      throw new HubError(
        `pullModel: ${name} is complete, but its lock cannot be taken away, and other pulls of it wait until this process ends: ${(cause as Error).message}`,
        { cause },
      );
    }
    return pulled;
  } finally {
    o.signal?.removeEventListener('abort', onAbort);
  }
}

/** What the file system does not allow, said of the cache. */
async function inFolder<T>(cache: string, work: () => Promise<T | undefined>): Promise<T> {
  try {
    return (await work()) as T;
  } catch (e) {
    const { code, syscall, path } = e as NodeJS.ErrnoException;
    if (e instanceof HubError || code === undefined || syscall === undefined) throw e;
    const why =
      code === 'ENOSPC' || code === 'EDQUOT'
        ? 'the disk is full; what has come stays, and the next pull goes on from there'
        : code;
    throw new HubError(`pullModel: cannot write to ${path ?? cache}: ${why}`, { cause: e });
  }
}

/** One pull that holds the lock. */
class Pull {
  private readonly there = new Map<string, number>();
  private fetched = 0;
  private wholeFiles = 0;

  constructor(
    private readonly client: HubClient,
    private readonly folder: ModelFolder,
    private readonly listing: Listing,
    private readonly stop: AbortController,
    private readonly asked: {
      readonly revision: string;
      readonly include: readonly string[] | undefined;
      readonly concurrency: number;
    },
    private readonly o: PullOptions,
  ) {}

  async run(): Promise<PulledModel> {
    const { folder, listing, asked } = this;
    const { commit } = listing;
    await makeFolder(folder.blobs);
    for (const dir of ['snapshots', 'refs']) await removeAbandoned(join(folder.path, dir));
    const chosen = await this.choose();
    const missing: RepoFile[] = [];
    for (const file of uniqueBlobs(chosen)) if (!(await isWhole(folder, file))) missing.push(file);
    let bytes = 0;
    for (const file of missing) bytes += file.size - (await bytesLeft(folder, file));
    const took = new Set(chosen.map((file) => file.path));
    const shown = (files: readonly RepoFile[]): PulledFile[] => files.map(({ path, size }) => ({ path, bytes: size }));
    const plan: PullPlan = {
      name: folder.name,
      revision: asked.revision,
      commit,
      dir: folder.snapshot(commit),
      files: shown(chosen),
      leftOut: shown(listing.files.filter(({ path }) => !took.has(path))),
      bytes,
      freeBytes: await freeBytes(folder.blobs),
    };
    this.o.onPlan?.(plan);
    if (plan.bytes > plan.freeBytes)
      throw new HubError(
        `pullModel: ${folder.name} needs ${bytesText(plan.bytes)} more, and the disk of ${folder.path} has ${bytesText(plan.freeBytes)} free; nothing is fetched`,
      );
    await this.fetchAll(missing, bytes);
    for (const file of chosen) await place(folder, commit, file);
    if (!isCommit(asked.revision)) await writeRef(folder, asked.revision, commit);
    return { ...plan, fetchedBytes: this.fetched };
  }

  private async choose(): Promise<RepoFile[]> {
    const { files } = this.listing;
    const paths = files.map(({ path }) => path);
    const { include } = this.asked;
    let chosen: readonly string[];
    if (include !== undefined) chosen = byGlobs(paths, include);
    else {
      const index = files.find(({ path }) => path === indexOf(paths));
      const shards = index && (await this.shards(index));
      const lacks = (shards ?? []).filter((shard) => !paths.includes(shard));
      if (lacks.length > 0)
        throw new HubError(
          `pullModel: ${this.folder.name} has an index that names files it has not: ${listText(lacks)}`,
        );
      chosen = whatLoads(paths, shards);
      if (!chosen.some((path) => path.endsWith('.safetensors')))
        throw new HubError(
          `pullModel: ${this.folder.name} has no model.safetensors and no index of shards, so nothing that loads; it has ` +
            `${listText(paths)}; --include GLOB takes what you name`,
        );
    }
    if (chosen.length === 0)
      throw new HubError(
        `pullModel: no file of ${this.folder.name} matches ${listText(include ?? [])}; it has ${listText(paths)}`,
      );
    const set = new Set(chosen);
    return files.filter(({ path }) => set.has(path));
  }

  /** Shards that the index names, which is fetched for it. */
  private async shards(index: RepoFile): Promise<string[]> {
    const { folder } = this;
    if (!(await isWhole(folder, index))) await this.fetchOne(index, this.stop.signal, () => undefined);
    const blob = folder.blob(index.etag);
    const text = await readFile(blob, 'utf8').catch((cause: Error) => {
      throw new HubError(`${printable(index.path)}: cannot be read from ${blob}: ${cause.message}`, { cause });
    });
    return shardsOf(text);
  }

  /** Several files at once, small ones first: what a wrong file would spoil is known early. */
  private async fetchAll(files: readonly RepoFile[], totalBytes: number): Promise<void> {
    const queue = [...files].sort((a, b) => a.size - b.size);
    const before = this.fetched;
    let failure: { error: unknown } | undefined;
    const tell = ({ path }: RepoFile, whole: boolean): void =>
      this.o.onProgress?.({
        bytes: Math.min(totalBytes, this.fetched - before),
        totalBytes,
        files: this.wholeFiles,
        totalFiles: files.length,
        path,
        whole,
      });
    const worker = async (): Promise<void> => {
      for (let file = queue.shift(); file !== undefined && failure === undefined; file = queue.shift()) {
        const current = file;
        try {
          await this.fetchOne(current, this.stop.signal, () => tell(current, false));
          this.wholeFiles++;
          tell(current, true);
        } catch (error) {
          failure ??= { error };
          this.stop.abort(error); // the others end at once; what they have stays
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(this.asked.concurrency, queue.length) }, worker));
    if (failure !== undefined) throw failure.error;
  }

  private async fetchOne(file: RepoFile, signal: AbortSignal, onBytes: () => void): Promise<void> {
    const { client, folder, listing } = this;
    const path = file.path.split('/').map(encodeURIComponent).join('/');
    let first = true;
    await transfer({
      client,
      url: `${client.endpoint}/${folder.name}/resolve/${listing.commit}/${path}`,
      file,
      commit: listing.commit,
      incomplete: folder.incomplete(file.etag),
      blob: folder.blob(file.etag),
      signal,
      onBytes: (there) => {
        if (!first) this.fetched += Math.max(0, there - (this.there.get(file.etag) ?? 0));
        first = false; // the first call says what was there before
        this.there.set(file.etag, there);
        onBytes();
      },
    });
    const why = await whyNotWhole(folder, file);
    if (why !== undefined)
      throw new HubError(`${printable(file.path)}: is not where it was written, ${folder.blob(file.etag)}: ${why}`);
  }
}

/** Files of equal bytes have one blob. */
function uniqueBlobs(files: readonly RepoFile[]): RepoFile[] {
  return [...new Map(files.map((file) => [file.etag, file])).values()];
}
