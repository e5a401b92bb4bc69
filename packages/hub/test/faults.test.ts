import { sha256, type HubServerFault, type HubServerRequest } from '@megamoe/testkit';
import type { ServerResponse } from 'node:http';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { contents, errorOf, expected, FILES, hubServer, leftovers, pull, SHARD_1, temporaryFolder } from './support';

const server = hubServer();
const DATA = FILES[SHARD_1]!.data;
const HASH = sha256(DATA);
/** Enough for one that fails beside one that does not. */
const FEW = ['config.json', SHARD_1];

/** Misbehaves for the content of the first shard. */
const onShard =
  (f: (request: HubServerRequest, response: ServerResponse) => Promise<unknown> | boolean): HubServerFault =>
  async (request, response) =>
    request.path === `/xet/${HASH}` && (await f(request, response)) !== false;

const answer = (response: ServerResponse, status: number, headers: Record<string, string> = {}): true =>
  !!response.writeHead(status, headers).end();

/** Puts the beginning of the first shard into a cache, as an interrupted pull does. */
function begin(cache: string, bytes: Uint8Array): void {
  const blobs = join(cache, 'models--org--name', 'blobs');
  mkdirSync(blobs, { recursive: true });
  writeFileSync(join(blobs, `${HASH}.megamoe.incomplete`), bytes);
}

const wrongBytes = DATA.map((x) => x ^ 1);

interface Case {
  readonly fault?: HubServerFault;
  /** What an earlier pull has left. */
  readonly begun?: Uint8Array;
  /** Where the requests for the shard begin; after a cut at most there: what a connection had not handed over is lost with it. */
  readonly from: (number | undefined)[];
  /** Silence after which a connection is given up, where the case is about that; else so long that a busy machine does not get there. */
  readonly stallMs?: number;
  readonly notice?: RegExp;
}

