import { HubServer, seeded, sha256, type HubServerFile } from '@megamoe/testkit';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { pullModel, type PulledModel, type PullOptions } from '../src/index';

const text = (s: string): HubServerFile => ({ data: Buffer.from(s) });
const lfs = (length: number, seed: number): HubServerFile => ({ data: seeded(seed).bytes(length), lfs: true });

export const SHARD_1 = 'model-00001-of-00002.safetensors';
export const SHARD_2 = 'model-00002-of-00002.safetensors';
export const INDEX = 'model.safetensors.index.json';

/** A repository with all that a pull meets: shards, other formats of them, folders, empty files and names that need escapes. */
export const FILES: Record<string, HubServerFile> = {
  'config.json': text('{"model_type": "deepseek_v4"}\n'),
  'generation_config.json': text('{}'),
  'tokenizer.json': lfs(5000, 1),
  'encoding/encoding_dsv4.py': text('# encodes\n'),
  'encoding/tests/__init__.py': text(''),
  LICENSE: text('MIT'),
  [INDEX]: text(JSON.stringify({ weight_map: { a: SHARD_1, b: SHARD_2 } })),
  [SHARD_1]: lfs(400_000, 2),
  [SHARD_2]: lfs(200_001, 3),
  'README.md': text('# A model\n'),
  'pytorch_model.bin': lfs(1000, 4),
  'other/Modèle #1 100% + ? [x] 模型 &.txt': text('odd'),
};

/** What a pull takes of {@link FILES}. */
export const LOADED = Object.keys(FILES)
  .filter((path) => !/^README|^pytorch|^other/.test(path))
  .sort();

/** A server for the tests of a file, put right after each. */
export function hubServer(name = 'org/name', files = FILES): HubServer {
  const server = new HubServer(name, files);
  beforeAll(async () => void (await server.start()));
  afterEach(() => server.reset());
  afterAll(() => server.stop());
  return server;
}

const folders: string[] = [];
afterAll(() => {
  for (const dir of folders) rmSync(dir, { recursive: true, force: true });
});

/** A folder that is removed when the tests of the file are done. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'megamoe-hub-'));
  folders.push(dir);
  return dir;
}

/** Pulls from a server with waits of milliseconds; what it was told goes to `notices`. */
export function pull(
  server: HubServer,
  cacheDir: string,
  { env, retry, notices = [], ...o }: PullOptions & { readonly notices?: string[] } = {},
): Promise<PulledModel> {
  return pullModel(server.name, {
    cacheDir,
    env: { HF_ENDPOINT: server.url, HOME: cacheDir, ...env },
    retry: { attempts: 4, baseMs: 2, stallMs: 5000, ...retry },
    onNotice: (notice) => void notices.push(notice),
    ...o,
  });
}

/** The error of a promise that must fail. */
export async function errorOf(promise: Promise<unknown>): Promise<Error & { code?: string; status?: number }> {
  try {
    await promise;
  } catch (e) {
    return e as Error;
  }
  throw new Error('expected an error');
}

/** The files of a snapshot by path: their SHA-256. */
export function contents(dir: string): Record<string, string> {
  const out: Record<string, string> = {};
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isDirectory()) out[relative(dir, path)] = sha256(readFileSync(path));
  }
  return out;
}

/** Files of the cache that are no blob, link or ref: what an interrupted pull leaves, and what none should. */
export function leftovers(cacheDir: string): string[] {
  if (!existsSync(cacheDir)) return [];
  return readdirSync(cacheDir, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(cacheDir, join(entry.parentPath, entry.name)))
    .filter(
      (path) => !/\/(?:blobs\/[0-9a-f]{40,64}|snapshots\/.*|refs\/main)$/.test(path) || path.includes('.megamoe-'),
    )
    .sort();
}

/** What {@link contents} of a snapshot must be. */
export function expected(paths: readonly string[]): Record<string, string> {
  return Object.fromEntries(paths.map((path) => [path, sha256(FILES[path]!.data)]));
}
