import type { HubServerFault } from '@megamoe/testkit';
import { createServer, type Server } from 'node:http';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { HubError, pullModel } from '../src/index';
import { contents, errorOf, hubServer, INDEX, leftovers, pull, SHARD_1, temporaryFolder } from './support';

const server = hubServer();
const TOKEN = 'hf_secret';

const refuse =
  (status: number, code?: string, text?: string): HubServerFault =>
  (_, response) => {
    const headers = { ...(code ? { 'x-error-code': code } : {}), ...(text ? { 'x-error-message': text } : {}) };
    return !!response.writeHead(status, headers).end('{"error": "no"}');
  };

it.each<[string, HubServerFault, string | undefined, RegExp]>([
  [
    '404',
    refuse(404, 'RepoNotFound', 'Repository not found'),
    undefined,
    /^org\/name is not at http:\/\/127\.0\.0\.1:\d+, or it is private: check the name; if it is right, set HF_TOKEN, or log in with "hf auth login" \(HTTP 404: Repository not found\)$/,
  ],
  ['401 without a token', refuse(401), undefined, /or it is private.*set HF_TOKEN/],
  ['401 with one', refuse(401), TOKEN, /the token that was sent has no access/],
  ['403', refuse(403), TOKEN, /^org\/name: access is denied: the token that was sent has no access/],
  [
    'a gated model',
    refuse(403, 'GatedRepo'),
    undefined,
    /^org\/name is gated: ask for access at http:\/\/127\.0\.0\.1:\d+\/org\/name, then set HF_TOKEN/,
  ],
  [
    'a revision that is not there',
    refuse(404, 'RevisionNotFound'),
    undefined,
    /^org\/name has no such revision at http/,
  ],
  ['another 4xx', refuse(418, undefined, 'tea\u009b31m'), undefined, /HTTP 418: tea\\u009b31m$/],
  ['5xx, always', refuse(503), undefined, /HTTP 503; 4 attempts failed$/],
  [
    'a page instead of JSON',
    (_, r) => !!r.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
    undefined,
    /^org\/name: the server does not answer as a Hub does/,
  ],
  [
    'JSON of another kind',
    (_, r) => !!r.writeHead(200).end('{"sha": 3}'),
    undefined,
    /names no commit for revision main/,
  ],
])('%s is said in words', async (_, fault, token, message) => {
  const cache = temporaryFolder();
  server.fault = fault;
  const error = await errorOf(pull(server, cache, token ? { env: { HF_TOKEN: token } } : {}));
  expect(error).toBeInstanceOf(HubError);
  expect(error.message).toMatch(message);
  expect(error.message).not.toContain(TOKEN);
  expect(contents(cache)).toEqual({});
});

it.each([
  '../evil',
  'a/../../evil',
  '/etc/passwd',
  'a//b',
  './a',
  'a/',
  'C:\\evil',
  'a/C:evil',
  '\\\\host\\share',
  'a\\..\\..\\evil',
  'a\0b',
  '',
  `${'x'.repeat(256)}`,
])('a file called %j stops the pull before anything is written', async (path) => {
  const cache = temporaryFolder();
  server.entries = (entries) => [...entries, { type: 'file', oid: '0'.repeat(40), size: 1, path }];
  const error = await errorOf(pull(server, cache, { include: ['*'] }));
  expect(error.message).toMatch(/which is no path within a folder; nothing is fetched$/);
  expect(contents(cache)).toEqual({});
});

