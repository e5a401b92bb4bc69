/** The server as a machine on a network: who may reach it, what it does with broken and hostile clients, how it ends. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FakeEngine } from './fake-engine';
import { serveEngine, user, type Chunk, type Running } from './support';

let running: Running;
let engine: FakeEngine;
const sockets: Socket[] = [];

async function start(options: Parameters<typeof serveEngine>[1] = {}, script = {}): Promise<void> {
  engine = new FakeEngine(script);
  running = await serveEngine(engine, options);
}

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await running.server.close({ timeoutMs: 100 });
});

/** Sends bytes as they are; gives what came back until the connection closed. */
async function raw(...pieces: (string | Uint8Array | number)[]): Promise<string> {
  const socket = open();
  let got = '';
  socket.on('data', (data) => (got += data.toString()));
  socket.on('error', () => undefined);
  const closed = once(socket, 'close');
  for (const piece of pieces) {
    if (typeof piece === 'number') await sleep(piece);
    else if (!socket.destroyed) socket.write(piece);
  }
  await closed;
  return got;
}

function open(): Socket {
  const socket = connect(running.port, '127.0.0.1');
  sockets.push(socket);
  return socket;
}

const request = (body: string, more = ''): string =>
  `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${more}\r\n${body}`;
const hi = JSON.stringify({ messages: user('Hi') });
const streamed = JSON.stringify({ messages: user('Hi'), stream: true });

/** The error in a response as it came over the wire. */
function errorOf(response: string): Chunk['error'] & { status: number } {
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(response)?.[1]);
  return { status, ...(JSON.parse(response.slice(response.indexOf('\r\n\r\n') + 4)) as Chunk).error! };
}

async function until(what: () => boolean): Promise<void> {
  for (let i = 0; !what(); i++) {
    if (i > 1000) throw new Error('waited too long');
    await sleep(5);
  }
}

const health = async (): Promise<number> => (await fetch(`${running.url}/health`)).status;

