import { checkObject } from '@megamoe/core';
import { HubError, PassingError, printable } from './errors';
import { orAborted, persist, waitOf, watchdog, type RetryPolicy } from './retry';

/** What the Hub says about a file on the way to it. */
export interface FileFacts {
  commit?: string;
  linkedEtag?: string;
  linkedSize?: number;
}

/** An answer to read, with what the hops before it said. */
export interface Answer {
  readonly response: Response;
  readonly facts: FileFacts;
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const PASSING: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 524, 529]);
const MAX_HOPS = 10;

/** An address without its query, which may hold a signature that nobody else should see. */
const shown = (url: URL): string => `${url.origin}${printable(url.pathname)}`;

/** Causes of `fetch failed` that no second attempt mends: a certificate that is not trusted. */
const CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER/;

/** `fetch failed` hides what failed in its cause. */
function networkError(url: URL, e: unknown): Error {
  const cause = e instanceof Error && e.cause instanceof Error ? e.cause : e;
  const { code, message } = cause as { code?: string; message?: string };
  const text = `${shown(url)}: ${code ?? printable(message ?? String(e))}`;
  return CERTIFICATE.test(code ?? '')
    ? new HubError(
        `${text}: its certificate is not trusted here (NODE_EXTRA_CA_CERTS names a file of more authorities)`,
        { cause: e },
      )
    : new PassingError(`${text}: cannot be reached`, undefined, { cause: e });
}

/** Requests to one endpoint for one model: redirects followed, the token kept to the endpoint, refusals put into words. */
export class HubClient {
  private readonly origin: string;

  constructor(
    readonly endpoint: string,
    private readonly name: string,
    private readonly token: string | undefined,
    private readonly fetcher: typeof fetch,
    readonly policy: RetryPolicy,
  ) {
    this.origin = new URL(endpoint).origin;
  }

  /**
   * One attempt at a request.
   * @param accept statuses besides 200 and 206 that are an answer
   * @throws PassingError for what may be better later, HubError for what will not
   */
  async open(
    address: string,
    headers: Record<string, string>,
    signal: AbortSignal,
    accept: readonly number[] = [],
  ): Promise<Answer> {
    const facts: FileFacts = {};
    let url = new URL(address);
    let trusted = true; // once elsewhere, the token is not sent again, wherever that place sends us
    for (let hop = 0; hop <= MAX_HOPS; hop++) {
      trusted &&= url.origin === this.origin;
      const authorization = trusted && this.token !== undefined ? { authorization: `Bearer ${this.token}` } : {};
      let response: Response;
      try {
        // Identity: a range of a compressed body is no range of the file.
        const sent = { 'accept-encoding': 'identity', 'user-agent': 'megamoe', ...headers, ...authorization };
        response = await orAborted(this.fetcher(url, { headers: sent, redirect: 'manual', signal }), signal);
        checkObject('pullModel', 'fetch(...)', response);
      } catch (e) {
        if (signal.aborted) throw signal.reason;
        throw networkError(url, e);
      }
      if (trusted) note(facts, response.headers);
      const { status } = response;
      if (status === 200 || status === 206 || accept.includes(status)) return { response, facts };
      void response.body?.cancel().catch(() => undefined); // not waited for: it may never be answered
      if (!REDIRECTS.has(status)) throw this.refusal(url, response);
      url = this.next(url, response);
    }
    throw new HubError(`${shown(new URL(address))}: more than ${MAX_HOPS} redirects`);
  }

  /** A request whose body is small, tried until it succeeds. Never the server's word alone: what fails is an error of ours. */
  async text(address: string, headers: Record<string, string>): Promise<Response> {
    const { signal, stallMs } = this.policy;
    return persist(async () => {
      const watch = watchdog(signal, stallMs);
      try {
        const { response } = await this.open(address, headers, watch.signal);
        const body = await orAborted(response.text(), watch.signal);
        return new Response(body, { status: 200, headers: response.headers });
      } catch (e) {
        signal.throwIfAborted();
        if (e instanceof HubError || (e instanceof PassingError && !watch.stalled())) throw e;
        throw watch.stalled()
          ? new PassingError(`${shown(new URL(address))}: nothing came for ${stallMs / 1000} s`)
          : networkError(new URL(address), e);
      } finally {
        watch.end();
      }
    }, this.policy);
  }

  private next(from: URL, response: Response): URL {
    const location = response.headers.get('location');
    let url: URL | undefined;
    try {
      url = new URL(location ?? '', from);
    } catch {
      url = undefined;
    }
    if (location === null || url === undefined || !/^https?:$/.test(url.protocol) || url.username || url.password)
      throw new HubError(`${shown(from)}: redirects to what is no address: "${printable(location ?? '')}"`);
    if (from.protocol === 'https:' && url.protocol === 'http:')
      throw new HubError(`${shown(from)}: redirects to ${shown(url)}, which is not encrypted; not followed`);
    return url;
  }

  /** What a status means here. The Hub says in `X-Error-Code` which of several it is. */
  private refusal(url: URL, { status, headers }: Response): Error {
    const why = headers.get('x-error-message');
    const said = `HTTP ${status}${why ? `: ${printable(why)}` : ''}`;
    if (PASSING.has(status)) return new PassingError(`${shown(url)}: ${said}`, waitOf(headers));
    const { name, endpoint } = this;
    if (url.origin !== this.origin) {
      // A store of the Hub's: its addresses are signed and expire, and each attempt gets a new one.
      return status === 400 || status === 403
        ? new PassingError(`${shown(url)}: ${said}`)
        : new HubError(`${shown(url)}: ${said}`, { status });
    }
    const code = headers.get('x-error-code');
    const login =
      this.token === undefined
        ? 'set HF_TOKEN, or log in with "hf auth login"'
        : 'the token that was sent has no access';
    const text =
      code === 'GatedRepo'
        ? `${name} is gated: ask for access at ${endpoint}/${name}, then ${login} (${said})`
        : code === 'RevisionNotFound'
          ? `${name} has no such revision at ${endpoint} (${said})`
          : code === 'EntryNotFound'
            ? `${name}: ${shown(url)} is not there (${said})`
            : status === 401 || code === 'RepoNotFound' || status === 404
              ? `${name} is not at ${endpoint}, or it is private: check the name; if it is right, ${login} (${said})`
              : status === 403
                ? `${name}: access is denied: ${login} (${said})`
                : `${shown(url)}: ${said}`;
    return new HubError(text, { status });
  }
}

const etagText = (text: string): string => text.replace(/^W\//, '').replaceAll('"', '');

function note(facts: FileFacts, headers: Headers): void {
  const commit = headers.get('x-repo-commit');
  const etag = headers.get('x-linked-etag');
  const size = headers.get('x-linked-size');
  if (commit !== null) facts.commit ??= commit;
  if (etag !== null) facts.linkedEtag ??= etagText(etag);
  if (size !== null && /^\d+$/.test(size)) facts.linkedSize ??= Number(size);
}