it.each<[string, Record<string, unknown>, RegExp]>([
  ['a hash that is a path', { oid: '../../../../evil' }, /without a size and a hash that can be checked/],
  ['no hash', { oid: undefined }, /without a size and a hash/],
  ['a hash of LFS that is too short', { lfs: { oid: 'abc', size: 1 } }, /without a size and a hash/],
  ['a size below zero', { size: -1 }, /without a size and a hash/],
  ['no size', { size: '1' }, /without a size and a hash/],
  ['a path that is a number', { path: 7 }, /no path within a folder/],
  ['a file twice', { path: 'config.json' }, /lists "config.json" twice/],
  [
    'more than the disk has',
    { path: 'config.json.txt', size: 2 ** 52 },
    /^pullModel: org\/name needs 4503599\.63 GB more, and the disk of .* has [\d.]+ [kMG]B free; nothing is fetched$/,
  ],
])('a listing with %s is refused', async (_, change, message) => {
  const cache = temporaryFolder();
  server.entries = (entries) => [...entries, { type: 'file', oid: '1'.repeat(40), size: 1, path: 'x', ...change }];
  const error = await errorOf(pull(server, cache, { include: ['*'] }));
  expect(error.message).toMatch(message);
  expect(server.sent).toBe(0);
});

it('a listing that never ends is refused', async () => {
  server.fault = ({ path }, response) => {
    if (!path.includes('/tree/')) return false;
    const link = `<${server.url}/api/models/org/name/tree/${server.commit}?cursor=1>; rel="next"`;
    return !!response.writeHead(200, { link }).end('[]');
  };
  expect((await errorOf(pull(server, temporaryFolder()))).message).toMatch(/leads back to itself/);
});

it('what is not there to load is an error that says what is', async () => {
  const drop = (...paths: string[]) =>
    (server.entries = (entries) => entries.filter(({ path }) => !paths.includes(path as string)));
  drop(INDEX);
  expect((await errorOf(pull(server, temporaryFolder()))).message).toMatch(
    /has no model.safetensors and no index of shards.*LICENSE/,
  );
  drop(SHARD_1);
  expect((await errorOf(pull(server, temporaryFolder()))).message).toMatch(
    `an index that names files it has not: ${SHARD_1}`,
  );
  expect((await errorOf(pull(server, temporaryFolder(), { include: ['*.gguf'] }))).message).toMatch(
    /no file of org\/name matches \*\.gguf; it has /,
  );
});

it.each<[string, () => Promise<unknown>, RegExp]>([
  ['a name without organisation', () => pullModel('name'), /^pullModel: "name" must be ORG\/NAME.*got "name"/],
  ['a name that climbs', () => pullModel('../name'), /must be ORG\/NAME/],
  ['a name that would be two', () => pullModel('a--b/c'), /must be ORG\/NAME/],
  [
    'a revision that climbs',
    () => pullModel('a/b', { revision: '../../x' }),
    /^pullModel: "revision" must be a branch, a tag or a commit/,
  ],
  ['a revision with a line feed', () => pullModel('a/b', { revision: 'a\nb' }), /got "a\\u000ab"/],
  ['no pattern', () => pullModel('a/b', { include: [] }), /"include" is empty/],
  ['no worker', () => pullModel('a/b', { concurrency: 0 }), /"concurrency" must be an integer from 1 to 64, got 0/],
  [
    'an endpoint with a password',
    () => pullModel('a/b', { env: { HF_ENDPOINT: 'https://u:secret@h' } }),
    /^hubSettings: HF_ENDPOINT must be an http or https address without user/,
  ],
  [
    'a token that no header carries',
    () => pullModel('a/b', { env: { HF_TOKEN: 'secret é' } }),
    /^hubSettings: the token in HF_TOKEN holds/,
  ],
  [
    'HF_HUB_OFFLINE',
    () => pullModel('a/b', { env: { HF_HUB_OFFLINE: '1' } }),
    /^pullModel: HF_HUB_OFFLINE is set, so nothing is downloaded; unset it to pull a\/b$/,
  ],
  ['an abort before it began', () => pullModel('a/b', { signal: AbortSignal.abort(new Error('no')) }), /^no$/],
  [
    'nobody who listens',
    () => pullModel('a/b', { env: { HF_ENDPOINT: 'http://127.0.0.1:9' }, retry: { attempts: 2, baseMs: 1 } }),
    /^http:\/\/127.0.0.1:9\/api\/models\/a\/b\/revision\/main: .*cannot be reached; 2 attempts failed$/,
  ],
])('%s is refused', async (_, work, message) => {
  const error = await errorOf(work());
  expect(error.message).toMatch(message);
  expect(error.message).not.toContain('secret');
});