it.each<[string, Case]>([
  [
    'cut in the middle, again and again',
    {
      fault: onShard(
        ({ from, before }, r) => before < 5 && server.send({ from }, r, DATA, { cutAt: 70_000 * (before + 1) }),
      ),
      from: [undefined, 70_000, 140_000, 210_000, 280_000, 350_000],
      notice: /cut at \d+ of 400000 bytes \(/,
    },
  ],
  [
    'cut before the first byte',
    {
      fault: onShard(({ before }, r) => before < 2 && !!r.destroy()),
      from: [undefined, undefined, undefined],
    },
  ],
  [
    'ended early without a length',
    {
      fault: onShard(
        ({ before }, r) =>
          before === 0 && !!r.writeHead(200, { 'transfer-encoding': 'chunked' }).end(DATA.subarray(0, 1000)),
      ),
      from: [undefined, 1000],
      notice: /ended at 1000 of 400000 bytes/,
    },
  ],
  [
    'a server that ignores Range, and is cut later on',
    {
      begun: DATA.slice(0, 100_000),
      fault: onShard(({ before }, r) =>
        server.send({ from: undefined }, r, DATA, before === 0 ? { cutAt: 250_000 } : {}),
      ),
      from: [100_000, 250_000],
      notice: /cut at \d+ of 400000 bytes \(/,
    },
  ],
  [
    '416 at the place where it was',
    {
      begun: DATA.slice(0, 100_000),
      fault: onShard(({ before }, r) => before === 0 && answer(r, 416)),
      from: [100_000, undefined],
      notice: /no bytes from 100000 on; once more from the start/,
    },
  ],
  [
    'a beginning that is wrong',
    {
      begun: wrongBytes.slice(0, 100_000),
      from: [100_000, undefined],
      notice: /expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}; again from its start/,
    },
  ],
  ['all there but the name', { begun: DATA.slice(), from: [] }],
  ['all there and wrong', { begun: wrongBytes.slice(), from: [undefined], notice: /again from its start/ }],
  ['more there than the file has', { begun: new Uint8Array(500_000), from: [undefined] }],
  [
    'wrong bytes once',
    {
      fault: onShard(({ before }, r) => before === 0 && server.send({ from: undefined }, r, wrongBytes)),
      from: [undefined, undefined],
    },
  ],
  [
    'a signed address that has expired',
    {
      fault: onShard(({ before }, r) => before === 0 && answer(r, 403)),
      from: [undefined, undefined],
    },
  ],
  ...[500, 502, 503, 504, 429, 408].map((status): [string, Case] => [
    `HTTP ${status} three times`,
    {
      fault: onShard(({ before }, r) => before < 3 && answer(r, status)),
      from: Array<undefined>(4).fill(undefined),
      notice: new RegExp(`HTTP ${status}; again in`),
    },
  ]),
  [
    'a connection that brings nothing',
    {
      fault: onShard(({ before }, r) => {
        if (before === 0) r.writeHead(200, { 'content-length': '400000' }).write(DATA.subarray(0, 66_000));
        return before === 0;
      }),
      from: [undefined, 66_000],
      stallMs: 1500,
      notice: /nothing came for 1.5 s/,
    },
  ],
  [
    'a body that is compressed although nobody asked',
    {
      fault: onShard((_, r) => !!r.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(DATA))),
      from: [undefined],
    },
  ],
])('%s: the file comes whole all the same', async (_, { fault, begun, from, stallMs, notice }) => {
  const cache = temporaryFolder();
  if (begun) begin(cache, begun);
  if (fault) server.fault = fault;
  const notices: string[] = [];
  // One attempt more than there are cuts: on a busy machine each may lose all that it brought.
  const retry = { attempts: 6, ...(stallMs === undefined ? {} : { stallMs }) };
  const { dir } = await pull(server, cache, { notices, include: FEW, retry });
  const got = server.contentRequests(SHARD_1).map((request) => request.from);
  if (notice?.source.startsWith('cut')) {
    expect(got).toHaveLength(from.length);
    for (const [i, at] of got.entries()) expect(at ?? 0).toBeLessThanOrEqual(from[i] ?? 0);
    expect(got.every((at, i) => i === 0 || (at ?? 0) >= (got[i - 1] ?? 0))).toBe(true);
    expect(got.at(-1)).toBeGreaterThan(begun?.length ?? 0);
  } else expect(got).toEqual(from);
  expect(contents(dir)).toEqual(expected(FEW));
  expect(leftovers(cache)).toEqual([]);
  if (notice) expect(notices.join('\n')).toMatch(notice);
});