describe('who may reach it', () => {
  beforeAll(() => undefined);

  it('Host must name what is listened on', async () => {
    await start({ allowedHosts: ['models.example.com'] });
    const get = async (host: string): Promise<string> =>
      raw(`GET /v1/models HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`);
    for (const host of [
      'localhost',
      `localhost:${running.port}`,
      '127.0.0.1:1',
      '[::1]:99',
      'models.example.com',
      'LOCALHOST',
    ]) {
      expect(await get(host), host).toMatch(/^HTTP\/1\.1 200/);
    }
    for (const host of ['evil.example', 'localhost.evil.example', '10.0.0.1', 'models.example.com.evil', '0.0.0.0']) {
      expect(await get(host), host).toMatch(/^HTTP\/1\.1 403[^]*host_not_allowed/);
    }
    const without = await raw('GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n');
    expect(errorOf(without)).toMatchObject({ status: 400, type: 'invalid_request_error' });
    expect(await raw('GET /v1/models HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.[01] 200/); // had no such header
  });

  it('a foreign page is refused, and there is no CORS', async () => {
    await start();
    for (const origin of ['https://evil.example', 'null', `http://localhost.evil.example`, 'http://127.0.0.1:1']) {
      for (const method of ['GET', 'OPTIONS']) {
        const response = await fetch(`${running.url}/v1/models`, { method, headers: { origin } });
        expect(response.status, origin).toBe(403);
        expect(((await response.json()) as Chunk).error).toMatchObject({ code: 'origin_not_allowed' });
        expect(response.headers.get('access-control-allow-origin')).toBeNull();
      }
    }
    const own = await fetch(`${running.url}/v1/models`, { headers: { origin: running.url } });
    expect([own.status, own.headers.get('access-control-allow-origin')]).toEqual([200, null]);
  });

  it('an origin that is named gets its headers, others do not', async () => {
    await start({ cors: ['https://chat.example.com'], apiKeys: ['k'] });
    const headers = { origin: 'https://chat.example.com' };
    const preflight = await fetch(`${running.url}/v1/chat/completions`, {
      method: 'OPTIONS',
      headers: { ...headers, 'access-control-request-method': 'POST' },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-headers')).toContain('authorization');
    // Clients in pages send headers of their own; one that is not allowed would keep the request from being made.
    const asked = 'authorization, content-type, x-stainless-os, x-stainless-retry-count';
    const other = await fetch(`${running.url}/v1/chat/completions`, {
      method: 'OPTIONS',
      headers: { ...headers, 'access-control-request-headers': asked },
    });
    expect(other.headers.get('access-control-allow-headers')).toBe(asked);
    expect(other.headers.get('access-control-allow-methods')).toContain('POST');
    expect(other.headers.get('vary')).toContain('origin');
    const response = await running.post('/v1/chat/completions', hi, { ...headers, authorization: 'Bearer k' });
    expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([200, headers.origin]);
    const refused = await running.post('/v1/chat/completions', hi, headers);
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([401, headers.origin]);
    expect((await fetch(`${running.url}/health`, { headers: { origin: 'https://evil.example' } })).status).toBe(403);
  });
});

describe('methods', () => {
  const head = async (path: string): Promise<string> =>
    raw(`HEAD ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`);

  it('HEAD is GET without the body', async () => {
    await start();
    for (const path of ['/health', '/', '/v1/models', '/v1/models/tiny', '/metrics']) {
      expect(await head(path), path).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*content-type: [^]*\r\n\r\n$/i);
    }
    expect(await head('/v1/chat/completions')).toMatch(/^HTTP\/1\.1 405 [^]*allow: POST\r\n[^]*\r\n\r\n$/i);
    expect(await head('/nothing')).toMatch(/^HTTP\/1\.1 404 [^]*\r\n\r\n$/);
  });

  it('OPTIONS without a page is a method like others', async () => {
    await start();
    const response = await fetch(`${running.url}/v1/chat/completions`, { method: 'OPTIONS' });
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST']);
    expect(((await response.json()) as Chunk).error).toMatchObject({ type: 'invalid_request_error', code: null });
  });
});

describe('broken and hostile clients', () => {
  it('headers that come slowly, and a body that does not come, end with 408', async () => {
    await start({ headersTimeoutMs: 300, requestTimeoutMs: 600 });
    const [slow, half, silent] = await Promise.all([
      raw('GET /health HTTP/1.1\r\n', 200, 'x-a: 1\r\n', 200, 'x-b: 1\r\n'),
      raw(request(hi).slice(0, -5)),
      raw(''),
    ]);
    for (const response of [slow, half])
      expect(errorOf(response)).toMatchObject({ status: 408, type: 'invalid_request_error' });
    expect(silent === '' || errorOf(silent).status === 408).toBe(true);
    expect([await health(), engine.requests.length]).toEqual([200, 0]);
  });

  it('what is no HTTP, and headers that are too large, are answered in JSON', async () => {
    await start();
    expect(errorOf(await raw('this is not http\r\n\r\n')).status).toBe(400);
    expect(errorOf(await raw(`GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`)).status).toBe(
      431,
    );
    const expecting = 'POST / HTTP/1.1\r\nhost: localhost\r\nexpect: a miracle\r\ncontent-length: 2\r\n\r\n{}';
    expect(errorOf(await raw(expecting))).toMatchObject({ status: 417, type: 'invalid_request_error' });
    const smuggled = request(hi, 'transfer-encoding: chunked\r\n');
    expect(errorOf(await raw(smuggled)).status).toBe(400);
    expect(errorOf(await raw('GET http://[bad HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')).status).toBe(
      400,
    );
    expect(await health()).toBe(200);
  });

  it('a body that is too large is refused by its length, or as soon as it is too long', async () => {
    await start({ maxBodyBytes: 10_000 });
    const announced = await raw(
      'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000000000\r\n\r\n',
    );
    expect(errorOf(announced)).toMatchObject({ status: 413, code: 'request_too_large' });
    const head =
      'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n';
    const chunk = `1000\r\n${'a'.repeat(0x1000)}\r\n`;
    expect(errorOf(await raw(head, chunk, chunk, chunk, chunk))).toMatchObject({ status: 413 });
    expect(await health()).toBe(200);
  });

  it('half a body and a client that leaves harm nobody', async () => {
    await start();
    for (let i = 0; i < 20; i++) {
      const socket = open();
      socket.on('error', () => undefined);
      socket.write(request(hi).slice(0, -1 - i));
      await sleep(1);
      socket.destroy();
    }
    await until(() => running.events.filter(({ event, status }) => event === 'request' && status === 499).length >= 15);
    expect([await health(), engine.requests.length]).toEqual([200, 0]);
    expect((await running.post('/v1/chat/completions', hi)).status).toBe(200);
  });

  it.each([
    ['in its prompt', streamed, { prefillMs: 60_000 }],
    ['in its stream', streamed, { open: true, tokenMs: 5 }],
    ['while it waits for a whole answer', hi, { open: true, tokenMs: 5 }],
    ['while it waits in its prompt', hi, { prefillMs: 60_000 }],
  ])('a client that goes away %s ends its request', async (_, body, script) => {
    await start({}, script);
    const socket = open();
    socket.write(request(body));
    await until(() => engine.requests.length === 1);
    await sleep(20);
    socket.destroy();
    await until(() => engine.cancelled.length === 1 && engine.running === 0);
    await until(() => running.events.some(({ event, status }) => event === 'request' && status === 499));
    expect(await (await fetch(`${running.url}/metrics`)).text()).toContain('status="499"} 1');
  });

  it('a client that does not read is given up, and others are served', async () => {
    await start({ maxUnsentBytes: 200_000 }, { open: true, says: () => 'word' });
    const socket = open();
    socket.write(request(JSON.stringify({ messages: user('Hi'), stream: true, max_tokens: 2000, n: 100 })));
    socket.pause();
    await until(() => engine.running === 1);
    engine.script = {};
    expect((await running.post('/v1/chat/completions', hi)).status).toBe(200);
    await until(() => engine.running === 0);
    expect(engine.cancelled).toHaveLength(1);
    expect(running.events.find(({ reason }) => reason === 'the client does not read')).toBeDefined();
  });

  it('a client that stalls is given up by time', async () => {
    await start({ stallMs: 100 }, { open: true, says: () => 'word', tokenMs: 1 });
    const socket = open();
    socket.write(request(JSON.stringify({ messages: user('Hi'), stream: true, max_tokens: 2000, n: 100 })));
    socket.pause();
    await until(() => engine.cancelled.length === 1);
    expect(await health()).toBe(200);
  });

  it('connections beyond the limit are closed, those within it go on', async () => {
    await start({ maxConnections: 50 });
    const idle = Array.from({ length: 49 }, open);
    await Promise.all(idle.map((socket) => once(socket, 'connect')));
    await sleep(20);
    expect(await health()).toBe(200);
    const more = Array.from({ length: 30 }, open);
    for (const socket of more) socket.on('error', () => undefined);
    await Promise.all(more.slice(2).map((socket) => once(socket, 'close')));
    for (const socket of [...idle, ...more]) socket.destroy();
    await sleep(20);
    expect(await health()).toBe(200);
  });
});

/** The body of a response that came in chunks of HTTP, and what came after it. */
function unchunk(text: string): { readonly body: string; readonly rest: string } {
  let bytes = Buffer.from(text);
  let body = '';
  for (;;) {
    const end = bytes.indexOf('\r\n');
    const length = parseInt(bytes.toString('latin1', 0, end), 16);
    const next = end + 2 + length;
    expect(bytes.toString('latin1', next, next + 2)).toBe('\r\n');
    body += bytes.toString('utf8', end + 2, next);
    bytes = bytes.subarray(next + 2);
    if (length === 0) return { body, rest: bytes.toString() };
  }
}

describe('a stream over the wire', () => {
  const says = (): string => 'Grüße, 世界 😀!';
  const content = (body: string): string =>
    body
      .split('\n\n')
      .filter((line) => line.startsWith('data: {'))
      .map((line) => (JSON.parse(line.slice(6)) as Chunk).choices[0]!.delta.content ?? '')
      .join('');

  it('two that are asked for at once on one connection come one after the other, whole', async () => {
    await start({}, { says, tokenMs: 5 });
    const streamedAnswer = JSON.stringify({ messages: user('Hi'), stream: true, thinking: false });
    const got = await raw(request(streamedAnswer) + request(streamedAnswer, 'connection: close\r\n'));
    const heads = got.split('\r\n\r\n');
    expect(heads[0]).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*transfer-encoding: chunked/i);
    const first = unchunk(got.slice(got.indexOf('\r\n\r\n') + 4));
    expect(first.rest).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*connection: close/i);
    const second = unchunk(first.rest.slice(first.rest.indexOf('\r\n\r\n') + 4));
    expect(second.rest).toBe('');
    for (const { body } of [first, second]) {
      expect(content(body)).toBe(says());
      expect(body).toMatch(/data: \[DONE\]\n\n$/);
    }
  });

  it('to a client of HTTP/1.0 has no chunks and ends with the connection', async () => {
    await start({}, { says });
    const streamedAnswer = JSON.stringify({ messages: user('Hi'), stream: true, thinking: false });
    const got = await raw(request(streamedAnswer).replace('HTTP/1.1', 'HTTP/1.0'));
    const body = got.slice(got.indexOf('\r\n\r\n') + 4);
    expect(got).not.toMatch(/transfer-encoding/i);
    expect(body).toMatch(/^data: \{[^]*\n\ndata: \[DONE\]\n\n$/);
    expect(content(body)).toBe(says());
  });

  it('has the headers of the request id and of CORS, and the same events without a socket', async () => {
    await start({ cors: ['https://chat.example.com'] }, { says });
    const init = {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        host: 'localhost',
        origin: 'https://chat.example.com',
        'x-request-id': 'abc-1',
      },
      body: JSON.stringify({ messages: user('Hi'), stream: true, thinking: false }),
    };
    const path = '/v1/chat/completions';
    const plain = (text: string): string => text.replace(/("id":")[^"]*/g, '$1').replace(/("created":)\d+/g, '$10');
    const responses = [await fetch(running.url + path, init), await running.server.fetch(new Request(`http://localhost${path}`, init))]; // prettier-ignore
    const bodies: string[] = [];
    for (const response of responses) {
      expect(response.headers.get('x-request-id')).toBe('abc-1');
      expect(response.headers.get('access-control-allow-origin')).toBe('https://chat.example.com');
      expect(response.headers.get('vary')).toBe('origin');
      expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
      bodies.push(plain(await response.text()));
    }
    expect(content(bodies[0]!)).toBe(says());
    expect(bodies[1]).toBe(bodies[0]);
  });
});

describe('streams over a slow prompt', () => {
  it('have a comment now and then until the first token, and none after', async () => {
    await start({ keepAliveMs: 20 }, { prefillMs: 200, tokenMs: 30 });
    const text = await (await running.post('/v1/chat/completions', streamed)).text();
    const lines = text.split('\n\n');
    const comments = lines.filter((line) => line.startsWith(':'));
    const total = engine.requests[0]!.tokenIds!.length;
    expect(comments.length).toBeGreaterThan(3);
    expect(comments.every((line) => new RegExp(`^: prefill \\d+/(${total}|0)$`).test(line))).toBe(true);
    const first = lines.findIndex((line) => line.startsWith('data:'));
    expect(lines.slice(first).some((line) => line.startsWith(':'))).toBe(false);
  });

  it('begin at once: status and headers do not wait for the prompt', async () => {
    await start({}, { prefillMs: 60_000 });
    const abort = new AbortController();
    const response = await running.post('/v1/chat/completions', streamed, {}, abort.signal);
    expect([response.status, engine.running]).toEqual([200, 1]);
    abort.abort();
    await until(() => engine.running === 0);
  });
});

describe('its end', () => {
  it('lets answers under way end, refuses others, and closes', async () => {
    await start({}, { tokenMs: 20 });
    const whole = running.post('/v1/chat/completions', hi);
    const stream = await running.post('/v1/chat/completions', streamed);
    await until(() => engine.running === 2);
    const closing = running.server.close({ timeoutMs: 10_000 });
    const refused = await running.post('/v1/chat/completions', hi);
    expect([refused.status, ((await refused.json()) as Chunk).error!.code]).toEqual([503, 'stopping']);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    const down = await fetch(`${running.url}/health`);
    expect([down.status, ((await down.json()) as { status: string }).status]).toEqual([503, 'stopping']);
    expect(((await (await whole).json()) as Chunk).choices[0]!.finish_reason).toBe('stop');
    expect((await stream.text()).trimEnd()).toMatch(/data: \[DONE\]$/);
    await closing;
    await expect(fetch(running.url)).rejects.toThrow();
    expect(running.server.status).toBe('stopped');
  });
});

describe('an engine that dies', () => {
  it('gives those under way an error, others a 503, and is started again', async () => {
    await start(
      {},
      {
        tokenMs: 5,
        open: true,
        failAfter: { tokens: 20, error: Object.assign(new Error('killed'), { code: 'ERR_WORKER' }) },
      },
    );
    let letGo = (): void => undefined;
    const wait = new Promise<void>((resolve) => (letGo = resolve));
    engine.restart = async () => {
      await wait;
      engine.restarts++;
      engine.status = 'ready';
    };
    const stream = await running.post('/v1/chat/completions', streamed);
    await until(() => engine.running === 1);
    engine.status = 'failed';
    const text = await stream.text();
    expect(text).toMatch(/"error":\{"message":"The engine has ended unexpectedly/);
    expect(text.trimEnd()).toMatch(/data: \[DONE\]$/);
    const refused = await running.post('/v1/chat/completions', hi);
    expect([refused.status, ((await refused.json()) as Chunk).error!.code]).toEqual([503, 'loading']);
    expect(await health()).toBe(503);
    // Counters go on where the one that died had left them, and count it once.
    const counted = async (): Promise<string> =>
      /\nmegamoe_prompt_tokens_total (\d+)/.exec(await (await fetch(`${running.url}/metrics`)).text())![1]!;
    expect(await counted()).toBe('7');
    const steps = async (): Promise<string[]> =>
      (await (await fetch(`${running.url}/metrics`)).text())
        .split('\n')
        .filter((line) => /^megamoe_iteration_tokens_total_(bucket\{le="(1|8|16|\+Inf)"|sum|count)/.test(line))
        .map((line) => line.split(' ')[1]!);
    expect(await steps()).toEqual(['1', '1', '3', '3', '16', '3']); // 7 of a prompt and 9 sampled
    engine.script = {};
    letGo();
    await until(() => engine.restarts === 1);
    await sleep(10);
    expect(await health()).toBe(200);
    expect([await counted(), await counted()]).toEqual(['14', '14']);
    expect(await steps()).toEqual(['2', '2', '6', '6', '32', '6']);
    expect((await running.post('/v1/chat/completions', hi)).status).toBe(200);
  });
});