it('the token goes to the endpoint and nowhere else, not even back by a way round', async () => {
  const cache = temporaryFolder();
  server.fault = ({ at, path }, response) => {
    if (at === 'store' && path === '/round') return !!response.writeHead(302, { location: `${server.url}/back` }).end();
    return (
      path.endsWith(`resolve/${server.commit}/config.json`) &&
      !!response.writeHead(302, { location: `${server.store}/round` }).end()
    );
  };
  await errorOf(pull(server, cache, { env: { HF_TOKEN: TOKEN } }));
  expect(server.requests.find(({ path }) => path === '/back')).toMatchObject({ authorization: undefined });
  server.fault = () => false;
  await pull(server, cache, { env: { HF_TOKEN: TOKEN } });
  const sent = (at: string) =>
    new Set(server.requests.filter((r) => r.at === at && r.path !== '/back').map((r) => r.authorization));
  expect(sent('hub')).toEqual(new Set([`Bearer ${TOKEN}`]));
  expect(sent('store')).toEqual(new Set([undefined]));
  server.reset();
  writeFileSync(join(cache, 'token'), `${TOKEN}\n`);
  await pull(server, temporaryFolder(), { env: { HF_HOME: cache } });
  expect(sent('hub')).toEqual(new Set([`Bearer ${TOKEN}`]));
  server.reset();
  await pull(server, temporaryFolder(), { env: { HF_HOME: cache, HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' } });
  expect(sent('hub')).toEqual(new Set([undefined]));
});

it('a page of the listing on another host gets no token either', async () => {
  server.fault = ({ at, path }, response) => {
    if (!path.includes('/tree/')) return false;
    const link = at === 'hub' ? { link: `<${server.store}/tree/next>; rel="next"` } : {};
    return !!response.writeHead(200, link as Record<string, string>).end('[]');
  };
  await errorOf(pull(server, temporaryFolder(), { env: { HF_TOKEN: TOKEN } }));
  expect(server.requests.filter(({ at }) => at === 'store').map(({ authorization }) => authorization)).toEqual([
    undefined,
  ]);
});

it('a file where a folder belongs is named', async () => {
  const cache = temporaryFolder();
  mkdirSync(join(cache, 'models--org--name'));
  writeFileSync(join(cache, 'models--org--name', 'blobs'), '');
  expect((await errorOf(pull(server, cache))).message).toMatch(
    /^pullModel: cannot write to .*blobs: E(?:EXIST|NOTDIR)$/,
  );
  expect(leftovers(cache)).toEqual(['models--org--name/blobs']);
});

it('an endpoint below a path keeps it', async () => {
  const mirror: Server = createServer((request, response) => {
    void fetch(`${server.url}${request.url!.replace('/mirror/hf', '')}`, { redirect: 'manual' }).then(
      async (answer) => {
        const location = answer.headers.get('location');
        const to = location?.startsWith('/') ? { location: `/mirror/hf${location}` } : location ? { location } : {};
        response.writeHead(answer.status, to).end(Buffer.from(await answer.arrayBuffer()));
      },
    );
  });
  await new Promise<void>((resolve) => mirror.listen(0, '127.0.0.1', resolve));
  afterAll(() => mirror.close());
  server.pageSize = 100;
  const url = `http://127.0.0.1:${(mirror.address() as AddressInfo).port}/mirror/hf/`;
  const { dir } = await pull(server, temporaryFolder(), { env: { HF_ENDPOINT: url } });
  expect(Object.keys(contents(dir))).toHaveLength(9);
});
