import { getRequestListener } from '@hono/node-server';
import type { Hono } from 'hono';
import { checkNumber, checkObject, describe, KindError } from '@megamoe/core';
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { createApp, errorResponse } from './app';
import { ServerContext, type AppEnv } from './context';
import { EngineHost, type ServerStatus } from './engine-host';
import { ApiError, badRequest } from './errors';
import { Metrics } from './metrics';
import { resolveOptions, type ServerOptions, type ServerSettings } from './options';
import type { Served } from './served';

/** Most bytes of a request's headers. */
const MAX_HEADER_BYTES = 16 * 1024;
/** How often Node looks for requests that take too long to come. */
const CHECK_MS = 1000;
/** How long a connection may wait for its next request. */
const KEEP_ALIVE_MS = 15_000;

/** Where a server listens. */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  readonly url: string;
}

/** A server: what answers, and the life around it. */
export class MegamoeServer {
  readonly #settings: ServerSettings;
  readonly #host: EngineHost;
  readonly #app: Hono<AppEnv>;
  readonly #http: Server;
  #closing: Promise<void> | undefined;

  /** @param tokenizerWorker what runs in the tokenizer's thread; default: what has been built beside this module */
  constructor(options: ServerOptions, tokenizerWorker?: URL) {
    this.#settings = resolveOptions(options);
    const { open, log, maxBodyBytes } = this.#settings;
    this.#host = new EngineHost(open, log, { maxCharacters: 8 * maxBodyBytes, tokenizerWorker });
    this.#app = createApp(new ServerContext(this.#settings, this.#host, new Metrics(this.#host)));
    this.#http = this.#createHttp();
  }

  get status(): ServerStatus {
    return this.#host.status;
  }

  /** Answers a request without a socket: for tests, and for servers of one's own. */
  fetch(request: Request): Response | Promise<Response> {
    if (!(request instanceof Request))
      throw new KindError(`MegamoeServer.fetch: "request" must be a Request, got ${describe(request)}`);
    return this.#app.fetch(request, {});
  }

  /** Listens, and then loads the model: until it is there, requests get a 503. @throws what listening throws (port in use) */
  async listen(): Promise<ServerAddress> {
    const { host, port } = this.#settings;
    await new Promise<void>((resolve, reject) => {
      this.#http.once('error', reject);
      this.#http.listen(port, host, () => {
        this.#http.off('error', reject);
        resolve();
      });
    });
    const bound = this.#http.address() as AddressInfo;
    const name = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address;
    return { host: bound.address, port: bound.port, url: `http://${name}:${bound.port}` };
  }

  /** Loads the model; requests are taken in when it is there. @throws what `open` throws */
  load(): Promise<Served> {
    return this.#host.start();
  }

  /**
   * Ends: new requests get a 503, those under way may end within `timeoutMs`, then what is left ends with an error. Twice is fine.
   */
  async close(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    checkObject('MegamoeServer.close', 'options', options);
    const { timeoutMs = 30_000 } = options;
    checkNumber('MegamoeServer.close', 'timeoutMs', timeoutMs, 0);
    this.#closing ??= this.#close(timeoutMs);
    return this.#closing;
  }

  async #close(timeoutMs: number): Promise<void> {
    this.#settings.log('info', 'stopping', { timeout_ms: timeoutMs });
    await this.#host.stop(timeoutMs);
    const { promise, resolve } = withResolvers();
    this.#http.close(() => resolve());
    this.#http.closeIdleConnections();
    const late = setTimeout(() => this.#http.closeAllConnections(), 1000);
    if (this.#http.listening) await promise;
    clearTimeout(late);
    this.#settings.log('info', 'stopped');
  }

  #createHttp(): Server {
    const { maxConnections, headersTimeoutMs, requestTimeoutMs } = this.#settings;
    const listener = getRequestListener((request, env) => this.#app.fetch(request, env as AppEnv['Bindings']), {
      overrideGlobalObjects: false,
      hostname: 'localhost',
      errorHandler: (error) => errorResponse(badRequest(error instanceof Error ? error.message : 'Bad request')),
    });
    const http = createHttpServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: Math.min(headersTimeoutMs, requestTimeoutMs),
        requestTimeout: requestTimeoutMs,
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectionsCheckingInterval: CHECK_MS,
        requireHostHeader: false, // Node's own answer has no body: the application asks for it
      },
      (incoming: IncomingMessage, outgoing: ServerResponse) => void listener(incoming, outgoing),
    );
    http.maxConnections = maxConnections;
    http.on('checkExpectation', (_: IncomingMessage, outgoing: ServerResponse) => expectNothing(outgoing));
    http.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => refuse(error, socket));
    return http;
  }
}

function withResolvers(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((r) => (resolve = r));
  return { promise, resolve };
}

/** An expectation other than 100-continue, which Node meets itself. */
function expectNothing(outgoing: ServerResponse): void {
  const message = 'The header "expect" may say 100-continue only.';
  const body = JSON.stringify(new ApiError(417, 'invalid_request_error', message));
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    connection: 'close',
  };
  outgoing.writeHead(417, headers).end(body);
}

/** What Node's parser refuses, in the words of the API. */
function refuse(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || socket.destroyed || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const [status, text, message] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? ([431, 'Request Header Fields Too Large', `The headers are larger than ${MAX_HEADER_BYTES} bytes.`] as const)
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? ([408, 'Request Timeout', 'The request took too long to come.'] as const)
        : ([400, 'Bad Request', 'This is not HTTP.'] as const);
  const body = JSON.stringify(new ApiError(status, 'invalid_request_error', message));
  socket.end(
    `HTTP/1.1 ${status} ${text}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

/** Makes a server. @throws KindError, ValueError for options that cannot be */
export function createServer(options: ServerOptions): MegamoeServer {
  return new MegamoeServer(options);
}
