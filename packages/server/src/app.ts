import { Hono } from 'hono';
import { randomUUID } from 'node:crypto';
import type { AppContext, AppEnv, ServerContext } from './context';
import { ApiError, badRequest, ClientGone, serverError } from './errors';
import { ApiKeys, HostGuard } from './http/guard';
import { chatCompletions } from './openai/chat';
import { completions } from './openai/completions';
import { listModels, oneModel } from './openai/models';
import { detokenize, tokenize } from './openai/tokenize';

type Handler = (context: ServerContext, c: AppContext) => Response | Promise<Response>;

/** Every route by its method. */
const ROUTES: readonly (readonly ['GET' | 'POST', string, Handler])[] = [
  ['GET', '/', root],
  ['GET', '/health', health],
  ['GET', '/metrics', metrics],
  ['GET', '/v1/models', listModels],
  ['GET', '/v1/models/:id{.+}', oneModel],
  ['POST', '/v1/chat/completions', chatCompletions],
  ['POST', '/v1/completions', completions],
  ['POST', '/tokenize', tokenize],
  ['POST', '/detokenize', detokenize],
];

/** Routes that need no key. */
const OPEN = new Set(['/', '/health']);
/** Routes that are asked every few seconds: not in the log. */
const QUIET = new Set(['/health', '/metrics']);

const REQUEST_ID = /^[\w.:-]{1,128}$/;

/** What answers to requests. */
export function createApp(context: ServerContext): Hono<AppEnv> {
  const { host, apiKeys, allowedHosts, cors } = context.settings;
  const keys = new ApiKeys(apiKeys);
  const guard = new HostGuard({ host, allowedHosts, cors, hasKeys: keys.required });
  const app = new Hono<AppEnv>();

  app.use(async (c, next) => {
    begin(context, c);
    await next();
    for (const [name, value] of Object.entries(c.get('headers'))) c.res.headers.set(name, value);
    if (!c.get('isStreaming')) c.get('ended')(c.res.status);
  });
  app.use(async (c, next) => {
    const host = c.req.header('host');
    if (host === undefined && c.env?.incoming?.httpVersion === '1.1') throw badRequest('The header "host" is missing.');
    const named = host ?? new URL(c.req.url).host;
    guard.checkHost(named);
    const origin = guard.checkOrigin(c.req.header('origin'), named);
    if (origin !== undefined && c.req.method === 'OPTIONS')
      return preflight(origin, c.req.header('access-control-request-headers'));
    if (origin !== undefined) {
      c.get('headers')['access-control-allow-origin'] = origin;
      c.get('headers')['vary'] = 'origin';
      c.get('headers')['access-control-expose-headers'] = 'x-request-id, retry-after';
    }
    return next();
  });
  app.use(async (c, next) => {
    const needed = !OPEN.has(c.req.path);
    c.set('keyId', needed ? keys.check(c.req.header('authorization'), c.req.header('x-api-key')) : '');
    await next();
  });
  for (const [method, path, handler] of ROUTES) app.on(method, path, (c) => handler(context, c));
  for (const [method, path] of ROUTES) {
    app.all(path, (c) => {
      const allow = method === 'GET' ? 'GET, HEAD' : method;
      const message = `${c.req.method} is not for ${c.req.path}; use ${allow}.`;
      throw new ApiError(405, 'invalid_request_error', message, { headers: { allow } });
    });
  }
  app.notFound((c) => errorResponse(notFound(c.req.method, c.req.path)));
  app.onError((error, c) => {
    if (error instanceof ClientGone) {
      c.get('notes')['status'] = 499;
      return new Response(null, { status: 499 });
    }
    const failure = serverError(error);
    if (failure.status === 500)
      context.settings.log('error', 'failed', { id: c.get('requestId'), error: failure.message });
    Object.assign(c.get('notes'), { error: failure.message, code: failure.code });
    return errorResponse(failure);
  });
  return app;
}

/** 404 for a route. */
function notFound(method: string, path: string): ApiError {
  const message = `There is nothing at ${method} ${path.slice(0, 200)}.`;
  return new ApiError(404, 'not_found_error', message);
}

/** An error as a response. */
export function errorResponse(error: ApiError): Response {
  const headers = { 'content-type': 'application/json', ...error.headers };
  return new Response(JSON.stringify(error), { status: error.status, headers });
}

/** Gives a request its id, and what it is logged and counted with. */
function begin(context: ServerContext, c: AppContext): void {
  const started = performance.now();
  const given = c.req.header('x-request-id') ?? '';
  const id = REQUEST_ID.test(given) ? given : `req_${randomUUID().replaceAll('-', '')}`;
  const { method, path } = c.req;
  const known = ROUTES.some(([, route]) => route === path)
    ? path
    : path.startsWith('/v1/models/')
      ? '/v1/models/'
      : 'other';
  let isEnded = false;
  c.set('requestId', id);
  c.set('headers', { 'x-request-id': id });
  c.set('keyId', '');
  c.set('notes', {});
  c.set('isStreaming', false);
  c.set('ended', (status, fields = {}) => {
    if (isEnded) return;
    isEnded = true;
    context.metrics.response(known, status);
    if (QUIET.has(path)) return;
    const ms = Math.round(performance.now() - started);
    const level = status >= 500 ? 'error' : 'info';
    context.settings.log(level, 'request', {
      id,
      method,
      path: path.slice(0, 200),
      status,
      ms,
      ...c.get('notes'),
      ...fields,
    });
  });
}

const USUAL_HEADERS = 'authorization, content-type, x-api-key, x-request-id';

/** What a page may send: the headers that it asks for, as clients have many of their own (`x-stainless-os`, ...). */
function preflight(origin: string, asked = USUAL_HEADERS): Response {
  return new Response(null, {
    status: 204,
    headers: {
      'access-control-allow-origin': origin,
      'access-control-allow-methods': 'GET, HEAD, POST, OPTIONS',
      'access-control-allow-headers': asked,
      'access-control-max-age': '600',
      vary: 'origin, access-control-request-headers',
    },
  });
}

function root(context: ServerContext, c: AppContext): Response {
  return c.json({ name: 'megamoe', status: context.host.status });
}

/** 200 when requests are taken in, else 503 and why. */
function health({ host }: ServerContext, c: AppContext): Response {
  host.check();
  if (host.status === 'ready') return c.json({ status: 'ok' });
  const error = host.unready();
  return c.json({ status: error.code, ...error.toJSON() }, 503, { ...error.headers });
}

async function metrics(context: ServerContext, c: AppContext): Promise<Response> {
  return c.body(await context.metrics.text(), 200, { 'content-type': context.metrics.contentType });
}
