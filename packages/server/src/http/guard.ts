import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { ApiError } from '../errors';

const hashOf = (text: string): Buffer => createHash('sha256').update(text).digest();

/** API keys, compared as hashes in constant time. */
export class ApiKeys {
  readonly #hashes: readonly Buffer[];

  constructor(keys: readonly string[]) {
    this.#hashes = keys.map(hashOf);
  }

  /** Whether a key is needed. */
  get required(): boolean {
    return this.#hashes.length > 0;
  }

  /**
   * Name of the key of a request, the same for the same key; the empty text when none is needed.
   * @throws ApiError 401
   */
  check(authorization: string | undefined, xApiKey: string | undefined): string {
    if (!this.required) return '';
    const bearer = /^Bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
    const given = bearer ?? xApiKey ?? '';
    const hash = hashOf(given);
    let found = false;
    for (const known of this.#hashes) found = timingSafeEqual(hash, known) || found; // all of them, always
    if (found && given !== '') return hash.toString('hex', 0, 8);
    const message =
      given === '' ? 'An API key is needed: send "Authorization: Bearer KEY".' : 'The API key is not known here.';
    throw new ApiError(401, 'authentication_error', message, {
      code: 'invalid_api_key',
      headers: { 'www-authenticate': 'Bearer' },
    });
  }
}

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]'];

/** Whether an address is reached from this machine alone. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** The name in a Host header or an origin, lower case and without its port. */
function nameOf(host: string): string {
  return host.toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '');
}

/** What {@link HostGuard} is made from. */
export interface HostGuardOptions {
  /** The address that is listened on. */
  readonly host: string;
  /** Further names under which the server is reached. */
  readonly allowedHosts: readonly string[];
  /** Origins of pages that may use the server; `*` for all. */
  readonly cors: readonly string[];
  readonly hasKeys: boolean;
}

/**
 * Refuses what a page on another site could make a browser send. `Host` must name what is listened on, so that a name that was bound to this
 * address later (DNS rebinding) leads nowhere; a foreign `Origin` must be among those allowed.
 */
export class HostGuard {
  readonly #names: ReadonlySet<string>;
  readonly #origins: ReadonlySet<string>;
  readonly #anyAddress: boolean;
  readonly #anyName: boolean;

  constructor({ host, allowedHosts, cors, hasKeys }: HostGuardOptions) {
    const bracketed = isIP(host) === 6 ? `[${host}]` : host;
    const wildcard = host === '0.0.0.0' || host === '::' || host === '';
    const own = isLoopback(host) ? [] : [hostname(), ...(wildcard ? [] : [bracketed])];
    this.#names = new Set([...LOOPBACK_NAMES, bracketed, ...own, ...allowedHosts].map((name) => name.toLowerCase()));
    this.#origins = new Set(cors);
    this.#anyAddress = wildcard;
    this.#anyName = !isLoopback(host) && hasKeys; // a page that rebinds a name has no key
  }

  /** @throws ApiError 403 */
  checkHost(host: string | undefined): void {
    const name = nameOf(host ?? '');
    if (this.#names.has(name) || (this.#anyName && name !== '')) return;
    const isAddress = isIP(name.replace(/^\[|\]$/g, '')) !== 0;
    if (isAddress && (this.#anyAddress || /^127\./.test(name))) return;
    throw new ApiError(403, 'permission_error', `This server is not known as ${JSON.stringify(name)}.`, {
      code: 'host_not_allowed',
    });
  }

  /**
   * Checks where the page comes from that makes the request; undefined for no page.
   * @returns the origin that the answer must name in its CORS headers, undefined when none
   * @throws ApiError 403
   */
  checkOrigin(origin: string | undefined, host: string | undefined): string | undefined {
    if (origin === undefined) return undefined;
    if (this.#origins.has('*')) return '*';
    if (this.#origins.has(origin)) return origin;
    if (/^https?:\/\//.test(origin) && origin.replace(/^https?:\/\//, '') === host) return undefined;
    throw new ApiError(
      403,
      'permission_error',
      `Pages of ${JSON.stringify(origin.slice(0, 200))} may not use this server.`,
      {
        code: 'origin_not_allowed',
      },
    );
  }
}
