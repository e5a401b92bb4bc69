import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rename, type FileHandle } from 'node:fs/promises';
import type { HubClient } from './client';
import { HubError, PassingError, printable } from './errors';
import { ofFile } from './folders';
import type { RepoFile } from './listing';
import { orAborted, persist, watchdog } from './retry';

/** An attempt that brought so much counts as progress: a server that cuts early and always would else be asked for ever. */
const PROGRESS_BYTES = 65536;
/** Bytes read at once of what is there already. */
const READ_BYTES = 1 << 20;

/** A file on its way into the cache. */
export interface Transfer {
  readonly client: HubClient;
  /** Address of the file at its commit. */
  readonly url: string;
  readonly file: RepoFile;
  readonly commit: string;
  /** Where bytes lie until all are there and right. */
  readonly incomplete: string;
  /** Where they lie then. */
  readonly blob: string;
  readonly signal: AbortSignal;
  /** Told how many bytes of the file are there. */
  readonly onBytes: (there: number) => void;
}

function newHash({ hash, size }: RepoFile): Hash {
  return hash === 'sha256' ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`); // git hashes a header, too
}

/**
 * Fetches one file: goes on where an earlier attempt has ended, in this process or another, and gives the file its name when every byte is
 * there and the hash is right. What is wrong is fetched once more from the start; what is wrong again is removed.
 * @throws HubError, or the reason of `signal`; what has come stays for the next time
 */
export async function transfer(t: Transfer): Promise<void> {
  await ofFile(t.incomplete, () => fetchInto(t));
  await rename(t.incomplete, t.blob);
}

async function fetchInto(t: Transfer): Promise<void> {
  const handle = await open(t.incomplete, constants.O_RDWR | constants.O_CREAT, 0o666);
  try {
    const part = new Part(handle, t);
    await part.resume();
    for (let again = false; ; again = true) {
      let before = part.there;
      const progressed = (): boolean => {
        const moved = part.there - before >= PROGRESS_BYTES;
        before = part.there;
        return moved;
      };
      await persist(() => part.fetchRest(), t.client.policy, progressed);
      const found = part.digest();
      if (found === t.file.etag) break;
      await part.restart();
      const wrong = `${printable(t.file.path)}: the bytes that came are not those of the file: expected ${t.file.hash} ${t.file.etag}, got ${found}`;
      if (again) throw new HubError(`${wrong}, twice; nothing of it is kept`);
      t.client.policy.onNotice(`${wrong}; again from its start`);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The beginning of a file that is there, and its hash. */
class Part {
  there = 0;
  private hash: Hash;

  constructor(
    private readonly handle: FileHandle,
    private readonly t: Transfer,
  ) {
    this.hash = newHash(t.file);
  }

  /** Takes over what is there. More than the file has cannot be its beginning. */
  async resume(): Promise<void> {
    const { size } = await this.handle.stat();
    if (size > this.t.file.size) return this.restart();
    const buffer = Buffer.allocUnsafe(Math.min(size, READ_BYTES));
    while (this.there < size) {
      this.t.signal.throwIfAborted();
      const { bytesRead } = await this.handle.read(buffer, 0, buffer.length, this.there);
      if (bytesRead === 0) break;
      this.hash.update(buffer.subarray(0, bytesRead));
      this.there += bytesRead;
    }
    this.t.onBytes(this.there);
  }

  async restart(): Promise<void> {
    await this.handle.truncate(0);
    this.there = 0;
    this.hash = newHash(this.t.file);
    this.t.onBytes(0);
  }

  digest(): string {
    return this.hash.digest('hex');
  }

  /** One attempt at the bytes that are not there. */
  async fetchRest(): Promise<void> {
    const { client, url, file, signal } = this.t;
    if (this.there === file.size) return;
    const watch = watchdog(signal, client.policy.stallMs);
    try {
      const range: Record<string, string> = this.there > 0 ? { range: `bytes=${this.there}-` } : {};
      const { response, facts } = await client.open(url, range, watch.signal, [416]);
      this.checkFacts(facts);
      const skip = await this.startOf(response);
      if (skip === undefined) return await this.refused(response);
      await this.take(response, skip, watch);
    } catch (e) {
      signal.throwIfAborted();
      if (watch.stalled())
        throw new PassingError(
          `${printable(file.path)}: nothing came for ${client.policy.stallMs / 1000} s`,
          undefined,
          {
            cause: e,
          },
        );
      throw e;
    } finally {
      watch.end();
    }
  }

  /** What the Hub says on the way must be the file that was listed: better now than after gigabytes. */
  private checkFacts({
    commit,
    linkedEtag,
    linkedSize,
  }: {
    commit?: string;
    linkedEtag?: string;
    linkedSize?: number;
  }): void {
    const { file, commit: wanted } = this.t;
    const wrong = (what: string, expected: unknown, got: unknown): HubError =>
      new HubError(
        `${printable(file.path)}: the server has another file: expected ${what} ${expected}, got ${printable(String(got))}`,
      );
    if (commit !== undefined && commit !== wanted) throw wrong('commit', wanted, commit);
    if (linkedSize !== undefined && linkedSize !== file.size) throw wrong('bytes', file.size, linkedSize);
    if (file.hash === 'sha256' && linkedEtag !== undefined && linkedEtag !== file.etag)
      throw wrong('hash', file.etag, linkedEtag);
  }

  /** How many bytes of the answer are there already; undefined when the server has none at this place. */
  private async startOf({ status, headers, body }: Response): Promise<number | undefined> {
    const { file } = this.t;
    const coded = headers.get('content-encoding');
    const isCoded = coded !== null && coded !== 'identity';
    const wrong = async (what: string): Promise<HubError> => {
      void body?.cancel().catch(() => undefined);
      return new HubError(`${printable(file.path)}: ${what}`);
    };
    if (status === 416) return undefined;
    if (status === 206) {
      const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get('content-range') ?? '') ?? [];
      if (start === undefined || Number(start) !== this.there || isCoded)
        throw await wrong(
          `asked for the bytes from ${this.there}, the server sends "${printable(headers.get('content-range') ?? coded ?? '')}"`,
        );
      if (total !== '*' && Number(total) !== file.size)
        throw await wrong(`expected ${file.size} bytes in all, the server has ${total}`);
      return 0;
    }
    const length = headers.get('content-length');
    if (!isCoded && length !== null && Number(length) !== file.size)
      throw await wrong(
        `expected ${file.size} bytes, the server sends ${printable(length)} (${printable(headers.get('content-type') ?? 'no type')}); is there a proxy between?`,
      );
    return this.there; // it ignores ranges and begins anew: what is there is passed over, so that a cut loses nothing
  }

  /** 416: the server's file ends before the place that was asked for. */
  private async refused({ body }: Response): Promise<void> {
    void body?.cancel().catch(() => undefined);
    const at = this.there;
    const text = `${printable(this.t.file.path)}: the server has no bytes from ${at} on`;
    if (at === 0) throw new HubError(text, { status: 416 });
    await this.restart();
    throw new PassingError(`${text}; once more from the start`);
  }

  private async take(response: Response, skip: number, watch: { seen(): void; signal: AbortSignal }): Promise<void> {
    const { file, signal } = this.t;
    const reader = response.body?.getReader();
    let passed = 0;
    try {
      for (;;) {
        const { done, value: bytes } = reader ? await orAborted(reader.read(), watch.signal) : { done: true };
        if (done) break;
        watch.seen();
        const chunk = bytes.subarray(Math.min(bytes.length, skip - passed));
        passed += bytes.length - chunk.length;
        if (this.there + chunk.length > file.size) {
          await this.restart();
          throw new HubError(
            `${printable(file.path)}: the server sends more than the ${file.size} bytes of the file; nothing of it is kept`,
          );
        }
        await this.put(chunk);
      }
    } catch (e) {
      void reader?.cancel(e).catch(() => undefined); // not waited for, as `for await` does: it may never be answered
      if (e instanceof HubError || isFileError(e)) throw e;
      signal.throwIfAborted();
      const cause = e instanceof Error && e.cause instanceof Error ? e.cause : e;
      const { code, message } = cause as { code?: string; message?: string };
      throw new PassingError(
        `${printable(file.path)}: cut at ${this.there} of ${file.size} bytes (${code ?? printable(message ?? '')})`,
        undefined,
        { cause: e },
      );
    }
    if (this.there < file.size)
      throw new PassingError(`${printable(file.path)}: ended at ${this.there} of ${file.size} bytes`);
  }

  private async put(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await this.handle.write(chunk, done, chunk.length - done, this.there + done);
      done += bytesWritten;
    }
    this.hash.update(chunk);
    this.there += chunk.length;
    this.t.onBytes(this.there);
  }
}

/** Whether the file system said so (a full disk), not the network. */
function isFileError(e: unknown): boolean {
  const { syscall } = e as { syscall?: unknown };
  return (
    ['write', 'ftruncate', 'fsync', 'read', 'open'].includes(String(syscall)) &&
    (e as { code?: string }).code !== 'ECONNRESET'
  );
}
