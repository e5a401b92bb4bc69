import { gitHash, sha256 } from '@megamoe/testkit';
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findModel, type PullPlan, type PullProgress } from '../src/index';
import {
  contents,
  errorOf,
  expected,
  FILES,
  hubServer,
  INDEX,
  leftovers,
  LOADED,
  pull,
  SHARD_1,
  SHARD_2,
  temporaryFolder,
} from './support';

const server = hubServer();
const { commit } = server;

describe('a pull', () => {
  it('leaves what the Python library would: blobs by hash, relative links, the ref last; and nothing else', async () => {
    const cache = temporaryFolder();
    const { dir, files, leftOut } = await pull(server, cache);
    const model = join(cache, 'models--org--name');
    expect(dir).toBe(join(model, 'snapshots', commit));
    expect(contents(dir)).toEqual(expected(LOADED));
    expect(readFileSync(join(model, 'refs', 'main'), 'utf8')).toBe(commit);
    const blobs = LOADED.map((path) => (FILES[path]!.lfs ? sha256 : gitHash)(FILES[path]!.data));
    expect(readdirSync(join(model, 'blobs')).sort()).toEqual([...new Set(blobs)].sort());
    expect(readlinkSync(join(dir, SHARD_1))).toBe(`../../blobs/${sha256(FILES[SHARD_1]!.data)}`);
    expect(readlinkSync(join(dir, 'encoding', 'tests', '__init__.py'))).toBe(
      `../../../../blobs/${gitHash(new Uint8Array(0))}`,
    );
    expect(leftovers(cache)).toEqual([]);
    expect(files.map(({ path }) => path)).toEqual(LOADED);
    expect(leftOut.map(({ path }) => path)).toEqual(
      Object.keys(FILES)
        .filter((path) => !LOADED.includes(path))
        .sort(),
    );
    expect(findModel('org/name', { cacheDir: cache })).toEqual({ dir, name: 'org/name', commit });
  });

  it('says before and while it works what there is to do', async () => {
    const plans: PullPlan[] = [];
    const steps: PullProgress[] = [];
    const o = { onPlan: (p: PullPlan) => plans.push(p), onProgress: (p: PullProgress) => steps.push(p) };
    const { fetchedBytes } = await pull(server, temporaryFolder(), o);
    const index = FILES[INDEX]!.data.length; // fetched before the plan, which needs it
    const total = LOADED.reduce((sum, path) => sum + FILES[path]!.data.length, 0);
    expect(plans).toMatchObject([{ name: 'org/name', revision: 'main', commit, bytes: total - index }]);
    expect(fetchedBytes).toBe(total);
    expect(steps.filter((s) => s.whole).map((s) => s.files)).toEqual(LOADED.slice(1).map((_, i) => i + 1));
    expect(steps.at(-1)).toMatchObject({ bytes: total - index, totalBytes: total - index, whole: true });
    expect(steps.every((s, i) => i === 0 || s.bytes >= steps[i - 1]!.bytes)).toBe(true);
  });

  it('fetches nothing again, and what was lost only', async () => {
    const cache = temporaryFolder();
    const { dir } = await pull(server, cache);
    server.reset();
    expect((await pull(server, cache)).fetchedBytes).toBe(0);
    expect(server.sent).toBe(0);
    const blob = join(cache, 'models--org--name', 'blobs', sha256(FILES[SHARD_2]!.data));
    truncateSync(blob, 1000); // as a full disk leaves it; a shorter one is no blob
    expect((await pull(server, cache)).fetchedBytes).toBe(200_001);
    expect(contents(dir)).toEqual(expected(LOADED));
  });

  it('takes a commit and another branch, and finds each', async () => {
    const cache = temporaryFolder();
    const { dir } = await pull(server, cache, { revision: commit });
    expect(existsSync(join(cache, 'models--org--name', 'refs'))).toBe(false);
    expect(findModel('org/name', { cacheDir: cache, revision: commit }).dir).toBe(dir);
    expect(() => findModel('org/name', { cacheDir: cache })).toThrow(
      `not its revision main; it has ${commit}; "megamoe pull org/name"`,
    );
  });

  it('moves a branch only when the new snapshot is there', async () => {
    const cache = temporaryFolder();
    const ref = join(cache, 'models--org--name', 'refs', 'main');
    await pull(server, cache);
    const old = 'a'.repeat(40);
    writeFileSync(ref, old);
    server.fault = ({ path }, response) => path.endsWith('/tokenizer.json') && !!response.writeHead(403).end();
    server.files['tokenizer.json'] = { data: Buffer.from('new'), lfs: true };
    try {
      await errorOf(pull(server, cache));
      expect(readFileSync(ref, 'utf8')).toBe(old);
      server.reset();
      await pull(server, cache);
      expect(readFileSync(ref, 'utf8')).toBe(commit);
      expect(readFileSync(join(cache, 'models--org--name', 'snapshots', commit, 'tokenizer.json'), 'utf8')).toBe('new');
    } finally {
      server.files['tokenizer.json'] = FILES_TOKENIZER;
    }
  });

  it.each<[string[], string[]]>([
    [['*'], Object.keys(FILES).sort()],
    [['*.json', 'encoding/'], LOADED.filter((path) => /json$|^encoding/.test(path))],
    [['other/*'], ['other/Modèle #1 100% + ? [x] 模型 &.txt']],
    [
      ['config.jso?', '*-0000[!1]-*'],
      ['config.json', SHARD_2],
    ],
  ])('takes what %j names, odd names too', async (include, want) => {
    const cache = temporaryFolder();
    const { dir } = await pull(server, cache, { include });
    expect(contents(dir)).toEqual(expected(want));
  });

  it('stops within a second when told, and goes on from there', async () => {
    const cache = temporaryFolder();
    const abort = new AbortController();
    let told = 0;
    server.fault = async (request, response) => {
      if (request.at !== 'store' || !request.path.includes(sha256(FILES[SHARD_1]!.data))) return false;
      await server.send({ from: undefined }, response, FILES[SHARD_1]!.data.subarray(0, 131_072), {
        headers: { 'content-length': '400000' },
      });
      setTimeout(() => {
        told = performance.now();
        abort.abort(new Error('enough'));
      }, 50);
      return true;
    };
    expect((await errorOf(pull(server, cache, { signal: abort.signal }))).message).toBe('enough');
    expect(performance.now() - told).toBeLessThan(1000);
    expect(existsSync(join(cache, 'models--org--name', 'refs'))).toBe(false);
    const [left] = leftovers(cache);
    expect(left).toBe(`models--org--name/blobs/${sha256(FILES[SHARD_1]!.data)}.megamoe.incomplete`);
    expect(lstatSync(join(cache, left!)).size).toBe(131_072);
    server.reset();
    const { dir } = await pull(server, cache);
    expect(server.contentRequests(SHARD_1).map(({ from }) => from)).toEqual([131_072]);
    expect(contents(dir)).toEqual(expected(LOADED));
    expect(leftovers(cache)).toEqual([]);
  });

  it('is safe beside others on one cache: they wait, and fetch nothing twice', async () => {
    const cache = temporaryFolder();
    server.fault = async () => new Promise((resolve) => setTimeout(() => resolve(false), 10));
    const notices: string[] = [];
    const pulled = await Promise.all([1, 2, 3].map(() => pull(server, cache, { notices })));
    expect(pulled.map(({ fetchedBytes }) => fetchedBytes).filter((n) => n > 0)).toHaveLength(1);
    expect(server.contentRequests(SHARD_1)).toHaveLength(1);
    expect(notices).toContain(`another pull of org/name is running (process ${process.pid}); waiting for it`);
    expect(contents(pulled[0]!.dir)).toEqual(expected(LOADED));
    expect(leftovers(cache)).toEqual([]);
  });
});

const FILES_TOKENIZER = FILES['tokenizer.json']!;
