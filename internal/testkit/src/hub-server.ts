import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A file of a repository on a {@link HubServer}. */
export interface HubServerFile {
  readonly data: Uint8Array;
  /** Held by git LFS: `resolve` redirects to another host. */
  readonly lfs?: boolean;
}

/** A request that came, in the order they came. */
export interface HubServerRequest {
  /** The Hub itself, or the store on another origin that large files are redirected to. */
  readonly at: 'hub' | 'store';
  /** Path without query, decoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly authorization: string | undefined;
  /** First byte asked for; undefined without `Range`. */
  readonly from: number | undefined;
  /** How many requests for this path came before, at this place. */
  readonly before: number;
}

/** Answers a request instead of the server when it returns true. */
export type HubServerFault = (request: HubServerRequest, response: ServerResponse) => boolean | Promise<boolean>;

/** A file by SHA-256. */
export function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/** A file as git names it. */
export function gitHash(data: Uint8Array): string {
  return createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex');
}

/**
 * A server on this machine that speaks what the Hub speaks of its API (revision, tree by pages, resolve with its headers, a store on another
 * origin with ranges), and, through `fault`, misbehaves. One repository, one commit.
 */
export class HubServer {
  readonly requests: HubServerRequest[] = [];
  /** Bytes of file content that were sent. */
  sent = 0;
  fault: HubServerFault = () => false;
  /** Pause after each 64 KiB of content. */
  pauseMs = 0;
  /** Entries in a page of the tree. */
  pageSize = 3;
  /** Changes the entries of the tree. */
  entries: (entries: Record<string, unknown>[]) => unknown[] = (entries) => entries;
  url = '';
  store = '';
  private readonly servers: Server[] = [];
  private readonly seen = new Map<string, number>();

  constructor(
    readonly name: string,
    readonly files: Record<string, HubServerFile>,
    readonly commit = 'c0ffee0123456789c0ffee0123456789c0ffee01',
    readonly revision = 'main',
  ) {}

  async start(): Promise<this> {
    this.url = await this.listen('hub');
    this.store = await this.listen('store');
    return this;
  }

