/** The tests' Hub, which `pull` talks to. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';
import { ROOT } from '../lib/run.mjs';

/** Bytes that are the same each time. */
const bytes = (length, seed) =>
  Buffer.concat(
    Array.from({ length: Math.ceil(length / 32) }, (_, i) => createHash('sha256').update(`${seed} ${i}`).digest()),
  ).subarray(0, length);

const SHARDS = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
const text = (content) => ({ data: Buffer.from(content) });
const FILES = {
  'config.json': text('{"model_type": "deepseek_v4"}\n'),
  'tokenizer.json': { data: bytes(5000, 1), lfs: true },
  'encoding/encoding_dsv4.py': text('# encodes\n'),
  'model.safetensors.index.json': text(JSON.stringify({ weight_map: { a: SHARDS[0], b: SHARDS[1] } })),
  [SHARDS[0]]: { data: bytes(200_000, 2), lfs: true },
  [SHARDS[1]]: { data: bytes(100_001, 3), lfs: true },
  'README.md': text('# A model\n'),
};

/** Starts a server with a small model; `env(root)` is what `pull` needs to find it and its cache. */
export async function startHub() {
  const source = readFileSync(join(ROOT, 'internal', 'testkit', 'src', 'hub-server.ts'), 'utf8');
  const path = join(ROOT, '.tmp', 'fault', 'hub-server.mjs');
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  writeFileSync(path, ts.transpileModule(source, { compilerOptions }).outputText);
  const { HubServer } = await import(pathToFileURL(path).href);
  const server = await new HubServer('org/name', FILES).start();
  const env = (root) => ({
    ...{ HF_HUB_CACHE: join(root, 'cache'), HF_ENDPOINT: server.url, HF_TOKEN: '', HF_HUB_OFFLINE: '' },
    ...{ HF_TOKEN_PATH: join(root, 'none'), HOME: root },
  });
  return { env, stop: () => server.stop() };
}