it.each<[string, HubServerFault, RegExp, { begun?: number }?]>([
  [
    'wrong bytes, always',
    onShard((_, r) => server.send({ from: undefined }, r, wrongBytes)),
    /model-00001.*are not those of the file: expected sha256 [0-9a-f]{64}, got [0-9a-f]{64}, twice; nothing of it is kept/,
  ],
  [
    'a shorter file',
    onShard((_, r) => server.send({ from: undefined }, r, DATA.subarray(0, 399_999))),
    /model-00001.*expected 400000 bytes, the server sends 399999 \(no type\); is there a proxy between\?/,
  ],
  [
    'the page of a proxy',
    onShard((_, r) => !!r.writeHead(200, { 'content-type': 'text/html', 'content-length': '5' }).end('hello')),
    /expected 400000 bytes, the server sends 5 \(text\/html\)/,
  ],
  [
    'bytes without end',
    onShard((_, r) => !!r.writeHead(200).end(Buffer.concat([DATA, Buffer.from('more')]))),
    /sends more than the 400000 bytes of the file; nothing of it is kept/,
  ],
  [
    'the wrong range',
    onShard((_, r) => server.send({ from: 50_000 }, r, DATA)),
    /asked for the bytes from 100000, the server sends "bytes 50000-399999\/400000"/,
    { begun: 100_000 },
  ],
  [
    'a file that shrinks',
    onShard(({ from }, r) => server.send({ from }, r, DATA.subarray(0, 300_000))),
    /expected 400000 bytes in all, the server has 300000/,
    { begun: 100_000 },
  ],
  ['416 at the start', onShard((_, r) => answer(r, 416)), /the server has no bytes from 0 on/],
  ['HTTP 500, always', onShard((_, r) => answer(r, 500)), /xet\/[0-9a-f]+: HTTP 500; 4 attempts failed/],
  ['a store without the file', onShard((_, r) => answer(r, 404)), /xet\/[0-9a-f]+: HTTP 404/],
  ['cuts before any progress, always', onShard((_, r) => !!r.destroy()), /; 4 attempts failed/],
  [
    'a wait that is too long',
    onShard((_, r) => answer(r, 429, { 'retry-after': '3600' })),
    /HTTP 429; the server asks to wait 3600 s: run it again then/,
  ],
  [
    'another commit on the way',
    ({ path }, r) =>
      path.endsWith(SHARD_1) &&
      answer(r, 302, { location: `${server.store}/xet/${HASH}`, 'x-repo-commit': 'b'.repeat(40) }),
    /the server has another file: expected commit c0ffee\w+, got b{40}/,
  ],
  [
    'another file on the way',
    ({ path }, r) =>
      path.endsWith(SHARD_1) &&
      answer(r, 302, { location: `${server.store}/xet/${HASH}`, 'x-linked-etag': `"${'e'.repeat(64)}"` }),
    /the server has another file: expected hash [0-9a-f]{64}, got e{64}/,
  ],
  [
    'another size on the way',
    ({ path }, r) =>
      path.endsWith(SHARD_1) && answer(r, 302, { location: `${server.store}/xet/${HASH}`, 'x-linked-size': '3' }),
    /the server has another file: expected bytes 400000, got 3/,
  ],
  [
    'redirects in a circle',
    ({ path }, r) => path.endsWith(SHARD_1) && answer(r, 302, { location: '#' }),
    /more than 10 redirects/,
  ],
  [
    'a redirect to nowhere',
    ({ path }, r) => path.endsWith(SHARD_1) && answer(r, 302),
    /redirects to what is no address: ""/,
  ],
  [
    'a redirect to a file',
    ({ path }, r) => path.endsWith(SHARD_1) && answer(r, 302, { location: 'file:///etc/passwd' }),
    /no address: "file:/,
  ],
])('%s: an error, no snapshot, and the next pull mends it', async (_, fault, message, { begun = 0 } = {}) => {
  const cache = temporaryFolder();
  if (begun > 0) begin(cache, DATA.slice(0, begun));
  server.fault = fault;
  const error = await errorOf(pull(server, cache, { include: FEW }));
  expect(error.message).toMatch(message);
  expect(error.message).not.toContain('Signature');
  expect(error.code).toBe('ERR_HUB');
  const left = leftovers(cache).filter((path) => path.includes(HASH));
  expect(left.reduce((sum, path) => sum + statSync(join(cache, path)).size, 0)).toBe(begun); // kept, if it can be right
  server.reset();
  const { dir } = await pull(server, cache, { include: FEW });
  expect(contents(dir)).toEqual(expected(FEW));
  expect(leftovers(cache)).toEqual([]);
});

it.each([
  [{ 'retry-after': '0.4' }, 400],
  [{ 'retry-after': new Date(Date.now() + 3_600_000).toUTCString() }, undefined],
  [{ ratelimit: '"resolvers";r=0;t=1' }, 1000],
])('waits as %j asks', async (headers, wait) => {
  server.fault = onShard(({ before }, r) => before === 0 && answer(r, 429, headers));
  const notices: string[] = [];
  const started = performance.now();
  const pulled = pull(server, temporaryFolder(), { notices, include: FEW });
  if (wait === undefined) return expect((await errorOf(pulled)).message).toMatch(/asks to wait 3[56]\d\d s/);
  await pulled;
  expect(performance.now() - started).toBeGreaterThan(wait - 5);
  expect(notices).toHaveLength(1);
});