  async stop(): Promise<void> {
    for (const server of this.servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  /** Forgets requests, bytes and faults. */
  reset(): void {
    this.requests.length = 0;
    this.seen.clear();
    this.sent = 0;
    this.fault = () => false;
    this.entries = (entries) => entries;
  }

  /** Requests for content of a file, wherever it lies. */
  contentRequests(path: string): HubServerRequest[] {
    const { data, lfs } = this.files[path]!;
    const at = lfs ? `/xet/${sha256(data)}` : `/api/resolve-cache/models/${this.name}/${this.commit}/${path}`;
    return this.requests.filter((request) => request.path === at);
  }

  /** Sends a file from the byte asked for. `cutAt`: the connection ends before that byte of the file. */
  async send(
    { from }: Pick<HubServerRequest, 'from'>,
    response: ServerResponse,
    data: Uint8Array,
    { headers = {}, cutAt = data.length }: { headers?: Record<string, string>; cutAt?: number } = {},
  ): Promise<void> {
    const start = from ?? 0;
    if (from !== undefined && from >= data.length) {
      response.writeHead(416, { 'content-range': `bytes */${data.length}` }).end();
      return;
    }
    const range = from === undefined ? {} : { 'content-range': `bytes ${start}-${data.length - 1}/${data.length}` };
    const length = String(data.length - start);
    response.writeHead(from === undefined ? 200 : 206, { 'content-length': length, ...range, ...headers });
    const step = 65536;
    for (let at = start; at < Math.min(cutAt, data.length); at += step) {
      const part = data.subarray(at, Math.min(at + step, cutAt, data.length));
      this.sent += part.length;
      if (!response.write(part)) await drained(response);
      if (this.pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, this.pauseMs));
      if (response.destroyed) return;
    }
    if (cutAt < data.length) setTimeout(() => response.destroy(), 5);
    else response.end();
  }

  private async listen(at: 'hub' | 'store'): Promise<string> {
    const server = createServer((message, response) => void this.answer(at, message, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    this.servers.push(server);
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  private async answer(at: 'hub' | 'store', message: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(message.url!, 'http://here');
    const path = decodeURIComponent(pathname);
    const before = this.seen.get(at + path) ?? 0;
    this.seen.set(at + path, before + 1);
    const from = /^bytes=(\d+)-$/.exec(message.headers.range ?? '')?.[1];
    const { authorization } = message.headers;
    const request: HubServerRequest = {
      ...{ at, path, query: searchParams, authorization, before },
      from: from === undefined ? undefined : Number(from),
    };
    this.requests.push(request);
    if (await this.fault(request, response)) return;
    await (at === 'store' ? this.answerStore(request, response) : this.answerHub(request, response));
  }

  private async answerStore(request: HubServerRequest, response: ServerResponse): Promise<void> {
    const file = Object.values(this.files).find(({ data, lfs }) => lfs && request.path === `/xet/${sha256(data)}`);
    if (file === undefined) return void response.writeHead(404).end();
    await this.send(request, response, file.data, { headers: { etag: '"of-the-store"' } });
  }

  private async answerHub(request: HubServerRequest, response: ServerResponse): Promise<void> {
    const { name, commit, revision } = this;
    const refuse = (code: string): void =>
      void response.writeHead(404, { 'x-error-code': code, 'x-error-message': `${code} here` }).end();
    const json = (value: unknown, headers: Record<string, string> = {}): void =>
      void response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
    const { path } = request;
    const of = (prefix: string): string | undefined =>
      path.startsWith(prefix) ? path.slice(prefix.length) : undefined;
    const known = (wanted: string): boolean => wanted === revision || wanted === commit;

    const asked = of(`/api/models/${name}/revision/`);
    if (asked !== undefined)
      return known(asked) ? json({ _id: '1', id: name, sha: commit }) : refuse('RevisionNotFound');
    if (path === `/api/models/${name}/tree/${commit}`) return this.tree(request, json);
    const resolved = of(`/${name}/resolve/${commit}/`);
    if (resolved !== undefined && Object.hasOwn(this.files, resolved)) return this.resolve(resolved, response);
    const cached = of(`/api/resolve-cache/models/${name}/${commit}/`);
    if (cached !== undefined && Object.hasOwn(this.files, cached)) {
      const { data } = this.files[cached]!;
      return this.send(request, response, data, { headers: { etag: `"${gitHash(data)}"`, 'x-repo-commit': commit } });
    }
    refuse(path.includes(name) ? 'EntryNotFound' : 'RepoNotFound');
  }

  private tree({ query }: HubServerRequest, json: (value: unknown, headers?: Record<string, string>) => void): void {
    const entries: Record<string, unknown>[] = [{ type: 'directory', oid: '0'.repeat(40), size: 0, path: 'encoding' }];
    for (const [path, { data, lfs }] of Object.entries(this.files)) {
      const pointer = lfs
        ? { lfs: { oid: sha256(data), size: data.length, pointerSize: 134 }, xetHash: 'f'.repeat(64) }
        : {};
      entries.push({ type: 'file', oid: gitHash(data), size: data.length, path, ...pointer });
    }
    const all = this.entries(entries);
    const start = Number(query.get('cursor') ?? 0);
    const next = start + this.pageSize;
    const link = `<${this.url}/api/models/${this.name}/tree/${this.commit}?recursive=true&cursor=${next}>; rel="next"`;
    json(all.slice(start, next), next < all.length ? { link } : {});
  }

  private resolve(path: string, response: ServerResponse): void {
    const { data, lfs } = this.files[path]!;
    const common = { 'x-repo-commit': this.commit, 'x-linked-size': String(data.length) };
    const encoded = path.split('/').map(encodeURIComponent).join('/');
    if (lfs) {
      const location = `${this.store}/xet/${sha256(data)}?X-Amz-Signature=secret`;
      response.writeHead(302, { ...common, 'x-linked-etag': `"${sha256(data)}"`, location }).end();
    } else {
      const location = `/api/resolve-cache/models/${this.name}/${this.commit}/${encoded}`;
      response.writeHead(307, { ...common, 'x-linked-etag': `"${gitHash(data)}"`, location }).end();
    }
  }
}

/** When a response takes more, or nobody takes it any more. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
}
